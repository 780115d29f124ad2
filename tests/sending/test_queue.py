"""The outbox's SQL: who may claim what, and who may settle."""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, text, update

from chain_orders.database import Database
from chain_orders.deliveries import lanes, queue, settling
from chain_orders.deliveries.models import Attempt, Delivery, Lane
from chain_orders.deliveries.queue import Claimed
from chain_orders.deliveries.retry import Delivered, Retry, Verdict, Verify
from chain_orders.deliveries.settling import Ended, LeaseLost, settle
from chain_orders.outcome import Again, Ambiguous, Answered, Denied, Outcome, Throttled

from ..faults import sabotage
from .outbox import LANE, claim, delivery, owe


@dataclass(frozen=True, slots=True)
class Peer:
    lane: str
    concurrency: int
    rate_per_second: float
    paused: bool = False


async def _settle(database: Database, claimed: Claimed, outcome: Any = None, verdict: Any = None) -> None:
    async with database.transaction() as session:
        await settle(session, [Ended(claimed, outcome or Answered(), verdict or Delivered())])


async def _end(database: Database, claimed: Claimed, outcome: Any) -> None:
    """Settle as the worker does: the delivery, and what it tells of the lane."""
    verdict: Verdict = Delivered() if outcome == Answered() else Retry(timedelta(), "not now")
    if claimed.course.verifying and outcome != Answered():
        verdict = Verify(timedelta(), "not now")
    async with database.transaction() as session:
        failing = LANE in await settle(session, [Ended(claimed, outcome, verdict)])
        troubled = claimed.lane_troubled or failing
        await lanes.note(session, LANE, outcome, troubled=troubled, probe=claimed.probe)


async def _found(database: Database) -> Lane:
    async with database.transaction() as session:
        return await session.get_one(Lane, LANE)


async def _set_lane(database: Database, **values: Any) -> None:
    async with database.transaction() as session:
        await session.execute(update(Lane).values(**values))


async def test_a_delivery_is_claimed_once(database: Database, lane: str) -> None:
    owed = await owe(database, *(f"s{n}" for n in range(8)))

    claimed = await asyncio.gather(*(claim(database) for _ in range(6)))

    assert sorted(one.id for batch in claimed for one in batch) == owed


async def test_many_workers_stay_within_the_lanes_cap(database: Database, lane: str) -> None:
    await owe(database, *(f"s{n}" for n in range(50)))

    claimed = await asyncio.gather(*(claim(database) for _ in range(8)))

    assert sum(map(len, claimed)) == 10


async def test_a_lane_takes_no_more_than_its_rate(database: Database, lane: str) -> None:
    await _set_lane(database, rate_per_second=3, tokens=3, concurrency=100)
    await owe(database, *(f"s{n}" for n in range(20)))

    first, started = len(await claim(database)), time.monotonic()
    later = len(await claim(database))

    assert first == 3
    assert later <= 3 * (time.monotonic() - started) + 1


async def test_a_sequence_goes_one_after_the_other(database: Database, lane: str) -> None:
    first, second = await owe(database, "same", "same")
    (head,) = await claim(database)
    assert head.id == first
    assert await claim(database) == []

    await _settle(database, head)

    assert [one.id for one in await claim(database)] == [second]


async def test_a_dead_head_holds_its_sequence(database: Database, lane: str) -> None:
    first, _ = await owe(database, "same", "same")
    async with database.transaction() as session:
        await session.execute(update(Delivery).where(Delivery.id == first).values(state="dead"))

    assert await claim(database) == []


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
    await owe(database, "s1")

    assert await claim(database) == []


async def test_an_open_breaker_lets_one_through_and_its_success_lets_two(database: Database, lane: str) -> None:
    await owe(database, *(f"s{n}" for n in range(5)))
    await _set_lane(database, breaker="open", failures=10)
    (probe,) = await claim(database)
    assert await claim(database) == []

    async with database.transaction() as session:
        await settle(session, [Ended(probe, Answered(), Delivered())])
        await lanes.note(session, LANE, Answered(), troubled=probe.lane_troubled, probe=probe.probe)

    assert len(await claim(database)) == 2


async def test_the_probe_of_an_open_breaker_reads_before_it_sends(database: Database, lane: str) -> None:
    _, unclear = await owe(database, "s1", "s2")
    async with database.transaction() as session:
        await session.execute(
            update(Delivery).where(Delivery.id == unclear).values(state="unknown", phase="verify", attempts=1)
        )
    await _set_lane(database, breaker="open", failures=10)

    assert [one.id for one in await claim(database)] == [unclear]


async def test_a_lane_that_recovered_opens_by_degrees(database: Database, lane: str) -> None:
    await owe(database, *(f"s{n}" for n in range(40)))
    await _set_lane(database, breaker="open", failures=10)
    batches = []
    for _ in range(5):
        claimed = await claim(database)
        batches.append(len(claimed))
        for one in claimed:
            await _settle(database, one)
        async with database.transaction() as session:
            await lanes.note(session, LANE, Answered(), troubled=claimed[0].lane_troubled, probe=claimed[0].probe)

    assert batches == [1, 2, 4, 8, 10]


async def test_a_success_from_before_the_breaker_opened_does_not_close_it(database: Database, lane: str) -> None:
    await owe(database, "s1", "s2")
    denied, earlier = await claim(database)
    await _end(database, denied, Denied("who are you"))

    await _end(database, earlier, Answered())

    assert (await _found(database)).breaker == "open"


@pytest.mark.parametrize("outcome", [Again("refused"), Ambiguous("silence")], ids=["again", "ambiguous"])
async def test_a_probe_that_fails_is_not_followed_at_once(database: Database, lane: str, outcome: Any) -> None:
    await owe(database, "s1", "s2")
    await _set_lane(database, breaker="open", failures=1)
    (probe,) = await claim(database)

    await _end(database, probe, outcome)

    assert await claim(database) == []


async def test_what_cannot_be_read_does_not_keep_the_breaker_open(database: Database, lane: str) -> None:
    *unreadable, healthy = await owe(database, *(f"s{n}" for n in range(5)))
    async with database.transaction() as session:
        await session.execute(
            update(Delivery).where(Delivery.id.in_(unreadable)).values(state="unknown", phase="verify", attempts=1)
        )
    await _set_lane(database, breaker="open", failures=10)
    (read,) = await claim(database)
    await _end(database, read, Again("cannot be read"))
    await _set_lane(database, next_at=None)

    (sent,) = await claim(database)
    await _end(database, sent, Answered())

    assert (read.phase, sent.id) == ("verify", healthy)
    assert (await _found(database)).breaker == "closed"


@pytest.mark.parametrize("trouble", ["new", "another-key", "idle", "asked-to-wait"])
async def test_a_lane_of_which_nothing_good_is_known_lets_one_through(database: Database, trouble: str) -> None:
    peer = Peer(LANE, concurrency=10, rate_per_second=1000.0)
    async with database.transaction() as session:
        await lanes.keep(session, peer)
        if trouble != "new":
            await session.execute(update(Lane).values(ramp=None))
        if trouble == "another-key":
            await lanes.keep(session, peer, forgive=True)
        if trouble == "asked-to-wait":
            await lanes.note(session, LANE, Throttled("slow down", 1), troubled=False)
            await session.execute(update(Lane).values(next_at=None))
        if trouble == "idle":
            await session.execute(update(Lane).values(refilled_at=text("clock_timestamp() - interval '1 hour'")))
    await owe(database, *(f"s{n}" for n in range(5)))

    (first,) = await claim(database)
    assert await claim(database) == []

    await _end(database, first, Answered())
    assert len(await claim(database)) == 2


async def test_others_are_known_to_pass_once_some_did_since_it_was_turned_away(database: Database, lane: str) -> None:
    await owe(database, *(f"s{n}" for n in range(5)))
    (denied,) = await claim(database, slots=1)
    await _end(database, denied, Denied("who are you"))
    await _set_lane(database, next_at=None)
    (probe,) = await claim(database)
    await _end(database, probe, Answered())
    fresh = await claim(database)
    for one in fresh:
        await _end(database, one, Answered())

    *others, again = sorted(await claim(database), key=lambda one: one.attempt)

    assert (denied.id, again.attempt) == (again.id, 2)
    assert [one.course.others_pass for one in (denied, probe, *fresh, *others)] == [False] * 5
    assert again.course.others_pass


async def test_a_read_that_is_turned_away_while_others_pass_counts(database: Database, lane: str) -> None:
    await owe(database, "s1")
    async with database.transaction() as session:
        await session.execute(update(Delivery).values(state="unknown", phase="verify", attempts=1))
    (claimed,) = await claim(database)

    await _settle(database, claimed, Denied("who are you"), Verify(timedelta(), "not this one", burns=True))

    assert [one.course.failures for one in await claim(database)] == [1]


async def test_a_clock_that_was_set_back_takes_no_tokens_away(database: Database, lane: str) -> None:
    await _set_lane(database, rate_per_second=50, tokens=50, refilled_at=text("clock_timestamp() + interval '1 hour'"))
    await owe(database, "s1", "s2")

    assert len(await claim(database, slots=1)) == 1
    assert len(await claim(database, slots=1)) == 1
    assert (await _found(database)).tokens >= 48


async def test_a_rate_below_one_a_second_lets_one_through_now_and_then(database: Database, lane: str) -> None:
    await _set_lane(
        database, rate_per_second=0.01, tokens=0.01, refilled_at=text("clock_timestamp() - interval '5 minutes'")
    )
    await owe(database, "s1", "s2")

    assert [len(await claim(database)), len(await claim(database))] == [1, 0]


async def test_the_verification_of_a_placement_pays_for_its_reads(database: Database, lane: str) -> None:
    await owe(database, "s1", kind="place")
    async with database.transaction() as session:
        await session.execute(update(Delivery).values(state="unknown", phase="verify", attempts=1))
    await _set_lane(database, rate_per_second=0.001, tokens=1)

    await claim(database)

    assert -2.1 < (await _found(database)).tokens < -1.9


async def commits_in_reverse(database: Database) -> None:
    """Two deliveries whose transactions commit against the order of their ids: both are claimed."""
    async with database.transaction() as slow:
        first = delivery("s1")
        slow.add(first)
        await slow.flush()
        (second,) = await owe(database, "s2")
        assert first.id < second
        assert [one.id for one in await claim(database)] == [second]
    assert [one.id for one in await claim(database)] == [first.id], "passed over"


async def test_what_commits_late_is_claimed_whatever_its_id(database: Database, lane: str) -> None:
    await commits_in_reverse(database)


async def test_a_queue_that_is_read_as_a_log_is_caught(
    database: Database, lane: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "_CLAIM", queue._CLAIM)  # put back afterwards
    sabotage.apply("claim-by-last-id")

    with pytest.raises(AssertionError, match="passed over"):
        await commits_in_reverse(database)


async def test_failures_in_a_row_open_the_breaker(database: Database, lane: str) -> None:
    async with database.transaction() as session:
        for _ in range(lanes.BURST):
            await lanes.note(session, LANE, Again("refused"), troubled=True)

    async with database.transaction() as session:
        found = await session.get_one(Lane, LANE)
    assert (found.breaker, found.next_at is not None) == ("open", True)


async def test_a_success_between_failures_ends_the_row(database: Database, lane: str) -> None:
    await owe(database, *(f"s{n}" for n in range(10)))
    claimed = await claim(database)  # all of one claim: the lane had no failures then
    for one in claimed:
        async with database.transaction() as session:
            for _ in range(lanes.BURST - 1):
                await lanes.note(session, LANE, Again("refused"), troubled=False)
        async with database.transaction() as session:
            failing = LANE in await settle(session, [Ended(one, Answered(), Delivered())])
            await lanes.note(session, LANE, Answered(), troubled=one.lane_troubled or failing)

    async with database.transaction() as session:
        found = await session.get_one(Lane, LANE)
    assert (found.breaker, found.failures) == ("closed", 0)


@pytest.mark.parametrize("outcome", [Throttled("slow down", 30), Denied("who are you")], ids=["throttled", "denied"])
async def test_trouble_stops_the_whole_lane(database: Database, lane: str, outcome: Any) -> None:
    await owe(database, "s1")

    async with database.transaction() as session:
        await lanes.note(session, LANE, outcome, troubled=False)

    assert await claim(database) == []


@pytest.mark.parametrize("later", [Throttled("slow down", 1), Denied("who are you")], ids=["throttled", "denied"])
async def test_a_shorter_wait_does_not_end_a_longer_one(database: Database, lane: str, later: Outcome) -> None:
    """Calls that were under way together are turned away one after the other, each for as long as it is told."""
    await owe(database, "s1")
    for outcome in (Throttled("slow down", 600), later):
        async with database.transaction() as session:
            await lanes.note(session, LANE, outcome, troubled=False)

    async with database.transaction() as session:
        waits = select(Lane.next_at > text("clock_timestamp() + interval '300 seconds'")).where(Lane.lane == LANE)
        assert await session.scalar(waits)


async def test_whoever_lost_the_lease_settles_nothing(database: Database, lane: str) -> None:
    await owe(database, "s1")
    (late,) = await claim(database)
    async with database.transaction() as session:
        await session.execute(update(Delivery).values(lease_until=text("clock_timestamp() - interval '1 second'")))
        abandoned = await queue.abandon_expired(session, first_read=timedelta())
    (taken_over,) = await claim(database)

    with pytest.raises(LeaseLost):
        await _settle(database, late)

    assert list(abandoned) == ["authorize"]
    assert (taken_over.phase, taken_over.attempt) == ("verify", 2)
    await _settle(database, taken_over)


async def test_a_build_without_the_fence_lets_whoever_lost_the_lease_settle(
    database: Database, lane: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "_SETTLE", settling._SETTLE)
    sabotage.apply("no-fence")

    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        await test_whoever_lost_the_lease_settles_nothing(database, lane)


async def test_a_claim_commits_its_attempt_before_anything_can_be_sent(database: Database, lane: str) -> None:
    await owe(database, "s1")

    (claimed,) = await claim(database)

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

    claimed = await asyncio.gather(*(claim(database) for _ in range(4)))

    assert sum(map(len, claimed)) == 1
