"""The queue against a model of it: whatever is enqueued, claimed, settled, lost, paused and retried in whatever order,
one call an order is in flight, a sequence keeps its order, a lane its cap, and nothing is lost.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import delete, select, text, update

from chain_orders.database import Database
from chain_orders.deliveries import queue
from chain_orders.deliveries.models import Attempt, Delivery, Lane
from chain_orders.deliveries.queue import Claimed, LeaseLost
from chain_orders.deliveries.retry import Dead, Delivered, Retry, Verify
from chain_orders.outcome import Answered

LANE, CAP = "seller:acme", 3
LEASE = timedelta(seconds=60)
AT_ONCE = timedelta()
ORDERS = [uuid.uuid4() for _ in range(3)]
SEQUENCES = [(f"{order}/{n}", order) for order in ORDERS for n in range(2)]
VERDICTS: dict[str, Any] = {
    "delivered": Delivered(),
    "retrying": Retry(AT_ONCE, "not now"),
    "unknown": Verify(AT_ONCE, "no answer", fresh=True),
    "dead": Dead("used up", "retries-used-up"),
}


@dataclass(slots=True)
class Owed:
    """What the model knows of a delivery."""

    sequence: str
    order: uuid.UUID
    state: str = "ready"
    unclear: bool = False
    attempts: int = 0


class Machine(RuleBasedStateMachine):
    """`database` and `loop` are given by the test."""

    database: Database
    loop: asyncio.AbstractEventLoop

    def __init__(self) -> None:
        super().__init__()
        self.owed: dict[int, Owed] = {}
        self.flying: list[Claimed] = []
        self.zombies: list[Claimed] = []
        self.paused = False
        self._do(self._begin)

    def _do(self, act: Callable[[Any], Awaitable[Any]]) -> Any:
        async def committed() -> Any:
            async with self.database.transaction() as session:
                return await act(session)

        return self.loop.run_until_complete(committed())

    @staticmethod
    async def _begin(session: Any) -> None:
        for table in (Attempt, Delivery, Lane):
            await session.execute(delete(table))
        session.add(Lane(lane=LANE, concurrency=CAP, rate_per_second=1e6, tokens=1e6))

    @rule(which=st.sampled_from(SEQUENCES))
    def enqueue(self, which: tuple[str, uuid.UUID]) -> None:
        sequence, order = which

        async def act(session: Any) -> int:
            one = Delivery(
                lane=LANE, sequence=sequence, order_id=order, kind="authorize", method="POST", target="/", body=b"{}"
            )
            session.add(one)
            await session.flush()
            return one.id

        self.owed[self._do(act)] = Owed(sequence, order)

    def _heads(self) -> dict[uuid.UUID, list[int]]:
        """What may be claimed, by order: the first of each sequence, where nothing of the order is in flight."""
        heads: dict[str, tuple[int, Owed]] = {}
        for id_, one in sorted(self.owed.items()):
            if one.state != "delivered":
                heads.setdefault(one.sequence, (id_, one))
        busy = {one.order for one in self.owed.values() if one.state == "sending"}
        free: dict[uuid.UUID, list[int]] = {}
        for id_, one in heads.values():
            if one.state in {"ready", "retrying", "unknown"} and one.order not in busy:
                free.setdefault(one.order, []).append(id_)
        return free

    @rule(slots=st.integers(1, 5))
    def claim(self, slots: int) -> None:
        free = self._heads()
        claimed = self._do(lambda session: queue.claim(session, worker="w", slots=slots, lease=LEASE))
        # Two heads of one order may both be looked at, and one of them taken: it counts against the room.
        room = 0 if self.paused else min(slots, CAP - len(self.flying))
        assert len(claimed) <= min(room, len(free))
        assert claimed or not (room and free), "something is due and nothing was claimed"
        for one in claimed:
            assert one.id in free.pop(one.order_id)
            known = self.owed[one.id]
            known.attempts += 1
            assert (one.attempt, one.course.verifying) == (known.attempts, known.unclear)
            known.state = "sending"
        self.flying += claimed

    @precondition(lambda self: self.flying)
    @rule(pick=st.randoms(use_true_random=False), state=st.sampled_from(sorted(VERDICTS)))
    def settle(self, pick: random.Random, state: str) -> None:
        one = self.flying.pop(pick.randrange(len(self.flying)))
        self._do(lambda session: queue.settle(session, one, Answered(), VERDICTS[state], None))
        known = self.owed[one.id]
        known.state = state
        known.unclear = known.unclear if state in {"delivered", "dead"} else state == "unknown"

    @precondition(lambda self: self.flying)
    @rule(pick=st.randoms(use_true_random=False))
    def crash(self, pick: random.Random) -> None:
        """A lease ends without a settlement; the worker may yet come back."""
        one = self.flying.pop(pick.randrange(len(self.flying)))

        async def act(session: Any) -> Any:
            over = text("clock_timestamp() - interval '1 second'")
            await session.execute(update(Delivery).where(Delivery.id == one.id).values(lease_until=over))
            return await queue.abandon_expired(session, first_read=AT_ONCE)

        assert self._do(act) == {"authorize": [one.order_id]}
        self.owed[one.id].state, self.owed[one.id].unclear = "unknown", True
        self.zombies.append(one)

    @precondition(lambda self: self.zombies)
    @rule(state=st.sampled_from(sorted(VERDICTS)))
    def return_from_the_dead(self, state: str) -> None:
        late = self.zombies.pop()
        try:
            self._do(lambda session: queue.settle(session, late, Answered(), VERDICTS[state], None))
        except LeaseLost:
            return
        raise AssertionError("a worker settled what was taken from it")

    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        self._do(lambda session: session.execute(update(Lane).values(paused=paused)))
        self.paused = paused

    @precondition(lambda self: self.owed)
    @rule(pick=st.randoms(use_true_random=False))
    def retry(self, pick: random.Random) -> None:
        id_ = pick.choice(sorted(self.owed))
        known = self.owed[id_]
        done = self._do(lambda session: queue.retry(session, id_))
        assert done == (known.state not in {"sending", "delivered"})
        if known.state == "dead":
            known.state, known.unclear = "unknown", True

    @invariant()
    def nothing_is_lost(self) -> None:
        async def act(session: Any) -> Any:
            return (await session.execute(select(Delivery.id, Delivery.state, Delivery.attempts))).all()

        found = {row.id: (row.state, row.attempts) for row in self._do(act)}
        assert found == {id_: (one.state, one.attempts) for id_, one in self.owed.items()}

    @invariant()
    def one_call_an_order_is_in_flight(self) -> None:
        orders = [one.order for one in self.owed.values() if one.state == "sending"]
        assert len(orders) == len(set(orders)) <= CAP

    def teardown(self) -> None:
        """Whatever happened, everything that is not dead can still be brought to its end."""
        self.pause(paused=False)
        while self.flying:
            self.settle(random.Random(0), "delivered")
        while self._heads():
            self.claim(5)
            while self.flying:
                self.settle(random.Random(0), "delivered")
        left = [one for one in self.owed.values() if one.state != "delivered"]
        dead = {one.sequence for one in left if one.state == "dead"}
        assert all(one.sequence in dead for one in left)


def test_the_queue_does_what_its_model_does(database_url: str) -> None:
    loop = asyncio.new_event_loop()
    Machine.database, Machine.loop = Database(database_url), loop
    try:
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=25,
                stateful_step_count=30,
                deadline=None,
                derandomize=True,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        loop.run_until_complete(_empty(Machine.database))
        loop.run_until_complete(Machine.database.close())
        loop.close()


async def _empty(database: Database) -> None:
    async with database.transaction() as session:
        for table in (Attempt, Delivery, Lane):
            await session.execute(delete(table))
