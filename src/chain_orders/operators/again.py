"""Trying again what stands still, a call that is owed or what a seller told; and giving up what a seller told.

What may be done, and what becomes of it, is decided here for the API and the console alike. Each says in its own words
why it was refused: the code, and `state` beside it, are what they tell it from.
"""

from __future__ import annotations

from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession

from .. import masking
from ..deliveries import queue
from ..deliveries.models import Delivery
from ..errors import N_, Conflict, Sentence
from ..notifications.applying import UNREADABLE
from ..notifications.models import DISMISSED, Notification
from ..orders import attention, lookup
from ..orders.models import Order
from ..vtex import addresses
from . import audit
from .access import Operator

UNSETTLED = ("parked", "conflict", "unreadable")
"""States of a notification that a person may have to look at."""
UNAPPLIED = ("parked", "unreadable")
"""Those in which it has moved nothing yet: it may be applied again, or given up. A contradiction has its place in what
happened, and may have had effects there: applied again it would be taken for a repeat of itself, so that only a
decision ends it."""


async def call(session: AsyncSession, delivery: Delivery, operator: Operator, reason: str) -> None:
    """Make a call due now. Locks the order if there is one, then the delivery. Raises Conflict when it has ended or is
    under way."""
    order = await lookup.locked(session, delivery.order_id) if delivery.order_id is not None else None
    if not await queue.retry(session, delivery.id):
        await session.refresh(delivery)
        raise ended(delivery)
    audit.note(session, operator, "delivery.retry", delivery, reason=reason)
    await session.refresh(delivery)
    if order is None:
        return
    if delivery.last_code is not None:
        await attention.settle_dead(session, order, operator.actor, delivery.last_code)
    order.tell("delivery.retried", operator.actor, deliveryId=delivery.id, kind=delivery.kind)


def ended(delivery: Delivery) -> Conflict:
    """Why a call is not tried again."""
    state = {"state": delivery.state}
    if delivery.state == "sending":
        return Conflict("delivery-in-flight", "the call is under way right now", extra=state)
    told = Sentence("a delivery that is {state} is not tried again", **state)
    return Conflict("delivery-ended", told, extra=state)


async def notification(session: AsyncSession, note: Notification, operator: Operator, reason: str) -> None:
    """Let a notification be applied the next time the applier looks, also one that was given up. Raises Conflict when
    it is settled or contradicts, or its body is gone."""
    order = await _locked(session, note)
    if order is not None and order.sealed_at is not None:
        raise _body_gone()
    if not replayable(note):
        raise settled(note)
    if order is not None:
        order.tell("notification.replayed", operator.actor, notificationId=note.id, was=note.state)
    audit.note(session, operator, "notification.replay", note, reason=reason)
    called = addresses.callback(addresses.split(note.path))
    if note.kind == UNREADABLE and called is not None:
        note.kind = called.kind
    note.state, note.reason = "received", None  # its tries show that it has waited
    note.next_at = func.clock_timestamp()
    await session.flush()
    await session.refresh(note)


def replayable(note: Notification) -> bool:
    """Whether it may be applied again, for all that it says itself."""
    return (note.state in UNAPPLIED or note.dismissed) and not masking.is_sealed(note.body)


def settled(note: Notification) -> Conflict:
    """Why a notification is not applied again."""
    if masking.is_sealed(note.body):
        return _body_gone()
    if note.state == "conflict":
        told = "what contradicts is not applied again, it is decided: POST /v1/orders/{order_id}/resolution"
        return Conflict("notification-contradicts", told, extra={"state": note.state})
    told = Sentence("a notification that is {state} is not applied again", state=note.state)
    return Conflict("notification-settled", told, extra={"state": note.state})


def _body_gone() -> Conflict:
    return Conflict("order-sealed", "its body has been replaced by a hash: it cannot be applied again")


async def dismiss(session: AsyncSession, note: Notification, operator: Operator, reason: str) -> None:
    """Give a notification up: it moves nothing, its bytes stay, and nobody is asked to look at it any more. Raises
    Conflict when it does not wait to be applied."""
    order = await _locked(session, note)
    if not dismissable(note):
        raise not_waiting(note)
    audit.note(session, operator, "notification.dismiss", note, reason=reason)
    was = note.state
    note.state, note.reason = "ignored", f"{DISMISSED}{note.reason if was == 'parked' else was}"
    await session.flush()
    if order is not None:
        order.applied_seq += 1  # a sealed order is found again by it, and gives up the body that it kept for this one
        order.tell("notification.dismissed", operator.actor, notificationId=note.id, was=was, reason=reason)
        await attention.settle_dismissed(session, order, operator.actor)


def dismissable(note: Notification) -> bool:
    """Whether it waits, and may be given up."""
    return note.state in UNAPPLIED


def not_waiting(note: Notification) -> Conflict:
    """Why a notification is not given up, and what to do instead."""
    state = {"state": note.state}
    if note.state == "conflict":
        told = "what contradicts is not dismissed, it is decided: POST /v1/orders/{order_id}/resolution"
        return Conflict("notification-contradicts", told, extra=state)
    return Conflict("notification-not-waiting", _INSTEAD[note.state], extra=state)


_INSTEAD = {
    "received": N_("it is about to be applied: read it again, and dismiss it if it waits then"),
    "applied": N_("it has moved its order, which is not taken back: settle with the seller what is wrong about it"),
    "ignored": N_("nothing waits for it: it said nothing new, or was decided against or dismissed before"),
}


async def _locked(session: AsyncSession, note: Notification) -> Order | None:
    """Lock the order that a notification belongs to, then the notification, as it stands now; the order. So the applier
    has either not begun with it or is done. Raises Conflict where its order was found only now."""
    order = await lookup.locked(session, note.order_id) if note.order_id is not None else None
    await session.refresh(note, with_for_update=True)
    if order is None and note.order_id is not None:
        raise Conflict("notification-moved", "its order has been found meanwhile: read it again")
    return order
