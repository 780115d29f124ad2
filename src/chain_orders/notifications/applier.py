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
from sqlalchemy.ext.asyncio import AsyncSession

from .. import logs, strict_json
from ..database import Bell, Database, is_passing, now, wait_for
from ..deliveries import queue
from ..orders import lookup, reads
from ..orders.applied import Applied, Contradicts, Ignored, Result
from ..orders.cancelling import CANCELLED_BY_SELLER, record_cancellation
from ..orders.invoicing import record_invoice
from ..orders.models import ChainOrder, Order
from ..orders.states import Status
from ..sellers.models import Seller
from ..vtex import addresses
from ..vtex.addresses import Kind
from ..vtex.messages import Cancellation, Invoice
from .inbox import TOPIC
from .models import Notification

log = logs.get("applier")

ORDERS_AT_ONCE = 64
UNREADABLE = "unreadable"
VERIFYING = "verifying"
_NAMES = ("order-group", "chain-order", "seller-order", "seller-order-group", "marketplace-order")


class Parked(Exception):
    """It cannot be applied yet; `attention` when a person should know."""

    def __init__(self, code: str, reason: str, *, attention: bool) -> None:
        super().__init__(reason)
        self.code, self.reason, self.attention = code, reason, attention


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
        if ids:
            self._bell.ring("orders")
        return len(ids) + routed

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
                _park(note, "apply-failed")
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
        look = False
        for note in notes:
            trusted = note.caller == "base" and not distrusted
            look |= apply(order, note, trusted=trusted, patience=self._patience)
        if look:
            await reads.confirm(session, order.id, f"seller:{order.seller_id}")
        for chain in order.chain_orders:
            if chain.status == Status.CANCELLED and before[chain.key] != Status.CANCELLED:
                await queue.withdraw_unsent(session, order.id, "authorize", "the seller cancelled", chain.key)


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


def apply(order: Order, note: Notification, *, trusted: bool, patience: timedelta) -> bool:
    """Apply one notification to its order, in memory; says whether the seller should be read to confirm it.

    A cancellation or a return of somebody who is not `trusted` waits until a read shows it, for `patience` at most.
    Pure but for the clock that the database fills in.
    """
    order.applied_seq += 1
    note.applied_seq = order.applied_seq
    note.applied_at = now()
    if note.kind == UNREADABLE:
        note.state = UNREADABLE
        order.ask_attention("notification-unreadable", "the seller sent something that cannot be read; it is kept")
        return False
    try:
        result, confirmable = _result(order, note, trusted, patience)
    except Parked as parked:
        if parked.attention and not note.tries:
            order.ask_attention(parked.code, parked.reason)
        _park(note, parked.code)
        return parked.code == VERIFYING
    match result:
        case Applied():
            note.state, note.reason = "applied", None
        case Ignored(reason):
            note.state, note.reason = "ignored", reason
        case Contradicts(_, reason):
            note.state, note.reason = "conflict", reason
    return confirmable and isinstance(result, Applied)


def _result(order: Order, note: Notification, trusted: bool, patience: timedelta) -> tuple[Result, bool]:
    """What came of it, and whether it is of the kind that the seller must show as well."""
    called = addresses.callback(addresses.split(note.path))
    if called is None:
        raise Parked("path-unknown", "a notification came to a path that is no longer understood", attention=True)
    if not lookup.belongs(order, called.named):
        raise Parked("foreign-id", "a notification to this order's address names another order", attention=True)
    if not order.chain_orders:
        if order.status == Status.REJECTED:
            raise Parked("rejected-but-known", "the seller speaks of an order that it refused", attention=True)
        raise Parked("not-placed", "the order is not known to be placed yet", attention=False)
    document = strict_json.parse(note.body)
    if called.kind is Kind.CANCELLATION:
        told = Cancellation.model_validate(document)
        if told.id.lower() != CANCELLED_BY_SELLER.lower():
            order.tell("order.notified", "seller", notification=told.id[:100])
            return Ignored("its type is not one that is known"), False
        chain = _only(lookup.meant(order, [told.seller_order_id, called.named]))
        if not trusted and chain.status != Status.CANCELLED:
            return _unproven(order, note, chain, patience), False
        return record_cancellation(order, chain), True
    invoice = Invoice.model_validate(document)
    chain = _only(lookup.meant(order, [called.order_id], [item.id for item in invoice.items]))
    is_return = invoice.type == "Input"
    known = any((one.type, one.number) == (invoice.type, invoice.invoice_number) for one in chain.invoices)
    if is_return and not trusted and not known:
        return _unproven(order, note, chain, patience), False
    return record_invoice(order, chain, invoice, note.receipt), is_return


def _unproven(order: Order, note: Notification, chain: ChainOrder, patience: timedelta) -> Result:
    """It is believed once the seller shows it, which a read will have applied; after a while it is disbelieved."""
    if chain.seller_read_at is None or chain.seller_read_at < note.received_at + patience:
        raise Parked(VERIFYING, "it waits for the seller to show it", attention=False)
    reason = f"somebody told us of a {note.kind} that the seller does not show for {chain.chain_order_id}"
    order.ask_attention("not-at-seller", reason)
    return Contradicts("not-at-seller", reason)


def _only(meant: Sequence[ChainOrder]) -> ChainOrder:
    if len(meant) != 1:
        raise Parked("ambiguous", "a notification does not say which of several chain orders it means", attention=True)
    return meant[0]


def _park(note: Notification, reason: str) -> None:
    note.state, note.reason = "parked", reason
    note.tries += 1


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
        found = await lookup.orders_named(session, _named(note), _NAMES)
        if len(found) == 1:
            (note.order_id,) = found
            routed += 1
        else:
            _park(note, "order-unknown" if not found else "ambiguous")
    return routed


def _named(note: Notification) -> list[str]:
    called = addresses.callback(addresses.split(note.path))
    names = lookup.spellings(called.named) if called else []
    if called and called.kind is Kind.CANCELLATION:
        try:
            told = Cancellation.model_validate(strict_json.parse(note.body))
        except (ValidationError, strict_json.NotJson):
            return names
        names += lookup.spellings(told.seller_order_id)
    return names
