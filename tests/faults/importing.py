"""An import under fire: the service is killed in the middle of `chain-orders order import`, the command is run again,
and at the end every line is one order, placed once, and the last run has said which were there.

`make faults-import` runs it at length; `tests/operators/test_imports.py` briefly. Void, which is a failure too: a run
whose kills hit no import.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import text

from chain_orders.capability import Keyring
from chain_orders.database import Database
from chain_orders.operators.imports import LINES_PER_COMMIT
from chain_orders.orders import taking
from chain_orders.orders.placing import Bases
from chain_orders.sellers import directory
from chain_orders.simulator.app import create_app as create_simulator
from chain_orders.simulator.server import running

from ..builders import KEY_BYTES, Marketplace, SimulatedSeller, calling, order, until
from . import sabotage
from .nursery import CHECKOUT
from .own_server import own_server
from .process import served
from .record import Ending, Figures, add_options, see_each

SILENCE = 30.0  # seconds without a placement after which a run is over
UNREACHABLE = 3


@dataclass(frozen=True, slots=True)
class Plan:
    lines: int
    kills: int = 1
    sabotage: str | None = None
    small_commits: bool = False
    """A commit for every twenty lines, so that few of them are enough to be in the middle."""
    silence: float = SILENCE

    @property
    def build(self) -> str | None:
        return ",".join(filter(None, [self.sabotage, "small-commits" if self.small_commits else None])) or None

    @property
    def lines_per_commit(self) -> int:
        return sabotage.SMALL_COMMIT if self.small_commits else LINES_PER_COMMIT


@dataclass(slots=True)
class Said:
    """What one run of the command came to."""

    code: int
    results: list[dict[str, Any]]
    told: str

    def groups(self, result: str) -> set[str]:
        return {one["orderGroup"] for one in self.results if one["result"] == result}


@dataclass(slots=True)
class Told:
    """What a run came to."""

    plan: Plan
    broken_off: list[Said] = field(default_factory=list)
    there: set[str] = field(default_factory=set)
    """The groups that the last kill left behind."""
    last: Said = field(default_factory=lambda: Said(0, [], ""))
    orders: int = 0
    created: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def doubled(self) -> list[str]:
        return [group for group, times in self.created.items() if times > 1]

    @property
    def missing(self) -> int:
        return self.plan.lines - len(self.created)

    @property
    def mistold(self) -> set[str]:
        """What the last run did not tell as it is: which were there, and which were not."""
        return (self.last.groups("exists") ^ self.there) | (self.promised - self.there)

    @property
    def promised(self) -> set[str]:
        """What a run that broke off had told already."""
        return {group for said in self.broken_off for group in said.groups("accepted") | said.groups("exists")}

    @property
    def figures(self) -> Figures:
        return Figures(
            tried={"lines of an import": self.plan.lines, "there before its last run": len(self.there)},
            broken={"kills of the service": len(self.broken_off)},
            wrong={"doubled": len(self.doubled), "missing": self.missing, "told wrongly": len(self.mistold)},
            seconds=self.seconds,
        )

    def __str__(self) -> str:
        counted = Counter(one["result"] for one in self.last.results)
        return (
            f"build {self.plan.sabotage or 'as it is'}: {self.plan.lines} lines, {len(self.broken_off)} kills, "
            f"{self.seconds:.0f} s: the last one left {len(self.there)} orders, the run after it told {dict(counted)}; "
            f"{self.orders} orders, doubled {len(self.doubled)}, missing {self.missing}, told wrongly "
            f"{len(self.mistold)}"
        )

    def hold(self) -> None:
        """Raise AssertionError unless every promise held in a run that put it to the test."""
        assert (self.doubled, self.missing, self.mistold) == ([], 0, set()), str(self)
        assert (self.last.code, self.orders, len(self.last.results)) == (0, self.plan.lines, self.plan.lines), str(self)
        assert len(self.broken_off) == self.plan.kills, f"void: {self}"
        assert 0 < len(self.there) < self.plan.lines, f"void: {self}"
        for said in self.broken_off:
            assert said.code == UNREACHABLE, f"void: an import ended by itself: {said.told}"


async def run(plan: Plan, database: Database, seller: SimulatedSeller) -> Told:
    """One run on a migrated database without orders, with a seller that dedupes nothing."""
    told, began = Told(plan), time.monotonic()
    groups = [f"BULK{n:06d}" for n in range(plan.lines)]
    with tempfile.TemporaryDirectory(prefix="chain-orders-faults-") as folder:
        file = Path(folder) / "orders.ndjson"
        file.write_text("".join(json.dumps(order(group)) + "\n" for group in groups))
        async with served(database, plan.build) as (service, marketplace):
            await seller.behave(dedupe=False)
            await marketplace.add_seller(seller.url, ratePerSecond=2000, concurrency=50)
            for nth in range(1, plan.kills + 1):
                at = plan.lines * nth // (plan.kills + 1)
                importing = asyncio.create_task(_import(marketplace, file))
                async with _held(database, marketplace.url, groups[at]):
                    await until(lambda least=at - at % plan.lines_per_commit: _reached(database, least), 120)
                    service.kill()
                told.broken_off.append(await importing)
                told.there = await _stored(database)
                await service.start()
            told.last = await _import(marketplace, file)
            told.orders = len(await _stored(database))
            await _placed(database, plan)
        told.created = Counter(booked["group"] for booked in await seller.book())
    told.seconds = time.monotonic() - began
    return told


@contextlib.asynccontextmanager
async def _held(database: Database, url: str, group: str) -> AsyncIterator[None]:
    """The import stops at this line, in the middle of a commit: somebody else is about to take that order."""
    bases = Bases(url, Keyring({"k1": KEY_BYTES}))
    async with database.transaction() as session:
        await session.execute(text("set local idle_in_transaction_session_timeout = 0"))
        seller = await directory.get(session, "acme")
        await taking.take(session, seller, order(group), None, bases, "another")
        yield
        await session.rollback()


async def _reached(database: Database, least: int) -> bool:
    return len(await _stored(database)) >= least


async def _stored(database: Database) -> set[str]:
    async with database.transaction() as session:
        return set(await session.scalars(text("select order_group from orders")))


async def _import(marketplace: Marketplace, file: Path) -> Said:
    """Run the command as an operator does."""
    key = marketplace.client.headers["Authorization"].removeprefix("Bearer ")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "chain_orders", "order", "import", str(file), "--seller", "acme", "--json"),
        cwd=CHECKOUT,
        env={**os.environ, "CHAIN_ORDERS_API_URL": marketplace.url, "CHAIN_ORDERS_API_KEY": key},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await process.communicate()
    return Said(process.returncode or 0, [json.loads(line) for line in out.splitlines()], err.decode())


_PLACED = text("select count(*) from orders where status = 'placed'")


async def _placed(database: Database, plan: Plan) -> None:
    """Return when every order is placed and nothing is owed any more, or when nothing moves any more."""
    owed = text("select count(*) from deliveries where settled_at is null")
    moved, seen = time.monotonic(), (-1, -1)
    while time.monotonic() - moved < plan.silence:
        async with database.transaction() as session:
            now = (await session.scalar(_PLACED) or 0, await session.scalar(owed) or 0)
        if now == (plan.lines, 0):
            return
        if now != seen:
            moved, seen = time.monotonic(), now
        await asyncio.sleep(0.1)


CONTROLS = {"repeat-places-again": "doubled", "repeat-is-told-as-new": "mistold"}
"""The broken builds, and what each must come to."""


async def on_own_server(plan: Plan) -> Told:
    async with (
        own_server() as (database, _, _),
        running(create_simulator()) as url,
        calling(url, timeout=60) as client,
    ):
        return await run(plan, database, SimulatedSeller(url, client))


def main(arguments: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--lines", type=int, default=2000)
    options.add_argument("--kills", type=int, default=3)
    add_options(options, controls=True)
    asked = options.parse_args(arguments)
    if not asked.controls:
        ending = Ending("import", asked)
        ending.judge(asyncio.run(on_own_server(Plan(asked.lines, asked.kills, asked.sabotage))))
        return

    def played(name: str) -> tuple[bool, Told]:
        told = asyncio.run(on_own_server(Plan(asked.lines, 1, name, silence=10)))
        return bool(getattr(told, CONTROLS[name])), told

    see_each(CONTROLS, played)


if __name__ == "__main__":
    main()
