"""Filters that live in the address, as a search of the API's: the console finds what the API finds."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import cast

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from ..operators import edges
from ..operators.finding import Column, Ordering, Position, Search, find
from ..orders.models import Order, OrderName
from ..orders.states import Status, Turn
from ..sellers.models import Seller
from .texts import _
from .visits import Visit

PAGE = 40
MOST_SELLERS = 50
_NEWEST = "-createdAt"
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_LONGEST_SEARCH = 200


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the address asks for. Dates are days of the operator's zone, both included."""

    q: str = ""
    status: str = ""
    turn: str = ""
    seller: str = ""
    attention: str = ""
    since: str = ""
    until: str = ""
    sort: str = ""
    cursor: str = ""
    zone: tzinfo = UTC
    ignored: tuple[str, ...] = ()
    """Parameters that mean nothing, and are told to be left out."""

    @property
    def parameters(self) -> dict[str, str]:
        """As the address writes it, without the page."""
        return {
            "q": self.q,
            "status": self.status,
            "turn": self.turn,
            "seller": self.seller,
            "attention": self.attention,
            "since": self.since,
            "until": self.until,
            "sort": self.sort,
        }

    @property
    def filtered(self) -> bool:
        return any(value for name, value in self.parameters.items() if name != "sort")

    @property
    def backwards(self) -> bool:
        """Whether the days end before they begin, so that nothing can be found."""
        return bool(self.since and self.until) and self.until < self.since

    @property
    def ordering(self) -> Ordering:
        sort = self.sort or _NEWEST
        return Ordering(cast(Column, sort.removeprefix("-")), ascending=not sort.startswith("-"))

    @property
    def after(self) -> Position | None:
        """Where the page begins. Raises Malformed for a place that is not one of this list."""
        return self.ordering.position(edges.decode_cursor(self.cursor or None))

    def search(self, *, exact: bool) -> Search:
        """The API's search. `exact`: the text is a whole name, not the beginning of one."""
        text = self.q if exact or not self.q else self.q.rstrip("*") + "*"
        return Search(
            status=(Status(self.status),) if self.status else (),
            seller=self.seller or None,
            attention=True if self.attention else None,
            turn=Turn(self.turn) if self.turn else None,
            created_from=midnight(self.since, self.zone) if self.since else None,
            created_to=midnight(self.until, self.zone, 1) if self.until else None,
            q=text or None,
            order=self.ordering,
        )


def sorts() -> Mapping[str, str]:
    """What a list may be sorted by, in words. Newest first is what is not said."""
    return {
        "createdAt": _("Oldest first"),
        "-updatedAt": _("Changed last first"),
        "updatedAt": _("Changed longest ago first"),
        "-total": _("Greatest value first"),
        "total": _("Smallest value first"),
        "status": _("By status"),
    }


def wanted(visit: Visit) -> Wanted:
    """Read the address. What it cannot mean is left out, and named; a page that is not one of ours is refused."""
    read = _read(visit)
    return replace(read, ignored=ignored(visit, read.parameters))


def ignored(visit: Visit, parameters: Mapping[str, str]) -> tuple[str, ...]:
    """The parameters of the address that mean nothing here: they are named, not passed over in silence."""
    return tuple(name for name, value in parameters.items() if not value and visit.given(name))


def _read(visit: Visit) -> Wanted:
    status, turn, sort = visit.given("status"), visit.given("turn"), visit.given("sort")
    return Wanted(
        q=visit.given("q")[:_LONGEST_SEARCH].replace("\x00", "").strip("* "),
        status=status if status in set(Status) else "",
        turn=turn if turn in set(Turn) else "",
        seller=visit.given("seller")[:63].replace("\x00", ""),
        attention="yes" if visit.given("attention") == "yes" else "",
        since=day(visit.given("since")),
        until=day(visit.given("until")),
        sort=sort if sort in sorts() else "",
        cursor=visit.given("cursor"),
        zone=visit.zone,
    )


def day(text: str) -> str:
    """A day as an address writes it; nothing for what is none."""
    try:
        found = date.fromisoformat(text) if _DAY.fullmatch(text) else None
    except ValueError:
        return ""
    return found.isoformat() if found and 1970 < found.year < 9999 else ""


def midnight(day: str, zone: tzinfo, later: int = 0) -> datetime:
    """When a day begins where the operator is; a day there may have 23 or 25 hours."""
    return datetime.combine(date.fromisoformat(day) + timedelta(days=later), time(), zone)


@dataclass(frozen=True, slots=True)
class Sellers:
    """Sellers to choose from, as values and labels; not `all` of them where there are many."""

    ids: list[tuple[str, str]]
    all: bool


async def sellers(session: AsyncSession) -> Sellers:
    """The first sellers by id: a page does not grow with how many there are."""
    found = list(await session.scalars(select(Seller.id).order_by(Seller.id).limit(MOST_SELLERS + 1)))
    return Sellers([(one, one) for one in found[:MOST_SELLERS]], len(found) <= MOST_SELLERS)


async def search(session: AsyncSession, asked: Wanted, limit: int, last: Order | None = None) -> list[Order]:
    """The orders of a page, or those after an order. A whole name wins; where there is none, names that
    begin with the text."""
    exact = bool(asked.q) and await _is_name(session, asked.q)
    after = asked.after if last is None else asked.ordering.of(last)
    return await find(session, asked.search(exact=exact), after, limit)


async def _is_name(session: AsyncSession, text: str) -> bool:
    query = select(OrderName.order_id).where(func.lower(OrderName.value) == text.lower()).limit(1)
    return await session.scalar(query) is not None


async def matched(session: AsyncSession, text: str, orders: list[Order]) -> dict[uuid.UUID, tuple[str, str]]:
    """By which name each order was found: its kind and the name."""
    if not text or not orders:
        return {}
    escaped = re.sub(r"([\\%_])", r"\\\1", text.lower())
    rows = await session.execute(
        select(OrderName.order_id, OrderName.kind, OrderName.value)
        .where(
            OrderName.order_id.in_([order.id for order in orders]),
            func.lower(OrderName.value).like(escaped + "%", escape="\\"),
        )
        .order_by(func.length(OrderName.value).desc())
    )
    return {row.order_id: (row.kind, row.value) for row in rows}


async def only_one(session: AsyncSession, text: str) -> uuid.UUID | None:
    """The order that goes by exactly this name, if there is one and no other."""
    rows = await session.scalars(
        select(OrderName.order_id).where(func.lower(OrderName.value) == text.lower()).distinct().limit(2)
    )
    found = list(rows)
    return found[0] if len(found) == 1 else None
