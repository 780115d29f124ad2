"""The gate in front of each peer that is called. A success does not touch it; trouble, and the end of trouble, do.

429 and 503 stop the lane for as long as the seller asks, and count for nothing. Refused credentials, a certificate that
proves nothing, and a burst of failures open its breaker: then one call at a time goes through, as a probe, and the
first probe that is answered closes it. A lane of which nothing good is known (it is new, was given another key or
address, was asked to wait, or has long been idle) lets one call through, and opens by degrees.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Protocol

from sqlalchemy import Interval, bindparam, text
from sqlalchemy.ext.asyncio import AsyncSession

from ..outcome import Absent, Again, Ambiguous, Denied, GivenBack, Outcome, Recalled, Throttled, Untrusted

BURST = 10  # failures in a row that open the breaker
PROBE_AFTER = timedelta(seconds=15)
PROBE_AFTER_DENIED = timedelta(seconds=60)


class Peer(Protocol):
    """Whoever has a lane: a seller, or a subscription to webhooks."""

    @property
    def lane(self) -> str: ...
    @property
    def concurrency(self) -> int: ...
    @property
    def rate_per_second(self) -> float: ...
    @property
    def paused(self) -> bool: ...


async def keep(session: AsyncSession, peer: Peer, *, forgive: bool = False) -> None:
    """Make the peer's lane, or give it the peer's present limits. `forgive` also closes an open breaker."""
    await session.execute(
        _KEEP,
        {
            "lane": peer.lane,
            "cap": peer.concurrency,
            "rate": peer.rate_per_second,
            "paused": peer.paused,
        },
    )
    if forgive:
        await session.execute(_FORGIVE, {"lane": peer.lane})


_KEEP = text(
    """
    insert into lanes (lane, concurrency, rate_per_second, tokens, paused, ramp)
    values (:lane, :cap, :rate, :rate, :paused, 1)
    on conflict (lane) do update
       set concurrency = excluded.concurrency, rate_per_second = excluded.rate_per_second, paused = excluded.paused
    """
)


async def drop(session: AsyncSession, peer: Peer) -> None:
    """The peer is gone. A lane of which nothing was ever owed goes too; the others are named by what was."""
    await session.execute(_DROP, {"lane": peer.lane})


_DROP = text("delete from lanes l where l.lane = :lane and not exists (select from deliveries d where d.lane = l.lane)")


async def note(session: AsyncSession, lane: str, outcome: Outcome, *, troubled: bool, probe: bool = False) -> bool:
    """Tell the gate how an attempt ended; says whether it was changed by it. The last lock of its transaction.

    `probe`: it was claimed while the breaker was open. What was under way before says nothing about now.
    """
    match outcome:
        case Throttled(reason, after) | Ambiguous(reason, pause=float() as after):
            await session.execute(
                _PAUSE_UNTIL, {"lane": lane, "after": timedelta(seconds=after or 1), "reason": reason}
            )
        case Denied(reason) | Untrusted(reason):
            denied = isinstance(outcome, Denied)
            await session.execute(
                _OPEN, {"lane": lane, "after": PROBE_AFTER_DENIED, "reason": reason, "denied": denied}
            )
        case Again(reason, answered=False) | Ambiguous(reason):
            await session.execute(
                _COUNT_FAILURE, {"lane": lane, "after": PROBE_AFTER, "reason": reason, "burst": BURST}
            )
        case GivenBack() | Recalled() | Absent(repeatable=True):
            return False
        case _ if troubled:
            await session.execute(_RECOVER, {"lane": lane, "probe": probe})
        case _:
            return False
    return True


async def let_go(session: AsyncSession, lane: str) -> None:
    """A probe that kept the gate shut has ended; how, `note` is told next."""
    await session.execute(_LET_GO, {"lane": lane})


_LET_GO = text("update lanes set next_at = null where lane = :lane and breaker = 'open'")


async def is_failing(session: AsyncSession, lane: str) -> bool:
    """Whether the lane counts failures that a success would end."""
    return bool(await session.scalar(_IS_FAILING, {"lane": lane}))


_IS_FAILING = text("select breaker = 'closed' and failures > 0 from lanes where lane = :lane")


CLOSED = "calls to the peer were stopped meanwhile"


async def lets_through(session: AsyncSession, lane: str) -> bool:
    """Whether the gate is open at this moment. Whoever makes several calls under one claim asks before each further
    one: another call may have been asked to wait."""
    return bool(await session.scalar(_LETS_THROUGH, {"lane": lane}))


_LETS_THROUGH = text(
    "select not paused and (next_at is null or next_at <= clock_timestamp()) from lanes where lane = :lane"
)

# While the breaker is open each probe that fails adds one to `failures`: by that the claim sends and reads in turn.
_PAUSE_UNTIL = text(
    """
    update lanes
       set next_at = greatest(next_at, clock_timestamp() + :after), reason = :reason, ramp = 1,
           failures = case when breaker = 'open' then failures + 1 else failures end
     where lane = :lane
    """
).bindparams(bindparam("after", type_=Interval))

_OPEN = text(
    """
    update lanes
       set breaker = 'open', denied = :denied, failures = failures + 1,
           next_at = greatest(next_at, clock_timestamp() + :after), reason = :reason
     where lane = :lane
    """
).bindparams(bindparam("after", type_=Interval))

_COUNT_FAILURE = text(
    """
    update lanes
       set failures = failures + 1, reason = :reason,
           breaker = case when failures + 1 >= :burst then 'open' else breaker end,
           next_at = case when failures + 1 >= :burst or breaker = 'open'
                          then greatest(next_at, clock_timestamp() + :after) else next_at end
     where lane = :lane
    """
).bindparams(bindparam("after", type_=Interval))

# After an outage the lane does not open at once: its first success lets two in, each further one twice as many.
_RECOVER = text(
    """
    update lanes
       set failures = 0, reason = null, breaker = 'closed', denied = false,
           next_at = case when breaker = 'open' then null else next_at end,
           ramp = case when breaker = 'open' and concurrency > 2 then 2
                       when ramp * 2 < concurrency then ramp * 2 end
     where lane = :lane and (breaker = 'closed' or :probe)
    """
)

_FORGIVE = text(
    """
    update lanes
       set breaker = 'closed', denied = false, failures = 0, next_at = null, ramp = 1, reason = null
     where lane = :lane
    """
)
