"""Placements under fire: a seller that dedupes nothing and often leaves us in the dark, workers that are killed and
frozen, and at the end every order exists exactly once.

`make faults-send` runs it at length; `tests/faults/test_sending.py` briefly. Waits are the service's own, divided by
one factor. Nothing depends on the machine's speed: orders come in until enough has happened to the workers. Void,
which is a failure too: a run with too few ambiguous answers, no kill, or no freeze that others outlived.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import text

from chain_orders.database import Database

from ..builders import Marketplace, SimulatedSeller, calling, order, until
from .controls import CONTROLS, marked
from .havoc import PATIENCE, wreak
from .own_server import own_server
from .process import ServiceProcess, free_port, gone_in_the_end, served
from .record import Ending, add_options, see_each
from .told import NOMINAL_START, QUICKEST, Plan, Told, Waits
from .unclear import unclear

FAULTS = {"resetBefore": 0.10, "loseAnswer": 0.18, "failAfterCreating": 0.12, "garbage": 0.06, "drip": 0.03}
SILENCE = 60.0  # seconds without progress after which a run is over
_AT_ONCE_IN_THE_CALM = 20
LONGEST_CONTROL = 600.0  # seconds after which a broken build was not seen


async def run(plan: Plan, database: Database, folder: Path) -> Told:
    """One run on an empty, migrated database."""
    told, chance, book = Told(plan), random.Random(plan.seed), _Book(folder / "book.jsonl")
    began = time.monotonic()
    async with contextlib.AsyncExitStack() as stack:
        seller = await stack.enter_async_context(seller_process(free_port(), book.path))
        told.waits = Waits(min(QUICKEST, QUICKEST * NOMINAL_START / (time.monotonic() - began)))
        marketplace, workers = await stack.enter_async_context(_serving(database, told))
        lag = told.waits.read_lag(plan.control)
        await seller.behave(dedupe=False, slowSeconds=0.1, seed=plan.seed, **FAULTS, readLagSeconds=lag)
        await marketplace.add_seller(seller.url, concurrency=20, ratePerSecond=5000)
        started = time.monotonic()
        havoc = asyncio.create_task(_havoc(workers, chance, database, told))
        posting = asyncio.create_task(_post(marketplace, told, havoc))
        try:
            await _over(database, told, book, posting, havoc)
        finally:
            for task in (posting, havoc):
                task.cancel()
            await asyncio.gather(posting, havoc, return_exceptions=True)
            for worker in workers:
                if worker.frozen:
                    worker.thaw()
                worker.kill()
        told.seconds = time.monotonic() - started
        await _count(database, seller, told)
        told.created = book.read()
    return told


@contextlib.asynccontextmanager
async def seller_process(port: int, book: Path) -> AsyncIterator[SimulatedSeller]:
    """The simulated seller as a process of its own; each order that it creates is fsynced before it answers."""
    log = (book.parent / "seller.log").open("wb")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "chain_orders", "simulate", "--port", str(port), "--book", str(book),
        stdout=log, stderr=log,
    )  # fmt: skip
    try:
        async with calling(f"http://127.0.0.1:{port}", timeout=60) as client:
            await until(lambda: _answers(client), 180)
            yield SimulatedSeller(f"http://127.0.0.1:{port}", client)
    finally:
        process.kill()
        await process.wait()
        log.close()


async def _answers(client: httpx.AsyncClient) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return (await client.get("/control/behaviour")).status_code == 200
    return False


@contextlib.asynccontextmanager
async def _serving(database: Database, told: Told) -> AsyncIterator[tuple[Marketplace, list[ServiceProcess]]]:
    """One process that takes orders and two that send them; where it is asked for, the first will freeze by itself."""
    plan, settings = told.plan, told.waits.settings
    build = ",".join(filter(None, [plan.build, "scaled-probes"]))
    builds = [f"{build},freeze-before-send" if "freezes" in plan.havoc else build, build]
    taking: dict[str, Any] = {"options": ["--no-worker"], "at_once": 100, **settings}
    async with served(database, **taking) as (serve, marketplace):
        public = {**settings, "CHAIN_ORDERS_PUBLIC_URL": serve.url}
        workers = [ServiceProcess(database.url, 0, build, public, "work") for build in builds]
        with gone_in_the_end(*workers):
            yield marketplace, workers


async def _havoc(workers: list[ServiceProcess], chance: random.Random, database: Database, told: Told) -> None:
    """A calm, with one worker, until what came in it is settled; then all that a run does to both of them."""
    one, other = workers
    await other.start()
    await until(lambda: _all_ended(told), PATIENCE + told.plan.calm)
    async with database.transaction() as session:
        told.calm = list(await session.scalars(text("select id from deliveries")))
    await one.start()
    await wreak(workers, chance, database, told)


async def _all_ended(told: Told) -> bool:
    return len(told.accepted) >= told.plan.calm and told.ended >= len(told.accepted)


async def hand_over(marketplace: Marketplace, group: str) -> None:
    """Place an order; what was cut off or could not be stored is placed again under its group."""
    while True:
        with contextlib.suppress(httpx.TransportError):
            answer = await marketplace.post_order(order(group))
            if answer.status_code < 300:
                return
            assert answer.status_code >= 500, answer.text
        await asyncio.sleep(0.2)


async def _post(marketplace: Marketplace, told: Told, havoc: asyncio.Task[None]) -> None:
    """Hand over orders at a steady pace: as many as the plan says, and more as long as the havoc goes on.

    A slow machine is handed fewer at a time: what it cannot send in time would say nothing about what is tested.
    """
    plan, pace = told.plan, told.plan.per_second
    groups = (f"SEND{plan.seed:04d}{n:06d}" for n in itertools.count())
    due = time.monotonic()

    async def lane() -> None:
        nonlocal due
        while len(told.accepted) < plan.orders or not havoc.done():
            enough = plan.control is None and len(told.accepted) >= plan.orders
            await until(lambda: _room(told), 600)
            due = max(due + (4 if enough else 1) / pace, time.monotonic() - 1)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            group = next(groups)
            await hand_over(marketplace, group)
            told.accepted.append(group)

    await asyncio.gather(*(lane() for _ in range(8)))


async def _room(told: Told) -> bool:
    if told.calm is None:
        return len(told.accepted) < told.plan.calm and len(told.accepted) - told.ended < _AT_ONCE_IN_THE_CALM
    return len(told.accepted) - told.ended <= told.plan.at_once


async def _over(
    database: Database, told: Told, book: _Book, posting: asyncio.Task[None], havoc: asyncio.Task[None]
) -> None:
    """Return when everything is done, when an order was doubled, or when nothing moves any more; for a broken build,
    when its defect shows, or nobody would have the patience."""
    began = moved = time.monotonic()
    seen: tuple[int, ...] = ()
    while told.plan.control is not None or time.monotonic() - moved < SILENCE:
        await asyncio.sleep(0.25)
        for task in (posting, havoc):
            if task.done():
                task.result()
        created = book.read()
        if told.plan.control is not None:
            told.marked = await marked(told.plan.control, database, created, told.waits.lease)
            if told.marked or time.monotonic() - began > LONGEST_CONTROL:
                return
        elif any(times > 1 for times in created.values()):
            return
        async with database.transaction() as session:
            done = text("select count(*) from deliveries where settled_at is not null")
            told.ended = await session.scalar(done) or 0
        if posting.done() and havoc.done() and told.ended == len(told.accepted):
            return
        state = (len(told.accepted), told.ended, told.kills + told.freezes)
        if state != seen:
            moved, seen = time.monotonic(), state


# What killed and frozen workers leave behind is not counted: only how often the seller left us in the dark.
_SENT = text(
    """
    select count(*) as attempts,
           count(*) filter (where outcome not in ('given-back', 'abandoned')) as n,
           count(*) filter (where outcome = 'ambiguous') as unclear
      from attempts where phase = 'send'
    """
)


async def _count(database: Database, seller: SimulatedSeller, told: Told) -> None:
    told.calls = (await seller.calls())["place"]
    async with database.transaction() as session:
        told.placed = set(await session.scalars(text("select order_group from orders where status = 'placed'")))
        states = await session.execute(
            text("select state, count(*) as n from deliveries where state <> 'delivered' group by state")
        )
        told.left = {row.state: row.n for row in states}
        sent = (await session.execute(_SENT)).one()
        told.attempts, told.sends, told.ambiguous = sent.attempts, sent.n, sent.unclear
    told.unclear = await unclear(database, told.calm or [])


class _Book:
    """How often the seller created each group, as its file says."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read, self._created = 0, Counter[str]()

    def read(self) -> Counter[str]:
        if self.path.exists():
            with self.path.open("rb") as file:
                file.seek(self._read)
                for line in file:
                    if not line.endswith(b"\n"):
                        break  # it is being written
                    self._read += len(line)
                    entry: dict[str, Any] = json.loads(line)
                    if "created" in entry:
                        self._created[entry["created"]["group"]] += 1
        return self._created


async def on_own_server(plan: Plan) -> Told:
    async with own_server() as (database, _, folder):
        return await run(plan, database, folder)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--orders", type=int, default=10_000)
    options.add_argument("--seed", type=int, default=1)
    add_options(options, controls=True)
    asked = options.parse_args()
    if not asked.controls:
        ending = Ending("send", asked)
        plan = Plan(asked.orders, asked.seed, asked.sabotage, calm=min(500, asked.orders // 10))
        ending.judge(asyncio.run(on_own_server(plan)))
        return

    def played(name: str) -> tuple[bool, Told]:
        told = asyncio.run(on_own_server(Plan(asked.orders, asked.seed, name, per_second=30)))
        return told.caught, told

    see_each(CONTROLS, played)


if __name__ == "__main__":
    main()
