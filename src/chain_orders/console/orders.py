"""The list of orders, on a page and as CSV: both show what the address asks for."""

from __future__ import annotations

import uuid
from decimal import Decimal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from ..deliveries.models import WAITING, Delivery
from ..errors import Invalid
from ..operators import edges, holding, schemas, spreadsheet
from ..orders.models import Order
from ..orders.states import Status, Turn
from ..sellers.models import Seller
from . import filters, gates, words
from .bulk import ACTS
from .texts import _
from .visits import Visit


async def show(visit: Visit) -> Response:
    """Orders, newest first unless told otherwise. A search that names one order exactly leads to it."""
    asked = filters.wanted(visit)
    async with visit.desk.database.transaction() as session:
        if asked.q and asked == filters.Wanted(q=asked.q, zone=asked.zone):
            found = await filters.only_one(session, asked.q)
            if found is not None:
                return visit.redirect(f"/console/orders/{found}")
        try:
            orders, problem = await filters.search(session, asked, filters.PAGE + 1), None
        except Invalid as wrong:
            orders, problem = [], wrong
        sellers = await filters.sellers(session)
        currencies = await _currencies(session, orders)
        names = await filters.matched(session, asked.q, orders)
        held = await _held(session, orders)
    shown = orders[: filters.PAGE]
    rows = [
        {
            "order": order,
            "view": schemas.order_view(order),
            "currency": currencies.get(order.seller_id),
            "matched": names.get(order.id),
            "held": held.get(order.id),
        }
        for order in shown
    ]
    return visit.render(
        "orders.html",
        rows=rows,
        problem=problem,
        asked=asked,
        parameters=asked.parameters,
        following=edges.encode_cursor(asked.ordering.cursor(shown[-1])) if len(orders) > filters.PAGE else "",
        sorts=filters.sorts().items(),
        sellers=sellers,
        statuses=[(status, words.STATUSES[status].label) for status in Status],
        bulk=ACTS,
        every=visit.given("chosen") == "all",
        turns=[(turn, words.TURNS[turn].label) for turn in Turn],
    )


async def _held(session: AsyncSession, orders: list[Order]) -> dict[uuid.UUID, str]:
    """Why those that are said to be ours to move do not: a call is held back, or dead. By deliveries_order_idx."""
    ours = [order.id for order in orders if schemas.order_view(order)["turn"] == Turn.US]
    stuck = select(Delivery).where(Delivery.order_id.in_(ours), Delivery.state.in_((*WAITING, "dead")))
    calls = list(await session.scalars(stuck)) if ours else []
    held, found = await holding.at_gates(session, calls), dict[uuid.UUID, str]()
    for call in calls:
        if call.order_id is not None and call.state == "dead":
            found[call.order_id] = _("A call is dead")
        elif call.order_id is not None and call.id in held:
            found[call.order_id] = words.word(gates.held(call.lane), held[call.id].code).label
    return found


async def _currencies(session: AsyncSession, orders: list[Order]) -> dict[str, str | None]:
    query = select(Seller.id, Seller.currency).where(Seller.id.in_({order.seller_id for order in orders}))
    return {row.id: row.currency for row in await session.execute(query)}


async def download(visit: Visit) -> Response:
    """The same orders as CSV, every page of them, in the same order."""
    asked = filters.wanted(visit)

    async def following(session: AsyncSession, last: Order | None, limit: int) -> list[Order]:
        return await filters.search(session, asked, limit, last)

    return await spreadsheet.answer(visit.desk.database, following, _amount)


def _amount(cents: int) -> str:
    """`1300.00`: what a spreadsheet adds up, whatever language the pages are in."""
    return f"{Decimal(cents) / 100:.2f}"
