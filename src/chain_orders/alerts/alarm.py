"""The loop that looks, raises and tells: by one process of the fleet at a time.

Whether something is an alert is decided by `rules`; what was decided is stored and owed to webhooks in one
transaction. Mail leaves after the commit, under a claim that ends by itself: it may come twice, but it comes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from .. import logs
from ..database import Bell, Database, is_passing, now, read_clock
from ..deliveries.worker import TOPIC as DELIVERIES
from . import telling
from .mail import Mail, NotMailed
from .measures import measure
from .models import Alert
from .rules import Changes, Finding, Open, compare, judge

log = logs.get("alerts")

_MAILED_AT_ONCE = 50


class Alarm:
    def __init__(
        self, database: Database, bell: Bell, mail: Mail | None, *, every: timedelta, patience: timedelta
    ) -> None:
        self._database, self._bell, self._mail = database, bell, mail
        self._every, self._patience = every, patience

    async def run(self, stop: asyncio.Event) -> None:
        """Look until `stop` is set."""
        while not stop.is_set():
            try:
                await self.step()
                await self.post()
            except Exception as failure:  # the next round may succeed
                log.warning("alerts-failed", passing=is_passing(failure), exc_info=failure)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._every.total_seconds())

    async def step(self) -> Changes | None:
        """One look; what followed, or None while another process looks."""
        async with self._database.transaction() as session:
            if not await session.scalar(_TURN):
                return None
            found = judge(await measure(session), patience=self._patience)
            alerts = list(await session.scalars(select(Alert).where(Alert.recovered_at.is_(None))))
            at = await read_clock(session)
            known = [Open(one.code, one.subject, one.quiet_since) for one in alerts]
            changes = compare(found, known, at, settle=self._every)
            await _apply(session, changes, alerts, at)
        for finding in changes.raised:
            log.warning("alert-raised", code=finding.code, lane=finding.subject)
        for over in changes.over:
            log.info("alert-recovered", code=over.code, lane=over.subject)
        if changes.raised or changes.over:
            self._bell.ring(DELIVERIES)
        return changes

    async def post(self) -> None:
        """Mail what has not been mailed, all of it in one mail."""
        if self._mail is None:
            return
        async with self._database.transaction() as session:
            alerts = list(await session.scalars(_CLAIM_MAIL))
        raised = [one for one in alerts if one.raised_mailed_at is None]
        recovered = [one for one in alerts if one.recovered_at is not None]
        if not alerts:
            return
        try:
            await self._mail.send(*telling.letter(raised, recovered))
        except NotMailed as failure:
            log.warning("mail-failed", reason=str(failure))
            return
        async with self._database.transaction() as session:
            await _mark(session, raised, Alert.raised_mailed_at.key)
            await _mark(session, recovered, Alert.recovered_mailed_at.key)


_TURN = text("select pg_try_advisory_xact_lock(hashtextextended('chain-orders alerts', 0))")

# An open alert is mailed however late. What was over for a day before anybody could be told is old news.
_CLAIM_MAIL = (
    update(Alert)
    .where(
        Alert.id.in_(
            select(Alert.id)
            .where(
                Alert.raised_mailed_at.is_(None)
                | (Alert.recovered_at.is_not(None) & Alert.recovered_mailed_at.is_(None)),
                text("(recovered_at is null or recovered_at > clock_timestamp() - interval '1 day')"),
                text("(mail_until is null or mail_until < clock_timestamp())"),
            )
            .order_by(Alert.id)
            .limit(_MAILED_AT_ONCE)
            .with_for_update(skip_locked=True)
        )
    )
    .values(mail_until=text("clock_timestamp() + interval '1 minute'"))
    .returning(Alert)
    .execution_options(synchronize_session=False)
)


async def _apply(session: AsyncSession, changes: Changes, alerts: Sequence[Alert], at: datetime) -> None:
    by_name = {(one.code, one.subject): one for one in alerts}
    for quiet in changes.quiet:
        by_name[quiet.code, quiet.subject].quiet_since = at
    for back in changes.back:
        by_name[back.code, back.subject].quiet_since = None
    for over in changes.over:
        alert = by_name[over.code, over.subject]
        alert.recovered_at = alert.quiet_since
        await session.flush()
        await telling.tell(session, alert)
    for finding in changes.raised:
        await telling.tell(session, await _raise(session, finding))


async def _raise(session: AsyncSession, finding: Finding) -> Alert:
    alert = Alert(code=finding.code, subject=finding.subject, reason=finding.reason)
    session.add(alert)
    await session.flush()
    await session.refresh(alert)
    return alert


async def _mark(session: AsyncSession, alerts: Sequence[Alert], column: str) -> None:
    """Mailed; free to be claimed again for what is still to come of it."""
    ids = [one.id for one in alerts]
    await session.execute(update(Alert).where(Alert.id.in_(ids)).values({column: now(), "mail_until": None}))
