"""The list of orders, on a page and as CSV: both show what the address asks for."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from dataclasses import replace

from sqlalchemy import select
from starlette.responses import Response, StreamingResponse

from ..errors import Invalid
from ..operators import schemas
from ..operators.finding import defused
from ..orders.models import Order
from ..orders.states import Status, Turn
from ..sellers import directory
from ..sellers.models import Seller
from . import finding, rendering, words
from .bulk import ACTS
from .visits import Visit

_CSV_PAGE = 500
_CSV_COLUMNS = (
    "id", "sellerId", "orderGroup", "status", "turn", "currency", "total", "invoiced", "returned", "cancelled",
    "remaining", "attentionCode", "attentionReason", "chainOrders", "createdAt", "updatedAt",
)  # fmt: skip


async def show(visit: Visit) -> Response:
    """Orders, newest first unless told otherwise. A search that names one order exactly leads to it."""
    asked = finding.wanted(visit)
    async with visit.desk.database.transaction() as session:
        if asked.q and asked == finding.Wanted(q=asked.q):
            found = await finding.only_one(session, asked.q)
            if found is not None:
                return visit.redirect(f"/console/orders/{found}")
        try:
            orders, problem = await finding.search(session, asked, finding.PAGE + 1), None
        except Invalid as wrong:
            orders, problem = [], wrong
        sellers = await directory.all_of(session)
        names = await finding.matched(session, asked.q, orders)
    shown = orders[: finding.PAGE]
    currencies = {seller.id: seller.currency for seller in sellers}
    rows = [
        {
            "order": order,
            "view": schemas.order_view(order),
            "currency": currencies.get(order.seller_id),
            "matched": names.get(order.id),
        }
        for order in shown
    ]
    return visit.render(
        "orders.html",
        rows=rows,
        problem=problem,
        asked=asked,
        parameters=asked.parameters,
        following=str(shown[-1].id) if len(orders) > finding.PAGE else "",
        sellers=[(seller.id, seller.id) for seller in sellers],
        statuses=[(status, words.STATUSES[status].label) for status in Status],
        bulk=ACTS,
        every=visit.given("chosen") == "all",
        turns=[(turn, words.TURNS[turn].label) for turn in Turn],
    )


async def download(visit: Visit) -> Response:
    """The same orders as CSV, every page of them. A short transaction each, so that nothing is held."""
    asked = finding.wanted(visit)
    return StreamingResponse(
        _rows(visit, asked),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="orders.csv"'},
    )


async def _rows(visit: Visit, asked: finding.Wanted) -> AsyncIterator[str]:
    yield _line(_CSV_COLUMNS)
    while True:
        async with visit.desk.database.transaction() as session:
            orders = await finding.search(session, asked, _CSV_PAGE + 1)
            currencies = {row.id: row.currency for row in await session.execute(select(Seller.id, Seller.currency))}
        for order in orders[:_CSV_PAGE]:
            yield _line(_cells(order, currencies.get(order.seller_id)))
        if len(orders) <= _CSV_PAGE:
            return
        asked = replace(asked, cursor=str(orders[_CSV_PAGE - 1].id))


def _cells(order: Order, currency: str | None) -> tuple[object, ...]:
    view = schemas.order_view(order)
    money = [rendering.money(view["money"][name]).replace(",", "") for name in _CSV_COLUMNS[6:11]]
    chains = " ".join(chain["chainOrderId"] for chain in view["chainOrders"])
    attention = view["attention"] or {}
    named = (view["id"], view["sellerId"], view["orderGroup"], view["status"], view["turn"], currency)
    flagged = (attention.get("code"), attention.get("reason"), chains)
    return (*named, *money, *flagged, view["createdAt"], view["updatedAt"])


def _line(cells: tuple[object, ...]) -> str:
    """One line. What a spreadsheet would take for a formula is made text."""
    out = io.StringIO()
    csv.writer(out).writerow([defused(cell) for cell in cells])
    return out.getvalue()
