"""Calls that were refused for a wrong secret or too low a role, counted: a few are slips, many are somebody trying.

Counted in the process, which costs a refused caller nothing of the database, and added up by the minute every few
seconds: a process that is killed loses the last of them. A subject is a kid of ours or a key's id, never what a
stranger wrote, so there are few of them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import datetime
from typing import Literal

from sqlalchemy import CheckConstraint, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from .. import logs
from ..database import Base, Database, is_passing

log = logs.get("refusals")

Kind = Literal["bad-mac", "bad-token", "denied"]
BURST = 20
"""So many within a quarter of an hour are a burst."""
_EVERY_SECONDS = 5.0


class Refusal(Base):
    """How many calls were refused in one minute. `bad-mac`: a callback base's, by kid; `bad-token`: a seller's, by kid;
    `denied`: an operator's whose role is too low, by key."""

    __tablename__ = "refusals"
    __table_args__ = (
        CheckConstraint("kind in ('bad-mac', 'bad-token', 'denied')", name="kind"),
        CheckConstraint("calls > 0", name="calls"),
    )

    minute: Mapped[datetime] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(primary_key=True)
    calls: Mapped[int]


_ADD = text(
    """
    insert into refusals as r (minute, kind, subject, calls)
    values (date_trunc('minute', clock_timestamp()), :kind, :subject, :calls)
    on conflict (minute, kind, subject) do update set calls = r.calls + excluded.calls
    """
)

# Served by the primary key.
RECENT = text(
    """
    select kind, subject, sum(calls)::bigint as calls from refusals
     where minute > clock_timestamp() - interval '15 minutes'
     group by kind, subject order by kind, subject
    """
)


class Tally:
    """Counts in this process. `run` adds up what was counted until it is cancelled, and then once more."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._counted: Counter[tuple[Kind, str]] = Counter()

    def count(self, kind: Kind, subject: str) -> None:
        self._counted[kind, subject] += 1

    async def run(self) -> None:
        try:
            while True:
                await asyncio.sleep(_EVERY_SECONDS)
                await self._try()
        finally:
            await self._try()

    async def flush(self) -> None:
        """Add up what was counted. What cannot be stored is kept for the next time."""
        counted, self._counted = self._counted, Counter()
        if not counted:
            return
        rows = [
            {"kind": k, "subject": s, "calls": n} for (k, s), n in sorted(counted.items())
        ]  # one order: no deadlock
        try:
            async with self._database.transaction() as session:
                await session.execute(_ADD, rows)
        except Exception:
            self._counted += counted
            raise

    async def _try(self) -> None:
        try:
            await self.flush()
        except Exception as failure:  # the next round may succeed
            log.warning("refusals-not-counted", passing=is_passing(failure), exc_info=failure)


async def purge(session: AsyncSession) -> None:
    """Forget what is older than a day. A chore of the upkeep."""
    await session.execute(text("delete from refusals where minute < clock_timestamp() - interval '1 day'"))
