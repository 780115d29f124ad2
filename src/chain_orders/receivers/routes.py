"""Receive what sellers tell us about their orders.

Relies on `capability` to name the order without a query and on the inbox to store. Promises: 200 leaves only after
the commit; a repeat gets the first answer's bytes; a caller who cannot prove itself gets one uniform 404; what a
caller with a good base sends is kept even when it cannot be read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from .. import body, capability, errors, strict_json
from ..capability import Keyring
from ..errors import Malformed, Problem, Unknown
from ..notifications.applier import UNREADABLE
from ..notifications.inbox import Inbox, Incoming
from ..vtex import addresses
from ..vtex.addresses import Callback, Kind
from ..vtex.messages import Cancellation, Invoice, faults

_MESSAGES: dict[Kind, type[BaseModel]] = {Kind.CANCELLATION: Cancellation, Kind.INVOICE: Invoice}
_LIMITS = {Kind.CANCELLATION: body.CANCELLATION, Kind.INVOICE: body.INVOICE}
_ROOTS = (["pvt", "orders"], ["pub", "orders"], ["api", "oms"])
_KEPT_HEADERS = frozenset({b"content-type", b"user-agent", b"x-vtex-operation-id", b"traceparent", b"x-request-id"})


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: `ref` names the order whose base was used; None in open mode."""

    kind: str
    ref: str | None
    path: list[str]


class Callbacks(BaseRoute):
    """Every callback address, as one route of the application: `/cb/…`, and the root's in open mode."""

    def __init__(self, inbox: Inbox, keyring: Keyring, *, open_mode: bool) -> None:
        self._inbox = inbox
        self._keyring = keyring
        self._open = open_mode

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http":
            return Match.NONE, {}
        parts = addresses.split(scope["raw_path"])
        ours = parts[:1] == [capability.PREFIX] or parts[:2] in _ROOTS
        return (Match.FULL, {"callback_parts": parts}) if ours else (Match.NONE, {})

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            answer = await self._receive(request, scope["callback_parts"])
            response = Response(answer, media_type="application/json")
        except Problem as problem:
            # The path is a secret below /cb: it is never shown, not even to whoever sent it.
            response = Response(
                strict_json.dump(problem.as_dict("/callback")),
                problem.status,
                problem.headers,
                errors.MEDIA_TYPE,
            )
        response.headers["Cache-Control"] = "no-store"
        await response(scope, receive, send)

    async def _receive(self, request: Request, parts: list[str]) -> bytes:
        caller = self._identify(parts)
        called = addresses.callback(caller.path)
        if request.method != "POST" or called is None:
            return await self._refuse_path(request, caller)
        raw = await body.read(request, limit=_LIMITS[called.kind])
        try:
            meaning = _meaning(called.kind, raw)
        except Malformed:
            await self._keep(request, caller, raw)
            raise
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
            )
        )

    def _identify(self, parts: list[str]) -> Caller:
        """Name the caller without a query. Raises the one 404 that every stranger gets."""
        if parts[0] == capability.PREFIX and len(parts) >= 4:
            _, kid, ref, mac, *rest = parts
            if self._keyring.verify(kid, ref, mac):
                return Caller("base", capability.fold(ref), rest)
        elif parts[0] != capability.PREFIX and self._open:
            return Caller("open", None, parts)
        raise _unknown()

    async def _refuse_path(self, request: Request, caller: Caller) -> bytes:
        """No such address, though the caller may be known: what it said is kept, and a person is told."""
        if request.method == "POST" and caller.ref is not None:
            raw = await body.read(request, limit=body.INVOICE)
            if raw:
                await self._keep(request, caller, raw)
        raise _unknown()

    async def _keep(self, request: Request, caller: Caller, raw: bytes) -> None:
        """Keep what a known caller sent and we cannot read. Raises Unavailable when it cannot be kept."""
        if caller.ref is None:
            return
        await self._inbox.receive(
            Incoming(
                kind=UNREADABLE,
                caller=caller.kind,
                ref=caller.ref,
                named="",
                path=_path(caller),
                headers=_headers(request),
                body=raw,
                meaning=b"\0".join((b"unreadable", caller.ref.encode(), _path(caller), raw)),
            )
        )


def _meaning(kind: Kind, raw: bytes) -> bytes:
    """The content in canonical form: spellings of the same id, amount or type are one. Raises Malformed."""
    document = body.parse(raw)
    if not isinstance(document, dict):
        raise Malformed("schema-invalid", "the body must be a JSON object")
    try:
        message = _MESSAGES[kind].model_validate(document)
    except ValidationError as wrong:
        found = faults(wrong)
        told = "; ".join(f"{fault.pointer} {fault.detail}" for fault in found)
        raise Malformed("schema-invalid", told, faults=found) from wrong
    return strict_json.canonical({**document, **message.model_dump(by_alias=True, mode="json")})


def _scope(caller: Caller, called: Callback) -> bytes:
    ids = "\0".join((called.kind, *caller.path))
    return f"{caller.ref or 'open'}\0{ids}\0".encode("utf-8", "surrogateescape")


def _path(caller: Caller) -> bytes:
    """The path below the base, normalized, as bytes that split into the same parts again."""
    return "/".join(_quoted(part) for part in caller.path).encode("ascii")


def _quoted(part: str) -> str:
    return quote(part.encode("utf-8", "surrogateescape"), safe="")


def _headers(request: Request) -> bytes:
    """The headers that help to trace a call; nothing that could be a credential."""
    kept = {
        name.decode("latin-1"): value.decode("latin-1")[:500]
        for name, value in request.headers.raw
        if name in _KEPT_HEADERS
    }
    return strict_json.dump(kept)


def _unknown() -> Unknown:
    return Unknown("not-found", "there is nothing at this address")


def describe() -> dict[str, Any]:
    """The callbacks as OpenAPI `webhooks`: what sellers may call below the base that each order carries."""
    answer = {
        "200": {
            "description": "Stored. A repeat of the same notification gets the same bytes.",
            "content": {"application/json": {"schema": _ANSWER}},
        },
        "400": {"description": "The body cannot be read; it is kept."},
        "404": {"description": "No such address, or a caller that cannot prove itself."},
        "413": {"description": "The body is too large."},
        "415": {"description": "The body is compressed."},
        "503": {"description": "It could not be stored; send it again."},
    }
    return {name: {"post": {**_DESCRIBED[name], "responses": answer}} for name in _DESCRIBED}


_ANSWER = {
    "type": "object",
    "required": ["date", "orderId", "receipt"],
    "properties": {
        "date": {"type": "string", "format": "date-time"},
        "orderId": {"type": "string"},
        "receipt": {"type": "string"},
    },
}


def _described(summary: str, model: type[BaseModel], paths: list[str]) -> dict[str, Any]:
    schema: Callable[..., dict[str, Any]] = model.model_json_schema
    return {
        "summary": summary,
        "description": "Below the order's callback base:\n\n" + "\n".join(f"- `POST {path}`" for path in paths),
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": schema(ref_template="#/$defs/{model}")}},
        },
    }


_DESCRIBED = {
    "cancellation": _described(
        "A seller cancelled a chain order",
        Cancellation,
        [
            "/pvt/orders/order-group/{orderGroup}/notifications/seller-cancellation",
            "/pvt/orders/order-group/{orderGroup}/notifications",
        ],
    ),
    "invoice": _described(
        "A seller invoiced a chain order, wholly or in part, or tells its tracking",
        Invoice,
        [
            "/api/oms/pvt/orders/{orderId}/invoice",
            "/api/oms/pub/orders/{orderId}/invoice",
            "/pvt/orders/{orderId}/invoice",
            "/pub/orders/{orderId}/invoice",
            "/pvt/orders/order-group/{orderGroup}/invoice",
            "/pub/orders/order-group/{orderGroup}/invoice",
        ],
    ),
}
