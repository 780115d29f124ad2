"""Whom this process cannot reach although others can: its machine has no way out, or none to some.

Such a lane is left to the other workers, for a while that grows, and then tried with one call; what fails for it is
given back and counts for nothing. That others reach it is seen at its gate, at no cost: a gate counts failures in a
row, so one that counts fewer than it was told from here has had a success since. A peer that nobody reaches is the
gate's matter: there our failures add up. What is left to others is shown in a table, for whoever must look.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from .. import logs
from ..outbound import Exchange
from .queue import Claimed

log = logs.get("reach")

SHORTEST, LONGEST = 1.0, 60.0  # seconds for which a lane is left to others
HESITATION = 0.25
"""Seconds after a call in vain within which others go first: who fails fast must not be who calls most."""
FORGOTTEN = 300.0
"""Seconds after the last call in vain for which it is left to others: they may leave nothing to try it with."""
SHOWN_EVERY = 15.0  # seconds
REASON = "this worker has no connection to the peer, and others have"


@dataclass(slots=True)
class _Missed:
    """A lane that was not reached by the last call."""

    told: int = 0
    """Failures in a row that its gate was told of."""
    wait: float = 0.0
    """For how long it is left to others; 0 while no other is known to reach it."""
    until: float = 0.0
    missed_at: float = 0.0
    probe: int | None = None
    """The call by which it is tried."""


class Reach:
    """What the calls of one process have shown. Times are seconds of the worker's clock."""

    def __init__(self) -> None:
        self._missed: dict[str, _Missed] = {}
        self._others_pass: set[int] = set()

    @property
    def beyond(self) -> frozenset[str]:
        """The lanes that are left to others."""
        return frozenset(lane for lane, one in self._missed.items() if one.wait)

    def passed_over(self, at: float) -> frozenset[str]:
        """The lanes that are not to be called now."""
        return self.beyond | {lane for lane, one in self._missed.items() if at < one.missed_at + HESITATION}

    def told(self) -> Mapping[str, int]:
        """Of how many failures in a row each gate was told. To be asked before a claim, and given back after it."""
        return {lane: one.told for lane, one in self._missed.items()}

    def to_try(self, at: float) -> str | None:
        """A lane that was left to others for long enough; it is left to them for as long again."""
        self._missed = {lane: one for lane, one in self._missed.items() if at - one.missed_at < FORGOTTEN}
        for lane, one in self._missed.items():
            if one.wait and one.probe is None and at >= one.until:
                one.until = at + one.wait
                return lane
        return None

    def claimed(self, claimed: Sequence[Claimed], told: Mapping[str, int]) -> None:
        """These are about to be called."""
        for one in claimed:
            if one.lane_failures < told.get(one.lane, 0):
                self._others_pass.add(one.id)
            if (missed := self._missed.get(one.lane)) is not None and missed.wait:
                missed.probe = one.id

    def ended(self, claimed: Claimed, exchange: Exchange | None, at: float) -> bool:
        """How a call ended; says whether it is given back, for want of a way to whom others reach."""
        others_pass, missed = claimed.id in self._others_pass, self._missed.get(claimed.lane)
        self._others_pass.discard(claimed.id)
        probing = missed is not None and missed.probe == claimed.id
        if missed is not None and probing:
            missed.probe = None
        if exchange is None:
            return False
        if exchange.reached:
            self._reached(claimed.lane)
            return False
        missed = self._missed.setdefault(claimed.lane, _Missed())
        missed.missed_at = at
        if others_pass and (probing or not missed.wait):
            if not missed.wait:
                log.warning("lane-out-of-reach", lane=claimed.lane)
            missed.told, missed.wait = 0, min(max(2 * missed.wait, SHORTEST), LONGEST)
            missed.until = at + missed.wait
        return others_pass

    def counted(self, lane: str) -> None:
        """The gate has been told of a call that did not reach its peer."""
        if (missed := self._missed.get(lane)) is not None:
            missed.told += 1

    def _reached(self, lane: str) -> None:
        missed = self._missed.pop(lane, None)
        if missed is not None and missed.wait:
            log.info("lane-in-reach", lane=lane)


_FORGET = text("delete from out_of_reach where worker = :worker and lane <> all(cast(:lanes as text[]))")
_SHOW = text(
    """
    insert into out_of_reach (worker, lane) select :worker, lane from unnest(cast(:lanes as text[])) as l(lane)
        on conflict (worker, lane) do update set seen_at = clock_timestamp()
    """
)


async def show(session: AsyncSession, worker: str, lanes: Collection[str]) -> None:
    """Show these, and no others, as out of the worker's reach."""
    asked = {"worker": worker, "lanes": sorted(lanes)}
    await session.execute(_FORGET, asked)
    await session.execute(_SHOW, asked)


# One row a worker that has told of it lately.
SHOWN = text(
    """
    select worker, array_agg(lane order by lane) as lanes, clock_timestamp() - min(since) as oldest
      from out_of_reach where seen_at > clock_timestamp() - interval '1 minute'
     group by worker order by worker
    """
)


async def purge(session: AsyncSession) -> None:
    """Forget workers that have ended. A chore of the upkeep."""
    await session.execute(text("delete from out_of_reach where seen_at < clock_timestamp() - interval '1 hour'"))
