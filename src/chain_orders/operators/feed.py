"""Routes of the feed: the marketplace's own systems follow here what happens to its orders."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from time import monotonic
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError
from sqlalchemy.ext.asyncio import AsyncSession

from ..database import Database
from ..errors import Conflict, Malformed
from ..events import feed, types
from ..events.models import Event
from ..webhooks import outbox
from . import access, edges
from .access import Operator

router = APIRouter(prefix="/v1/events", tags=["events"])

Viewing = Annotated[Operator, Depends(access.allow("viewer"))]


def _known(given: str) -> str:
    if given not in types.OF_ORDERS:  # it would match nothing, for ever, and say nothing of it
        raise PydanticCustomError("unknown-value", "is not the type of any event")
    return given


Type = Annotated[edges.Named, AfterValidator(_known), Field(json_schema_extra={"enum": sorted(types.OF_ORDERS)})]
Types = Annotated[list[Type] | None, Query(alias="type", max_length=50)]
SellerId = Annotated[str | None, Query(max_length=63)]
Position = Annotated[int, Query(ge=0, le=2**62)]

SILENCE_SECONDS = 15.0


@router.get("")
async def list_events(
    request: Request,
    _: Viewing,
    after: Position = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    type_: Types = None,
    seller: SellerId = None,
) -> Response:
    """Events in the feed's order, after a position; an event's `id` here is its position.

    `next` is null at the end of the feed. `position` says how far this page has read: ask again with it as `after`,
    also when nothing matched. An event that commits late gets a later position, so no reader ever misses one.
    """
    async with request.app.state.database.transaction() as session:
        found = await feed.page(session, after, limit, feed.Wanted(tuple(type_ or ()), seller))
        if found.position == after and not found.events:
            await _start(session, after)
    following = found.position if found.more else None
    headers = {}
    if following is not None:
        target = request.url.include_query_params(after=following)
        headers["Link"] = f'<{target.path}?{target.query}>; rel="next"'
    items = [outbox.view(event) for event in found.events]
    return edges.Answer({"items": items, "next": following, "position": found.position}, headers=headers)


@router.get("/stream", responses={200: {"content": {"text/event-stream": {}}, "description": "Server-sent events."}})
async def stream_events(
    request: Request,
    operator: Viewing,
    after: Annotated[int | None, Query(ge=0, le=2**62)] = None,
    type_: Types = None,
    seller: SellerId = None,
) -> Response:
    """The feed as server-sent events, from `Last-Event-ID` or `after`, else from now on.

    It begins with the id of where it starts, so that whoever is cut off before the first event misses none. A comment
    comes every 15 seconds of silence. The stream ends when the service stops or the key is revoked: connect again.
    """
    last = _last_event_id(request)
    database: Database = request.app.state.database
    async with database.transaction() as session:
        start = await _start(session, after if last is None else last)
    wanted = feed.Wanted(tuple(type_ or ()), seller)
    events = request.app.state.tail.follow(start, wanted, silence=SILENCE_SECONDS)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    written = _written(start, _while_allowed(events, database, operator))
    return StreamingResponse(written, media_type="text/event-stream", headers=headers)


async def _start(session: AsyncSession, after: int | None) -> int:
    """Where a reader goes on; the end unless given. Raises Conflict for a position that the feed has not reached:
    its events would be skipped one day, as after a restore of an older backup."""
    end = await feed.last_position(session)
    if after is not None and after > end:
        told = f"the feed ends at {end}: it never gave out {after}, or was restored since; read again from a known one"
        raise Conflict("position-unknown", told, extra={"position": end})
    return end if after is None else after


async def _while_allowed(
    events: AsyncIterator[Event | None], database: Database, operator: Operator
) -> AsyncIterator[Event | None]:
    """The events, for as long as the key holds; it is looked up again every few seconds."""
    looked = monotonic()
    async for event in events:
        if monotonic() - looked >= SILENCE_SECONDS:
            if not await access.holds(database, operator):
                return
            looked = monotonic()
        yield event


def _last_event_id(request: Request) -> int | None:
    given = request.headers.get("last-event-id", "").strip()
    if not given:
        return None
    if not (given.isascii() and given.isdigit() and len(given) <= 18):
        raise Malformed("last-event-id", "Last-Event-ID must be an id that this stream gave out")
    return int(given)


async def _written(start: int, events: AsyncIterator[Event | None]) -> AsyncIterator[bytes]:
    yield f"retry: 2000\nid: {start}\n\n".encode("ascii")
    async for event in events:
        yield b": nothing new\n\n" if event is None else _frame(outbox.view(event))


def _frame(view: dict[str, Any]) -> bytes:
    data = json.dumps(view, ensure_ascii=True, separators=(",", ":"))
    return f"id: {view['id']}\nevent: {view['type']}\ndata: {data}\n\n".encode("ascii")
