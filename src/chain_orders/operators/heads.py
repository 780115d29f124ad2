"""HEAD wherever there is GET, as a route of its own behind all others: the server leaves the body out."""

from __future__ import annotations

from starlette.routing import BaseRoute, Match, Router
from starlette.types import Receive, Scope, Send

_ENDLESS = "/stream"


class Heads(BaseRoute):
    """Takes a HEAD that no other route takes for the GET of the same address."""

    def __init__(self, router: Router) -> None:
        self._router = router

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        taken = scope["type"] == "http" and scope["method"] == "HEAD" and not scope["path"].endswith(_ENDLESS)
        return (Match.FULL if taken else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._router({**scope, "method": "GET"}, receive, send)
