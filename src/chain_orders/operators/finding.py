"""Routes that find orders: by any id or number, by state, by time; as pages of JSON, or all of them as CSV.

Every filter and every order leads the query to an index, so that finding stays quick at millions of orders.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Depends, Query, Request, Response
from sqlalchemy import ColumnElement, Select, func, select, text, tuple_, union_all
from sqlalchemy.ext.asyncio import AsyncSession

from ..database import Database
from ..errors import Fault, Invalid, Malformed, Sentence
from ..orders import lookup
from ..orders.models import TURNS, Order, OrderName
from ..orders.states import Status, Turn
from . import access, edges, schemas, spreadsheet
from .access import Operator

router = APIRouter(prefix="/v1", tags=["orders"])

WIDEST_PREFIX = 5000
"""How many names a prefix may fit: beyond it there is nothing to find, only something to narrow."""
_SKEW = timedelta(hours=1)  # how far a process's clock, which makes ids, may be from the database's


Position = tuple[Any, ...]
Column = Literal["createdAt", "updatedAt", "total", "status"]
_COLUMNS: Mapping[Column, tuple[Any, Callable[[str], Any]]] = {
    "updatedAt": (Order.updated_at, datetime.fromisoformat),
    "total": (Order.total_cents, int),
    "status": (Order.status, Status),
}
"""What orders are sorted by beside their ids, and how a cursor's text is read. Each has an index, ids last."""


@dataclass(frozen=True, slots=True)
class Ordering:
    """In which order orders come. Ids begin with the time at which they were made, so by creation is by id."""

    by: Column = "createdAt"
    ascending: bool = False

    @property
    def columns(self) -> Position:
        return (Order.id,) if self.by == "createdAt" else (_COLUMNS[self.by][0], Order.id)

    def of(self, order: Order) -> Position:
        """Where an order stands."""
        return tuple(getattr(order, column.key) for column in self.columns)

    def cursor(self, order: Order) -> str:
        """Where an order stands, as text."""
        *first, id_ = self.of(order)
        return "|".join([*(one.isoformat() if isinstance(one, datetime) else str(one) for one in first), str(id_)])

    def position(self, cursor: str | None) -> Position | None:
        """The place that a cursor's text names. Raises Malformed."""
        if cursor is None:
            return None
        *first, id_ = cursor.split("|")
        try:
            if len(first) != len(self.columns) - 1:
                raise ValueError
            return (*(_COLUMNS[self.by][1](one) for one in first), uuid.UUID(id_))
        except ValueError:
            raise Malformed("cursor-unknown", "the cursor is not one that this list gave out") from None

    def after(self, position: Position) -> ColumnElement[bool]:
        """The condition that an order comes after a place."""
        mine, given = tuple_(*self.columns), tuple_(*position)
        return mine > given if self.ascending else mine < given

    def first(self, query: Select[Any], limit: int) -> Select[Any]:
        return query.order_by(*(one.asc() if self.ascending else one.desc() for one in self.columns)).limit(limit)


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
    order: Ordering = Ordering()

    @property
    def name(self) -> ColumnElement[bool] | None:
        """The condition on a name, served by order_names_value_idx."""
        if self.q is None:
            return None
        value = func.lower(OrderName.value)
        if not self.q.endswith("*"):
            return value == self.q.lower()
        return value.like(_escaped(self.q.removesuffix("*").lower()) + "%", escape="\\")


Sort = Literal[
    "createdAt", "-createdAt", "updatedAt", "-updatedAt", "total", "-total", "status", "-status"
]  # fmt: skip


def _search(
    status: Annotated[list[Status] | None, Query(max_length=11)] = None,
    seller: Annotated[str | None, Query(max_length=63)] = None,
    attention: bool | None = None,
    turn: Turn | None = None,
    created_from: Annotated[edges.Moment | None, Query(alias="createdFrom")] = None,
    created_to: Annotated[edges.Moment | None, Query(alias="createdTo")] = None,
    q: Annotated[str | None, Query(min_length=1, max_length=200)] = None,
    sort: Sort = "-createdAt",
) -> Search:
    """The parameters of a search. Times without an offset are UTC; `createdTo` is the first moment left out."""
    if q is not None and ("\0" in q or q == "*"):
        raise edges.invalid_parameter("q", "malformed", "must hold a part of an id")
    return Search(
        tuple(dict.fromkeys(status or ())),
        seller,
        attention,
        turn,
        edges.in_utc("createdFrom", created_from),
        edges.in_utc("createdTo", created_to),
        q,
        Ordering(cast(Column, sort.removeprefix("-")), ascending=not sort.startswith("-")),
    )


_CSV_ANSWER = {200: {"description": "A page of orders, or all of them as CSV.", "content": {"text/csv": {}}}}


@router.get("/orders", responses=_CSV_ANSWER)  # type: ignore[arg-type]
async def list_orders(
    request: Request,
    _: Annotated[Operator, Depends(access.allow("viewer"))],
    search: Annotated[Search, Depends(_search)],
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
) -> Response:
    """Orders, newest first unless `sort` says otherwise; with a `-`, the greatest first. `total` is the value as sent.

    `q` matches any id or number of the order (ours, order group, chain order, seller's, invoice, tracking, SKU),
    letter case ignored: exactly, or by its beginning with a `*` at the end. `matched` says which one it was.
    With `Accept: text/csv` every order that matches comes as CSV, in the same order.
    """
    database: Database = request.app.state.database
    after = search.order.position(edges.decode_cursor(cursor))
    if edges.wants_csv(request):

        async def following(session: AsyncSession, last: Order | None, limit: int) -> list[Order]:
            return await find(session, search, after if last is None else search.order.of(last), limit)

        return await spreadsheet.answer(database, following)
    async with database.transaction() as session:
        orders = await find(session, search, after, limit + 1)
        shown = orders[:limit]
        matched = await _matched(session, search, shown)
    items = [{**schemas.order_view(order), **matched.get(order.id, {})} for order in shown]
    return edges.page(request, items, search.order.cursor(shown[-1]) if len(orders) > limit else None)


async def find(session: AsyncSession, search: Search, after: Position | None, limit: int) -> list[Order]:
    """The orders after a position, with all that a view needs. Raises Invalid for a prefix that fits too many."""
    query = await _ids(session, search, after, limit)
    ids = list(await session.scalars(query))
    orders = await session.scalars(select(Order).where(Order.id.in_(ids)).options(lookup.WHOLE))
    return sorted(orders, key=search.order.of, reverse=not search.order.ascending)


async def _ids(session: AsyncSession, search: Search, after: Position | None, limit: int) -> Select[tuple[uuid.UUID]]:
    """The query for the ids of a page. By creation, each status is a query of its own, so that its index gives the
    order too."""
    conditions = [*_conditions(search, after)]
    if search.q is not None and search.q.endswith("*"):
        conditions.append(Order.id.in_(await _prefixed(session, search)))
    elif search.name is not None:
        conditions.append(Order.id.in_(select(OrderName.order_id).where(search.name)))
    base = select(Order.id).where(*conditions)
    if len(search.status) > 1 and search.order.by == "createdAt":
        parts = [search.order.first(base.where(Order.status == one), limit).subquery() for one in search.status]
        every = union_all(*(select(part.c.id) for part in parts)).subquery()
        return select(every.c.id).order_by(every.c.id if search.order.ascending else every.c.id.desc()).limit(limit)
    if search.status:
        base = base.where(Order.status == search.status[0] if len(search.status) == 1 else _any_of(search.status))
    return search.order.first(base, limit)


def _any_of(statuses: Sequence[Status]) -> ColumnElement[bool]:
    return Order.status.in_(statuses)


def _conditions(search: Search, after: Position | None) -> Iterable[ColumnElement[bool]]:
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
        yield search.order.after(after)


def _least_id(time: datetime) -> uuid.UUID:
    """The least UUID of version 7 that is made at this time."""
    milliseconds = max(int(time.timestamp() * 1000), 0)
    return uuid.UUID(int=milliseconds << 80)


async def _prefixed(session: AsyncSession, search: Search) -> set[uuid.UUID]:
    named = select(OrderName.order_id).where(search.name) if search.name is not None else select(OrderName.order_id)
    found = list(await session.scalars(named.limit(WIDEST_PREFIX + 1)))
    if len(found) > WIDEST_PREFIX:
        told = Sentence("more than {many} ids and numbers begin like this; give more characters", many=WIDEST_PREFIX)
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
