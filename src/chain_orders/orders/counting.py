"""How many orders stand where, known without looking at them.

A trigger of the database appends what each move of an order adds and takes away, in the move's own transaction: the
sum of all rows is exact in every snapshot, and nobody waits for anybody. A chore folds the rows into a few.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from sqlalchemy import Identity, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from ..database import Base
from . import states
from .states import FINAL, Status, Turn

# At most a few dozen rows, and what was written since they were last folded.
_READ = text(
    """
    select status, attention, has_receipt, sum(number)::bigint as number from order_counts
     group by status, attention, has_receipt having sum(number) <> 0
    """
)
# One statement: whoever reads meanwhile sees the rows before it, or the ones after it.
_FOLD = text(
    """
    with gone as (delete from order_counts where (select count(*) from order_counts) > :many
                  returning status, attention, has_receipt, number)
    insert into order_counts (status, attention, has_receipt, number)
    select status, attention, has_receipt, sum(number) from gone
     group by status, attention, has_receipt having sum(number) <> 0
    """
)
_WORTH_FOLDING = 100


class OrderCount(Base):
    """What the moves of orders add up to: written by a trigger of `orders`."""

    __tablename__ = "order_counts"

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    status: Mapped[str]
    attention: Mapped[bool]
    has_receipt: Mapped[bool]
    number: Mapped[int]


@dataclass(frozen=True, slots=True)
class Count:
    """So many orders that agree in what decides whose turn it is."""

    status: Status
    attention: bool
    has_receipt: bool
    number: int

    @property
    def turn(self) -> Turn:
        return states.turn(self.status, attention=self.attention, has_receipt=self.has_receipt)


@dataclass(frozen=True, slots=True)
class Standing:
    """Every order, counted."""

    counts: tuple[Count, ...]

    @property
    def by_status(self) -> Counter[Status]:
        found: Counter[Status] = Counter()
        for one in self.counts:
            found[one.status] += one.number
        return found

    @property
    def by_turn(self) -> Counter[Turn]:
        found: Counter[Turn] = Counter()
        for one in self.counts:
            found[one.turn] += one.number
        return found

    @property
    def open(self) -> dict[Status, int]:
        """Orders of which something is still expected, by status; only where there are some."""
        return {status: number for status, number in sorted(self.by_status.items()) if status not in FINAL}

    @property
    def attention(self) -> int:
        return sum(one.number for one in self.counts if one.attention)


async def standing(session: AsyncSession) -> Standing:
    """Where all orders stand now."""
    rows = await session.execute(_READ)
    return Standing(tuple(Count(Status(row.status), row.attention, row.has_receipt, row.number) for row in rows))


async def fold(session: AsyncSession, *, many: int = _WORTH_FOLDING) -> None:
    """Make many rows few. A chore of the upkeep: no two do it at once."""
    await session.execute(_FOLD, {"many": many})
