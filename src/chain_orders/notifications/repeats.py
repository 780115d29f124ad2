"""What repeats say. A repeat changes nothing and is answered like the first; but it may show that the seller went back.

The intake notes each repeat in `repeats`, in the statement that counts it. Here they are looked at afterwards: an
invoice's content that had been replaced when it came again asks for attention, and so does a change that comes again
without an id of its own, since it may be meant twice. A repeat of what is parked is judged once that is applied, and
one of what a person gave up never: none of it has held.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from .. import logs, strict_json
from ..database import Database, is_passing
from ..orders import lookup
from ..orders.changing import ask_about_repeat
from ..orders.invoicing import news
from ..orders.models import Invoice as KnownInvoice
from ..orders.models import Order
from ..vtex import addresses
from ..vtex.addresses import Callback
from ..vtex.messages import Change, Invoice, Tracking
from . import applying
from .models import DISMISSED, Notification

log = logs.get("repeats")

# `repeats` is small. What came to an order's own base is found by notifications_order_idx, the rest by
# notifications_repeated_idx.
_REPEATED = text(
    """
    select r.dedupe_key, r.seen_at, n.id, n.order_id, n.state, n.path, n.body
      from (select * from repeats order by seen_at limit 100) r
      left join orders o on o.ref = r.ref
      left join lateral (
           select * from notifications m
            where m.order_id = o.id and m.dedupe_key = r.dedupe_key
            union all
           select * from notifications m
            where r.ref is null and m.caller <> 'base' and m.dedupe_key = r.dedupe_key
            limit 1
      ) n on true
    """
)
_STATE = text("select state from notifications where id = :id and not starts_with(coalesce(reason, ''), :dismissed)")
_COUNTED = text(
    """
    select dedupe_key, last_seen from receipts where dedupe_key = any(cast(:keys as bytea[])) and repeats > 0
    """
)
_CAME_BEFORE = text(
    """
    select exists (select 1 from notifications where id = any(cast(:ids as bigint[])) and received_at < :again_at)
    """
)
_APPLIED = frozenset({"applied", "ignored", "conflict"})
# One that the intake holds just now was seen again: it is looked at again, too. Waiting for it could be waiting for
# each other, since the intake holds several.
_LOOKED_AT = text(
    """
    delete from repeats
     where dedupe_key in (
           select r.dedupe_key from repeats r
             join unnest(cast(:keys as bytea[]), cast(:seen as timestamptz[])) as s(dedupe_key, seen_at)
               on r.dedupe_key = s.dedupe_key and r.seen_at = s.seen_at
              for update of r skip locked)
    """
)


async def look(database: Database) -> int:
    """Look at up to 100 repeats; says at how many. Those of an order that somebody holds are looked at later: nothing
    else waits for them."""
    async with database.transaction() as session:
        rows: Sequence[Any] = (await session.execute(_REPEATED)).all()
    # One that has just been received is about to be applied: then its repeats are looked at.
    done = [row for row in rows if row.state != "received" and await _look(database, row)]
    if done:
        await _forget(database, done)
    return len(done)


async def _look(database: Database, row: Any) -> bool:
    """Whether it has been looked at."""
    if row.order_id is None or row.state not in {*_APPLIED, "parked"}:
        return True
    try:
        async with database.transaction() as session:
            if not await lookup.lock_free(session, [row.order_id]):
                return False
            order = await lookup.locked(session, row.order_id)
            # One that is parked still will be applied after this, by whoever then sees that it was repeated.
            if await session.scalar(_STATE, {"id": row.id, "dismissed": DISMISSED}) in _APPLIED:
                await _judge(session, order, row.path, row.body, row.seen_at)
    except Exception as failure:  # one that cannot be judged must not keep the others from it
        if is_passing(failure):
            raise
        log.error("repeat-not-judged", order_id=str(row.order_id), exc_info=failure)
    return True


async def _forget(database: Database, rows: Sequence[Any]) -> None:
    async with database.transaction() as session:
        keys, seen = [row.dedupe_key for row in rows], [row.seen_at for row in rows]
        await session.execute(_LOOKED_AT, {"keys": keys, "seen": seen})


async def look_back(session: AsyncSession, orders: Mapping[UUID, Order], notes: Sequence[Notification]) -> None:
    """Look at what was repeated while it waited: these have waited, and have been applied just now if they could be.
    Their orders are locked."""
    applied = {note.dedupe_key: note for note in notes if note.state in _APPLIED and note.order_id is not None}
    for row in await session.execute(_COUNTED, {"keys": list(applied)}) if applied else ():
        note = applied[row.dedupe_key]
        if note.order_id is not None:
            await _judge(session, orders[note.order_id], note.path, note.body, row.last_seen)


async def _judge(session: AsyncSession, order: Order, path: bytes, body: bytes, again_at: datetime) -> None:
    """Ask for attention if what came again is not what held then."""
    called = addresses.callback(addresses.split(path))
    if called is None:
        return
    try:
        told = applying.read(called, body)
    except (strict_json.NotJson, ValidationError):
        return
    match told:
        case Invoice() | Tracking():
            await _judge_invoice(session, order, called, told, again_at)
        case Change() if told.request_id is None:
            digest = sha256(strict_json.canonical(told.model_dump(by_alias=True, mode="json"))).digest()
            for chain in lookup.meant(order, [called.named], [item.id for item in told.items_removed]):
                for change in chain.changes:
                    if change.digest == digest:
                        ask_about_repeat(order, chain, change)
        case _:
            pass


async def _judge_invoice(
    session: AsyncSession, order: Order, called: Callback, told: Invoice | Tracking, again_at: datetime
) -> None:
    invoice = applying.invoice_of(order, called, told)
    if invoice is None or not _same(invoice, told):
        return
    replaced = [invoice.heard.get(column) for column in news(invoice, told)]
    if replaced and await _came_before(session, replaced, again_at):
        order.ask_attention(
            "reverted", f"the seller sent an earlier content of invoice {invoice.number} again, after a later one"
        )


def _same(known: KnownInvoice, told: Invoice | Tracking) -> bool:
    """Whether it was not a contradiction of this invoice: then none of it was ever taken over."""
    return isinstance(told, Tracking) or told.invoice_value == known.value_cents


async def _came_before(session: AsyncSession, replaced_by: Sequence[int | None], again_at: datetime) -> bool:
    """Whether any of what was replaced had been when it came again; where a read replaced it, nobody knows."""
    told = [nth for nth in replaced_by if nth is not None]
    return len(told) < len(replaced_by) or bool(await session.scalar(_CAME_BEFORE, {"ids": told, "again_at": again_at}))
