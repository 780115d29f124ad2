"""Notifications under fire: three replicas behind a balancer, each notification delivered one to five times, replicas
and PostgreSQL killed; what was acknowledged is stored once, applied once, and answered with the same bytes for ever.

`make faults-hear` runs it at length; `tests/faults/test_hearing.py` briefly. The sender keeps a ledger that is fsynced
before an acknowledgement counts. `kill -9` is the death of a process: what the kernel has taken over survives it, so
this says nothing of a power cut.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import text

from chain_orders.database import Database
from chain_orders.embedded import Cluster

from .balancer import Balancer
from .notifying import PARTS, VALUE, Line, notification, placed_orders
from .own_server import own_server
from .process import ServiceProcess, free_port
from .record import Ending, Figures, add_option, bound

REPLICAS = 3
LANES = 24
SILENCE = 30.0  # seconds without progress after which a run is over
SETTINGS = {"CHAIN_ORDERS_LOG_FORMAT": "console", "CHAIN_ORDERS_POOL_SIZE": "6"}


@dataclass(frozen=True, slots=True)
class Plan:
    notifications: int
    seed: int
    sabotage: str | None = None
    per_second: float = 5000.0
    replica_kills: int = 3
    server_kills: int = 2


@dataclass(slots=True)
class Told:
    """What a run came to. `first` is the first answer to each notification.

    `lost` counts notifications that were acknowledged and are not stored; `unfounded` receipts that nothing stored has.
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
        }
        return {kind: count for kind, count in found.items() if count}

    def shows(self, *kinds: str) -> bool:
        """Whether a run that put it to the test broke one of these promises: another would not be the reason."""
        return self.void is None and bool(self.defects.keys() & set(kinds))

    @property
    def void(self) -> str | None:
        if len(self.first) < self.plan.notifications:
            return f"{len(self.first)} of {self.plan.notifications} notifications were acknowledged"
        if self.replica_kills < self.plan.replica_kills or self.server_kills < self.plan.server_kills:
            return f"{self.replica_kills} kills of replicas and {self.server_kills} of PostgreSQL"
        return None

    @property
    def figures(self) -> Figures:
        return Figures(
            tried={"notifications": len(self.first), "deliveries acknowledged": self.acknowledged},
            broken={"kills of replicas": self.replica_kills, "kills of PostgreSQL": self.server_kills},
            wrong={
                "acknowledged and lost": self.lost,
                "receipts of nothing": self.unfounded,
                "applied twice": self.twice,
                "repeats answered otherwise": len(self.differing),
                "orders in a wrong state": self.misapplied,
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
            f"{len(self.differing)}, orders in a wrong state {self.misapplied} (0 of n is at most "
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


async def run(plan: Plan) -> Told:
    """One run on a durable PostgreSQL of its own, which is killed."""
    async with own_server() as (database, cluster, folder):
        return await _run(plan, cluster, database, folder)


async def _run(plan: Plan, cluster: Cluster, database: Database, folder: Path) -> Told:
    told, chance = Told(plan), random.Random(plan.seed)
    groups = [f"HEAR{plan.seed:04d}{n:06d}" for n in range(plan.notifications // PARTS)]
    bases = await placed_orders(database, groups)
    async with _replicas(database, plan) as (replicas, front):
        started = time.monotonic()
        ledger = Ledger(folder / "ledger")
        sending = asyncio.create_task(_send(plan, told, chance, ledger, bases, front))
        killing = asyncio.create_task(_kill(plan, told, random.Random(plan.seed + 1), cluster, replicas, sending))
        try:
            await asyncio.wait([sending, killing], return_when=asyncio.FIRST_EXCEPTION)
            await asyncio.gather(sending, killing)
            await _settled(database, len(groups))
        finally:
            for task in (sending, killing):
                task.cancel()
            await asyncio.gather(sending, killing, return_exceptions=True)
            ledger.close()
        told.seconds = time.monotonic() - started
        await _count(database, told, ledger)
    return told


@contextlib.asynccontextmanager
async def _replicas(database: Database, plan: Plan) -> AsyncIterator[tuple[list[ServiceProcess], int]]:
    replicas = [ServiceProcess(database.url, free_port(), plan.sabotage, SETTINGS) for _ in range(REPLICAS)]
    try:
        await asyncio.gather(*(replica.start() for replica in replicas))
        async with Balancer([replica.port for replica in replicas]).running() as front:
            yield replicas, front
    finally:
        for replica in replicas:
            replica.kill()
            replica.forget()


def _deliveries(plan: Plan, chance: random.Random, groups: Iterable[str]) -> list[tuple[str, int]]:
    """Every notification one to five times, shuffled, so that repeats overtake and orders are heard of side by side."""
    every = [(group, number) for group in groups for number in range(PARTS)]
    deliveries = [one for one in every for _ in range(chance.randint(1, 5))]
    chance.shuffle(deliveries)
    return deliveries


async def _send(
    plan: Plan, told: Told, chance: random.Random, ledger: Ledger, bases: dict[str, str], front: int
) -> None:
    """What the sellers do: deliver, and deliver again what was not acknowledged."""
    deliveries = iter(enumerate(_deliveries(plan, chance, bases)))
    started = time.monotonic()

    async def lane() -> None:
        line = Line(front)
        for nth, (group, number) in deliveries:
            await asyncio.sleep(max(0.0, started + nth / plan.per_second - time.monotonic()))
            while (answer := await line.post(notification(bases[group], group, number))) is None:
                told.unanswered += 1
                await asyncio.sleep(0.1)
            receipt = json.loads(answer)["receipt"]
            ledger.note(group, number, receipt)
            told.acknowledged += 1
            if told.first.setdefault((group, number), answer) != answer:
                told.differing.add((group, number))
        line.close()

    await asyncio.gather(*(lane() for _ in range(LANES)))


async def _kill(
    plan: Plan,
    told: Told,
    chance: random.Random,
    cluster: Cluster,
    replicas: list[ServiceProcess],
    sending: asyncio.Task[None],
) -> None:
    """Kill a replica or PostgreSQL every few moments, for as long as notifications pour in."""
    if not plan.replica_kills + plan.server_kills:
        return
    while not sending.done() or told.replica_kills < plan.replica_kills or told.server_kills < plan.server_kills:
        await asyncio.sleep(chance.uniform(0.2, 1.5))
        if told.server_kills * 2 < told.replica_kills:
            cluster.crash()
            told.server_kills += 1
            await asyncio.sleep(chance.uniform(0, 0.5))
            await asyncio.to_thread(cluster.start)
        else:
            victim = chance.choice(replicas)
            victim.kill()
            told.replica_kills += 1
            await asyncio.sleep(chance.uniform(0, 0.3))
        await _recovered(told, replicas, sending)


async def _recovered(told: Told, replicas: list[ServiceProcess], sending: asyncio.Task[None]) -> None:
    """Start whatever has ended, also for want of a database, and wait until notifications are taken again."""
    wanted = told.acknowledged + 3 * LANES
    while True:
        for replica in replicas:
            if not replica.running:
                await replica.start(wait=False)
        if sending.done() or told.acknowledged >= wanted:
            return
        await asyncio.sleep(0.2)


_STATES = text("select count(*) filter (where status = 'invoiced') as done, sum(applied_seq) as moves from orders")


async def _settled(database: Database, orders: int) -> None:
    """Return when every order is invoiced, or when nothing moves any more."""
    moved, seen = time.monotonic(), None
    while time.monotonic() - moved < SILENCE:
        await asyncio.sleep(0.5)
        with contextlib.suppress(Exception):
            async with database.transaction() as session:
                now = (await session.execute(_STATES)).one()
                waiting = await session.scalar(text("select count(*) from notifications where state = 'received'"))
            if now.done == orders and not waiting:
                return
            if (now, waiting) != seen:
                moved, seen = time.monotonic(), (now, waiting)
            elif not waiting and time.monotonic() - moved > 5:
                return


# Facts that an order's timeline tells more than once, numbers that two notifications of an order share, and orders
# whose sums, state or counters are not what ten invoices make of them.
_TWICE = text(
    """
    select (select count(*) from (select 1 from events where type in ('chain-order.partially-invoiced',
                                                                      'chain-order.invoiced')
                                   group by order_id, data ->> 'number' having count(*) > 1) e)
         + (select count(*) from (select 1 from notifications where state = 'applied'
                                   group by order_id, path, body having count(*) > 1) n)
    """
)
_MISAPPLIED = text(
    """
    select count(*) from orders o
     where status <> 'invoiced' or attention_code is not null
        or applied_seq <> (select count(*) from notifications n where n.order_id = o.id)
        or (select count(distinct n.applied_seq) from notifications n where n.order_id = o.id) <> :parts
        or (select sum(i.value_cents) from invoices i join chain_orders c on c.key = i.chain_order_key
             where c.order_id = o.id) is distinct from :value
    """
)


_STORED = text(
    """
    select o.order_group, convert_from(n.body, 'utf8')::json ->> 'invoiceNumber' as number, n.receipt
      from notifications n join orders o on o.id = n.order_id
    """
)


async def _count(database: Database, told: Told, ledger: Ledger) -> None:
    acknowledged = ledger.read()
    assert len(acknowledged) == told.acknowledged, "the ledger is not what was sent"
    async with database.transaction() as session:
        stored = (await session.execute(_STORED)).all()
        told.twice = await session.scalar(_TWICE) or 0
        told.misapplied = await session.scalar(_MISAPPLIED, {"parts": PARTS, "value": VALUE}) or 0
    kept = {(row.order_group, row.number) for row in stored}
    told.lost = len({(group, f"NF-{number}") for group, number, _ in acknowledged} - kept)
    told.unfounded = len({receipt for _, _, receipt in acknowledged} - {row.receipt for row in stored})


CONTROLS = {
    "answer-before-commit": ("lost",),
    "dedupe": ("differing",),
    "dedupe-by-request-id": ("differing",),
    "no-order-lock": ("twice", "misapplied"),
    "asynchronous-commit": ("lost",),
}
"""The broken builds, and which promise each must be seen to break."""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--notifications", type=int, default=100_000)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--sabotage", default=None)
    options.add_argument("--controls", action="store_true", help="every sabotaged build must fail")
    add_option(options)
    asked = options.parse_args()
    if not asked.controls:
        ending = Ending("hear", asked)
        ending.judge(asyncio.run(run(Plan(asked.notifications, asked.seed, asked.sabotage))))
        return
    blind = []
    for name, kinds in CONTROLS.items():
        told = asyncio.run(run(Plan(asked.notifications, asked.seed, name, 400)))
        caught = told.shows(*kinds)
        print(f"{'caught' if caught else 'NOT CAUGHT'} ({' or '.join(kinds)}): {told}", flush=True)
        if not caught:
            blind.append(name)
    if blind:
        raise SystemExit(f"the harness does not see: {', '.join(blind)}")


if __name__ == "__main__":
    main()
