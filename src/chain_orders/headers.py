"""The headers of every answer, whoever gives it: what a browser must not do with it.

An answer that says something else of its own, like the console's pages, is left as it is.
"""

from __future__ import annotations

from starlette.types import Message, Send

Pairs = tuple[tuple[bytes, bytes], ...]

WHOLE = "chain_orders.whole"
"""An extension of the scope: given status, headers and body of an answer, write it at once; whether that was done."""

_ALWAYS = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)
_ENCRYPTED = (*_ALWAYS, (b"strict-transport-security", b"max-age=63072000; includeSubDomains"))


def of_answers(*, encrypted: bool) -> Pairs:
    """The headers. `encrypted`: answers go over TLS, if only from what stands before us."""
    return _ENCRYPTED if encrypted else _ALWAYS


def guarded(send: Send, *, encrypted: bool) -> Send:
    """Send with the headers."""
    wanted = of_answers(encrypted=encrypted)

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = list(message.get("headers", ()))
            names = {name.lower() for name, _value in given}
            message = {**message, "headers": [*given, *(pair for pair in wanted if pair[0] not in names)]}
        await send(message)

    return sending
