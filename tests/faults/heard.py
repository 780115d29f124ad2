"""What a run of notifications under fire is to do, what it came to, and what the tables must hold at its end.

Of every fifth order a cancellation comes as well, in a race with the first of its invoices. Whichever is applied first
decides: the other is kept and contradicts it.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import text

from chain_orders.database import Database

from .notifying import CANCELLATION, PARTS, VALUE, named
from .record import Figures, bound

_ONE_IN = 5
"""Of so many orders one is cancelled."""
_TELLING = 20
"""Among so many races each side wins some."""


@dataclass(frozen=True, slots=True)
class Plan:
    notifications: int
    """Invoices; cancellations come on top of them."""
    seed: int
    sabotage: str | None = None
    per_second: float = 5000.0
    replica_kills: int | None = None
    server_kills: int | None = None
    """At least so many kills; the longer a run, the more, if nothing is said."""

    @property
    def groups(self) -> list[str]:
        return [f"HEAR{self.seed:04d}{n:06d}" for n in range(self.notifications // PARTS)]

    @property
    def contested(self) -> list[str]:
        """The orders that are cancelled while they are invoiced."""
        return self.groups[::_ONE_IN]

    @property
    def expected(self) -> int:
        return len(self.groups) * PARTS + len(self.contested)

    @property
    def least_replica_kills(self) -> int:
        return max(3, self.notifications // 1000) if self.replica_kills is None else self.replica_kills

    @property
    def least_server_kills(self) -> int:
        return max(2, self.notifications // 2500) if self.server_kills is None else self.server_kills


@dataclass(slots=True)
class Told:
    """What a run came to. `first` is the first answer to each notification.

    `lost` counts notifications that were acknowledged and are not stored; `unfounded` receipts that nothing stored has;
    `ended` services that nobody killed; `cancelled` races that a cancellation won.
    """

    plan: Plan
    first: dict[tuple[str, int], bytes] = field(default_factory=dict)
    acknowledged: int = 0
    unanswered: int = 0
    differing: set[tuple[str, int]] = field(default_factory=set)
    lost: int = 0
    unfounded: int = 0
    twice: int = 0
    misapplied: int = 0
    ended: int = 0
    cancelled: int = 0
    replica_kills: int = 0
    server_kills: int = 0
    seconds: float = 0.0

    @property
    def defects(self) -> dict[str, int]:
        """Each promise that did not hold, and how often."""
        found = {
            "lost": self.lost,
            "unfounded": self.unfounded,
            "twice": self.twice,
            "misapplied": self.misapplied,
            "differing": len(self.differing),
            "ended": self.ended,
        }
        return {kind: count for kind, count in found.items() if count}

    def shows(self, *kinds: str) -> bool:
        """Whether a run that put it to the test broke one of these promises: another would not be the reason."""
        return self.void is None and bool(self.defects.keys() & set(kinds))

    @property
    def void(self) -> str | None:
        plan, races = self.plan, len(self.plan.contested)
        if len(self.first) < plan.expected:
            return f"{len(self.first)} of {plan.expected} notifications were acknowledged"
        if races >= _TELLING and self.cancelled in {0, races}:
            return f"cancellations won {self.cancelled} of {races} races"
        if self.replica_kills < plan.least_replica_kills or self.server_kills < plan.least_server_kills:
            return f"{self.replica_kills} kills of replicas and {self.server_kills} of PostgreSQL"
        return None

    @property
    def figures(self) -> Figures:
        return Figures(
            tried={
                "notifications": len(self.first),
                "deliveries acknowledged": self.acknowledged,
                "cancellations in a race with invoices": len(self.plan.contested),
            },
            broken={"kills of replicas": self.replica_kills, "kills of PostgreSQL": self.server_kills},
            wrong={
                "acknowledged and lost": self.lost,
                "receipts of nothing": self.unfounded,
                "applied twice": self.twice,
                "repeats answered otherwise": len(self.differing),
                "orders in a wrong state": self.misapplied,
                "services ended without a kill": self.ended,
            },
            seconds=self.seconds,
            seed=self.plan.seed,
        )

    def __str__(self) -> str:
        asked = self.plan
        return (
            f"seed {asked.seed}, build {asked.sabotage or 'as it is'}: {len(self.first)} notifications, "
            f"{self.acknowledged} deliveries acknowledged, {self.unanswered} not, {self.replica_kills} kills of "
            f"replicas, {self.server_kills} of PostgreSQL, {self.seconds:.0f} s: acknowledged lost {self.lost}, "
            f"receipts of nothing {self.unfounded}, applied twice {self.twice}, answers that differ "
            f"{len(self.differing)}, orders in a wrong state {self.misapplied}, services ended {self.ended}; "
            f"cancellations won {self.cancelled} of {len(asked.contested)} races (0 of n is at most "
            f"{bound(len(self.first)):.3%} at 95 %)"
        )

    def hold(self) -> None:
        """Raise AssertionError unless every promise held in a run that put it to the test."""
        assert not self.defects, str(self)
        assert self.void is None, f"void: {self.void}; {self}"


class Ledger:
    """What was acknowledged: on disk before it counts, and counted from there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("ab")

    def note(self, group: str, number: int, receipt: str) -> None:
        self._file.write(f"{group} {number} {receipt}\n".encode())
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()

    def read(self) -> list[tuple[str, int, str]]:
        """Group, number and receipt of each acknowledgement."""
        lines = (line.split() for line in self._path.read_text().splitlines())
        return [(group, int(number), receipt) for group, number, receipt in lines]


# Facts that an order's timeline tells more than once, numbers that two notifications of an order share, and orders
# whose sums, states or counters are not what ten invoices make of them, or ten and a cancellation.
_TWICE = text(
    """
    select (select count(*) from (select 1 from events
                                   where type in ('chain-order.partially-invoiced', 'chain-order.invoiced',
                                                  'chain-order.invoice-after-cancellation', 'chain-order.cancelled',
                                                  'chain-order.cancellation-after-invoice')
                                   group by order_id, data ->> 'number' having count(*) > 1) e)
         + (select count(*) from (select 1 from notifications where state in ('applied', 'conflict')
                                   group by order_id, path, body having count(*) > 1) n)
    """
)
_MISAPPLIED = text(
    """
    with ends (contested, status, attention, cancellation, sales, late_sales) as (
        values (false, 'invoiced', '', '', :parts, 0),
               (true, 'invoiced', 'cancelled-after-invoice', 'conflict', :parts, 0),
               (true, 'cancelled', 'invoiced-after-cancellation', 'applied', 0, :parts)
    )
    select count(*)
      from orders o
     cross join lateral (
           select count(*) as number, count(distinct applied_seq) as moves,
                  count(*) filter (where kind = 'invoice' and state = 'applied') as sales,
                  count(*) filter (where kind = 'invoice' and state = 'conflict') as late_sales,
                  coalesce(max(state) filter (where kind = 'cancellation'), '') as cancellation
             from notifications n where n.order_id = o.id
     ) heard
     where (o.applied_seq, heard.moves) <> (heard.number, heard.number)
        or (select sum(i.value_cents) from invoices i join chain_orders c on c.key = i.chain_order_key
             where c.order_id = o.id) is distinct from :value
        or not exists (select from ends e
                        where e.contested = (o.order_group = any(:contested)) and e.status = o.status
                          and e.attention = coalesce(o.attention_code, '') and e.cancellation = heard.cancellation
                          and (e.sales, e.late_sales) = (heard.sales, heard.late_sales))
    """
)
_STORED = text(
    """
    select o.order_group, coalesce(convert_from(n.body, 'utf8')::json ->> 'invoiceNumber', 'cancellation') as name,
           n.receipt
      from notifications n join orders o on o.id = n.order_id
    """
)
_CANCELLED = text("select count(*) from orders where status = 'cancelled'")


async def count(database: Database, told: Told, ledger: Ledger) -> None:
    """Compare what was acknowledged with what is stored, and what is stored with what it must come to."""
    acknowledged = ledger.read()
    assert len(acknowledged) == told.acknowledged, "the ledger is not what was sent"
    told.twice, told.misapplied, told.cancelled = await applied(database, told.plan.contested, PARTS)
    async with database.transaction() as session:
        stored = (await session.execute(_STORED)).all()
    kept = {(row.order_group, row.name) for row in stored}
    told.lost = len({(group, named(number)) for group, number, _ in acknowledged} - kept)
    told.unfounded = len({receipt for _, _, receipt in acknowledged} - {row.receipt for row in stored})


async def applied(database: Database, contested: Sequence[str], parts: int) -> tuple[int, int, int]:
    """What was applied twice, how many orders are not what their `parts` and cancellations make of them, and how many
    are cancelled."""
    wanted = {"parts": parts, "value": VALUE, "contested": contested}
    async with database.transaction() as session:
        twice = await session.scalar(_TWICE) or 0
        misapplied = await session.scalar(_MISAPPLIED, wanted) or 0
        return twice, misapplied, await session.scalar(_CANCELLED) or 0


def deliveries(plan: Plan, chance: random.Random) -> Iterator[tuple[str, int]]:
    """Every notification one to five times, shuffled, so that repeats overtake and orders are heard of side by side.

    Ahead of whatever else is told of it, a contested order is invoiced in part and cancelled at the same moment.
    """
    contested = set(plan.contested)
    numbers = {group: [*range(PARTS), CANCELLATION] if group in contested else range(PARTS) for group in plan.groups}
    shuffled = [
        (group, number) for group in plan.groups for number in numbers[group] for _ in range(chance.randint(1, 5))
    ]
    chance.shuffle(shuffled)
    for group, number in shuffled:
        if group in contested:
            contested.remove(group)
            yield from chance.sample([(group, CANCELLATION), (group, chance.randrange(PARTS))], 2)
        yield group, number
