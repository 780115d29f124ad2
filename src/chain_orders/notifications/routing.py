"""Finding the order of what came without an order's own base: by the ids in its path, and in a cancellation's body.

What came through a base names its order by that alone: where the base's order is not stored here, no other one is
looked for, however well the ids fit. What has just come goes before what was looked for in vain. Once its order is
found it is also a step of that order's trace, for those who collect traces.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from pydantic import ValidationError
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import defer
from sqlalchemy.sql.elements import ColumnElement

from .. import logs, strict_json, tracing
from ..database import Database, is_passing
from ..orders import lookup
from ..orders.models import Order
from ..vtex import addresses
from ..vtex.addresses import Kind
from ..vtex.messages import Cancellation
from .applying import UNREADABLE, park, put_off
from .models import Notification

log = logs.get("routing")

_AT_ONCE = 100
_AGAIN_AT_ONCE = 20


async def route(session: AsyncSession, sweep: timedelta) -> Sequence[Notification]:
    """Give notifications their orders, and park the others; all that were looked at. `sweep`: when to look again."""
    new = await _waiting(session, Notification.state == "received", Notification.id, _AT_ONCE)
    due = Notification.next_at <= func.statement_timestamp()  # a clock that an index can be read by
    again = await _waiting(session, (Notification.state == "parked") & due, Notification.next_at, _AGAIN_AT_ONCE)
    for note in [*new, *again]:
        await _route(session, note)
        if note.state == "parked":
            put_off(note, sweep)
    return [*new, *again]


async def trace(database: Database, notes: Sequence[Notification]) -> None:
    """Record those whose orders were found as steps of their traces. Call it once that is committed."""
    found = {note.order_id for note in notes if note.order_id is not None}
    if not found or not tracing.on():
        return
    async with database.transaction() as session:
        rows = await session.execute(select(Order.id, Order.traceparent).where(Order.id.in_(found)))
    parents = {row.id: row.traceparent for row in rows}
    for note in notes:
        if note.order_id is not None:
            began = int(note.received_at.timestamp() * 1_000_000) * 1000
            tracing.record("callback", parents[note.order_id], began, order_id=str(note.order_id), kind=note.kind)


async def _waiting(session: AsyncSession, waits: ColumnElement[bool], first: Any, most: int) -> list[Notification]:
    """Served by notifications_received_idx and notifications_parked_idx. Bodies may be large, and few are looked at."""
    found = await session.scalars(
        select(Notification)
        .where(waits, Notification.order_id.is_(None))
        .order_by(first)
        .limit(most)
        .options(defer(Notification.body, raiseload=True))
        .with_for_update(skip_locked=True)
    )
    return list(found)


async def _route(session: AsyncSession, note: Notification) -> None:
    if note.kind == UNREADABLE and note.caller == "base":
        note.state = UNREADABLE
        return
    if note.caller == "base":
        park(note, "order-unknown")
        return
    try:
        async with session.begin_nested():
            found = await lookup.orders_meant(session, await _forms(session, note), note.seller_id)
    except DBAPIError as failure:  # one that cannot even be looked up must not hold up the others
        if is_passing(failure):
            raise
        log.error("route-failed", notification_id=note.id, exc_info=failure)
        park(note, "apply-failed")
        return
    if len(found) == 1:
        (note.order_id,) = found
        note.state = "received"
    elif note.kind == UNREADABLE:
        note.state = UNREADABLE
    else:
        park(note, "order-unknown" if not found else "ambiguous")


async def _forms(session: AsyncSession, note: Notification) -> list[str]:
    called = addresses.callback(addresses.split(note.path))
    forms = lookup.spellings(called.named) if called else []
    if called and called.kind is Kind.CANCELLATION and not called.one_level:
        body = await session.scalar(select(Notification.body).where(Notification.id == note.id))
        try:
            told = Cancellation.model_validate(strict_json.parse(body or b""))
        except (ValidationError, strict_json.NotJson):
            return forms
        forms += lookup.spellings(told.seller_order_id)
    return forms
