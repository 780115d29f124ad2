"""Trying again what stands still: a call that is owed, and what a seller told.

What may be tried, and what becomes of it, is decided here for the API and the console alike. Each says in its own
words why it was refused: the code, and `state` beside it, are what they tell it from.
"""

from __future__ import annotations

from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession

from ..deliveries import queue
from ..deliveries.models import Delivery
from ..errors import Conflict, Sentence
from ..notifications.applying import UNREADABLE
from ..notifications.models import Notification
from ..orders import attention, lookup
from ..vtex import addresses
from . import audit
from .access import Operator

UNSETTLED = ("parked", "conflict", "unreadable")
"""States of a notification that a person may have to look at."""
REPLAYABLE = ("parked", "unreadable")
"""Those in which it has moved nothing yet. A contradiction has its place in what happened, and may have had effects
there: applied again it would be taken for a repeat of itself, so that only a decision ends it."""


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
        await attention.settle(session, order, operator.actor, delivery.last_code)
    order.tell("delivery.retried", operator.actor, deliveryId=delivery.id, kind=delivery.kind)


def ended(delivery: Delivery) -> Conflict:
    """Why a call is not tried again."""
    state = {"state": delivery.state}
    if delivery.state == "sending":
        return Conflict("delivery-in-flight", "the call is under way right now", extra=state)
    told = Sentence("a delivery that is {state} is not tried again", **state)
    return Conflict("delivery-ended", told, extra=state)


async def notification(session: AsyncSession, note: Notification, operator: Operator, reason: str) -> None:
    """Let a notification be applied the next time the applier looks. Locks the order if there is one, then the
    notification. Raises Conflict when it is settled or contradicts, or its body is gone."""
    if note.order_id is not None:
        order = await lookup.locked(session, note.order_id)
        if order.sealed_at is not None:
            raise Conflict("order-sealed", "its body has been replaced by a hash: it cannot be applied again")
        order.tell("notification.replayed", operator.actor, notificationId=note.id, was=note.state)
    await session.refresh(note, with_for_update=True)
    if note.state not in REPLAYABLE:
        raise settled(note)
    audit.note(session, operator, "notification.replay", note, reason=reason)
    called = addresses.callback(addresses.split(note.path))
    if note.kind == UNREADABLE and called is not None:
        note.kind = called.kind
    note.state, note.reason = "received", None  # its tries show that it has waited
    note.next_at = func.clock_timestamp()
    await session.flush()
    await session.refresh(note)


def settled(note: Notification) -> Conflict:
    """Why a notification is not applied again."""
    if note.state == "conflict":
        told = "what contradicts is not applied again, it is decided: POST /v1/orders/{order_id}/resolution"
        return Conflict("notification-contradicts", told, extra={"state": note.state})
    told = Sentence("a notification that is {state} is not applied again", state=note.state)
    return Conflict("notification-settled", told, extra={"state": note.state})
