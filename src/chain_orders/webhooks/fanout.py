"""Turning numbered events into deliveries, once for each subscription that wants them.

Each subscription has a cursor into the feed. It is moved in the transaction that makes the deliveries of what it
passed, under the row's lock: no event is skipped and none is owed twice, whatever dies when. A disabled
subscription's cursor stands still; the feed keeps what it has not passed.
"""

from __future__ import annotations

import asyncio
import uuid

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from .. import logs
from ..database import Bell, Database, is_passing, wait_for
from ..deliveries.worker import TOPIC as DELIVERIES
from ..events.feed import TOPIC
from ..events.models import Event
from . import outbox
from .models import LANE, Subscription

log = logs.get("fanout")

EVENTS_AT_ONCE = 500


class Fanout:
    def __init__(self, database: Database, bell: Bell, *, poll_seconds: float) -> None:
        self._database, self._bell = database, bell
        self._poll = poll_seconds

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set."""
        with self._bell.listening(TOPIC) as heard:
            while not stop.is_set():
                try:
                    passed = await self.step()
                except Exception as failure:
                    log.warning("fanout-failed", passing=is_passing(failure), exc_info=failure)
                    passed = 0
                if not passed:
                    await wait_for(heard, self._poll)

    async def step(self) -> int:
        """Move every cursor that is behind by up to EVENTS_AT_ONCE; how many events were passed in all."""
        async with self._database.transaction() as session:
            behind = list(await session.scalars(_BEHIND))
        passed = owed = 0
        for subscription_id in behind:
            try:
                async with self._database.transaction() as session:
                    moved, made = await _advance(session, subscription_id)
            except Exception as failure:  # those that come after it are not to wait for it
                lane = f"{LANE}{subscription_id}"
                log.warning("fanout-failed", lane=lane, passing=is_passing(failure), exc_info=failure)
                continue
            passed, owed = passed + moved, owed + made
        if owed:
            self._bell.ring(DELIVERIES)
        return passed


# Served by subscriptions_behind_idx and the feed's unique position.
_BEHIND = text(
    "select id from subscriptions where enabled and position < (select max(position) from events) order by position"
).columns(Subscription.id)


async def _advance(session: AsyncSession, subscription_id: uuid.UUID) -> tuple[int, int]:
    """Pass the next events of one subscription: how many, and how many of them are owed to it."""
    subscription = await session.scalar(
        select(Subscription)
        .where(Subscription.id == subscription_id, Subscription.enabled)
        .with_for_update(skip_locked=True)
    )
    if subscription is None:
        return 0, 0
    next_events = select(Event).where(Event.position > subscription.position)
    events = list(await session.scalars(next_events.order_by(Event.position).limit(EVENTS_AT_ONCE)))
    if not events:
        return 0, 0
    wanted = [event for event in events if subscription.wants(event.type, event.seller_id)]
    await outbox.owe(session, subscription, [outbox.of_event(event) for event in wanted])
    subscription.position = events[-1].position or subscription.position
    await session.flush()
    return len(events), len(wanted)
