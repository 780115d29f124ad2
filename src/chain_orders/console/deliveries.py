"""Calls owed to sellers: the list, and one call with everything that was tried."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from .. import masking
from ..deliveries.models import STATES, WAITING, Attempt, Delivery
from ..errors import Unknown
from ..operators import edges, holding, revealing
from ..operators.revealing import MASKED, Wish
from ..orders import lookup
from ..orders.models import Order
from ..sellers import directory
from ..sellers.models import Seller
from ..webhooks.models import LANE
from . import filters, words
from .story import leaves, requests
from .texts import N_
from .visits import Visit

PAGE = 40
_ATTEMPTS = 20
_ANSWERS = 24_000
"""How many bytes of the page all answers together take."""
RETRIABLE = (*WAITING, "dead")


async def show(visit: Visit) -> Response:
    """Calls, newest first."""
    chosen = chosen_in(visit)
    before = edges.number(visit.given("cursor") or None)
    query = matching(chosen)
    if before:
        query = query.where(Delivery.id < before)
    async with visit.desk.database.transaction() as session:
        found = list(await session.scalars(query.order_by(Delivery.id.desc()).limit(PAGE + 1)))
        groups = await groups_of(session, found)
        held = await holding.at_gates(session, found)
        sellers = await filters.sellers(session)
    shown = found[:PAGE]
    return visit.render(
        "deliveries.html",
        rows=shown,
        groups=groups,
        parameters=chosen,
        ignored=filters.ignored(visit, chosen),
        held=held,
        sellers=sellers,
        following=edges.encode_cursor(shown[-1].id) if len(found) > PAGE else "",
        started=bool(before),
        kinds=[(kind, words.KINDS[kind]) for kind in words.TO_SELLERS],
        retriable=RETRIABLE,
        every=visit.given("chosen") == "all",
    )


def chosen_in(visit: Visit) -> dict[str, str]:
    """What the address, or the form, asks for."""
    state, kind, seller = visit.given("state"), visit.given("kind"), visit.given("seller")
    return {
        "state": state if state in STATES else "",
        "kind": kind if kind in words.TO_SELLERS else "",
        "seller": seller[:63].replace("\x00", ""),
        "webhook": _uuid(visit.given("webhook")),
    }


def _uuid(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return ""


def matching(chosen: dict[str, str]) -> Select[Delivery]:
    """Calls to sellers; those to a webhook where one is named. Served by deliveries_lane_idx then."""
    if chosen["webhook"]:
        query = select(Delivery).where(Delivery.lane == f"{LANE}{chosen['webhook']}")
    else:
        query = select(Delivery).where(Delivery.kind.in_(words.TO_SELLERS))
    if chosen["state"]:
        query = query.where(Delivery.state == chosen["state"])
    if chosen["kind"]:
        query = query.where(Delivery.kind == chosen["kind"])
    if chosen["seller"]:
        query = query.where(Delivery.lane == f"seller:{chosen['seller']}")
    return query


async def groups_of(session: AsyncSession, deliveries: list[Delivery]) -> dict[Any, str]:
    """The order groups that the calls are about."""
    ids = {one.order_id for one in deliveries if one.order_id is not None}
    rows = await session.execute(select(Order.id, Order.order_group).where(Order.id.in_(ids)))
    return {row.id: row.order_group for row in rows}


async def show_one(visit: Visit, wished: Wish = MASKED) -> Response:
    """A call: what is sent, every attempt with its answer, and when it is tried next. Bodies are masked unless an
    admin says why not."""
    async with visit.desk.database.transaction() as session:
        delivery = await found_one(session, visit)
        whole = revealing.grant(session, visit.operator, wished, revealing.about([delivery]))
        before = edges.number(visit.given("cursor") or None)
        tried = select(Attempt).where(Attempt.delivery_id == delivery.id)
        if before:
            tried = tried.where(Attempt.number < before)
        found = list(await session.scalars(tried.order_by(Attempt.number.desc()).limit(_ATTEMPTS + 1)))
        attempts = found[:_ATTEMPTS]
        order, seller, body = await about(session, delivery)
        held = (await holding.at_gates(session, [delivery])).get(delivery.id)

    def shown(raw: bytes | None) -> bytes:
        return raw or b"" if whole else masking.mask_body(raw or b"")

    return visit.render(
        "delivery.html",
        delivery=delivery,
        attempts=[(one, requests(order, delivery, one)) for one in attempts],
        following=edges.encode_cursor(attempts[-1].number) if len(found) > _ATTEMPTS else "",
        started=bool(before),
        order=order,
        seller=seller,
        body=shown(body),
        shown=shown,
        whole=whole,
        describe=words.code,
        retriable=delivery.state in RETRIABLE and visit.may("operator"),
        # Answers are shown whole up to here; together they must stay a page that loads at once.
        clipped=_ANSWERS // max(len(attempts), 1),
        held=held,
        leaves=leaves(delivery, held) if delivery.state in WAITING else "",
    )


async def about(session: AsyncSession, delivery: Delivery) -> tuple[Order | None, Seller | None, bytes | None]:
    """The order and seller of a call, and the body that it carries: a placement's is its order's."""
    if delivery.order_id is None:
        return None, None, delivery.body
    order = await lookup.loaded(session, delivery.order_id)
    seller = await directory.get(session, order.seller_id)
    if delivery.kind != "place":
        return order, seller, delivery.body
    return order, seller, await session.scalar(select(Order.placement_body).where(Order.id == order.id))


async def found_one(session: AsyncSession, visit: Visit) -> Delivery:
    text = str(visit.request.path_params["delivery_id"])
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0
    delivery = await session.get(Delivery, number) if number else None
    if delivery is None:
        raise Unknown("delivery-unknown", N_("There is no such delivery."))
    return delivery
