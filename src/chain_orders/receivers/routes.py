"""Receive what sellers tell us about their orders.

Relies on `capability` to name the order without a query and on the inbox to store. Promises: 200 leaves only after
the commit; a repeat gets the first answer's bytes; a caller who cannot prove itself gets one uniform 404; what a
caller with a good base sends is kept even when it cannot be read.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import lru_cache
from urllib.parse import quote, unquote_to_bytes

from starlette.requests import Request
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from .. import body, capability, errors, headers, logs, strict_json, tracing
from ..alerts import refusals
from ..capability import Keyring
from ..database import is_passing
from ..errors import Defect, Malformed, Problem, Unavailable
from ..notifications import policies
from ..notifications.applying import UNREADABLE
from ..notifications.inbox import Inbox
from ..notifications.storing import Incoming
from ..vtex import addresses
from ..vtex.addresses import Callback, Kind
from ..vtex.messages import Change
from .callers import Caller, Doorkeeper, nothing_here
from .description import describe
from .reading import read
from .traces import tell

__all__ = ["METHODS", "Callbacks", "describe"]

log = logs.get("callbacks")

_LIMITS = {
    Kind.CANCELLATION: body.CANCELLATION,
    Kind.INVOICE: body.INVOICE,
    Kind.TRACKING: body.OPERATOR,
    Kind.CHANGE: body.OPERATOR,
}
_BASE = [capability.PREFIX]
_ROOTS = (["pvt", "orders"], ["pub", "orders"], ["api", "oms"])
METHODS = frozenset({"POST", "PUT", "PATCH"})
_KEPT_HEADERS = frozenset({b"content-type", b"user-agent", b"x-vtex-operation-id", b"traceparent", b"x-request-id"})


class Callbacks(BaseRoute):
    """Every callback address, as one route of the application: `/cb/…`, and the root's for tokens and open mode."""

    def __init__(
        self,
        inbox: Inbox,
        keyring: Keyring,
        refused: Callable[[refusals.Kind, str], None],
        *,
        open_mode: bool,
        encrypted: bool,
    ) -> None:
        self._inbox = inbox
        self._door = Doorkeeper(keyring, refused, open_mode=open_mode)
        self._headers = headers.of_answers(encrypted=encrypted)
        self._json = (*self._headers, (b"content-type", b"application/json"))

    def parts(self, scope: Scope) -> list[str] | None:
        """The path of a callback, split and decoded; None when it is none of ours."""
        parts = addresses.split(scope["raw_path"])
        return parts if parts[:1] == _BASE or parts[:2] in _ROOTS else None

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        ours = scope["type"] == "http" and self.parts(scope) is not None
        return (Match.FULL if ours else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.hear(scope, addresses.split(scope["raw_path"]), receive, send)

    async def hear(self, scope: Scope, parts: list[str], receive: Receive, send: Send) -> None:
        """Answer a callback whose path has these parts."""
        started = time.time_ns()
        try:
            answer = await self._receive(Request(scope, receive), parts)
            # A change that is refused is answered 500 without a body: so VTEX wants it.
            status, told = (200, self._json) if answer else (500, self._headers)
        except Problem as problem:
            status, answer, told = self._refusal(problem)
        except Exception as failure:  # the last resort: nothing above would answer in our words
            status, answer, told = self._refusal(_unexpected(failure))
        at_once = scope.get("extensions", {}).get(headers.WHOLE)
        if at_once is None or not at_once(status, told, answer):
            length = (b"content-length", b"%d" % len(answer))
            await send({"type": "http.response.start", "status": status, "headers": (length, *told)})
            await send({"type": "http.response.body", "body": answer})
        if tracing.on():
            await tell(self._inbox.database, scope.get("callback_caller"), scope["method"], status, started)

    def _refusal(self, problem: Problem) -> tuple[int, bytes, headers.Pairs]:
        """The answer to a problem. The path is a secret below /cb: it is never shown, not even to whoever sent it."""
        more = {"content-type": errors.MEDIA_TYPE, **problem.headers}
        told = tuple((name.lower().encode(), value.encode()) for name, value in more.items())
        return problem.status, strict_json.dump(problem.as_dict("/callback")), (*self._headers, *told)

    async def _receive(self, request: Request, parts: list[str]) -> bytes:
        caller = request.scope["callback_caller"] = await self._door.identify(request, parts)
        called = addresses.callback(caller.path)
        if called is None or request.method not in called.methods:
            return await self._refuse_path(request, caller)
        with self._inbox.room() as take:
            raw = await body.read(request, limit=_LIMITS[called.kind], take=take)
            return await self._take_in(request, caller, called, raw)

    async def _take_in(self, request: Request, caller: Caller, called: Callback, raw: bytes) -> bytes:
        try:
            message, meaning = read(called, raw)
        except Malformed:
            await self._keep(request, caller, raw)
            raise
        change = message if isinstance(message, Change) else None
        arrived, policy, meaning = None, None, _scope(caller, called) + meaning
        if change is not None:
            arrived = time.monotonic()
            policy, meaning = await policies.of_change(
                self._inbox.database, caller.ref, caller.seller_id, called.named, meaning, self._inbox.commit_seconds
            )
        return await self._inbox.receive(
            Incoming(
                kind=called.kind,
                caller=caller.kind,
                ref=caller.ref,
                named=called.named,
                path=_path(caller),
                headers=_headers(request),
                body=raw,
                meaning=meaning,
                seller_id=caller.seller_id,
                policy=policy,
                request_id=change.request_id if change is not None else None,
            ),
            arrived,
        )

    async def _refuse_path(self, request: Request, caller: Caller) -> bytes:
        """No such address, though the caller may be known: what it said is kept, and a person is told."""
        if request.method in METHODS and caller.known:
            with self._inbox.room() as take:
                raw = await body.read(request, limit=body.INVOICE, take=take)
                if raw:
                    await self._keep(request, caller, raw)
        raise nothing_here()

    async def _keep(self, request: Request, caller: Caller, raw: bytes) -> None:
        """Keep what a known caller sent and we cannot read. Raises Unavailable when it cannot be kept."""
        if not caller.known:
            return
        path = _path(caller) or b"?" + quote(_query(request), safe="/=&%").encode("ascii")[:2000]
        await self._inbox.receive(
            Incoming(
                kind=UNREADABLE,
                caller=caller.kind,
                ref=caller.ref,
                named="",
                path=path,
                headers=_headers(request),
                body=raw,
                meaning=b"\0".join((b"unreadable", caller.scope.encode(), path, raw)),
                seller_id=caller.seller_id,
            )
        )


def _unexpected(failure: Exception) -> Problem:
    if is_passing(failure):
        log.warning("database-away", exc_info=failure)
        return Unavailable("not-stored", "the database is away or busy; send it again", headers={"Retry-After": "2"})
    defect = Defect("internal", "the service failed: this is a defect of its own")
    log.error("request-failed", request_id=defect.request_id, exc_info=failure)
    return defect


def _scope(caller: Caller, called: Callback) -> bytes:
    ids = "\0".join((called.kind, *caller.path))
    return f"{caller.scope}\0{ids}\0".encode("utf-8", "surrogateescape")


_PLAIN = re.compile(r"[\w.~/-]*", re.ASCII)


def _path(caller: Caller) -> bytes:
    """The path below the base, normalized, as bytes that split into the same parts again."""
    joined = "/".join(caller.path)
    if _PLAIN.fullmatch(joined) and joined.count("/") == len(caller.path) - 1:
        return joined.encode("ascii")
    return "/".join(_quoted(part) for part in caller.path).encode("ascii")


def _quoted(part: str) -> str:
    return quote(part.encode("utf-8", "surrogateescape"), safe="")


def _headers(request: Request) -> bytes:
    """The headers that help to trace a call, and the query; nothing that could be a credential."""
    kept = [header for header in request.scope["headers"] if header[0] in _KEPT_HEADERS]
    query = _query(request)
    return _dumped((*kept, (b"query", query)) if query else tuple(kept))


def _query(request: Request) -> bytes:
    """The query without a token."""
    query: bytes = request.scope["query_string"]
    if not query:
        return query
    fields = query.split(b"&")
    return b"&".join(one for one in fields if unquote_to_bytes(one.partition(b"=")[0]).strip().lower() != b"token")


@lru_cache(maxsize=256)
def _dumped(kept: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """Most calls carry the same few headers."""
    return strict_json.dump({name.decode("latin-1"): value.decode("latin-1")[:500] for name, value in kept})
