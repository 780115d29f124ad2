"""Periodic work on the outbox and on what else needs tidying, by one process of the fleet at a time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

from sqlalchemy import Interval, bindparam, text
from sqlalchemy.ext.asyncio import AsyncSession

from .. import logs
from ..database import Database, is_passing

log = logs.get("upkeep")


Chore = Callable[[AsyncSession], Awaitable[None]]


class Upkeep:
    """Does the chores it is given, and tries dead deliveries again where that is asked for."""

    def __init__(
        self, database: Database, *, every: timedelta, replay_dead: timedelta, chores: Sequence[Chore] = ()
    ) -> None:
        self._database = database
        self._every = every
        self._replay_dead = replay_dead
        self._chores = chores

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set."""
        while not stop.is_set():
            try:
                await self.step()
            except Exception as failure:  # the next round may succeed
                log.warning("upkeep-failed", passing=is_passing(failure), exc_info=failure)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._every.total_seconds())

    async def step(self) -> int:
        """One round; says how many dead deliveries are tried again."""
        async with self._database.transaction() as session:
            if not await session.scalar(_TURN):
                return 0
            for chore in self._chores:
                await chore(session)
            if not self._replay_dead:
                return 0
            replayed = (await session.execute(_REPLAY, {"after": self._replay_dead})).all()
        if replayed:
            log.info("dead-replayed", count=len(replayed))
        return len(replayed)


_TURN = text("select pg_try_advisory_xact_lock(hashtextextended('chain-orders upkeep', 0))")

# A call that was never known to fail for good is read first, like every call whose story broke off.
_REPLAY = text(
    """
    update deliveries
       set state = 'unknown', phase = 'verify', failures = 0, absences = 0, unclear_since = clock_timestamp(),
           next_at = clock_timestamp(), settled_at = null
     where id in (select id from deliveries
                   where state = 'dead' and last_code = 'retries-used-up'
                     and settled_at < statement_timestamp() - :after
                   order by id limit 100 for no key update skip locked)
    returning id
    """
).bindparams(bindparam("after", type_=Interval))
