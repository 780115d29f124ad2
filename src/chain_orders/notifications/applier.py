"""Applying what was told, in the order it came, one order at a time under its row's lock.

A batch of orders is applied in one transaction. Where that fails, each order is tried alone, and then each of its
notifications: the one that cannot be applied is parked with its reason, asks for attention, and holds up no other.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import accumulate

from sqlalchemy import ARRAY, BigInteger, any_, literal, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from .. import logs
from ..database import Bell, Database, is_passing, one_moment, read_clock, wait_for
from ..orders import attention, authorizing, lookup, reads
from ..orders.invoicing import too_high
from ..orders.models import ChainOrder, Order
from ..sellers.models import Seller
from ..vtex.addresses import Kind
from . import repeats, routing, saving
from .applying import INVOICE_UNKNOWN, apply, park, put_off
from .inbox import TOPIC
from .models import Notification

log = logs.get("applier")

ORDERS_AT_ONCE = 64
ROWS_AT_ONCE = 1000
BYTES_AT_ONCE = 16 * 1024 * 1024
"""Of bodies in one batch, unless its first alone is larger."""


class Applier:
    def __init__(
        self, database: Database, bell: Bell, *, poll_seconds: float, sweep: timedelta, patience: timedelta
    ) -> None:
        self._database = database
        self._bell = bell
        self._poll = poll_seconds
        self._sweep = sweep
        self._patience = patience

    async def run(self, stop: asyncio.Event) -> None:
        """Apply until `stop` is set."""
        with self._bell.listening(TOPIC) as heard:
            while not stop.is_set():
                try:
                    applied = await self.step()
                except Exception as failure:
                    tell = log.warning if is_passing(failure) else log.error
                    tell("apply-failed", exc_info=failure)
                    applied = 0
                if not applied:
                    await wait_for(heard, self._poll)

    async def step(self) -> int:
        """Apply one batch; says of how many orders."""
        async with self._database.transaction() as session:
            routed = await routing.route(session, self._sweep)
        await routing.trace(self._database, routed)
        ids: list[uuid.UUID] = []
        try:
            async with self._database.transaction() as session:
                ids = await _lock_orders(session)
                look = await self._apply(session, ids)
            if look:
                self._bell.ring(reads.TOPIC)
        except Exception as failure:  # what one notification breaks must not hold up the others
            if _is_away(failure):
                raise
            log.error("apply-batch-failed", count=len(ids), exc_info=failure)
            for order_id in ids:
                await self._alone(order_id)
        repeated = await repeats.look(self._database)
        if ids or repeated:
            self._bell.ring("orders")
        return len(ids) + len(routed) + repeated

    async def _alone(self, order_id: uuid.UUID) -> None:
        try:
            async with self._database.transaction() as session:
                await self._apply(session, [order_id])
        except Exception as failure:
            if _is_away(failure):
                raise
            log.error("apply-order-failed", order_id=str(order_id), exc_info=failure)
            async with self._database.transaction() as session:
                waiting = await _due(session, [order_id])
            for notification_id in waiting:
                await self._one(order_id, notification_id)

    async def _one(self, order_id: uuid.UUID, notification_id: int) -> None:
        try:
            async with self._database.transaction() as session:
                await self._apply(session, [order_id], only=notification_id)
        except Exception as failure:
            if _is_away(failure):
                raise
            log.error("apply-notification-failed", notification_id=notification_id, exc_info=failure)
            async with self._database.transaction() as session:
                order = await lookup.locked(session, order_id)
                note = await session.get_one(Notification, notification_id)
                if note.state not in {"received", "parked"}:  # somebody gave it up meanwhile
                    return
                park(note, "apply-failed")
                put_off(note, self._sweep)
                order.ask_attention("apply-failed", "a notification could not be applied; it is kept and tried again")

    async def _apply(self, session: AsyncSession, order_ids: Sequence[uuid.UUID], only: int | None = None) -> bool:
        """Apply what these orders have received; says whether a seller is to be read. Their rows are locked here, or
        were in this transaction."""
        if not order_ids:
            return False
        orders = await session.scalars(
            select(Order)
            .where(Order.id.in_(order_ids))
            .options(lookup.WHOLE)
            .order_by(Order.id)
            .with_for_update(of=Order, key_share=True)
            .execution_options(populate_existing=True)
        )
        by_id = {order.id: order for order in orders}
        distrusted = set(
            await session.scalars(
                select(Seller.id).where(
                    Seller.id.in_({order.seller_id for order in by_id.values()}),
                    Seller.callback_trust == "always-verify",
                )
            )
        )
        waiting: dict[uuid.UUID, list[Notification]] = defaultdict(list)
        due = await _due(session, order_ids) if only is None else [only]
        for note in await session.scalars(
            select(Notification)
            .where(Notification.id == any_(literal(due, ARRAY(BigInteger))))
            .where(Notification.state.in_(["received", "parked"]))
            .order_by(Notification.id)
        ):
            if note.order_id is not None:
                waiting[note.order_id].append(note)
        with one_moment(await read_clock(session)):
            session.expunge_all()  # it would follow every change as it is made
            waited = [note for notes in waiting.values() for note in notes if note.tries or note.applied_seq]
            moved = [
                self._apply_in_order(by_id[order_id], notes, distrusted=by_id[order_id].seller_id in distrusted)
                for order_id, notes in waiting.items()
            ]
            await repeats.look_back(session, by_id, waited)
            await saving.save_notes(session, [note for notes in waiting.values() for note in notes])
            await saving.save_invoices(session, by_id.values())
            session.add_all(by_id.values())
            await _follow(session, moved)
            await lookup.save_names(session, by_id.values())
            await session.flush()
        return any(one.look for one in moved)

    def _apply_in_order(self, order: Order, notes: Sequence[Notification], *, distrusted: bool) -> _Moved:
        before = {chain.key: chain.status for chain in order.chain_orders}
        was_too_high = too_high(order)
        look, fresh, invoiced, over = False, False, False, False
        for note in notes:
            trusted = note.caller == "base" and not distrusted
            had_waited = bool(note.tries or note.applied_seq)
            if apply(order, note, trusted=trusted, patience=self._patience):
                look, fresh = True, fresh or note.tries <= 1
            if note.state == "parked":
                put_off(note, self._sweep)
            over |= had_waited and note.state != "parked"
            invoiced |= note.kind == Kind.INVOICE and note.state == "applied"
        chains = [c for c in order.chain_orders if authorizing.is_overtaken(order, c, before[c.key])]
        return _Moved(order, look, fresh, invoiced, over, was_too_high - too_high(order), chains)


@dataclass(frozen=True, slots=True)
class _Moved:
    """An order after its notifications. `look`: its seller is to be read; `fresh`: of what was told for the first time.
    `over`: something waits no longer; `adds_up`: which amounts were too high. `chains` have moved past a call of ours.
    """

    order: Order
    look: bool
    fresh: bool
    invoiced: bool
    over: bool
    adds_up: Collection[str]
    chains: Sequence[ChainOrder]


async def _follow(session: AsyncSession, moved: Sequence[_Moved]) -> None:
    """What follows from what was applied, for the whole batch together where every order would ask the same."""
    await session.flush()
    await lookup.recheck(session, [one.order.id for one in moved if one.invoiced], INVOICE_UNKNOWN)
    for one in moved:
        if one.look:
            await reads.confirm(session, one.order.id, f"seller:{one.order.seller_id}", fresh=one.fresh)
        if one.over:
            await attention.settle_parked(session, one.order)
        if one.adds_up:
            await attention.settle(session, one.order, "service", *one.adds_up)
        for chain in one.chains:
            await authorizing.overtake(session, one.order, chain, f"the seller says that it is {chain.status}")


def _is_away(failure: BaseException) -> bool:
    """Whether the database is away or busy. A statement that took too long may be the work's own fault."""
    too_long = isinstance(failure, DBAPIError) and getattr(failure.orig, "sqlstate", None) == "57014"
    return is_passing(failure) and not too_long


# What has just come goes first, and what is parked and due fills up the batch: however much waits for something that
# does not come, it holds up nothing. Served by notifications_received_idx and notifications_parked_idx: of a clock
# that moved within the statement, an index could not say where what is due ends. Orders that another applier holds are
# left to it.
_LOCK_ORDERS = text(
    """
    select o.id
      from (select order_id, min(turn) as turn
              from (select order_id, 1 as turn
                      from (select distinct n.order_id from notifications n
                             where n.state = 'received' and n.order_id is not null
                             order by n.order_id limit 256) told
                     union all
                    select order_id, 2
                      from (select n.order_id from notifications n
                             where n.state = 'parked' and n.next_at <= statement_timestamp() and n.order_id is not null
                             order by n.next_at limit 256) waiting
                   ) every
             group by order_id
           ) due
      join orders o on o.id = due.order_id
     order by due.turn, o.id
     limit :orders
       for no key update of o skip locked
    """
)


async def _lock_orders(session: AsyncSession) -> list[uuid.UUID]:
    return list(await session.scalars(_LOCK_ORDERS, {"orders": ORDERS_AT_ONCE}))


_DUE = text(
    """
    with told as (
        select n.id, n.size
          from unnest(cast(:orders as uuid[])) as o(id)
         cross join lateral (
               select id, octet_length(body) as size from notifications
                where order_id = o.id and state = 'received'
                order by id limit :rows
         ) n
    ), waiting as (
        select id, order_id, octet_length(body) as size from notifications
         where state = 'parked' and next_at <= statement_timestamp()
         order by next_at limit :rows
    )
    select id, size from told
     union all
    select id, size from waiting where order_id = any(cast(:orders as uuid[]))
     order by id limit :rows
    """
)


async def _due(session: AsyncSession, order_ids: Sequence[uuid.UUID]) -> list[int]:
    """The ids of what these orders have received, from the first on: as many as fit into the memory of a batch."""
    rows = (await session.execute(_DUE, {"orders": list(order_ids), "rows": ROWS_AT_ONCE})).all()
    sizes = accumulate(row.size for row in rows)
    return [
        row.id for nth, (row, size) in enumerate(zip(rows, sizes, strict=True)) if nth == 0 or size <= BYTES_AT_ONCE
    ]
