"""Reading a request's body: bounded in size and time, uncompressed, strict JSON, so that no input is a 500.

Used by the callbacks and by the operators' API alike. The frameworks' own reading would answer `NaN` with a 500.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.requests import ClientDisconnect, Request

from . import strict_json
from .errors import Malformed, Sentence, TooLarge, UnsupportedMedia

CANCELLATION = 16 * 1024
INVOICE = 4 * 1024 * 1024
OPERATOR = 256 * 1024
SECONDS = 10.0
ARRIVED = "chain_orders.arrived"
"""An extension of the scope: the whole body, if it came with the head, as most do. It spares them the waiting."""
# What is read past a limit and thrown away: a caller that is cut off while it sends never sees the answer.
_DISCARDED = 8 * 1024 * 1024


class TooSlow(Malformed):
    status = 408
    title = "The body did not arrive in time"


async def read(request: Request, *, limit: int, take: Callable[[int], None] | None = None) -> bytes:
    """The body's bytes. Raises TooLarge, TooSlow, UnsupportedMedia.

    `take` is asked for room before each part is kept; what it raises ends the reading.
    """
    for name, value in request.scope["headers"]:
        if name == b"content-encoding" and value.strip().lower() not in {b"", b"identity"}:
            raise UnsupportedMedia("content-encoding", "send the body uncompressed")
    arrived = request.scope.get("extensions", {}).get(ARRIVED)
    raw: bytes | None = arrived() if arrived is not None else None
    if raw is None or len(raw) > limit:
        return await _wait(request, limit, take)
    if take is not None:
        take(len(raw))
    return raw


async def _wait(request: Request, limit: int, take: Callable[[int], None] | None) -> bytes:
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(SECONDS):
            async for part in request.stream():
                size += len(part)
                if size <= limit:
                    if take is not None:
                        take(len(part))
                    parts.append(part)
                elif size > limit + _DISCARDED:
                    break
    except TimeoutError:
        told = Sentence("the body did not arrive within {seconds} seconds", seconds=round(SECONDS))
        raise TooSlow("body-timeout", told) from None
    except ClientDisconnect:
        raise TooSlow("client-gone", "the connection closed before the body was complete") from None
    if size > limit:
        told = Sentence("the body may have at most {limit} bytes", limit=limit)
        raise TooLarge("body-too-large", told, headers={"Connection": "close"})
    return b"".join(parts)


def parse(raw: bytes) -> Any:
    """The JSON value. Raises Malformed with the place where it stops being JSON."""
    try:
        return strict_json.parse(raw)
    except strict_json.NotJson as wrong:
        raise Malformed("not-json", Sentence("the body is not valid JSON: {place}", place=wrong)) from wrong
