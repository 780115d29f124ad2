"""Orders as CSV, for the API and the console alike: RFC 4180, and nothing that a spreadsheet takes for a formula."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from fastapi.responses import StreamingResponse
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ..database import Database
from ..orders.models import Order
from ..sellers.models import Seller
from . import schemas

COLUMNS = (
    "id", "sellerId", "orderGroup", "affiliateId", "status", "turn", "attention", "currency", "total", "invoiced",
    "returned", "cancelled", "remaining", "chainOrderIds", "invoiceNumbers", "trackingNumbers", "createdAt",
    "updatedAt",
)  # fmt: skip
PAGE = 500

Following = Callable[[AsyncSession, Order | None, int], Awaitable[list[Order]]]
"""The next orders after the last one of the page before; None asks for the first page."""
Amount = Callable[[int], object]


async def answer(database: Database, following: Following, amount: Amount = int) -> StreamingResponse:
    """All orders that follow, a page a transaction. What is wrong with the search is raised before the answer begins.
    `amount` writes money: cents, unless told otherwise."""
    pages = _pages(database, following, amount)
    first = await anext(pages)
    headers = {"Content-Disposition": 'attachment; filename="orders.csv"', "Cache-Control": "no-store"}
    return StreamingResponse(_chained(first, pages), media_type="text/csv", headers=headers)


async def _pages(database: Database, following: Following, amount: Amount) -> AsyncIterator[str]:
    """Nobody's snapshot is held while a slow reader reads."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    last: Order | None = None
    while True:
        async with database.transaction() as session:
            orders = await following(session, last, PAGE)
            currencies = {row.id: row.currency for row in await session.execute(select(Seller.id, Seller.currency))}
        for order in orders:
            writer.writerow([defused(cell) for cell in _cells(order, currencies.get(order.seller_id), amount)])
        yield written.getvalue()
        if len(orders) < PAGE:
            return
        last = orders[-1]
        written.seek(0)
        written.truncate()


def _cells(order: Order, currency: str | None, amount: Amount) -> list[Any]:
    view = schemas.order_view(order)
    chains = view["chainOrders"]
    invoices = [invoice for chain in chains for invoice in chain["invoices"]]
    cells = {
        **view,
        **{name: amount(cents) for name, cents in view["money"].items()},
        "attention": (view["attention"] or {}).get("code"),
        "currency": currency,
        "chainOrderIds": " ".join(chain["chainOrderId"] for chain in chains),
        "invoiceNumbers": " ".join(invoice["invoiceNumber"] for invoice in invoices),
        "trackingNumbers": " ".join(invoice["trackingNumber"] or "" for invoice in invoices).strip(),
    }
    return [cells[column] for column in COLUMNS]


def defused(cell: Any) -> str:
    """A cell that no spreadsheet takes for a formula."""
    written = "" if cell is None else str(cell)
    return f"'{written}" if written.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else written


async def _chained(first: str, rest: AsyncIterator[str]) -> AsyncIterator[str]:
    yield first
    async for part in rest:
        yield part
