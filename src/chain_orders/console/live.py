"""The stream that tells a page to look again: fed by the process's tail of the feed, for whoever is signed in.

It says only that something changed; the page then fetches itself, so that what is shown has one source. No database
connection is held, the session is looked up again while it lasts, and it ends when the process is about to stop.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator

from starlette.responses import Response, StreamingResponse

from ..events.feed import Wanted
from .visits import Visit, recognized

_BEAT_SECONDS = 1.0
"""Changes are told at most this often, and the last of many this late."""
_SILENCE_SECONDS = 15.0
"""After so long without a word a comment is sent, and the session is looked up."""

_BEGIN = b"retry: 3000\n\n: here\n\n"
_CHANGED = b"event: changed\ndata:\n\n"
_ENDED = b"event: ended\ndata:\n\n"
_COMMENT = b": nothing new\n\n"


async def follow(visit: Visit) -> Response:
    """Server-sent events: `changed` when any order moves, or the one that is named; `ended` with the session."""
    headers = {"X-Accel-Buffering": "no"}
    return StreamingResponse(_told(visit, _order(visit)), media_type="text/event-stream", headers=headers)


async def here(_visit: Visit) -> Response:
    """Nothing but a sign that somebody is there: the session's idleness begins anew."""
    return Response(status_code=204)


def _order(visit: Visit) -> uuid.UUID | None:
    try:
        return uuid.UUID(visit.given("order"))
    except ValueError:
        return None


async def _told(visit: Visit, order_id: uuid.UUID | None) -> AsyncIterator[bytes]:
    yield _BEGIN
    owed, spoke, looked = False, 0.0, time.monotonic()
    async for event in visit.desk.tail.follow(None, Wanted(), silence=_BEAT_SECONDS):
        now = time.monotonic()
        if now - looked >= _SILENCE_SECONDS:
            looked = now
            if (await recognized(visit)).signed_in is None:
                yield _ENDED
                return
            yield _COMMENT
        owed = owed or (event is not None and order_id in {None, event.order_id})
        if owed and now - spoke >= _BEAT_SECONDS:
            owed, spoke = False, now
            yield _CHANGED
