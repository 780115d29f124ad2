"""The one thing a callback base says of itself: that it is ours. For the callback doctor, which calls from outside.

Only whoever holds a base that we handed out is told; for everybody else the address does not exist.
"""

from __future__ import annotations

from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from .. import capability
from ..capability import Keyring
from ..sellers.check import PROBE, SERVICE
from ..vtex import addresses


class Probe(BaseRoute):
    """`GET {base}/check`."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http" or scope["method"] != "GET":
            return Match.NONE, {}
        match addresses.split(scope["raw_path"]):
            case [capability.PREFIX, kid, ref, mac, path] if path == PROBE and self._keyring.verify(kid, ref, mac):
                return Match.FULL, {}
        return Match.NONE, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await JSONResponse({"service": SERVICE}, headers={"Cache-Control": "no-store"})(scope, receive, send)
