"""The queue and its gate against a model of them: whatever is enqueued, claimed, settled, lost, paused, turned away and
retried in whatever order, one call an order is in flight, a sequence keeps its order, a lane its cap, nothing goes out
inside a pause, an open breaker lets one probe through, and nothing is lost.
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
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import delete, select, text, update

from chain_orders.database import Database
from chain_orders.deliveries import lanes, queue
from chain_orders.deliveries.models import Attempt, Delivery, Lane
from chain_orders.deliveries.queue import Claimed
from chain_orders.deliveries.retry import Dead, Delivered, Retry, Verdict, Verify
from chain_orders.deliveries.settling import Ended, LeaseLost, settle
from chain_orders.outcome import Again, Ambiguous, Answered, Conflicting, Denied, Outcome, Throttled

LANE, CAP = "seller:acme", 3
LEASE = timedelta(seconds=60)
AT_ONCE = timedelta()
ORDERS = [uuid.uuid4() for _ in range(3)]
SEQUENCES = [(f"{order}/{n}", order) for order in ORDERS for n in range(2)]
OUTCOMES: dict[str, tuple[Outcome, Verdict]] = {
    "delivered": (Answered(), Delivered()),
    "retrying": (Again("no connection"), Retry(AT_ONCE, "not now")),
    "unknown": (Ambiguous("silence"), Verify(AT_ONCE, "no answer", fresh=True)),
    "dead": (Conflicting("another", "placement-conflict"), Dead("another", "placement-conflict")),
    "asked-to-wait": (Throttled("slow down", 30.0), Retry(AT_ONCE, "asked to wait", burns=False)),
    "turned-away": (Denied("who are you"), Retry(AT_ONCE, "turned away", burns=False)),
}
ENDINGS = st.sampled_from(["delivered", "delivered", *sorted(OUTCOMES)])


@dataclass(frozen=True, slots=True)
class Peer:
    lane: str = LANE
    concurrency: int = CAP
    rate_per_second: float = 1e6
    paused: bool = False


@dataclass(slots=True)
class Gate:
    """What the model knows of the lane."""

    paused: bool = False
    waiting: bool = False
    open: bool = False
    failures: int = 0
    ramp: int | None = None

    @property
    def troubled(self) -> bool:
        return self.open or self.failures > 0 or self.ramp is not None

    @property
    def cap(self) -> int:
        if self.paused or self.waiting:
            return 0
        return 1 if self.open else self.ramp or CAP

    def note(self, ending: str, *, troubled: bool, probe: bool) -> None:
        if ending == "asked-to-wait":
            self.waiting, self.ramp = True, 1
            self.failures += self.open
        elif ending == "turned-away":
            self.waiting = self.open = True
            self.failures += 1
        elif ending in {"retrying", "unknown"}:
            self.failures += 1
            self.open = self.open or self.failures >= lanes.BURST
            self.waiting = self.waiting or self.open
        elif troubled and (probe or not self.open):
            self._recover()

    def _recover(self) -> None:
        if self.open:
            self.open, self.waiting, self.ramp = False, False, 2
        else:
            self.ramp = self.ramp * 2 if self.ramp and self.ramp * 2 < CAP else None
        self.failures = 0


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
        self.gate = Gate()
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

    @initialize(several=st.lists(st.sampled_from(SEQUENCES), min_size=3, max_size=8))
    def begin(self, several: list[tuple[str, uuid.UUID]]) -> None:
        for which in several:
            self.enqueue(which)

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

    def _probes(self, free: dict[uuid.UUID, list[int]]) -> dict[uuid.UUID, list[int]]:
        """What may be claimed while the breaker is open: a read and a send in turn, where there are both."""
        reading = self.gate.failures % 2 == 0
        wanted = {
            order: [id_ for id_ in ids if (self.owed[id_].state == "unknown") == reading] for order, ids in free.items()
        }
        return {order: ids for order, ids in wanted.items() if ids} or free

    @rule(slots=st.integers(1, 5), later=st.booleans())
    def claim(self, slots: int, *, later: bool = False) -> None:
        if later:
            self.time_passes()
        free = self._probes(self._heads()) if self.gate.open else self._heads()
        claimed = self._do(lambda session: queue.claim(session, worker="w", slots=slots, lease=LEASE))
        # Two heads of one order may both be looked at, and one of them taken: it counts against the room.
        room = max(0, min(slots, self.gate.cap - len(self.flying)))
        assert len(claimed) <= min(room, len(free))
        assert claimed or not (room and free), "something is due and nothing was claimed"
        for one in claimed:
            assert one.id in free.pop(one.order_id)
            known = self.owed[one.id]
            known.attempts += 1
            assert (one.attempt, one.course.verifying) == (known.attempts, known.unclear)
            assert (one.lane_troubled, one.probe) == (self.gate.troubled, self.gate.open)
            known.state = "sending"
        self.flying += claimed

    @precondition(lambda self: self.flying)
    @rule(pick=st.randoms(use_true_random=False), ending=ENDINGS)
    def settle(self, pick: random.Random, ending: str) -> None:
        one = self.flying.pop(pick.randrange(len(self.flying)))
        known = self.owed[one.id]
        failing = self._do(lambda session: _end(session, one, ending))
        assert failing == (not self.gate.open and self.gate.failures > 0)
        self.gate.note(ending, troubled=one.lane_troubled or failing, probe=one.probe)
        known.state = {"asked-to-wait": "retrying", "turned-away": "retrying"}.get(ending, ending)
        if ending in {"asked-to-wait", "turned-away"} and known.unclear:
            known.state = "unknown"
        elif known.state in {"retrying", "unknown"}:
            known.unclear = known.state == "unknown"

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
    @rule(ending=ENDINGS)
    def return_from_the_dead(self, ending: str) -> None:
        late = self.zombies.pop()
        try:
            self._do(lambda session: _end(session, late, ending))
        except LeaseLost:
            return
        raise AssertionError("a worker settled what was taken from it")

    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        self._do(lambda session: lanes.keep(session, Peer(paused=paused)))
        self.gate.paused = paused

    @rule()
    def time_passes(self) -> None:
        """Whatever was to be waited for is over: a Retry-After, or the time until the next probe."""
        self._do(lambda session: session.execute(update(Lane).values(next_at=text("clock_timestamp()"))))
        self.gate.waiting = False

    @rule()
    def another_key(self) -> None:
        """The seller was given other credentials."""
        self._do(lambda session: lanes.keep(session, Peer(paused=self.gate.paused), forgive=True))
        self.gate = Gate(paused=self.gate.paused, ramp=1)

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

    @invariant()
    def the_gate_is_as_it_was_told(self) -> None:
        async def act(session: Any) -> Any:
            columns = (Lane.paused, Lane.next_at > text("clock_timestamp()"), Lane.breaker, Lane.failures, Lane.ramp)
            return (await session.execute(select(*columns))).one()

        paused, waiting, breaker, failures, ramp = self._do(act)
        found = Gate(paused, bool(waiting), breaker == "open", failures, ramp)
        assert found == self.gate

    def teardown(self) -> None:
        """Whatever happened, everything that is not dead can still be brought to its end."""
        self.pause(paused=False)
        while self.flying:
            self.settle(random.Random(0), "delivered")
        while self._heads():
            self.claim(5, later=True)
            while self.flying:
                self.settle(random.Random(0), "delivered")
        left = [one for one in self.owed.values() if one.state != "delivered"]
        dead = {one.sequence for one in left if one.state == "dead"}
        assert all(one.sequence in dead for one in left)


async def _end(session: Any, claimed: Claimed, ending: str) -> bool:
    """Settle as the worker does: the delivery, and what it tells of the lane. What is read stays unclear when the read
    is turned away."""
    outcome, verdict = OUTCOMES[ending]
    if claimed.course.verifying and isinstance(outcome, Throttled | Denied):
        verdict = Verify(AT_ONCE, outcome.reason)
    failing = LANE in await settle(session, [Ended(claimed, outcome, verdict)])
    troubled = claimed.lane_troubled or failing
    await lanes.note(session, LANE, outcome, troubled=troubled, probe=claimed.probe)
    return failing


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
