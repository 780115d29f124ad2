"""Settling: what attempts came to is committed with whatever has ended meanwhile, and each alone where that fails.

Relies on handlers (one a kind of delivery) for what an outcome changes. Promises: an attempt that is no longer ours
changes nothing; no attempt waits for an order that somebody holds unless it is its own, nor for another's lane longer
than a second; nothing is lost while the database is away for less than a lease.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum, auto
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from .. import logs
from ..database import Bell, Database, is_passing, one_moment, read_clock
from ..outbound import Exchange
from ..outcome import Denied, Outcome, name
from ..vtex.messages import read_error
from . import lanes
from .queue import Claimed
from .retry import Dead, Delivered, Rejected, Retry, Verdict, Verify, Withdrawn

log = logs.get("worker")

_AT_ONCE = 100
_PAUSE, _LONGEST_PAUSE = 0.05, 0.5  # seconds
_KEEP_ANSWERED, _KEEP_OTHER = 1024 * 1024, 16 * 1024


@dataclass(frozen=True, slots=True)
class Ended:
    """How an attempt ended, the exchange that tells it, what follows, and the step of a trace that it was."""

    claimed: Claimed
    outcome: Outcome
    verdict: Verdict
    exchange: Exchange | None = None
    traceparent: str | None = None


class LeaseLost(Exception):
    """Another worker has taken this delivery over; nothing was changed."""


class Contradiction(Exception):
    """A handler's record refuses an outcome: it cannot be so, and a person must look. Nothing of it is kept."""

    def __init__(self, reason: str, code: str) -> None:
        super().__init__(reason)
        self.reason, self.code = reason, code


class Recorded(NamedTuple):
    """What recording came to. `withdrawn`: by delivery, what was not done and is no longer wanted, so that it is not
    tried again. `rings`: topics under which there is something new once it is committed."""

    withdrawn: Mapping[int, Withdrawn] = MappingProxyType({})
    rings: Collection[str] = ("orders",)


class Recorder(Protocol):
    """What an outcome of one kind of delivery changes."""

    async def record(self, session: AsyncSession, ended: Sequence[Ended]) -> Recorded:
        """Move the orders. Locks them first, in the order of their ids. Raises Contradiction."""


LockFree = Callable[[AsyncSession, Collection[uuid.UUID]], Awaitable[Collection[uuid.UUID]]]
"""Locks those of the orders that nobody holds, and says which."""


class _Fate(Enum):
    """What became of an attempt in a batch. LATER: somebody holds its order, or the database is away."""

    SETTLED = auto()
    LATER = auto()
    ALONE = auto()


class Settler:
    """Settles for one worker."""

    def __init__(
        self,
        database: Database,
        bell: Bell,
        recorders: Mapping[str, Recorder],
        lock_free: LockFree,
        lease: timedelta,
    ) -> None:
        self._database, self._bell = database, bell
        self._recorders, self._lock_free = recorders, lock_free
        self._lease = lease.total_seconds()
        self._waiting: list[tuple[Ended, asyncio.Future[tuple[_Fate, Verdict]]]] = []
        self._committing: asyncio.Task[None] | None = None
        self._one_by_one = asyncio.Lock()

    async def settle(self, ended: Ended) -> Verdict | None:
        """Commit the outcome; returns the verdict that stands, or None where it is no longer ours to give.

        An order that somebody holds, and a database that is away, are waited for as long as the lease lasts. What
        cannot be recorded ends the delivery with its exchange kept: tried again, it would never end.
        """
        claimed, ends, pause = ended.claimed, time.monotonic() + self._lease, _PAUSE
        while time.monotonic() < ends:
            fate, verdict = await self._with_others(ended)
            if fate is _Fate.SETTLED:
                return verdict
            if fate is _Fate.ALONE:
                return await self._alone(ended, ends)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        log.warning("settle-too-late", delivery_id=claimed.id, attempt=claimed.attempt)
        return None

    async def _with_others(self, ended: Ended) -> tuple[_Fate, Verdict]:
        done: asyncio.Future[tuple[_Fate, Verdict]] = asyncio.get_running_loop().create_future()
        self._waiting.append((ended, done))
        if self._committing is None or self._committing.done():
            # It goes on for whoever comes: it must not seem to be a part of what the first of them does.
            self._committing = asyncio.create_task(self._commit(), context=Context())
        return await done

    async def _commit(self) -> None:
        """Settle together what waits, until nothing does; tell each what became of it."""
        while self._waiting:
            batch, self._waiting = self._waiting[:_AT_ONCE], self._waiting[_AT_ONCE:]
            settled, others = await self._together([ended for ended, _ in batch])
            for ended, done in batch:
                if not done.done():
                    verdict = settled.get(ended.claimed.id)
                    done.set_result((others, ended.verdict) if verdict is None else (_Fate.SETTLED, verdict))

    async def _together(self, ended: Sequence[Ended]) -> tuple[Mapping[int, Verdict], _Fate]:
        """What one transaction has settled, by delivery: whatever is of orders that nobody holds, or nothing; and what
        becomes of the others."""
        try:
            async with self._database.transaction() as session:
                wanted = [one.claimed.order_id for one in ended if one.claimed.order_id is not None]
                free = {None, *await self._lock_free(session, wanted)}
                written, rings = await self._write(session, [one for one in ended if one.claimed.order_id in free])
        except Exception as failure:
            # Whose fault it is is told apart alone; a batch that only waited too long may be held up by one of it.
            log.info("settle-together-failed", count=len(ended), error=type(failure).__name__)
            return {}, _Fate.LATER if is_passing(failure) and not _is_held_up(failure) else _Fate.ALONE
        self._ring(rings)
        return {one.claimed.id: one.verdict for one in written}, _Fate.LATER

    async def _alone(self, ended: Ended, ends: float) -> Verdict | None:
        claimed, doubted = ended.claimed, False
        while True:
            try:
                async with self._one_by_one, self._database.transaction() as session:
                    (written,), rings = await self._write(session, [ended])
                self._ring(rings)
                return written.verdict
            except LeaseLost:
                log.warning("lease-lost", delivery_id=claimed.id, attempt=claimed.attempt)
                return None
            except Exception as failure:
                passing = is_passing(failure)
                log.warning("settle-failed", delivery_id=claimed.id, exc_info=None if passing else failure)
                if time.monotonic() > ends or (isinstance(ended.verdict, Dead) and not passing and doubted):
                    return None
                if passing:
                    await asyncio.sleep(_PAUSE)
                elif isinstance(failure, Contradiction) or doubted:
                    ended = replace(ended, verdict=_beyond_recording(failure))
                doubted = doubted or not passing  # once more: what another has committed meanwhile is told apart then

    async def _write(self, session: AsyncSession, ended: Sequence[Ended]) -> tuple[Sequence[Ended], set[str]]:
        """Orders first, then deliveries, then lanes: everybody locks in this order. Returns what was written, and what
        to ring for."""
        withdrawn: dict[int, Withdrawn] = {}
        rings: set[str] = set()
        await session.execute(_HURRY)
        with one_moment(await read_clock(session)):
            for kind, recorder in self._recorders.items():
                mine = [one for one in ended if one.claimed.kind == kind]
                if mine:
                    recorded = await recorder.record(session, mine)
                    withdrawn.update(recorded.withdrawn)
                    rings.update(recorded.rings)
            written = [replace(one, verdict=withdrawn.get(one.claimed.id, one.verdict)) for one in ended]
            failing = await settle(session, written)
        await _tell_lanes(session, written, failing)
        return written, rings

    def _ring(self, topics: Collection[str]) -> None:
        for topic in topics:
            self._bell.ring(topic)


# An order, or a lane's gate, that somebody holds must not hold up the outcomes of others for long.
_HURRY = text("select set_config('lock_timeout', '1s', true)")


def _is_held_up(failure: BaseException) -> bool:
    """Whether a lock was waited for in vain."""
    return isinstance(failure, DBAPIError) and getattr(failure.orig, "sqlstate", None) == "55P03"


def _beyond_recording(failure: Exception) -> Dead:
    if isinstance(failure, Contradiction):
        return Dead(failure.reason, failure.code)
    return Dead(f"what came of it could not be recorded ({type(failure).__name__})", "not-recorded")


# Changes nothing unless this attempt is still the latest and in flight: the fence. Returns whether the lane counts
# failures by now: what it said when the delivery was claimed may be a whole batch old.
_SETTLE = text(
    """
    update deliveries d
       set state = s.state, phase = s.phase, worker = null, lease_until = null,
           next_at = clock_timestamp() + s.after,
           failures = d.failures + s.burns,
           absences = case when s.fresh then 0 else d.absences + s.absent end,
           unclear_since = case when s.fresh then clock_timestamp()
                                when s.phase = 'send' then null else d.unclear_since end,
           last_error = s.reason, last_code = s.code,
           settled_at = case when s.ended then clock_timestamp() end
      from unnest(
               cast(:id as bigint[]), cast(:attempt as bigint[]), cast(:state as text[]), cast(:phase as text[]),
               cast(:after as interval[]), cast(:burns as int[]), cast(:fresh as bool[]), cast(:absent as int[]),
               cast(:reason as text[]), cast(:code as text[]), cast(:ended as bool[])
           ) as s(id, attempt, state, phase, after, burns, fresh, absent, reason, code, ended)
     where d.id = s.id and d.attempts = s.attempt and d.state = 'sending'
    returning d.id, d.lane,
              (select l.breaker = 'closed' and l.failures > 0 from lanes l where l.lane = d.lane) as failing
    """
)

_COMPLETE_ATTEMPTS = text(
    """
    update attempts a
       set duration_ms = s.duration, status = s.status, code = s.code, outcome = s.outcome, error = s.error,
           response = s.response
      from unnest(
               cast(:id as bigint[]), cast(:attempt as bigint[]), cast(:duration as bigint[]),
               cast(:status as bigint[]), cast(:code as text[]), cast(:outcome as text[]), cast(:error as text[]),
               cast(:response as bytea[])
           ) as s(id, attempt, duration, status, code, outcome, error, response)
     where a.delivery_id = s.id and a.number = s.attempt
    """
)


async def settle(session: AsyncSession, ended: Sequence[Ended]) -> set[str]:
    """Record how attempts ended and what follows; says which lanes count failures that a success would end.

    Raises LeaseLost when one of the attempts is no longer ours to settle.
    """
    if not ended:
        return set()
    rows = (await session.execute(_SETTLE, _columns(_following(one) for one in ended))).all()
    if len(rows) < len(ended):
        settled = {row.id for row in rows}
        lost = next(one.claimed for one in ended if one.claimed.id not in settled)
        raise LeaseLost(f"delivery {lost.id}, attempt {lost.attempt}")
    await session.execute(_COMPLETE_ATTEMPTS, _columns(_attempt(one) for one in ended))
    return {row.lane for row in rows if row.failing}


async def _tell_lanes(session: AsyncSession, ended: Sequence[Ended], failing: set[str]) -> None:
    """Each lane hears of its attempts one after the other, as if each had been settled alone."""
    for one in sorted(ended, key=lambda one: one.claimed.lane):
        claimed, lane = one.claimed, one.claimed.lane
        if isinstance(one.outcome, Denied) and claimed.course.others_pass:
            continue  # what is let in for others, and not for this call, must not stop theirs
        troubled = claimed.lane_troubled or lane in failing
        if await lanes.note(session, lane, one.outcome, troubled=troubled, probe=claimed.probe):
            failing = failing - {lane} | ({lane} if await lanes.is_failing(session, lane) else set())


def _columns(rows: Any) -> dict[str, list[Any]]:
    first, *others = rows
    return {column: [first[column], *(row[column] for row in others)] for column in first}


def _following(ended: Ended) -> dict[str, Any]:
    claimed, verdict = ended.claimed, ended.verdict
    state, phase = _state(claimed, verdict)
    return {
        "id": claimed.id,
        "attempt": claimed.attempt,
        "state": state,
        "phase": phase,
        "after": getattr(verdict, "after", timedelta()),
        "burns": int(isinstance(verdict, Retry | Verify) and verdict.burns),
        "fresh": isinstance(verdict, Verify) and verdict.fresh,
        "absent": int(isinstance(verdict, Verify) and verdict.absent),
        "reason": getattr(verdict, "reason", None),
        "code": getattr(verdict, "code", None),
        "ended": isinstance(verdict, Delivered | Rejected | Dead | Withdrawn),
    }


def _state(claimed: Claimed, verdict: Verdict) -> tuple[str, str]:
    match verdict:
        case Verify():
            return "unknown", "verify"
        case Retry():
            return "retrying", "send"
    return type(verdict).__name__.lower(), claimed.phase


def _attempt(ended: Ended) -> dict[str, Any]:
    claimed, exchange = ended.claimed, ended.exchange
    kept = exchange.body if exchange else b""
    succeeded = exchange is not None and exchange.status is not None and 200 <= exchange.status < 300
    return {
        "id": claimed.id,
        "attempt": claimed.attempt,
        "duration": exchange.duration_ms if exchange else None,
        "status": exchange.status if exchange else None,
        "code": None if succeeded or not kept else read_error(kept)[0],
        "outcome": name(ended.outcome),
        "error": exchange.error if exchange else None,
        "response": kept[: _KEEP_ANSWERED if succeeded else _KEEP_OTHER] or None,
    }
