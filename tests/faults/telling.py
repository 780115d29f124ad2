"""Webhooks under fire: the service is killed in the middle of a burst and started again, and at the end every event was
received at least once, under an id of its own, as the feed shows it and signed.

`make faults-webhooks` runs it at length; `tests/webhooks/test_crash.py` briefly. Void, which is a failure too: a run
without a kill while webhooks were owed.
"""

from __future__ import annotations

import argparse
import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sqlalchemy import text

from chain_orders.database import Database
from chain_orders.events.models import Event
from chain_orders.simulator.app import create_app as create_simulator
from chain_orders.simulator.server import running

from ..builders import until
from ..webhooks.receiver import Receiver, feed, receiving, subscribe
from .own_server import own_server
from .process import served
from .record import Ending, Figures, add_options

_TYPE = "order.rebuilt"  # of which nothing else is told
_AT_ONCE = 20
SILENCE = 60.0  # seconds without progress after which a run is over
# What was being sent by a process that was killed is sent again when its lease is over.
PATIENT = {"CHAIN_ORDERS_EXCHANGE_SECONDS": "4", "CHAIN_ORDERS_LEASE_SECONDS": "6"}
"""A receiver on a busy machine is slow, and that is no failure: the breaker is not what is tried here."""


@dataclass(frozen=True, slots=True)
class Plan:
    webhooks: int
    kills: int = 1
    sabotage: str | None = None
    silence: float = SILENCE


@dataclass(slots=True)
class Told:
    """What a run came to."""

    plan: Plan
    wanted: dict[str, Any] = field(default_factory=dict)
    heard: Counter[str] = field(default_factory=Counter)
    proven: list[tuple[str, Any]] = field(default_factory=list)
    """The id and the document of each that was received, verified while it was fresh: the library refuses old ones."""
    altered: list[str] = field(default_factory=list)
    """Those whose body is not what the feed shows."""
    owed_at_kill: list[int] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def missing(self) -> list[str]:
        return sorted(self.wanted.keys() - self.heard.keys())

    @property
    def repeated(self) -> int:
        return sum(times - 1 for times in self.heard.values())

    @property
    def figures(self) -> Figures:
        return Figures(
            tried={"webhooks": len(self.wanted), "received more than once, as they may be": self.repeated},
            broken={"kills of the service": len(self.owed_at_kill)},
            wrong={"missing": len(self.missing), "altered": len(self.altered)},
            seconds=self.seconds,
        )

    def __str__(self) -> str:
        return (
            f"build {self.plan.sabotage or 'as it is'}: {len(self.wanted)} webhooks, {len(self.owed_at_kill)} kills "
            f"with {self.owed_at_kill} still to come, {self.seconds:.0f} s: {len(self.heard)} distinct ids received, "
            f"{self.repeated} of them more than once, missing {len(self.missing)}, altered {len(self.altered)}"
        )

    def take(self, receiver: Receiver, secret: str) -> int:
        """Verify what came since the last time; how many distinct ones there are."""
        for one in receiver.accepted[len(self.proven) :]:
            self.proven.append((one.id, one.proven(secret)))
            self.heard[one.id] += 1
        return len(self.heard)

    def hold(self) -> None:
        """Raise AssertionError unless every promise held in a run that put it to the test."""
        assert (self.missing, self.altered) == ([], []), str(self)
        assert self.heard.keys() == self.wanted.keys(), str(self)
        assert len(self.wanted) == self.plan.webhooks, str(self)
        assert len(self.owed_at_kill) == self.plan.kills, f"void: {self}"
        assert all(self.owed_at_kill), f"void: {self}"


async def run(plan: Plan, database: Database, seller_url: str) -> Told:
    """One run on a migrated database without orders."""
    told, began = Told(plan), time.monotonic()
    async with receiving() as receiver, served(database, plan.sabotage, **PATIENT) as (service, marketplace):
        receiver.slow_seconds = 0.05
        await marketplace.add_seller(seller_url)
        placed = await marketplace.place()
        made = await subscribe(marketplace, receiver.url, events=[_TYPE], concurrency=20, ratePerSecond=1000)
        take = partial(told.take, receiver, made["secret"])
        burst = asyncio.create_task(_burst(database, placed["id"], plan.webhooks))
        try:
            for nth in range(1, plan.kills + 1):
                await _progress(take, plan.webhooks * nth // (plan.kills + 4), plan.silence)
                service.kill()
                told.owed_at_kill.append(plan.webhooks - take())
                await service.start()
        finally:
            await burst

        async def all_numbered() -> dict[str, Any]:
            shown = {f"evt_{one['id']}": one for one in await feed(marketplace) if one["type"] == _TYPE}
            return shown if len(shown) == plan.webhooks else {}

        told.wanted = await until(all_numbered, 120)
        await _progress(take, plan.webhooks, plan.silence, partial(_nothing_owed, database))
        told.altered = [id_ for id_, document in told.proven if document != told.wanted.get(id_)]
    told.seconds = time.monotonic() - began
    return told


async def _going_on() -> bool:
    return False


async def _progress(
    take: Callable[[], int], many: int, silence: float, over: Callable[[], Awaitable[bool]] = _going_on
) -> None:
    """Wait until so many were received, for as long as more of them come; or until it is over, as the tables say."""
    seen, since = take(), time.monotonic()
    while seen < many and time.monotonic() - since < silence:
        if await over():
            take()
            return
        await asyncio.sleep(0.1)
        if (count := take()) > seen:
            seen, since = count, time.monotonic()


_NOTHING_OWED = text(
    """
    select not exists (select 1 from deliveries where kind = 'webhook' and settled_at is null)
       and (select min(position) from subscriptions) >= (select max(position) from events)
    """
)


async def _nothing_owed(database: Database) -> bool:
    """Whether every event was passed and every call that it made is settled: whatever is missing will never come."""
    async with database.transaction() as session:
        return bool(await session.scalar(_NOTHING_OWED))


async def _burst(database: Database, order_id: str, many: int) -> None:
    for start in range(0, many, _AT_ONCE):
        async with database.transaction() as session:
            session.add_all(
                Event(
                    type=_TYPE, order_id=uuid.UUID(order_id), seller_id="acme", order_group="G", actor="service",
                    data={"nth": start + n},
                )
                for n in range(min(_AT_ONCE, many - start))
            )  # fmt: skip
        await asyncio.sleep(0.1)


async def _on_own_server(plan: Plan) -> Told:
    async with own_server() as (database, _, _), running(create_simulator()) as seller_url:
        return await run(plan, database, seller_url)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--webhooks", type=int, default=5000)
    options.add_argument("--kills", type=int, default=3)
    add_options(options)
    asked = options.parse_args()
    ending = Ending("webhooks", asked)
    ending.judge(asyncio.run(_on_own_server(Plan(asked.webhooks, asked.kills, asked.sabotage))))


if __name__ == "__main__":
    main()
