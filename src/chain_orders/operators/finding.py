"""Routes that find orders: by any id or number, by state, by time; as pages of JSON, or all of them as CSV.

Every filter leads the query to an index, so that finding stays quick at millions of orders. Ids of orders begin with
the time at which they were made, so newest first is by id.
"""

from __future__ import annotations

import csv
import io
import uuid
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy import ColumnElement, Select, func, select, text, union_all
from sqlalchemy.ext.asyncio import AsyncSession

from ..database import Database
from ..errors import Fault, Invalid, Malformed
from ..orders import lookup
from ..orders.models import TURNS, Order, OrderName
from ..orders.states import Status, Turn
from . import access, edges, schemas
from .access import Operator

router = APIRouter(prefix="/v1", tags=["orders"])

WIDEST_PREFIX = 5000
"""How many names a prefix may fit: beyond it there is nothing to find, only something to narrow."""
_CSV_PAGE = 500
_SKEW = timedelta(hours=1)  # how far a process's clock, which makes ids, may be from the database's


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for. `q` that ends in `*` is a prefix."""

    status: tuple[Status, ...] = ()
    seller: str | None = None
    attention: bool | None = None
    turn: Turn | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None
    q: str | None = None
    ascending: bool = False

    @property
    def name(self) -> ColumnElement[bool] | None:
        """The condition on a name, served by order_names_value_idx."""
        if self.q is None:
            return None
        value = func.lower(OrderName.value)
        if not self.q.endswith("*"):
            return value == self.q.lower()
        return value.like(_escaped(self.q.removesuffix("*").lower()) + "%", escape="\\")


def _search(
    status: Annotated[list[Status] | None, Query(max_length=11)] = None,
    seller: Annotated[str | None, Query(max_length=63)] = None,
    attention: bool | None = None,
    turn: Turn | None = None,
    created_from: Annotated[datetime | None, Query(alias="createdFrom")] = None,
    created_to: Annotated[datetime | None, Query(alias="createdTo")] = None,
    q: Annotated[str | None, Query(min_length=1, max_length=200)] = None,
    sort: Literal["createdAt", "-createdAt"] = "-createdAt",
) -> Search:
    """The parameters of a search. Times without an offset are UTC; `createdTo` is the first moment left out."""
    if q is not None and ("\0" in q or q == "*"):
        raise edges.invalid_parameter("q", "malformed", "must hold a part of an id")
    return Search(
        tuple(dict.fromkeys(status or ())),
        seller,
        attention,
        turn,
        _utc("createdFrom", created_from),
        _utc("createdTo", created_to),
        q,
        ascending=sort == "createdAt",
    )


def _utc(name: str, time: datetime | None) -> datetime | None:
    if time is None:
        return None
    time = time if time.tzinfo else time.replace(tzinfo=UTC)
    if not 1970 < time.year < 9999:
        raise edges.invalid_parameter(name, "malformed", "must lie between the years 1971 and 9998")
    return time


_CSV_ANSWER = {200: {"description": "A page of orders, or all of them as CSV.", "content": {"text/csv": {}}}}


@router.get("/orders", responses=_CSV_ANSWER)  # type: ignore[arg-type]
async def list_orders(
    request: Request,
    _: Annotated[Operator, Depends(access.allow("viewer"))],
    search: Annotated[Search, Depends(_search)],
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
) -> Response:
    """Orders, newest first unless `sort=createdAt`.

    `q` matches any id or number of the order (ours, order group, chain order, seller's, invoice, tracking, SKU),
    letter case ignored: exactly, or by its beginning with a `*` at the end. `matched` says which one it was.
    With `Accept: text/csv` every order that matches comes as CSV, in the same order.
    """
    database: Database = request.app.state.database
    after = _position(cursor)
    if edges.wants_csv(request):
        rows = _csv(database, search, after)
        first = await anext(rows)  # what is wrong with the search is told before the answer begins
        headers = {"Content-Disposition": 'attachment; filename="orders.csv"', "Cache-Control": "no-store"}
        return StreamingResponse(_chained(first, rows), media_type="text/csv", headers=headers)
    async with database.transaction() as session:
        orders = await find(session, search, after, limit + 1)
        shown = orders[:limit]
        matched = await _matched(session, search, shown)
    items = [{**schemas.order_view(order), **matched.get(order.id, {})} for order in shown]
    return edges.page(request, items, str(shown[-1].id) if len(orders) > limit else None)


def _position(cursor: str | None) -> uuid.UUID | None:
    found = edges.decode_cursor(cursor)
    if found is None:
        return None
    try:
        return uuid.UUID(found)
    except ValueError:
        raise Malformed("cursor-unknown", "the cursor is not one that this list gave out") from None


async def find(session: AsyncSession, search: Search, after: uuid.UUID | None, limit: int) -> list[Order]:
    """The orders after a position, with all that a view needs. Raises Invalid for a prefix that fits too many."""
    query = await _ids(session, search, after, limit)
    ids = list(await session.scalars(query))
    orders = await session.scalars(select(Order).where(Order.id.in_(ids)).options(lookup.WHOLE))
    return sorted(orders, key=lambda order: order.id, reverse=not search.ascending)


async def _ids(session: AsyncSession, search: Search, after: uuid.UUID | None, limit: int) -> Select[tuple[uuid.UUID]]:
    """The query for the ids of a page. Each status is a query of its own, so that its index gives the order too."""
    conditions = [*_conditions(search, after)]
    if search.q is not None and search.q.endswith("*"):
        conditions.append(Order.id.in_(await _prefixed(session, search)))
    elif search.name is not None:
        conditions.append(Order.id.in_(select(OrderName.order_id).where(search.name)))
    base = select(Order.id).where(*conditions)
    if not search.status:
        return _first(base, Order.id, search, limit)
    if len(search.status) == 1:
        return _first(base.where(Order.status == search.status[0]), Order.id, search, limit)
    parts = [_first(base.where(Order.status == one), Order.id, search, limit).subquery() for one in search.status]
    every = union_all(*(select(part.c.id) for part in parts)).subquery()
    return _first(select(every.c.id), every.c.id, search, limit)


def _first(query: Select[Any], column: Any, search: Search, limit: int) -> Select[Any]:
    return query.order_by(column.asc() if search.ascending else column.desc()).limit(limit)


def _conditions(search: Search, after: uuid.UUID | None) -> Iterable[ColumnElement[bool]]:
    if search.seller is not None:
        yield Order.seller_id == search.seller
    if search.attention is not None:
        yield Order.attention_code.is_not(None) if search.attention else Order.attention_code.is_(None)
    if search.turn is not None:
        yield text(f"({TURNS[search.turn]})")  # type: ignore[misc]
    # The time is the column's; the id, which begins with a time, is what an index knows.
    if search.created_from is not None:
        yield Order.created_at >= search.created_from
        yield Order.id >= _least_id(search.created_from - _SKEW)
    if search.created_to is not None:
        yield Order.created_at < search.created_to
        yield Order.id < _least_id(search.created_to + _SKEW)
    if after is not None:
        yield Order.id > after if search.ascending else Order.id < after


def _least_id(time: datetime) -> uuid.UUID:
    """The least UUID of version 7 that is made at this time."""
    milliseconds = max(int(time.timestamp() * 1000), 0)
    return uuid.UUID(int=milliseconds << 80)


async def _prefixed(session: AsyncSession, search: Search) -> set[uuid.UUID]:
    named = select(OrderName.order_id).where(search.name) if search.name is not None else select(OrderName.order_id)
    found = list(await session.scalars(named.limit(WIDEST_PREFIX + 1)))
    if len(found) > WIDEST_PREFIX:
        told = f"more than {WIDEST_PREFIX} ids and numbers begin like this; give more characters"
        raise Invalid("prefix-too-wide", told, faults=[Fault("q", "prefix-too-wide", told)])
    return set(found)


async def _matched(session: AsyncSession, search: Search, orders: Sequence[Order]) -> dict[uuid.UUID, dict[str, Any]]:
    """Which names of these orders fit."""
    if search.name is None or not orders:
        return {}
    rows = await session.execute(
        select(OrderName.order_id, OrderName.kind, OrderName.value)
        .where(OrderName.order_id.in_([order.id for order in orders]), search.name)
        .order_by(OrderName.kind, OrderName.value)
    )
    found: dict[uuid.UUID, dict[str, Any]] = {order.id: {"matched": []} for order in orders}
    for row in rows:
        found[row.order_id]["matched"].append({"kind": row.kind, "value": row.value})
    return found


def _escaped(prefix: str) -> str:
    return prefix.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


COLUMNS = (
    "id", "sellerId", "orderGroup", "affiliateId", "status", "turn", "attention", "total", "invoiced", "returned",
    "cancelled", "remaining", "chainOrderIds", "invoiceNumbers", "trackingNumbers", "createdAt", "updatedAt",
)  # fmt: skip


async def _csv(database: Database, search: Search, after: uuid.UUID | None) -> AsyncIterator[str]:
    """The rows, a page a transaction: nobody's snapshot is held while a slow reader reads."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    while True:
        async with database.transaction() as session:
            orders = await find(session, search, after, _CSV_PAGE)
            writer.writerows([defused(cell) for cell in _cells(schemas.order_view(order))] for order in orders)
        yield written.getvalue()
        if len(orders) < _CSV_PAGE:
            return
        after = orders[-1].id
        written.seek(0)
        written.truncate()


def _cells(view: dict[str, Any]) -> list[Any]:
    chains = view["chainOrders"]
    invoices = [invoice for chain in chains for invoice in chain["invoices"]]
    cells = {
        **view,
        **view["money"],
        "attention": (view["attention"] or {}).get("code"),
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
