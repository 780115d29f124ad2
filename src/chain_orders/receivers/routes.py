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
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from pydantic import ValidationError
from starlette.requests import Request
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from .. import body, capability, errors, logs, strict_json
from ..alerts import refusals
from ..capability import Keyring
from ..database import is_passing
from ..errors import Malformed, Problem, Unavailable
from ..notifications import policies
from ..notifications.applying import UNREADABLE, Message, model
from ..notifications.inbox import Inbox, Incoming
from ..vtex import addresses
from ..vtex.addresses import Callback, Kind
from ..vtex.faults import faults, told
from ..vtex.messages import Change
from .callers import Caller, Doorkeeper, nothing_here
from .description import describe
from .traces import tell

__all__ = ["METHODS", "Callbacks", "describe"]

log = logs.get("callbacks")

_LIMITS = {
    Kind.CANCELLATION: body.CANCELLATION,
    Kind.INVOICE: body.INVOICE,
    Kind.TRACKING: body.OPERATOR,
    Kind.CHANGE: body.OPERATOR,
}
_ROOTS = (["pvt", "orders"], ["pub", "orders"], ["api", "oms"])
_NO_STORE = ((b"cache-control", b"no-store"),)
METHODS = frozenset({"POST", "PUT", "PATCH"})
_KEPT_HEADERS = frozenset({b"content-type", b"user-agent", b"x-vtex-operation-id", b"traceparent", b"x-request-id"})


class Callbacks(BaseRoute):
    """Every callback address, as one route of the application: `/cb/…`, and the root's for tokens and open mode."""

    def __init__(
        self, inbox: Inbox, keyring: Keyring, refused: Callable[[refusals.Kind, str], None], *, open_mode: bool
    ) -> None:
        self._inbox = inbox
        self._door = Doorkeeper(keyring, refused, open_mode=open_mode)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http":
            return Match.NONE, {}
        parts = addresses.split(scope["raw_path"])
        ours = parts[:1] == [capability.PREFIX] or parts[:2] in _ROOTS
        return (Match.FULL, {"callback_parts": parts}) if ours else (Match.NONE, {})

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        request, started, problem = Request(scope, receive), time.time_ns(), None
        try:
            answer = await self._receive(request, scope["callback_parts"])
            # A change that is refused is answered 500 without a body: so VTEX wants it.
            status, kind, more = 200 if answer else 500, "application/json", {}
        except Problem as told:
            problem = told
        except Exception as failure:  # the last resort: nothing above would answer in our words
            problem = _unexpected(failure)
        if problem is not None:
            # The path is a secret below /cb: it is never shown, not even to whoever sent it.
            answer = strict_json.dump(problem.as_dict("/callback"))
            status, kind, more = problem.status, errors.MEDIA_TYPE, problem.headers
        headers = [(b"content-length", str(len(answer)).encode()), *_NO_STORE]
        if answer:
            headers.append((b"content-type", kind.encode()))
        headers += [(name.lower().encode(), value.encode()) for name, value in more.items()]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})
        await tell(self._inbox.database, scope.get("callback_caller"), request.method, status, started)

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
            message, meaning = _read(called, raw)
        except Malformed:
            await self._keep(request, caller, raw)
            raise
        change = message if isinstance(message, Change) else None
        policy = None
        if change is not None:
            policy = await policies.of_changes(self._inbox.database, caller.ref, caller.seller_id, called.named)
        return await self._inbox.receive(
            Incoming(
                kind=called.kind,
                caller=caller.kind,
                ref=caller.ref,
                named=called.named,
                path=_path(caller),
                headers=_headers(request),
                body=raw,
                meaning=_scope(caller, called) + meaning,
                seller_id=caller.seller_id,
                policy=policy,
                request_id=change.request_id if change is not None else None,
            )
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
    log.error("request-failed", exc_info=failure)
    return Problem("internal", "the service failed: this is a defect of its own")


def _read(called: Callback, raw: bytes) -> tuple[Message, bytes]:
    """The message, and its content in canonical form: spellings of the same id, amount or type are one.

    A cancellation of one level may come without a body. Raises Malformed.
    """
    document = {} if called.one_level and not raw.strip() else body.parse(raw)
    if not isinstance(document, dict):
        raise Malformed("schema-invalid", "the body must be a JSON object")
    try:
        message: Message = model(called).model_validate(document)
    except ValidationError as wrong:
        found = faults(wrong)
        raise Malformed("schema-invalid", told(found), faults=found) from wrong
    return message, strict_json.canonical(_overlaid(document, message.model_dump(by_alias=True, mode="json")))


def _overlaid(document: dict[str, Any], read: dict[str, Any]) -> dict[str, Any]:
    """The document with what was read of it in place of its spellings. What could not be read stays as it is."""
    unread = {name for name, value in read.items() if value is None and not _is_blank(document.get(name))}
    return {**document, **{name: value for name, value in read.items() if name not in unread}}


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


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
    fields: list[bytes] = request.scope["query_string"].split(b"&")
    return b"&".join(one for one in fields if unquote_to_bytes(one.partition(b"=")[0]).strip().lower() != b"token")


@lru_cache(maxsize=256)
def _dumped(kept: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """Most calls carry the same few headers."""
    return strict_json.dump({name.decode("latin-1"): value.decode("latin-1")[:500] for name, value in kept})
