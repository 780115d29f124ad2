"""A worker that cannot reach whom others reach: it leaves the calls to them, and is named."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, text, update

from chain_orders.alerts.alarm import Alarm
from chain_orders.alerts.models import Alert
from chain_orders.database import Bell, Database
from chain_orders.deliveries import reach
from chain_orders.deliveries.models import Lane
from chain_orders.deliveries.queue import Claimed
from chain_orders.deliveries.reach import FORGOTTEN, HESITATION, LONGEST, SHORTEST, Reach
from chain_orders.deliveries.retry import Course
from chain_orders.outbound import Exchange, Wire
from chain_orders.parts import assemble
from chain_orders.settings import Settings

from ..builders import Marketplace, SimulatedSeller, order, settings_for, until
from ..faults.process import free_port
from .outbox import LANE

MISSED = Exchange(None, sent=False, error="ConnectError", reached=False)
UNCERTIFIED = Exchange(None, sent=False, error="bad-certificate")
BUSY = Exchange(500)


class Calls:
    """A worker's calls to one lane, one after the other, whose gate others may have found open meanwhile."""

    def __init__(self) -> None:
        self.reach, self.failures, self._id = Reach(), 0, 0

    def fails(self, exchange: Exchange = MISSED, *, at: float = 0.0, times: int = 1) -> list[bool]:
        """So many calls that are under way together; which of them are given back."""
        told = self.reach.told()
        claimed = [self._claimed() for _ in range(times)]
        self.reach.claimed(claimed, told)
        given_back = [self.reach.ended(one, exchange, at) for one in claimed]
        for back in given_back:
            if not back:
                self.reach.counted(LANE)
                self.failures += 1
        return given_back

    def others_pass(self) -> None:
        self.failures = 0

    def _claimed(self) -> Claimed:
        self._id += 1
        return Claimed(
            self._id, "place", LANE, order_id=None, chain_order_key=None, method="PUT", target="/", body=b"",  # type: ignore[arg-type]
            attempt=1, course=Course(), lane_troubled=False, lane_failures=self.failures,
        )  # fmt: skip


def test_a_seller_that_nobody_reaches_is_the_gates_matter() -> None:
    calls = Calls()

    assert not any(calls.fails(times=3) + calls.fails() + calls.fails(times=5))
    assert calls.reach.beyond == frozenset()


def test_others_go_first_after_a_call_in_vain() -> None:
    calls = Calls()
    calls.fails(at=1.0)

    assert calls.reach.passed_over(1.0) == {LANE}
    assert calls.reach.passed_over(1.0 + HESITATION) == frozenset()


def test_whom_others_reach_and_we_do_not_is_left_to_them() -> None:
    calls = Calls()
    assert calls.fails(times=3) == [False] * 3
    calls.others_pass()

    assert calls.fails(times=4) == [True] * 4
    assert calls.reach.beyond == {LANE}


@pytest.mark.parametrize("exchange", [UNCERTIFIED, BUSY], ids=["bad-certificate", "busy"])
def test_whom_we_reach_is_never_left_to_others(exchange: Exchange) -> None:
    calls = Calls()
    for _ in range(3):
        assert calls.fails(exchange) == [False]
        calls.others_pass()

    assert calls.reach.beyond == frozenset()


def test_it_is_tried_again_with_one_call_after_a_while_that_grows() -> None:
    calls, at, waits = Calls(), 0.0, []
    calls.fails()
    calls.others_pass()
    calls.fails(times=10)
    for _ in range(20):
        began = at
        while calls.reach.to_try(at) is None:
            at += 0.5
            assert at - began <= LONGEST
        waits.append(at - began)
        calls.fails(at=at)
        calls.others_pass()

    assert waits[0] == SHORTEST
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST


def test_what_is_being_tried_is_not_tried_twice() -> None:
    calls = Calls()
    calls.fails()
    calls.others_pass()
    calls.fails()
    assert calls.reach.to_try(SHORTEST) == LANE
    claimed = calls._claimed()
    calls.reach.claimed([claimed], calls.reach.told())

    assert calls.reach.to_try(100.0) is None
    calls.reach.ended(claimed, None, 100.0)  # it never left
    assert calls.reach.to_try(100.0) == LANE


def test_once_it_is_reached_it_is_called_like_any_other() -> None:
    calls = Calls()
    calls.fails()
    calls.others_pass()
    calls.fails()

    calls.fails(Exchange(201), at=SHORTEST)

    assert calls.reach.beyond == frozenset()


def test_what_others_leave_no_call_for_is_not_held_out_of_reach_for_ever() -> None:
    calls = Calls()
    calls.fails()
    calls.others_pass()
    calls.fails()

    assert calls.reach.to_try(FORGOTTEN) is None
    assert calls.reach.beyond == frozenset()


def test_a_seller_that_goes_away_meanwhile_is_told_to_its_gate() -> None:
    calls, at = Calls(), 0.0
    calls.fails()
    calls.others_pass()
    calls.fails()
    for _ in range(10):
        at += 2 * LONGEST
        assert calls.reach.to_try(at) == LANE
        calls.fails(at=at)

    assert calls.failures == 10


async def test_only_what_is_out_of_reach_now_is_shown_and_only_for_whom_still_works(database: Database) -> None:
    async def shown() -> dict[str, list[str]]:
        async with database.transaction() as session:
            return {row.worker: row.lanes for row in await session.execute(reach.SHOWN)}

    async def all_of_two(set_: str) -> None:
        async with database.transaction() as session:
            await session.execute(text(f"update out_of_reach set {set_} where worker = 'two'"))

    async with database.transaction() as session:
        for worker in ("one", "two"):
            await reach.show(session, worker, [LANE, "seller:other"])
        await reach.show(session, "one", ["seller:other"])
    assert await shown() == {"one": ["seller:other"], "two": [LANE, "seller:other"]}

    await all_of_two("seen_at = clock_timestamp() - interval '2 minutes'")
    assert await shown() == {"one": ["seller:other"]}

    await all_of_two("seen_at = clock_timestamp() - interval '2 hours'")
    async with database.transaction() as session:
        await reach.purge(session)
        assert set(await session.scalars(text("select worker from out_of_reach"))) == {"one"}


async def test_a_port_that_nobody_listens_on_is_not_reached() -> None:
    wire = Wire(deadline=5, connect=5, allow_private=True)
    exchange = await wire.exchange("PUT", f"http://127.0.0.1:{free_port()}/", headers={})
    await wire.close()

    assert (exchange.sent, exchange.reached) == (False, False)


@contextlib.asynccontextmanager
async def _worker_without_a_way_out(database: Database) -> AsyncIterator[None]:
    """Outside of development no private address is called: to this worker every seller of this machine is away."""
    inside: dict[str, Any] = {"environment": "production", "public_url": "https://harbor.example"}
    parts = assemble(Settings(**settings_for(database.url, **inside, poll_seconds=0.02)))
    stop = asyncio.Event()
    working = asyncio.create_task(parts.worker.run(stop))
    try:
        yield
    finally:
        stop.set()
        await working
        await parts.close()


async def test_a_worker_without_a_way_out_leaves_its_calls_to_others_and_is_named(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    database, placed = marketplace.database, 0
    await marketplace.change_seller(concurrency=2)
    async with database.transaction() as session:
        await session.execute(update(Lane).values(ramp=None))

    async def cut_off() -> str | None:
        async with database.transaction() as session:
            found: str | None = await session.scalar(text("select worker from out_of_reach"))
        return found

    async with _worker_without_a_way_out(database):
        while not (worker := await cut_off()):
            await asyncio.gather(*(marketplace.post_order(order(f"CUT{placed + n}")) for n in range(4)))
            placed += 4
            assert placed < 500
        await asyncio.gather(*(marketplace.post_order(order(f"LEFT{n}")) for n in range(8)))

        async def all_placed() -> bool:
            async with database.transaction() as session:
                many = await session.scalar(text("select count(*) from orders where status = 'placed'"))
            return many == placed + 8

        await until(all_placed, 30)
        alarm = Alarm(database, Bell(""), None, every=timedelta(milliseconds=1), patience=timedelta())
        await alarm.step()
        stats = (await marketplace.client.get("/v1/stats")).json()
        metrics = (await marketplace.client.get("/metrics")).text

    async with database.transaction() as session:
        burnt = await session.scalar(_BURNT)
        given_back = await session.scalar(_GIVEN_BACK, {"worker": worker})
        reason = await session.scalar(select(Alert.reason).where(Alert.code == "out-of-reach"))
    assert burnt is not None
    assert burnt <= 2
    assert given_back
    assert stats["outOfReach"] == [{"worker": worker, "lanes": [LANE]}]
    assert f'chain_orders_out_of_reach{{worker="{worker}"}} 1.0' in metrics
    assert worker in str(reason)


_BURNT = text(
    """
    select max(failures) from deliveries d join orders o on o.id = d.order_id where o.order_group like 'LEFT%'
    """
)
_GIVEN_BACK = text("select count(*) from attempts where worker = :worker and outcome = 'given-back'")
