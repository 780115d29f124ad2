"""Settling together: what one attempt meets must not be felt by another."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from chain_orders.database import Bell, Database
from chain_orders.deliveries import settling
from chain_orders.deliveries.models import Delivery, Lane
from chain_orders.deliveries.queue import Claimed
from chain_orders.deliveries.retry import Delivered, Retry
from chain_orders.deliveries.settling import Contradiction, Ended, LockFree, Recorded, Settler
from chain_orders.orders import lookup
from chain_orders.outcome import Again, Ambiguous, Answered, Denied, Outcome, Throttled

from ..builders import Marketplace, order, until
from .outbox import LEASE, claim, owe


class Recorder:
    """Notes what it is given, and does what it is told to."""

    def __init__(self, act: Callable[[Sequence[Ended]], Awaitable[None]] | None = None) -> None:
        self.batches: list[list[int]] = []
        self._act = act

    async def record(self, session: AsyncSession, ended: Sequence[Ended]) -> Recorded:
        self.longest_wait = await session.scalar(text("show lock_timeout"))
        self.batches.append([one.claimed.id for one in ended])
        if self._act is not None:
            await self._act(ended)
        return Recorded()


async def _all_free(_: Any, orders: Collection[uuid.UUID]) -> Collection[uuid.UUID]:
    return orders


def _settler(database: Database, recorder: Recorder, lock_free: LockFree = _all_free) -> Settler:
    return Settler(database, Bell(""), {"authorize": recorder}, lock_free, LEASE)


async def _states(database: Database) -> dict[int, str]:
    async with database.transaction() as session:
        return dict((await session.execute(select(Delivery.id, Delivery.state))).all())  # type: ignore[arg-type]


def _all(settler: Settler, claimed: Sequence[Claimed]) -> Any:
    return asyncio.gather(*(settler.settle(Ended(one, Answered(), Delivered())) for one in claimed))


async def test_what_ends_together_is_settled_together(database: Database, lane: str) -> None:
    owed = await owe(database, "s1", "s2", "s3")
    recorder = Recorder()

    await _all(_settler(database, recorder), await claim(database))

    assert recorder.batches == [owed]
    assert recorder.longest_wait == "1s"  # for what somebody holds
    assert set((await _states(database)).values()) == {"delivered"}


async def test_what_contradicts_is_dead_alone(database: Database, lane: str) -> None:
    first, second, third = await owe(database, "s1", "s2", "s3")

    async def contradict(ended: Sequence[Ended]) -> None:
        if any(one.claimed.id == second and one.verdict == Delivered() for one in ended):
            raise Contradiction("it cannot be so", "placement-conflict")

    await _all(_settler(database, Recorder(contradict)), await claim(database))

    assert await _states(database) == {first: "delivered", second: "dead", third: "delivered"}


async def test_who_waits_for_an_order_keeps_nobody_waiting(database: Database, lane: str) -> None:
    first, second, third = await owe(database, "s1", "s2", "s3")
    claimed = await claim(database)
    held = next(one.order_id for one in claimed if one.id == second)
    released = asyncio.Event()

    async def free(_: Any, orders: Collection[uuid.UUID]) -> Collection[uuid.UUID]:
        return orders if released.is_set() else set(orders) - {held}

    settling_all = asyncio.ensure_future(_all(_settler(database, Recorder(), free), claimed))
    meanwhile = await until(lambda: _others_are_delivered(database, second))
    released.set()
    await settling_all

    assert meanwhile == {first: "delivered", second: "sending", third: "delivered"}
    assert (await _states(database))[second] == "delivered"


async def _others_are_delivered(database: Database, held: int) -> dict[int, str] | None:
    states = await _states(database)
    return states if all(state == "delivered" for id_, state in states.items() if id_ != held) else None


MIXES: list[list[Outcome]] = [
    [Again("no connection"), Throttled("slow down", 1.0), *[Answered()] * 5],
    [*[Again("no connection")] * 3, Answered(), Again("no connection"), Answered()],
    [Ambiguous("silence")] * 10,
    [Denied("who are you"), Answered(), Again("no connection"), Answered()],
]


@pytest.mark.parametrize("mix", MIXES, ids=["throttled", "mixed", "burst", "denied"])
async def test_a_lane_hears_the_same_of_a_batch_as_of_each_alone(
    database: Database, lane: str, mix: list[Outcome]
) -> None:
    heard = []
    for together in (False, True):
        await owe(database, *(f"{together}{n}" for n in range(len(mix))))
        ended = [Ended(one, outcome, Delivered()) for one, outcome in zip(await claim(database), mix, strict=True)]
        settler = _settler(database, Recorder())
        if together:
            await asyncio.gather(*(settler.settle(one) for one in ended))
        else:
            for one in ended:
                await settler.settle(one)
        async with database.transaction() as session:
            heard.append((await session.execute(select(Lane.breaker, Lane.failures, Lane.ramp))).one())
            await session.execute(
                update(Lane).values(breaker="closed", failures=0, ramp=None, next_at=None, tokens=1000)
            )

    assert heard[0] == heard[1]


async def test_a_call_that_alone_is_not_let_in_stops_no_other(database: Database, lane: str) -> None:
    """A key may lack the right to one kind of call."""
    await owe(database, "s1")
    (one,) = await claim(database)
    alone = replace(one, course=replace(one.course, others_pass=True))

    await _settler(database, Recorder()).settle(Ended(alone, Denied("not this"), Retry(timedelta(), "not this")))

    async with database.transaction() as session:
        found = (await session.execute(select(Lane.breaker, Lane.failures, Lane.next_at))).one()
    assert tuple(found) == ("closed", 0, None)
    assert set((await _states(database)).values()) == {"retrying"}


async def test_a_lost_lease_is_lost_alone(database: Database, lane: str) -> None:
    first, second = await owe(database, "s1", "s2")
    claimed = await claim(database)
    async with database.transaction() as session:
        await session.execute(update(Delivery).where(Delivery.id == second).values(attempts=2))

    await _all(_settler(database, Recorder()), claimed)

    assert await _states(database) == {first: "delivered", second: "sending"}


async def test_a_batch_is_tried_again_while_the_database_is_busy(
    database: Database, lane: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await owe(database, "s1", "s2")
    fails = 3

    async def busy(session: Any, ended: Sequence[Ended]) -> set[str]:
        nonlocal fails
        fails -= 1
        if fails >= 0:
            await session.execute(text("do $$ begin raise exception using errcode = '40P01'; end $$"))
        return await settle(session, ended)

    settle = settling.settle
    monkeypatch.setattr(settling, "settle", busy)
    await _all(_settler(database, Recorder()), await claim(database))

    assert set((await _states(database)).values()) == {"delivered"}


async def test_an_order_that_somebody_holds_is_not_locked(marketplace: Marketplace, database: Database) -> None:
    held, free = [uuid.UUID((await marketplace.place(order(name)))["id"]) for name in ("HELD1", "FREE1")]

    async with database.transaction() as holding, database.transaction() as session:
        await lookup.locked(holding, held)
        locked = await lookup.lock_free(session, [held, free])

    assert locked == {free}
