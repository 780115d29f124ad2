"""Applying everything again from the start, to see whether what is stored is what it should be.

The inputs of an order are what its seller told, what its calls and reads came to, and what operators decided, in the
order in which they moved it: by the number that the order gave them, and by the clock only where several share one.
`replay` is pure and lets them act through the very functions that acted the first time. Sealed orders are left out.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ..database import Database
from ..deliveries.models import Attempt, Delivery
from ..events.models import Event
from ..orders import changing, lookup, states
from ..orders.cancelling import record_cancellation
from ..orders.invoicing import record_invoice
from ..orders.models import ChainOrder, Invoice, Order
from ..orders.states import Status
from ..vtex.messages import Invoice as InvoiceMessage
from ..vtex.messages import SellerOrder, Unreadable, read_group, read_order, read_placed
from . import applying, mending
from .models import Notification

_MOVING = (
    "chain-order.authorized", "chain-order.authorization-refused", "chain-order.authorization-withdrawn",
    "chain-order.cancellation-asked", "chain-order.cancellation-denied", "chain-order.cancelled",
    "chain-order.invoiced", "order.resolved",
)  # fmt: skip
_INVOICED = (
    "chain-order.invoiced", "chain-order.partially-invoiced", "chain-order.returned",
    "chain-order.invoice-after-cancellation",
)  # fmt: skip
_PLACED, _CHANGED = "order.placed", "chain-order.changed"
_READ = (*_MOVING, *_INVOICED, _PLACED, _CHANGED)
_AT_ONCE = 200


Noted = Callable[[AsyncSession, Order], None]


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that ever moved an order. `steps` are in the order in which they did."""

    order: Order
    values: dict[str, int]
    """What each chain order was worth when it was placed."""
    steps: Sequence[Notification | Event | Delivery | Invoice]


@dataclass(slots=True)
class Report:
    """What a rebuild found."""

    orders: int = 0
    sealed: int = 0
    differences: dict[uuid.UUID, list[str]] = field(default_factory=dict)
    repaired: bool = False


def replay(inputs: Inputs) -> Order:
    """The order as it should be, made from nothing but its inputs. Belongs to no session."""
    order = _bare(inputs)
    for step in inputs.steps:
        match step:
            case Notification():
                applying.apply(order, _copy(step), trusted=True, patience=timedelta())
            case Invoice():
                _shown(order, step)
            case Delivery():
                _chain(order, step.chain_order_key).advance(Status.AUTHORIZING)
            case Event():
                _happened(order, step)
        order.settle_status()
    return order


async def run(
    database: Database, order_id: uuid.UUID | None, *, repairing: bool, noted: Noted | None = None
) -> AsyncIterator[Report]:
    """Look at one order, or at all that have chain orders. Yields the report as it grows. Raises Unknown.

    `noted` is called for each order that is about to be repaired, in the transaction that does it.
    """
    report = Report(repaired=repairing)
    after = uuid.UUID(int=0)
    while True:
        async with database.transaction() as session:
            query = select(Order.id, Order.sealed_at).where(Order.id > after).order_by(Order.id).limit(_AT_ONCE)
            if order_id is not None:
                query = select(Order.id, Order.sealed_at).where(Order.id == order_id)
            rows = (await session.execute(query)).all()
        if order_id is not None and not rows:
            raise lookup.unknown(order_id)
        for row in rows:
            if row.sealed_at is not None:
                report.sealed += 1
                continue
            async with database.transaction() as session:
                found = await _compare(session, row.id, repairing, noted)
            report.orders += 1
            if found:
                report.differences[row.id] = found
        yield report
        if order_id is not None or len(rows) < _AT_ONCE:
            return
        after = rows[-1].id


async def _compare(session: AsyncSession, order_id: uuid.UUID, repairing: bool, noted: Noted | None) -> list[str]:
    order = await lookup.locked(session, order_id)
    if not order.chain_orders:
        return []
    replayed = replay(await inputs_of(session, order))
    found = mending.differences(order, replayed)
    if found and repairing:
        if noted is not None:
            noted(session, order)
        for one in mending.repair(order, replayed, found):
            await session.delete(one)
    return found


async def inputs_of(session: AsyncSession, order: Order) -> Inputs:
    """Everything that moved a locked order, from the tables that only grow."""
    notes = await session.scalars(
        select(Notification).where(
            Notification.order_id == order.id,
            Notification.state.in_(["applied", "ignored", "conflict"]),
            Notification.applied_seq.is_not(None),
        )
    )
    events = (await session.scalars(select(Event).where(Event.order_id == order.id, Event.type.in_(_READ)))).all()
    owed = await session.scalars(select(Delivery).where(Delivery.order_id == order.id, Delivery.kind == "authorize"))
    return inputs(order, notes.all(), events, owed.all(), await _answers(session, order))


def inputs(
    order: Order,
    notes: Sequence[Notification],
    events: Sequence[Event],
    owed: Sequence[Delivery],
    answers: Sequence[bytes],
) -> Inputs:
    """What moved an order, in the order in which it did."""
    places = [(note.applied_at, note.applied_seq) for note in notes if note.applied_at and note.applied_seq]
    places += [(event.at, event.applied_seq) for event in events if event.applied_seq]
    first = {_told_by(event): event for event in sorted(events, key=lambda event: event.id, reverse=True)}

    def place(seq: int | None, at: datetime) -> tuple[int, bool, datetime]:
        """Behind what has this number; where none was noted, behind what happened before."""
        known = max((number for when, number in places if when <= at), default=0) if seq is None else seq
        return known, True, at

    steps: list[tuple[tuple[int, bool, datetime], Any]] = [
        *(
            ((note.applied_seq or 0, False, note.applied_at or note.received_at), note)
            for note in notes
            if _counts(note)
        ),
        *((place(event.applied_seq, event.at), event) for event in events if _moves(event)),
        *((place(None, one.created_at), one) for one in owed),
    ]
    for chain in order.chain_orders:
        for one in chain.invoices:
            if one.source == "read":
                event = first.get((chain.chain_order_id, one.type, one.number))
                shown = place(event.applied_seq, event.at) if event else place(None, one.created_at)
                steps.append((shown, one))
    steps.sort(key=lambda step: step[0])
    return Inputs(order, _values(order, events, answers), [step for _, step in steps])


def _told_by(event: Event) -> tuple[str | None, Any, Any]:
    """The invoice that an event tells."""
    if event.type not in _INVOICED:
        return event.chain_order_id, event.type, None
    return event.chain_order_id, event.data.get("type"), event.data.get("number")


def _moves(event: Event) -> bool:
    return event.type in _MOVING and not _echoes(event)


def _counts(note: Notification) -> bool:
    return not (applying.disbelieved(note) or note.dismissed)


def _echoes(event: Event) -> bool:
    """Whether an event tells only what a notification or an invoice, an input itself, came to."""
    if event.type == "chain-order.cancelled":
        return event.data.get("source") != "read"
    if event.type == "chain-order.invoiced":
        return event.data.get("source") != "read" or "number" in event.data
    return False


async def _answers(session: AsyncSession, order: Order) -> list[bytes]:
    """What the seller answered when the order was placed, or showed of it."""
    found = await session.scalars(
        select(Attempt.response)
        .join(Delivery, Delivery.id == Attempt.delivery_id)
        .where(Delivery.order_id == order.id, Delivery.kind == "place", Attempt.outcome == "answered")
    )
    return [answer for answer in found if answer]


def _values(order: Order, events: Sequence[Event], answers: Sequence[bytes]) -> dict[str, int]:
    """What the chain orders were worth when they were placed: as the seller answered, or as we had it then.

    What we had shows in the event of a sole chain order's placement, and in the first change that moved it.
    """
    told = {one.order_id: one.value for answer in answers for one in _placed(answer) if one.value is not None}
    values = {chain.chain_order_id: chain.value_cents for chain in order.chain_orders}
    for event in sorted(events, key=lambda event: event.id, reverse=True):
        if event.type == _CHANGED and event.chain_order_id in values:
            values[event.chain_order_id] = event.data["before"]
        elif event.type == _PLACED and len(values) == 1:
            values = dict.fromkeys(values, event.data["value"])
    return {name: told.get(name, value) for name, value in values.items()}


def _placed(answer: bytes) -> list[SellerOrder]:
    for read in (read_placed, read_group, lambda body: [read_order(body)]):
        try:
            return read(answer)
        except Unreadable:
            continue
    return []


def _bare(inputs: Inputs) -> Order:
    """The order as it was when it was placed."""
    was = inputs.order
    order = Order(
        id=was.id, seller_id=was.seller_id, order_group=was.order_group, affiliate_id=was.affiliate_id,
        items=was.items, status=Status.PLACED, version=1, applied_seq=0,
    )  # fmt: skip
    order.chain_orders = [
        ChainOrder(
            key=chain.key, position=chain.position, chain_order_id=chain.chain_order_id,
            seller_order_id=chain.seller_order_id, seller_order_group=chain.seller_order_group,
            marketplace_order_id=chain.marketplace_order_id, status=Status.PLACED,
            value_cents=inputs.values[chain.chain_order_id], items=chain.items, invoices=[], changes=[],
        )
        for chain in was.chain_orders
    ]  # fmt: skip
    return order


def _copy(note: Notification) -> Notification:
    return Notification(
        id=note.id, kind=note.kind, caller=note.caller, path=note.path, body=note.body, receipt=note.receipt,
        policy=note.policy, received_at=note.received_at, tries=0, state="received",
    )  # fmt: skip


def _chain(order: Order, key: int | None) -> ChainOrder:
    return next(chain for chain in order.chain_orders if chain.key == key)


def _shown(order: Order, seen: Invoice) -> None:
    """An invoice that a read of the seller found first."""
    told: dict[str, Any] = {
        "type": seen.type, "invoice_number": seen.number, "invoice_value": seen.value_cents,
        "issuance_date": seen.issued_at, "invoice_url": seen.url, "invoice_key": seen.key, "courier": seen.courier,
        "tracking_number": seen.tracking_number, "tracking_url": seen.tracking_url, "items": [],
    }  # fmt: skip
    message = InvoiceMessage.model_construct(**told)
    record_invoice(order, _chain(order, seen.chain_order_key), message, seen.receipt, source="read")


def _happened(order: Order, event: Event) -> None:
    """What an event stands for that no other table keeps."""
    if event.data.get("decision") == "dismiss":
        changing.dismiss(order)
    chosen = [chain for chain in order.chain_orders if chain.chain_order_id == event.chain_order_id]
    for chain in chosen:
        match event.type:
            case "chain-order.authorized":
                chain.advance(Status.AUTHORIZED)
            case "chain-order.authorization-refused" | "chain-order.authorization-withdrawn":
                chain.fall_back()
            case "chain-order.cancellation-asked":
                chain.move(Status.CANCEL_REQUESTED)
            case "chain-order.cancellation-denied":
                chain.deny_request()
            case "chain-order.cancelled":
                record_cancellation(order, chain, source="read")
            case "chain-order.invoiced":
                chain.advance(Status.INVOICED)
            case _:
                _decided(order, chain, event)


def _decided(order: Order, chain: ChainOrder, event: Event) -> None:
    decision = event.data.get("decision")
    if decision in states.RESOLVED_TO:
        chain.move(states.RESOLVED_TO[decision], resolution=True)
    elif decision == "accept-change":
        changing.accept_recorded(order, chain, event.actor)
