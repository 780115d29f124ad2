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
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path

from sqlalchemy import text

from chain_orders.database import Database
from chain_orders.embedded import Cluster

from .balancer import Balancer, says_ready
from .heard import Ledger, Plan, Told, count, deliveries
from .notifying import Line, notification, placed_orders
from .own_server import own_server
from .process import ServiceProcess, free_port
from .record import Ending, add_options, see_each

REPLICAS = 3
LANES = 24
SILENCE = 30.0  # seconds without progress after which a run is over
SETTINGS = {"CHAIN_ORDERS_LOG_FORMAT": "console", "CHAIN_ORDERS_POOL_SIZE": "6"}


async def run(plan: Plan) -> Told:
    """One run on a durable PostgreSQL of its own, which is killed."""
    async with own_server() as (database, cluster, folder):
        return await _run(plan, cluster, database, folder)


async def _run(plan: Plan, cluster: Cluster, database: Database, folder: Path) -> Told:
    told, chance = Told(plan), random.Random(plan.seed)
    bases = await placed_orders(database, plan.groups)
    async with _replicas(database, plan) as (replicas, front):
        started = time.monotonic()
        ledger = Ledger(folder / "ledger")
        sending = asyncio.create_task(_send(plan, told, chance, ledger, bases, front))
        killing = asyncio.create_task(_kill(plan, told, random.Random(plan.seed + 1), cluster, replicas, sending))
        try:
            await asyncio.wait([sending, killing], return_when=asyncio.FIRST_EXCEPTION)
            await asyncio.gather(sending, killing)
            await _settled(database, len(bases))
        finally:
            for task in (sending, killing):
                task.cancel()
            await asyncio.gather(sending, killing, return_exceptions=True)
            ledger.close()
        told.seconds = time.monotonic() - started
        await count(database, told, ledger)
    return told


@contextlib.asynccontextmanager
async def _replicas(database: Database, plan: Plan) -> AsyncIterator[tuple[list[ServiceProcess], int]]:
    calm = {} if plan.least_replica_kills else {"CHAIN_ORDERS_COMMIT_SECONDS": "30"}  # nothing is lost by slowness
    settings = {**SETTINGS, **calm}
    replicas = [ServiceProcess(database.url, free_port(), plan.sabotage, settings) for _ in range(REPLICAS)]
    try:
        await asyncio.gather(*(replica.start() for replica in replicas))
        async with Balancer([replica.port for replica in replicas]).running() as front:
            yield replicas, front
    finally:
        for replica in replicas:
            replica.kill()
            replica.forget()


async def _send(
    plan: Plan, told: Told, chance: random.Random, ledger: Ledger, bases: dict[str, str], front: int
) -> None:
    """What the sellers do: deliver, and deliver again what was not acknowledged."""
    coming = enumerate(deliveries(plan, chance))
    started = time.monotonic()

    async def lane() -> None:
        line = Line(front)
        for nth, (group, number) in coming:
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


class _Watched:
    """The replicas, and which of them have been ready since they were started: those end by nobody's hand but ours."""

    def __init__(self, told: Told, replicas: list[ServiceProcess]) -> None:
        self._told, self._replicas = told, replicas
        self._ready = {replica.port for replica in replicas}

    def kill(self, victim: ServiceProcess) -> None:
        self._ready.discard(victim.port)
        victim.kill()
        self._told.replica_kills += 1

    async def look(self) -> None:
        """Start what has ended: one that starts without a database may end, one that was ready may not."""
        for replica in self._replicas:
            if replica.running:
                if replica.port not in self._ready and await says_ready(replica.port):
                    self._ready.add(replica.port)
                continue
            self._told.ended += replica.port in self._ready
            self._ready.discard(replica.port)
            await replica.start(wait=False)


async def _kill(
    plan: Plan,
    told: Told,
    chance: random.Random,
    cluster: Cluster,
    replicas: list[ServiceProcess],
    sending: asyncio.Task[None],
) -> None:
    """Kill a replica or PostgreSQL every few moments, for as long as notifications pour in."""
    watched = _Watched(told, replicas)
    if not plan.least_replica_kills + plan.least_server_kills:
        return
    while not sending.done() or _too_few(plan, told):
        await asyncio.sleep(chance.uniform(0.2, 1.5))
        if told.server_kills * 2 < told.replica_kills:
            cluster.crash()
            told.server_kills += 1
            await asyncio.sleep(chance.uniform(0, 0.5))
            await asyncio.to_thread(cluster.start)
        else:
            watched.kill(chance.choice(replicas))
            await asyncio.sleep(chance.uniform(0, 0.3))
        await _recovered(told, watched, sending)


def _too_few(plan: Plan, told: Told) -> bool:
    return told.replica_kills < plan.least_replica_kills or told.server_kills < plan.least_server_kills


async def _recovered(told: Told, watched: _Watched, sending: asyncio.Task[None]) -> None:
    """Wait until notifications are taken again."""
    wanted = told.acknowledged + 3 * LANES
    while True:
        await watched.look()
        if sending.done() or told.acknowledged >= wanted:
            return
        await asyncio.sleep(0.2)


_STATES = text(
    "select count(*) filter (where status in ('invoiced', 'cancelled')) as done, sum(applied_seq) as moves from orders"
)


async def _settled(database: Database, orders: int) -> None:
    """Return when every order is at its end and nothing waits, or when nothing moves any more."""
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


CONTROLS = {
    "answer-before-commit": ("lost",),
    "dedupe": ("differing",),
    "dedupe-by-request-id": ("differing",),
    "no-order-lock": ("twice", "misapplied"),
    "asynchronous-commit": ("lost",),
    "ends-without-database": ("ended",),
}
"""The broken builds, and which promise each must be seen to break."""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--notifications", type=int, default=100_000)
    options.add_argument("--seed", type=int, default=1)
    add_options(options, controls=True)
    asked = options.parse_args()
    if not asked.controls:
        ending = Ending("hear", asked)
        ending.judge(asyncio.run(run(Plan(asked.notifications, asked.seed, asked.sabotage))))
        return

    def played(name: str) -> tuple[bool, str]:
        told = asyncio.run(run(Plan(asked.notifications, asked.seed, name, 400)))
        return told.shows(*CONTROLS[name]), f"{' or '.join(CONTROLS[name])} in {told}"

    see_each(CONTROLS, played)


if __name__ == "__main__":
    main()
