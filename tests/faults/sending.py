"""Placements under fire: a seller that dedupes nothing and often leaves us in the dark, workers that are killed and
frozen, and at the end every order exists exactly once.

`make faults-send` runs it at length; `tests/faults/test_sending.py` briefly. Waits are the service's own, divided by
one factor. Void, which is a failure too: a run with too few ambiguous outcomes, no kill, or no freeze.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import text

from chain_orders import schema
from chain_orders.database import Database
from chain_orders.embedded import Cluster
from chain_orders.operators import access

from ..builders import Marketplace, SimulatedSeller, order, until
from .process import ServiceProcess, free_port

FACTOR = 20
"""Every wait of the service is its default divided by this."""
VERIFY_AT = [at / FACTOR for at in (5, 15, 60)]
SETTINGS = {
    "CHAIN_ORDERS_EXCHANGE_SECONDS": str(35 / FACTOR),
    "CHAIN_ORDERS_LEASE_SECONDS": str(60 / FACTOR),
    "CHAIN_ORDERS_VERIFY_AT": ",".join(map(str, VERIFY_AT)),
    "CHAIN_ORDERS_RETRY_SCHEDULE": ",".join(["0.25"] * 40),
    "CHAIN_ORDERS_LOG_FORMAT": "console",
}
FAULTS = {"resetBefore": 0.08, "loseAnswer": 0.14, "failAfterCreating": 0.10, "garbage": 0.06, "drip": 0.03}
LEAST_AMBIGUOUS = 0.30
SILENCE = 25.0  # seconds without progress after which a run is over


@dataclass(frozen=True, slots=True)
class Plan:
    orders: int
    seed: int
    sabotage: str | None = None
    per_second: float = 200.0
    slow_seller: bool = False
    """The seller shows an order after the window: the one thing that the promise depends on."""


@dataclass(slots=True)
class Told:
    """What a run came to."""

    plan: Plan
    created: Counter[str] = field(default_factory=Counter)
    accepted: list[str] = field(default_factory=list)
    placed: set[str] = field(default_factory=set)
    left: dict[str, int] = field(default_factory=dict)
    sends: int = 0
    ambiguous: int = 0
    kills: int = 0
    freezes: int = 0
    seconds: float = 0.0

    @property
    def doubled(self) -> list[str]:
        return [group for group, times in self.created.items() if times > 1]

    @property
    def lost(self) -> list[str]:
        return [group for group in self.accepted if not self.created[group]]

    @property
    def unknown(self) -> list[str]:
        return [group for group in self.accepted if group not in self.placed]

    @property
    def void(self) -> str | None:
        if len(self.accepted) < self.plan.orders:
            return f"{len(self.accepted)} of {self.plan.orders} orders were accepted"
        if self.ambiguous < LEAST_AMBIGUOUS * self.sends:
            return f"{self.ambiguous} of {self.sends} calls were ambiguous"
        if not self.kills or self.freezes < 2:
            return f"{self.kills} kills and {self.freezes} freezes"
        return None

    def __str__(self) -> str:
        asked = self.plan
        share = self.ambiguous / self.sends if self.sends else 0.0
        bound = 3 / len(self.accepted) if self.accepted else 1.0
        return (
            f"seed {asked.seed}, build {asked.sabotage or 'as it is'}{', slow seller' if asked.slow_seller else ''}, "
            f"waits divided by {FACTOR}: {len(self.accepted)} orders accepted, {self.sends} placements sent, "
            f"{self.ambiguous} ambiguous ({share:.0%}), {self.kills} kills, {self.freezes} freezes, "
            f"{self.seconds:.0f} s: doubled {len(self.doubled)}, lost {len(self.lost)}, "
            f"left unknown {len(self.unknown)} {self.left or ''}(0 of n is at most {bound:.2%} at 95 %)"
        )

    def hold(self) -> None:
        """Raise AssertionError unless every promise held in a run that put it to the test."""
        assert (self.doubled, self.lost, self.unknown) == ([], [], []), str(self)
        assert self.void is None, f"void: {self.void}; {self}"


async def run(plan: Plan, database: Database, folder: Path) -> Told:
    """One run on an empty, migrated database."""
    told, chance = Told(plan), random.Random(plan.seed)
    port, book = free_port(), folder / "book.jsonl"
    async with seller_process(port, book) as seller, _serving(database, plan) as (marketplace, workers):
        await seller.behave(dedupe=False, slowSeconds=0.1, seed=plan.seed, **FAULTS, readLagSeconds=VERIFY_AT[-1] * 0.8)
        if plan.slow_seller:
            await seller.behave(readLagSeconds=VERIFY_AT[-1] * 3)
        await marketplace.add_seller(seller.url, concurrency=50, ratePerSecond=5000)
        started = time.monotonic()
        for worker in workers:
            await worker.start()
        posting = asyncio.create_task(_post(marketplace, plan, told))
        havoc = asyncio.create_task(_havoc(workers, chance, database, told, posting))
        try:
            await _drained(database, told, book, posting, havoc)
        finally:
            for task in (posting, havoc):
                task.cancel()
            await asyncio.gather(posting, havoc, return_exceptions=True)
            for worker in workers:
                if worker.frozen:
                    worker.thaw()
                worker.kill()
        told.seconds = time.monotonic() - started
        await _count(database, told)
        told.created = _booked(book)
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
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60) as client:
            await until(lambda: _answers(client), 30)
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
async def _serving(database: Database, plan: Plan) -> AsyncIterator[tuple[Marketplace, list[ServiceProcess]]]:
    """One process that takes orders and two that send them; the first of those will freeze by itself."""
    serve = ServiceProcess(database.url, free_port(), None, SETTINGS, options=["--no-worker"])
    public = {**SETTINGS, "CHAIN_ORDERS_PUBLIC_URL": serve.url}
    freezing = ",".join(filter(None, [plan.sabotage, "freeze-before-send"]))
    workers = [ServiceProcess(database.url, 0, build, public, "work") for build in (freezing, plan.sabotage)]
    async with database.transaction() as session:
        key = await access.create_key(session, f"sending-{serve.port}", "admin")
    try:
        await serve.start()
        async with httpx.AsyncClient(
            base_url=serve.url, headers={"Authorization": f"Bearer {key}"}, trust_env=False, timeout=30
        ) as client:
            yield Marketplace(serve.url, client, database), workers
    finally:
        for process in (serve, *workers):
            process.kill()
            process.forget()


async def hand_over(marketplace: Marketplace, group: str) -> None:
    """Place an order; what was cut off or could not be stored is placed again under its group."""
    while True:
        with contextlib.suppress(httpx.TransportError):
            answer = await marketplace.post_order(order(group))
            if answer.status_code < 300:
                return
            assert answer.status_code >= 500, answer.text
        await asyncio.sleep(0.2)


async def _post(marketplace: Marketplace, plan: Plan, told: Told) -> None:
    """Hand over the orders at a steady pace."""
    groups = iter([f"SEND{plan.seed:04d}{n:06d}" for n in range(plan.orders)])
    started = time.monotonic()

    async def lane() -> None:
        for group in groups:
            due = started + len(told.accepted) / plan.per_second
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            await hand_over(marketplace, group)
            told.accepted.append(group)

    await asyncio.gather(*(lane() for _ in range(8)))


async def _havoc(
    workers: list[ServiceProcess], chance: random.Random, database: Database, told: Told, posting: asyncio.Task[None]
) -> None:
    """Freeze the first worker by its failpoint and the second from outside, each past its lease and the window, and
    kill whichever runs at random while orders come in."""
    zombie, other = workers
    await until(lambda: _is_frozen(zombie), 60)
    await _outlived(zombie, database, told)
    await asyncio.sleep(0.5)
    await other.freeze()
    await _outlived(other, database, told)
    zombie.kill()
    zombie.sabotage = other.sabotage  # it has frozen once
    await zombie.start()
    while not posting.done() or told.kills < 3:
        await asyncio.sleep(chance.uniform(0.5, 3))
        victim = chance.choice(workers)
        victim.kill()
        told.kills += 1
        await victim.start()


async def _outlived(frozen: ServiceProcess, database: Database, told: Told) -> None:
    """Thaw a worker once others have settled what it holds, or have tried to for long."""
    held = text("select count(*) from deliveries where id = any(:held) and settled_at is null")
    async with database.transaction() as session:
        mine = {"pid": f"%:{frozen.pid}:%"}
        ids = list(
            await session.scalars(text("select id from deliveries where state = 'sending' and worker like :pid"), mine)
        )
    deadline = time.monotonic() + 5 * VERIFY_AT[-1]
    while time.monotonic() < deadline:
        await asyncio.sleep(0.25)
        async with database.transaction() as session:
            if (await session.scalar(held, {"held": ids}) or 0) <= len(ids) // 4:
                break
    frozen.thaw()
    told.freezes += 1


async def _is_frozen(worker: ServiceProcess) -> bool:
    assert worker.running, f"the worker ended: {worker.log[-2000:]}"
    return worker.frozen


async def _drained(
    database: Database, told: Told, book: Path, posting: asyncio.Task[None], havoc: asyncio.Task[None]
) -> None:
    """Return when everything is done, when an order was doubled, or when nothing moves any more."""
    moved, seen = time.monotonic(), (-1, -1, -1)
    while time.monotonic() - moved < SILENCE:
        await asyncio.sleep(0.5)
        for task in (posting, havoc):
            if task.done():
                task.result()
        if any(times > 1 for times in _booked(book).values()):
            return
        async with database.transaction() as session:
            ended = await session.scalar(text("select count(*) from deliveries where settled_at is not null"))
        if posting.done() and havoc.done() and ended == told.plan.orders:
            return
        state = (len(told.accepted), ended, told.kills + told.freezes)
        if state != seen:
            moved, seen = time.monotonic(), state


_SENT = text(
    """
    select count(*) filter (where outcome <> 'given-back') as n,
           count(*) filter (where outcome in ('ambiguous', 'abandoned')) as unclear
      from attempts where phase = 'send'
    """
)


async def _count(database: Database, told: Told) -> None:
    async with database.transaction() as session:
        told.placed = set(await session.scalars(text("select order_group from orders where status = 'placed'")))
        states = await session.execute(
            text("select state, count(*) as n from deliveries where state <> 'delivered' group by state")
        )
        told.left = {row.state: row.n for row in states}
        sent = (await session.execute(_SENT)).one()
        told.sends, told.ambiguous = sent.n, sent.unclear


def _booked(book: Path) -> Counter[str]:
    """How often the seller created each group, as its file says."""
    created: Counter[str] = Counter()
    if book.exists():
        for line in book.read_text("utf-8").splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                entry: dict[str, Any] = json.loads(line)
                if "created" in entry:
                    created[entry["created"]["group"]] += 1
    return created


CONTROLS = {
    "resend-after-silence": "doubled",
    "resend-after-crash": "doubled",
    "early-ready": "doubled",
    "no-fence": "doubled",
    "attempt-after-send": "doubled",
    "claim-by-last-id": "unknown",
    "resend-after-one-read": "doubled",
}
"""The broken builds, and what each must come to."""


SLOW_SELLER = "slow seller"
"""No broken build: a seller that shows an order later than the window. What the promise depends on is not assumed."""


async def on_own_cluster(plan: Plan) -> Told:
    """One run on a durable PostgreSQL of its own."""
    with tempfile.TemporaryDirectory(prefix="chain-orders-faults-") as folder:
        cluster = Cluster(Path(folder) / "cluster")
        try:
            await asyncio.to_thread(cluster.start)
            await asyncio.to_thread(schema.migrate, cluster.database_url)
            database = Database(cluster.database_url)
            try:
                return await run(plan, database, Path(folder))
            finally:
                await database.close()
        finally:
            cluster.remove()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--orders", type=int, default=10_000)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--sabotage", default=None)
    options.add_argument("--controls", action="store_true", help="every sabotaged build must fail")
    asked = options.parse_args()
    if not asked.controls:
        told = asyncio.run(on_own_cluster(Plan(asked.orders, asked.seed, asked.sabotage)))
        print(told, flush=True)
        told.hold()
        return
    if blind := [name for name, how in {**CONTROLS, SLOW_SELLER: "doubled"}.items() if not _caught(asked, name, how)]:
        raise SystemExit(f"the harness does not see: {', '.join(blind)}")


def _caught(asked: argparse.Namespace, name: str, how: str) -> bool:
    slow = name == SLOW_SELLER
    plan = Plan(asked.orders, asked.seed, None if slow else name, per_second=40, slow_seller=slow)
    told = asyncio.run(on_own_cluster(plan))
    caught = told.sends >= 20 and bool(getattr(told, how))
    print(f"{'caught' if caught else 'NOT CAUGHT'}: {told}", flush=True)
    return caught


if __name__ == "__main__":
    main()
