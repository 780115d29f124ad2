"""Calls owed to sellers: the list, one call with everything that was tried, and trying it again."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from ..deliveries import queue
from ..deliveries.models import STATES, WAITING, Attempt, Delivery
from ..errors import Conflict, Unknown
from ..operators import audit, edges
from ..operators.access import Operator
from ..orders import attention, lookup
from ..orders.models import Order
from ..sellers import directory
from ..sellers.models import Seller
from ..vtex import codes
from . import words
from .texts import _
from .visits import Visit

PAGE = 40
_RETRIABLE = (*WAITING, "dead")
_AT_ONCE = 100


async def show(visit: Visit) -> Response:
    """Calls, newest first."""
    state, kind, seller = visit.given("state"), visit.given("kind"), visit.given("seller")
    chosen = {
        "state": state if state in STATES else "",
        "kind": kind if kind in words.KINDS else "",
        "seller": seller[:63].replace("\x00", ""),
    }
    before = edges.number(visit.given("cursor") or None)
    query = _matching(chosen)
    if before:
        query = query.where(Delivery.id < before)
    async with visit.desk.database.transaction() as session:
        found = list(await session.scalars(query.order_by(Delivery.id.desc()).limit(PAGE + 1)))
        groups = await _groups(session, found)
        sellers = await directory.all_of(session)
    shown = found[:PAGE]
    return visit.render(
        "deliveries.html",
        rows=shown,
        groups=groups,
        parameters=chosen,
        sellers=[(one.id, one.id) for one in sellers],
        following=edges.encode_cursor(shown[-1].id) if len(found) > PAGE else "",
        started=bool(before),
        retriable=_RETRIABLE,
    )


def _matching(chosen: dict[str, str]) -> Select[Delivery]:
    query = select(Delivery).where(Delivery.kind.in_(list(words.KINDS)))
    if chosen["state"]:
        query = query.where(Delivery.state == chosen["state"])
    if chosen["kind"]:
        query = query.where(Delivery.kind == chosen["kind"])
    if chosen["seller"]:
        query = query.where(Delivery.lane == f"seller:{chosen['seller']}")
    return query


async def _groups(session: AsyncSession, deliveries: list[Delivery]) -> dict[Any, str]:
    """The order groups that the calls are about."""
    ids = {one.order_id for one in deliveries if one.order_id is not None}
    rows = await session.execute(select(Order.id, Order.order_group).where(Order.id.in_(ids)))
    return {row.id: row.order_group for row in rows}


async def show_one(visit: Visit) -> Response:
    """A call: what is sent, every attempt with its answer, and when it is tried next."""
    async with visit.desk.database.transaction() as session:
        delivery = await _found(session, visit)
        attempts = list(
            await session.scalars(
                select(Attempt).where(Attempt.delivery_id == delivery.id).order_by(Attempt.id.desc()).limit(25)
            )
        )
        order, seller, body = await _about(session, delivery)
    return visit.render(
        "delivery.html",
        delivery=delivery,
        attempts=attempts,
        order=order,
        seller=seller,
        body=body,
        describe=codes.describe,
        retriable=delivery.state in _RETRIABLE and visit.may("operator"),
        # Answers are shown whole up to here; together they must stay a page that loads at once.
        clipped=max(600, 30_000 // max(len(attempts), 1)),
        waiting=delivery.state in WAITING,
    )


async def _about(session: AsyncSession, delivery: Delivery) -> tuple[Order | None, Seller | None, bytes | None]:
    """The order and seller of a call, and the body that it carries: a placement's is its order's."""
    if delivery.order_id is None:
        return None, None, delivery.body
    order = await lookup.loaded(session, delivery.order_id)
    seller = await directory.get(session, order.seller_id)
    if delivery.kind != "place":
        return order, seller, delivery.body
    return order, seller, await session.scalar(select(Order.placement_body).where(Order.id == order.id))


async def _found(session: AsyncSession, visit: Visit) -> Delivery:
    text = str(visit.request.path_params["delivery_id"])
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0
    delivery = await session.get(Delivery, number) if number else None
    if delivery is None:
        raise Unknown("delivery-unknown", _("There is no such delivery."))
    return delivery


async def show_retry(visit: Visit) -> Response:
    """What trying it again will do."""
    async with visit.desk.database.transaction() as session:
        delivery = await _found(session, visit)
        if delivery.state not in _RETRIABLE:
            raise Conflict("delivery-ended", _("This call is not waiting any more; there is nothing to try again."))
        order, seller, body = await _about(session, delivery)
    return visit.render("act_retry.html", delivery=delivery, order=order, seller=seller, body=body)


async def retry(visit: Visit) -> Response:
    """Make it due now. Raises Conflict when it has ended or is under way."""
    async with visit.desk.database.transaction() as session:
        delivery = await _found(session, visit)
        await _retry(session, delivery, visit.operator)
        order_id = delivery.order_id
    visit.desk.bell.ring("deliveries")
    return visit.redirect(
        f"/console/orders/{order_id}?done=retried" if order_id else "/console/deliveries?done=retried"
    )


async def retry_many(visit: Visit) -> Response:
    """Try those that were chosen, with a result for each."""
    ids = [int(one) for one in visit.form.get("id", []) if one.isascii() and one.isdigit() and len(one) < 19]
    results: list[tuple[int, bool, str]] = []
    for delivery_id in ids[:_AT_ONCE]:
        try:
            async with visit.desk.database.transaction() as session:
                delivery = await session.get(Delivery, delivery_id)
                if delivery is None:
                    raise Unknown("delivery-unknown", _("There is no such delivery."))
                await _retry(session, delivery, visit.operator)
            results.append((delivery_id, True, _("It is tried again now.")))
        except (Conflict, Unknown) as refused:
            results.append((delivery_id, False, refused.detail))
    visit.desk.bell.ring("deliveries")
    return visit.render("retried.html", results=results)


async def _retry(session: AsyncSession, delivery: Delivery, operator: Operator) -> None:
    """Locks the order, then the delivery. Raises Conflict when there is nothing to try again."""
    if delivery.order_id is None:
        raise Conflict("delivery-ended", _("The call belongs to no order."))
    order = await lookup.locked(session, delivery.order_id)
    audit.note(session, operator, "delivery.retry", delivery)
    if not await queue.retry(session, delivery.id):
        await session.refresh(delivery)
        if delivery.state == "sending":
            raise Conflict("delivery-in-flight", _("The call is under way right now."))
        raise Conflict("delivery-ended", _("A call that is %s is not tried again.") % delivery.state)
    if delivery.last_code is not None:
        await attention.settle(session, order, operator.actor, delivery.last_code)
    order.tell("delivery.retried", operator.actor, deliveryId=delivery.id, kind=delivery.kind)
