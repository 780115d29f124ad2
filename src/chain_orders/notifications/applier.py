"""Applying what was told, in the order it came, one order at a time under its row's lock.

A batch of orders is applied in one transaction. Where that fails, each order is tried alone, and then each of its
notifications: the one that cannot be applied is parked with its reason, asks for attention, and holds up no other.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta

from pydantic import ValidationError
from sqlalchemy import Interval, bindparam, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from .. import logs, strict_json
from ..database import Bell, Database, is_passing, wait_for
from ..orders import authorizing, lookup, reads
from ..orders.models import Order
from ..sellers.models import Seller
from ..vtex import addresses
from ..vtex.addresses import Kind
from ..vtex.messages import Cancellation
from . import repeats
from .applying import INVOICE_UNKNOWN, UNREADABLE, apply, park
from .inbox import TOPIC
from .models import Notification

log = logs.get("applier")

ORDERS_AT_ONCE = 64


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
                    if not is_passing(failure):
                        log.error("apply-failed", exc_info=failure)
                    applied = 0
                if not applied:
                    await wait_for(heard, self._poll)

    async def step(self) -> int:
        """Apply one batch; says of how many orders."""
        async with self._database.transaction() as session:
            await _resume_parked(session, self._sweep)
            routed = await _route(session)
        ids: list[uuid.UUID] = []
        try:
            async with self._database.transaction() as session:
                ids = await _lock_orders(session)
                await self._apply(session, ids)
        except Exception as failure:  # what one notification breaks must not hold up the others
            if is_passing(failure):
                raise
            log.error("apply-batch-failed", count=len(ids), exc_info=failure)
            for order_id in ids:
                await self._alone(order_id)
        repeated = await repeats.look(self._database)
        if ids or repeated:
            self._bell.ring("orders")
        return len(ids) + routed + repeated

    async def _alone(self, order_id: uuid.UUID) -> None:
        try:
            async with self._database.transaction() as session:
                await self._apply(session, [order_id])
        except Exception as failure:
            if is_passing(failure):
                raise
            log.error("apply-order-failed", order_id=str(order_id), exc_info=failure)
            async with self._database.transaction() as session:
                waiting = [note.id for note in await _received(session, [order_id])]
            for notification_id in waiting:
                await self._one(order_id, notification_id)

    async def _one(self, order_id: uuid.UUID, notification_id: int) -> None:
        try:
            async with self._database.transaction() as session:
                await self._apply(session, [order_id], only=notification_id)
        except Exception as failure:
            if is_passing(failure):
                raise
            log.error("apply-notification-failed", notification_id=notification_id, exc_info=failure)
            async with self._database.transaction() as session:
                order = await lookup.locked(session, order_id)
                note = await session.get_one(Notification, notification_id)
                park(note, "apply-failed")
                order.ask_attention("apply-failed", "a notification could not be applied; it is kept and tried again")

    async def _apply(self, session: AsyncSession, order_ids: Sequence[uuid.UUID], only: int | None = None) -> None:
        """Apply what these orders have received. Their rows are locked here, or were in this transaction."""
        if not order_ids:
            return
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
        for note in await _received(session, order_ids, only):
            if note.order_id is not None:
                waiting[note.order_id].append(note)
        for order_id, notes in waiting.items():
            order = by_id[order_id]
            await self._apply_in_order(session, order, notes, distrusted=order.seller_id in distrusted)
        await lookup.save_names(session, by_id.values())

    async def _apply_in_order(
        self, session: AsyncSession, order: Order, notes: Sequence[Notification], *, distrusted: bool
    ) -> None:
        before = {chain.key: chain.status for chain in order.chain_orders}
        look, invoiced = False, False
        for note in notes:
            trusted = note.caller == "base" and not distrusted
            look |= apply(order, note, trusted=trusted, patience=self._patience)
            invoiced |= note.kind == Kind.INVOICE and note.state == "applied"
        if invoiced:
            await session.flush()
            await lookup.recheck(session, order.id, INVOICE_UNKNOWN)
        if look:
            await reads.confirm(session, order.id, f"seller:{order.seller_id}")
        for chain in order.chain_orders:
            if chain.status != before[chain.key] and before[chain.key] in authorizing.UNSETTLED:
                await authorizing.overtake(session, order, chain, f"the seller says that it is {chain.status}")


# Served by notifications_received_idx. Orders that another applier holds are left to it.
_LOCK_ORDERS = text(
    """
    select o.id from orders o
     where o.id in (select distinct n.order_id from notifications n
                     where n.state = 'received' and n.order_id is not null
                     order by n.order_id limit 256)
     order by o.id
     limit :orders
       for no key update skip locked
    """
)


async def _lock_orders(session: AsyncSession) -> list[uuid.UUID]:
    return list(await session.scalars(_LOCK_ORDERS, {"orders": ORDERS_AT_ONCE}))


async def _received(
    session: AsyncSession, order_ids: Sequence[uuid.UUID], only: int | None = None
) -> list[Notification]:
    query = select(Notification).where(Notification.order_id.in_(order_ids), Notification.state == "received")
    if only is not None:
        query = query.where(Notification.id == only)
    return list(await session.scalars(query.order_by(Notification.id)))


# What is parked is tried again at every sweep: something it waited for may have come about unnoticed.
_RESUME = text(
    """
    update notifications set state = 'received', next_at = clock_timestamp() + :sweep
     where id in (select id from notifications
                   where state = 'parked' and next_at <= clock_timestamp()
                   order by next_at limit 500 for update skip locked)
    """
).bindparams(bindparam("sweep", type_=Interval))


async def _resume_parked(session: AsyncSession, sweep: timedelta) -> None:
    await session.execute(_RESUME, {"sweep": sweep})


async def _route(session: AsyncSession) -> int:
    """Find the order of notifications that came without an order's own base. Served by notifications_received_idx."""
    notes = await session.scalars(
        select(Notification)
        .where(Notification.state == "received", Notification.order_id.is_(None))
        .order_by(Notification.id)
        .limit(100)
        .with_for_update(skip_locked=True)
    )
    routed = 0
    for note in notes:
        try:
            async with session.begin_nested():
                found = await lookup.orders_named(session, _named(note), lookup.KINDS, note.seller_id)
        except DBAPIError as failure:  # one that cannot even be looked up must not hold up the others
            if is_passing(failure):
                raise
            log.error("route-failed", notification_id=note.id, exc_info=failure)
            park(note, "apply-failed")
            continue
        if len(found) == 1:
            (note.order_id,) = found
            routed += 1
        elif note.kind == UNREADABLE:
            note.state = UNREADABLE
        else:
            park(note, "order-unknown" if not found else "ambiguous")
    return routed


def _named(note: Notification) -> list[str]:
    called = addresses.callback(addresses.split(note.path))
    names = lookup.spellings(called.named) if called else []
    if called and called.kind is Kind.CANCELLATION and not called.one_level:
        try:
            told = Cancellation.model_validate(strict_json.parse(note.body))
        except (ValidationError, strict_json.NotJson):
            return names
        names += lookup.spellings(told.seller_order_id)
    return names
