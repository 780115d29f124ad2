"""The outbox's SQL: who may claim what, and who may settle."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, text, update

from chain_orders.database import Database
from chain_orders.deliveries import lanes, queue
from chain_orders.deliveries.models import Attempt, Delivery, Lane
from chain_orders.deliveries.queue import Claimed
from chain_orders.deliveries.retry import Delivered
from chain_orders.outcome import Again, Answered, Denied, Throttled

LEASE = timedelta(seconds=60)
LANE = "seller:acme"


@pytest.fixture
async def lane(database: Database) -> str:
    async with database.transaction() as session:
        session.add(Lane(lane=LANE, concurrency=10, rate_per_second=1000, tokens=1000))
    return LANE


async def _owe(database: Database, *sequences: str, kind: str = "authorize") -> list[int]:
    """Deliveries that are due, one a sequence."""
    async with database.transaction() as session:
        owed = [
            Delivery(lane=LANE, sequence=name, order_id=uuid.uuid4(), kind=kind, method="POST", target="/", body=b"{}")
            for name in sequences
        ]
        session.add_all(owed)
        await session.flush()
        return [one.id for one in owed]


async def _claim(database: Database, slots: int = 100) -> list[Claimed]:
    async with database.transaction() as session:
        return await queue.claim(session, worker="w", slots=slots, lease=LEASE)


async def _settle(database: Database, claimed: Claimed, outcome: Any = None, verdict: Any = None) -> None:
    async with database.transaction() as session:
        await queue.settle(session, claimed, outcome or Answered(), verdict or Delivered(), None)


async def _set_lane(database: Database, **values: Any) -> None:
    async with database.transaction() as session:
        await session.execute(update(Lane).values(**values))


async def test_a_delivery_is_claimed_once(database: Database, lane: str) -> None:
    owed = await _owe(database, *(f"s{n}" for n in range(8)))

    claimed = await asyncio.gather(*(_claim(database) for _ in range(6)))

    assert sorted(one.id for batch in claimed for one in batch) == owed


async def test_many_workers_stay_within_the_lanes_cap(database: Database, lane: str) -> None:
    await _owe(database, *(f"s{n}" for n in range(50)))

    claimed = await asyncio.gather(*(_claim(database) for _ in range(8)))

    assert sum(map(len, claimed)) == 10


async def test_a_lane_takes_no_more_than_its_rate(database: Database, lane: str) -> None:
    await _set_lane(database, rate_per_second=3, tokens=3, concurrency=100)
    await _owe(database, *(f"s{n}" for n in range(20)))

    assert [len(await _claim(database)), len(await _claim(database))] == [3, 0]


async def test_a_sequence_goes_one_after_the_other(database: Database, lane: str) -> None:
    first, second = await _owe(database, "same", "same")
    (head,) = await _claim(database)
    assert head.id == first
    assert await _claim(database) == []

    await _settle(database, head)

    assert [one.id for one in await _claim(database)] == [second]


async def test_a_dead_head_holds_its_sequence(database: Database, lane: str) -> None:
    first, _ = await _owe(database, "same", "same")
    async with database.transaction() as session:
        await session.execute(update(Delivery).where(Delivery.id == first).values(state="dead"))

    assert await _claim(database) == []


@pytest.mark.parametrize(
    "gate",
    [
        {"paused": True},
        {"next_at": text("clock_timestamp() + interval '1 hour'")},
        {"tokens": 0, "rate_per_second": 0.001},
    ],
    ids=["paused", "waiting", "out-of-tokens"],
)
async def test_a_closed_gate_lets_nothing_through(database: Database, lane: str, gate: dict[str, Any]) -> None:
    await _set_lane(database, **gate)
    await _owe(database, "s1")

    assert await _claim(database) == []


async def test_an_open_breaker_lets_one_through_and_its_success_lets_two(database: Database, lane: str) -> None:
    await _owe(database, *(f"s{n}" for n in range(5)))
    await _set_lane(database, breaker="open", failures=10)
    (probe,) = await _claim(database)
    assert await _claim(database) == []

    async with database.transaction() as session:
        await queue.settle(session, probe, Answered(), Delivered(), None)
        await lanes.note(session, LANE, Answered(), troubled=probe.lane_troubled)

    assert len(await _claim(database)) == 2


async def test_the_probe_of_an_open_breaker_reads_before_it_sends(database: Database, lane: str) -> None:
    _, unclear = await _owe(database, "s1", "s2")
    async with database.transaction() as session:
        await session.execute(
            update(Delivery).where(Delivery.id == unclear).values(state="unknown", phase="verify", attempts=1)
        )
    await _set_lane(database, breaker="open", failures=10)

    assert [one.id for one in await _claim(database)] == [unclear]


async def test_a_lane_that_recovered_opens_by_degrees(database: Database, lane: str) -> None:
    await _owe(database, *(f"s{n}" for n in range(40)))
    await _set_lane(database, breaker="open", failures=10)
    batches = []
    for _ in range(5):
        claimed = await _claim(database)
        batches.append(len(claimed))
        for one in claimed:
            await _settle(database, one)
        async with database.transaction() as session:
            await lanes.note(session, LANE, Answered(), troubled=claimed[0].lane_troubled)

    assert batches == [1, 2, 4, 8, 10]


async def test_failures_in_a_row_open_the_breaker(database: Database, lane: str) -> None:
    async with database.transaction() as session:
        for _ in range(lanes.BURST):
            await lanes.note(session, LANE, Again("refused"), troubled=True)

    async with database.transaction() as session:
        found = await session.get_one(Lane, LANE)
    assert (found.breaker, found.next_at is not None) == ("open", True)


async def test_a_success_between_failures_ends_the_row(database: Database, lane: str) -> None:
    await _owe(database, *(f"s{n}" for n in range(10)))
    claimed = await _claim(database)  # all of one claim: the lane had no failures then
    for one in claimed:
        async with database.transaction() as session:
            for _ in range(lanes.BURST - 1):
                await lanes.note(session, LANE, Again("refused"), troubled=False)
        async with database.transaction() as session:
            failing = await queue.settle(session, one, Answered(), Delivered(), None)
            await lanes.note(session, LANE, Answered(), troubled=one.lane_troubled or failing)

    async with database.transaction() as session:
        found = await session.get_one(Lane, LANE)
    assert (found.breaker, found.failures) == ("closed", 0)


@pytest.mark.parametrize("outcome", [Throttled("slow down", 30), Denied("who are you")], ids=["throttled", "denied"])
async def test_trouble_stops_the_whole_lane(database: Database, lane: str, outcome: Any) -> None:
    await _owe(database, "s1")

    async with database.transaction() as session:
        await lanes.note(session, LANE, outcome, troubled=False)

    assert await _claim(database) == []


async def test_whoever_lost_the_lease_settles_nothing(database: Database, lane: str) -> None:
    await _owe(database, "s1")
    (late,) = await _claim(database)
    async with database.transaction() as session:
        await session.execute(update(Delivery).values(lease_until=text("clock_timestamp() - interval '1 second'")))
        abandoned = await queue.abandon_expired(session, first_read=timedelta())
    (taken_over,) = await _claim(database)

    with pytest.raises(queue.LeaseLost):
        await _settle(database, late)

    assert list(abandoned) == ["authorize"]
    assert (taken_over.phase, taken_over.attempt) == ("verify", 2)
    await _settle(database, taken_over)


async def test_a_claim_commits_its_attempt_before_anything_can_be_sent(database: Database, lane: str) -> None:
    await _owe(database, "s1")

    (claimed,) = await _claim(database)

    async with database.transaction() as session:
        attempts = list(await session.scalars(select(Attempt).where(Attempt.delivery_id == claimed.id)))
    assert [(one.number, one.phase, one.outcome) for one in attempts] == [(1, "send", None)]


async def test_two_calls_for_one_order_are_never_in_flight_together(database: Database, lane: str) -> None:
    order_id = uuid.uuid4()
    async with database.transaction() as session:
        for name in ("a", "b"):
            session.add(
                Delivery(lane=LANE, sequence=name, order_id=order_id, kind="authorize", method="POST", target="/")
            )

    claimed = await asyncio.gather(*(_claim(database) for _ in range(4)))

    assert sum(map(len, claimed)) == 1
