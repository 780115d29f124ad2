"""Each kind of call, and a worker that dies at each step of its way: every call is made once, and none stays unclear.

`make faults-steps` runs it at length, `tests/faults/test_dying.py` with one kind a step. Each kind has a seller of
its own. A worker is started for each death, when the call that it is to die of is owed; one that does not die makes the
run void. At the end another one finishes what they left.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import text

from chain_orders.database import Database

from ..builders import Marketplace, SimulatedSeller, order, until
from .failpoints import KINDS, STEPS
from .own_server import own_server
from .process import ServiceProcess, free_port, gone_in_the_end, served
from .record import Ending, Figures, add_options
from .sending import seller_process

ENDS = {"place": {"placed"}, "authorize": {"authorized"}, "cancel": {"cancel-requested", "cancelled"}}
PATIENCE = 60.0


class Death(NamedTuple):
    """Where a worker dies, and the group of the order whose call it makes there."""

    step: str
    kind: str
    group: str


@dataclass(frozen=True, slots=True)
class Plan:
    steps: Sequence[str] = tuple(STEPS)
    kinds: Sequence[str] = KINDS
    rounds: int = 1
    in_turn: bool = False
    """Each step with one of the kinds only."""
    sabotage: str | None = None
    """Breaks the worker that finishes what the others left."""

    @property
    def deaths(self) -> list[Death]:
        pairs = [(step, kind) for step in self.steps for kind in self.kinds]
        every = self.rounds * (list(zip(self.steps, cycle(self.kinds), strict=False)) if self.in_turn else pairs)
        return [Death(step, kind, f"DIES{nth:05d}") for nth, (step, kind) in enumerate(every)]


@dataclass(slots=True)
class Told:
    """What a run came to. `calls` is how often the seller did what each order was to have done to it."""

    plan: Plan
    died: int = 0
    calls: Counter[str] = field(default_factory=Counter)
    unknown: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def doubled(self) -> list[str]:
        return [group for group, times in self.calls.items() if times > 1]

    @property
    def lost(self) -> list[str]:
        return [group for _, _, group in self.plan.deaths if not self.calls[group]]

    @property
    def figures(self) -> Figures:
        return Figures(
            tried={"calls of three kinds": len(self.plan.deaths)},
            broken={f"deaths at {len(self.plan.steps)} steps of a call": self.died},
            wrong={"doubled": len(self.doubled), "lost": len(self.lost), "left unknown": len(self.unknown)},
            seconds=self.seconds,
        )

    def __str__(self) -> str:
        wrong = {group: (step, kind) for step, kind, group in self.plan.deaths}
        told = [f"{self.died} deaths of {len(self.plan.deaths)}, {self.seconds:.0f} s"]
        for name, groups in (("doubled", self.doubled), ("lost", self.lost), ("left unknown", self.unknown)):
            told.append(f"{name} {len(groups)} {[wrong[group] for group in groups] or ''}")
        return ", ".join(told)

    def hold(self) -> None:
        """Raise AssertionError unless every promise held in a run that put it to the test."""
        assert (self.doubled, self.lost, self.unknown) == ([], [], []), str(self)
        assert self.died == len(self.plan.deaths), f"void: {self}"


async def run(plan: Plan, database: Database, seller: SimulatedSeller) -> Told:
    """One run on a migrated database without orders, with a seller that dedupes nothing."""
    told, began = Told(plan), time.monotonic()
    await seller.behave(dedupe=False, cancellation="accept")
    async with _serving(database) as (marketplace, work):
        for kind in plan.kinds:
            await marketplace.add_seller(seller.url, kind, concurrency=50, ratePerSecond=1000)
        ids = await _placed(marketplace, work, [one for one in plan.deaths if one.kind != "place"])
        await asyncio.gather(*(_die_all(told, kind, marketplace, work, ids) for kind in plan.kinds))
        work.sabotage = plan.sabotage
        await work.start()
        with contextlib.suppress(AssertionError):  # what is left is told
            await until(lambda: _nothing_open(database), PATIENCE)
        work.kill()
        await _count(told, database, seller)
    told.seconds = time.monotonic() - began
    return told


@contextlib.asynccontextmanager
async def _serving(database: Database) -> AsyncIterator[tuple[Marketplace, ServiceProcess]]:
    """A process that takes orders, and one that sends them, not yet started."""
    async with served(database, options=["--no-worker"]) as (serve, marketplace):
        work = ServiceProcess(database.url, 0, None, {"CHAIN_ORDERS_PUBLIC_URL": serve.url}, "work")
        with gone_in_the_end(work):
            yield marketplace, work


async def _placed(marketplace: Marketplace, work: ServiceProcess, deaths: Sequence[Death]) -> dict[str, str]:
    """Orders that are placed; the id of each. All lanes are open as wide as they get."""
    taken = [await marketplace.post_order(order(one.group), seller_id=one.kind) for one in deaths]
    await work.start()
    ids = {one.group: answer.json()["id"] for one, answer in zip(deaths, taken, strict=True)}
    for id_ in ids.values():
        await marketplace.becomes(id_, "placed", PATIENCE)
    work.kill()
    async with marketplace.database.transaction() as session:
        await session.execute(text("update lanes set ramp = null"))
    return ids


async def _die_all(told: Told, kind: str, marketplace: Marketplace, work: ServiceProcess, ids: dict[str, str]) -> None:
    """One worker after the other dies of its call of this kind."""
    for death in told.plan.deaths:
        if death.kind == kind:
            await _owe(marketplace, death, ids)
            doomed = ServiceProcess(work.database_url, 0, f"die-{death.step}-{kind}", work.settings, "work")
            if await _dies(doomed):
                told.died += 1


async def _owe(marketplace: Marketplace, death: Death, ids: dict[str, str]) -> None:
    match death.kind:
        case "place":
            answer = await marketplace.post_order(order(death.group), seller_id=death.kind)
        case "authorize":
            answer = await marketplace.authorize(ids[death.group])
        case _:
            answer = await marketplace.ask_to_cancel(ids[death.group])
    assert answer.status_code == 202, answer.text


async def _dies(doomed: ServiceProcess) -> bool:
    """Start a worker that is to die; whether it did, and not in another way."""

    async def ended() -> bool:
        return not doomed.running

    try:
        await doomed.start()
        await until(ended, PATIENCE)
        return doomed.exit_code == -signal.SIGKILL
    finally:
        doomed.kill()
        doomed.forget()


async def _nothing_open(database: Database) -> bool:
    async with database.transaction() as session:
        return not await session.scalar(text("select count(*) from deliveries where settled_at is null"))


_LEFT = text(
    """
    select o.order_group, o.status, count(*) filter (where d.state <> 'delivered') as left
      from orders o join deliveries d on d.order_id = o.id group by o.id
    """
)


async def _count(told: Told, database: Database, seller: SimulatedSeller) -> None:
    kinds = {group: kind for _, kind, group in told.plan.deaths}
    for booked in await seller.book():
        group = booked["group"]
        counts = {"authorize": booked["authorizations"], "cancel": booked["cancellationRequests"] or []}
        told.calls[group] += len(counts.get(kinds[group], [booked]))
    async with database.transaction() as session:
        for row in await session.execute(_LEFT):
            if row.left or row.status not in ENDS[kinds[row.order_group]]:
                told.unknown.append(row.order_group)


async def on_own_server(plan: Plan) -> Told:
    async with own_server() as (database, _, folder), seller_process(free_port(), Path(folder) / "book") as seller:
        return await run(plan, database, seller)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=20)
    add_options(options)
    asked = options.parse_args()
    ending = Ending("steps", asked)
    ending.judge(asyncio.run(on_own_server(Plan(rounds=asked.rounds, sabotage=asked.sabotage))))


if __name__ == "__main__":
    main()
