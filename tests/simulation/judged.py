"""What must hold of a simulated order, whatever happens to it: all the time, and once nothing is left to happen."""

from __future__ import annotations

from chain_orders.orders.models import ChainOrder
from chain_orders.orders.states import Status, aggregate

from .course import Course
from .seller import Booked

_UNDER_WAY = frozenset({Status.ACCEPTED, Status.PLACING, Status.PLACEMENT_UNKNOWN})


class Broken(AssertionError):
    """Something does not hold."""


def always(course: Course) -> None:
    """Never doubled; an order shows what its chain orders say; no invoice counts twice."""
    order, created = course.order, course.seller.created
    _hold(created <= 1, f"placed {created} times")
    if order.chain_orders:
        shown = aggregate(Status(chain.status) for chain in order.chain_orders)
        _hold(order.status == shown, f"shown as {order.status}, its chain orders as {shown}")
    for chain in order.chain_orders:
        numbers = [(one.type, one.number) for one in chain.invoices]
        _hold(len(numbers) == len(set(numbers)), f"{chain.chain_order_id} has an invoice twice")
        whole = chain.invoiced_cents >= chain.value_cents
        _hold(whole or chain.status != Status.INVOICED, f"{chain.chain_order_id} is invoiced, and not whole")


def in_the_end(course: Course) -> None:
    """Nothing is stuck or lost, and what differs from the seller's truth is known to a person."""
    order, tables = course.order, course.tables
    open_ = [(one.delivery.kind, one.state) for one in tables.owed if not one.settled]
    _hold(not open_, f"left open: {open_}")
    dead = [one.delivery.kind for one in tables.owed if one.state == "dead"]
    _hold(not dead or order.attention, f"dead without a word: {dead}")
    waiting = [(note.kind, note.state, note.reason) for note in tables.notes if note.state in {"received", "parked"}]
    _hold(not waiting or order.attention, f"waiting without a word: {waiting}")
    asked = {fact.type for fact in tables.facts}
    conflicts = [note.kind for note in tables.notes if note.state == "conflict"]
    _hold(not conflicts or "order.attention" in asked, f"contradicted without a word: {conflicts}")
    sold = [one.chain_order_id for one in order.chain_orders if one.status == Status.CANCELLED and one.invoiced_cents]
    _hold(not sold or "order.attention" in asked, f"invoiced and cancelled without a word: {sold}")
    booked = {one.chain_order_id: one for one in course.seller.orders}
    ours = {chain.chain_order_id: chain for chain in order.chain_orders}
    _hold(order.attention or booked.keys() == ours.keys(), f"the seller has {sorted(booked)}, we have {sorted(ours)}")
    _hold(order.attention or order.status not in _UNDER_WAY, f"stuck as {order.status}")
    for id_ in booked.keys() & ours.keys():
        _agrees(order.attention, ours[id_], booked[id_])


def _agrees(attention: bool, ours: ChainOrder, theirs: Booked) -> None:
    """The last read has shown all that the seller did."""
    known = {one.number: one.value_cents for one in ours.invoices}
    told = {one["invoiceNumber"]: one["invoiceValue"] for one in theirs.packages}
    _hold(known == told, f"{ours.chain_order_id} has the invoices {known}, the seller made {told}")
    _hold(attention or (ours.status == Status.CANCELLED) == (theirs.status == "canceled"), _differ(ours, theirs))
    if ours.status != Status.CANCELLED:
        whole = ours.invoiced_cents >= ours.value_cents
        _hold(whole == (ours.status == Status.INVOICED), f"{_differ(ours, theirs)}, {ours.invoiced_cents} invoiced")
    if ours.status in {Status.AUTHORIZED, Status.AUTHORIZING}:
        sent = theirs.authorized_at is not None
        _hold(attention or sent == (ours.status == Status.AUTHORIZED), _differ(ours, theirs))


def _differ(ours: ChainOrder, theirs: Booked) -> str:
    return f"{ours.chain_order_id} is {ours.status} here and {theirs.status} at the seller"


def _hold(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Broken(otherwise)
