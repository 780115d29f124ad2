"""The worker: claim what is due, send or verify it outside any transaction, settle it in a second one.

Relies on `queue` for the claim, on `settling` for the fence, on handlers (one a kind of delivery) for what is said to
the seller and what the answer changes. Promises: nothing is sent without a committed attempt, nothing is sent twice
blindly, and a crash at any point leaves a delivery that is verified before it is sent again.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Protocol

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from .. import logs, tracing
from ..database import Bell, Database, is_passing, wait_for
from ..outbound import Exchange
from ..outcome import Again, Ambiguous, GivenBack, Outcome, name
from ..sellers.models import Seller
from . import queue, reach, retry, room
from .queue import Claimed
from .reach import Reach
from .room import Call, Room
from .settling import Ended, LockFree, Recorder, Settler

log = logs.get("worker")

TOPIC = "deliveries"
_SELLERS, _SUBSCRIBERS = "seller:", "subscription:"
_SUBSCRIBERS_SHARE = 0.5
"""The part of the slots that calls to subscribers may hold: a slow receiver must not keep orders waiting."""
_TOO_MANY = 429
_ABANDON_EVERY = 1.0  # seconds
READING_SHARE = 0.9
"""The part of its lease within which a verification must have ended, so that it can still be settled."""


@dataclass(frozen=True, slots=True)
class Attempted:
    """What an attempt came to, and the exchange that tells it."""

    outcome: Outcome
    exchange: Exchange | None = None


class Handler(Recorder, Protocol):
    """What the worker knows of a kind of delivery. `seller` is the seller whose lane it is (`Any`: lanes that are no
    seller's have None, and their handlers do not look at it)."""

    async def prepare(self, session: AsyncSession, claimed: Sequence[Claimed]) -> Sequence[Claimed]:
        """In the claim's transaction: fill in bodies, show that it is under way."""

    async def send(self, claimed: Claimed, seller: Any, in_time: Callable[[], bool]) -> Attempted:
        """Make the call. `in_time` must be asked before the first byte."""

    async def verify(self, claimed: Claimed, seller: Any) -> Attempted:
        """Read the seller and say whether it was done. Never sends."""

    async def unclear(self, session: AsyncSession, order_ids: Sequence[uuid.UUID]) -> None:
        """A worker died with these in flight: show that their outcome is unknown."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a worker takes on, and for how long. Calls that hang hold no slot: see `room`."""

    slots: int
    lease: timedelta
    exchange: timedelta
    poll_seconds: float


def boottime() -> float:
    """Seconds on a clock that also counts while the machine sleeps, so that a lease is never believed too long."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Worker:
    def __init__(
        self,
        database: Database,
        bell: Bell,
        handlers: Mapping[str, Handler],
        lock_free: LockFree,
        limits: Limits,
        schedule: Sequence[timedelta],
        verify_at: Sequence[timedelta],
        within: Reach,
    ) -> None:
        self._database = database
        self._bell = bell
        self._handlers = handlers
        self._settler = Settler(database, bell, handlers, lock_free, limits.lease)
        self._limits = limits
        self._policy = retry.Policy(schedule, verify_at, random.random)
        self._abandon_at = 0.0
        self._reach = within
        self._shown, self._show_at = frozenset[str](), 0.0
        self._running: dict[asyncio.Task[None], Call] = {}
        self._name = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then finish what is in flight."""
        with self._bell.listening(TOPIC) as heard:
            self._heard = heard
            while not stop.is_set():
                try:
                    took = await self._round()
                except Exception as failure:
                    log.warning("claim-failed", passing=is_passing(failure), exc_info=failure)
                    took = 0
                if not took:
                    await wait_for(heard, await self._pause())
        if self._running:
            await asyncio.wait(self._running, timeout=self._limits.lease.total_seconds())

    async def _pause(self) -> float:
        """Sleep until the next delivery is due, a ring, or one polling interval."""
        if not self._room().slots:
            return self._limits.poll_seconds
        try:
            async with self._database.transaction() as session:
                due = await queue.seconds_until_due(session)
        except Exception as failure:
            log.warning("due-unknown", exc_info=failure)
            due = None
        return self._limits.poll_seconds if due is None else min(max(due, 0.005), self._limits.poll_seconds)

    async def _round(self) -> int:
        free = self._room()
        if not free.slots:
            return 0
        claimed_at = boottime()
        async with self._database.transaction() as session:
            await self._abandon(session)
            await self._show_reach(session)
            claimed = await self._claim(session, free)
            prepared = [one for kind in self._handlers for one in await self._prepare(session, kind, claimed)]
            sellers = await _sellers(session, prepared)
        for one in prepared:
            task = asyncio.create_task(self._attempt(one, sellers.get(one.lane), claimed_at))
            self._running[task] = Call(one.lane, claimed_at)
            task.add_done_callback(self._finished)
        return len(prepared)

    def _room(self) -> Room:
        return room.left(self._running.values(), self._limits.slots, boottime())

    async def _abandon(self, session: AsyncSession) -> None:
        """Once in a while: what a worker held when it died is unclear."""
        if boottime() < self._abandon_at:
            return
        for kind, orders in (await queue.abandon_expired(session, first_read=self._policy.verify_at[0])).items():
            await self._handlers[kind].unclear(session, orders)
        self._abandon_at = boottime() + _ABANDON_EVERY

    async def _show_reach(self, session: AsyncSession) -> None:
        """Whoever must look is shown what is left to other workers, for as long as it is."""
        beyond = self._reach.beyond
        if beyond != self._shown or (beyond and boottime() >= self._show_at):
            await reach.show(session, self._name, beyond)
            self._shown, self._show_at = beyond, boottime() + reach.SHOWN_EVERY

    async def _claim(self, session: AsyncSession, free: Room) -> list[Claimed]:
        """A lane that is to be tried again, with one call, before all others."""
        told, lane = self._reach.told(), self._reach.to_try(boottime())
        asked: dict[str, Any] = {"worker": self._name, "lease": self._limits.lease}
        claimed = await queue.claim(session, slots=1, only=lane, **asked) if lane is not None else []
        claimed += await self._claim_others(session, replace(free, slots=free.slots - len(claimed)), asked)
        self._reach.claimed(claimed, told)
        return claimed

    async def _claim_others(self, session: AsyncSession, free: Room, asked: dict[str, Any]) -> list[Claimed]:
        """Sellers first, with all there is; subscribers with what their share leaves, however slow they are."""
        asked = {**asked, "but": free.full | self._reach.passed_over(boottime())}
        claimed = await queue.claim(session, slots=free.slots, whose=_SELLERS, **asked)
        telling = sum(call.lane.startswith(_SUBSCRIBERS) for call in self._running.values())
        share = max(1, int(self._limits.slots * _SUBSCRIBERS_SHARE)) - telling
        left = min(free.slots - len(claimed), share)
        return claimed + (await queue.claim(session, slots=left, whose=_SUBSCRIBERS, **asked) if left > 0 else [])

    async def _prepare(self, session: AsyncSession, kind: str, claimed: Sequence[Claimed]) -> Sequence[Claimed]:
        mine = [one for one in claimed if one.kind == kind]
        return await self._handlers[kind].prepare(session, mine) if mine else []

    def _finished(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._heard.set()
        if not task.cancelled() and task.exception() is not None:
            log.error("attempt-crashed", exc_info=task.exception())

    async def _attempt(self, claimed: Claimed, seller: Seller | None, claimed_at: float) -> None:
        with tracing.span(
            f"{claimed.kind} {claimed.phase}",
            "client",
            claimed.traceparent,
            delivery_id=claimed.id,
            order_id=str(claimed.order_id) if claimed.order_id else None,
            lane=claimed.lane,
            attempt=claimed.attempt,
        ) as step:
            attempted = await self._carry_out(claimed, seller, claimed_at)
            status = attempted.exchange.status if attempted.exchange else None
            step.note(outcome=name(attempted.outcome), http__response__status_code=status)

    async def _carry_out(self, claimed: Claimed, seller: Seller | None, claimed_at: float) -> Attempted:
        handler = self._handlers[claimed.kind]
        attempted = await self._call(handler, claimed, seller, claimed_at)
        given_back = self._reach.ended(claimed, attempted.exchange, boottime())
        if given_back:
            attempted = replace(attempted, outcome=GivenBack(reach.REASON))
        verdict = retry.decide(attempted.outcome, _course(claimed, attempted), self._policy)
        ended = Ended(claimed, attempted.outcome, verdict, attempted.exchange, tracing.current())
        stands = await self._settler.settle(ended)
        if stands and not given_back and attempted.exchange is not None and not attempted.exchange.reached:
            self._reach.counted(claimed.lane)
        log.info(
            "attempt",
            delivery_id=claimed.id,
            order_id=str(claimed.order_id) if claimed.order_id else None,
            lane=claimed.lane,
            kind=claimed.kind,
            phase=claimed.phase,
            attempt=claimed.attempt,
            outcome=name(attempted.outcome),
            verdict=type(stands).__name__.lower() if stands else "lost",
            status=attempted.exchange.status if attempted.exchange else None,
            duration_ms=attempted.exchange.duration_ms if attempted.exchange else None,
        )
        return attempted

    async def _call(self, handler: Handler, claimed: Claimed, seller: Seller | None, claimed_at: float) -> Attempted:
        """The exchange. A defect of ours makes a send unclear, and a read one that says nothing."""
        lease, exchange = self._limits.lease.total_seconds(), self._limits.exchange.total_seconds()

        def in_time() -> bool:
            return boottime() - claimed_at + exchange < lease

        if not in_time():
            return Attempted(GivenBack())
        try:
            if claimed.course.verifying:
                return await _verified(handler, claimed, seller, claimed_at + lease * READING_SHARE - boottime())
            return await handler.send(claimed, seller, in_time)
        except Exception as defect:  # the delivery must be settled whatever happened
            log.error("attempt-failed", delivery_id=claimed.id, kind=claimed.kind, exc_info=defect)
            reason = f"the service failed ({type(defect).__name__})"
            return Attempted(Again(reason) if claimed.course.verifying else Ambiguous(reason))


def _course(claimed: Claimed, attempted: Attempted) -> retry.Course:
    """How far it has come. Too many calls are never one call's fault, whoever else gets through."""
    too_many = attempted.exchange is not None and attempted.exchange.status == _TOO_MANY
    return replace(claimed.course, others_pass=claimed.course.others_pass and not too_many)


async def _verified(handler: Handler, claimed: Claimed, seller: Seller | None, seconds: float) -> Attempted:
    """What a verification found. However many reads it makes, they end in time for it to be settled."""
    try:
        async with asyncio.timeout(seconds):
            return await handler.verify(claimed, seller)
    except TimeoutError:
        return Attempted(Again("the reads of the seller took too long"))


async def _sellers(session: AsyncSession, claimed: Sequence[Claimed]) -> dict[str, Seller]:
    ids = {one.lane.removeprefix("seller:") for one in claimed if one.lane.startswith("seller:")}
    if not ids:
        return {}
    found: Any = await session.scalars(select(Seller).where(Seller.id.in_(ids)))
    return {seller.lane: seller for seller in found}
