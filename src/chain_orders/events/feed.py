"""The marketplace's feed: events in one order that no late commit can slip behind.

Ids are given when an event is written and become visible when its transaction commits, so a reader who goes by id
misses whatever commits late. A relay, one at a time, numbers what is committed; readers go by that position alone.
The stream's tail is one task a process: it reads each event once and hands it to everybody who follows, through
bounded queues, and holds no connection while it waits. Who falls behind reads pages until it has caught up.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from .. import logs
from ..database import Bell, Database, is_passing, wait_for
from .models import Event

log = logs.get("feed")

TOPIC = "feed"
CAUSES = ("orders", "deliveries", "notifications")
"""What rings when somebody may have written an event."""
_BATCH = 1000
_PAGE = 500
_QUEUE = 1000

_TURN = text("select pg_advisory_xact_lock(hashtextextended('chain-orders feed', 0))")

# Served by events_unnumbered_idx and events_position_key. The lock is taken by a statement of its own, so that this
# one's snapshot shows what the relay before us has numbered.
_NUMBER = text(
    """
    with waiting as (
        select id, row_number() over (order by id) as nth
          from (select id from events where position is null order by id limit :batch) unnumbered
    )
    update events e set position = w.nth + (select coalesce(max(position), 0) from events)
      from waiting w where e.id = w.id
    """
)


async def number(session: AsyncSession, *, batch: int = _BATCH) -> int:
    """Give positions to committed events, in the order of their ids; says to how many."""
    await session.execute(_TURN)
    return int((await session.execute(_NUMBER, {"batch": batch})).rowcount)  # type: ignore[attr-defined]


class Relay:
    """Numbers events as they are committed."""

    def __init__(self, database: Database, bell: Bell, *, poll_seconds: float) -> None:
        self._database, self._bell, self._poll = database, bell, poll_seconds

    async def run(self, stop: asyncio.Event) -> None:
        """Number until `stop` is set."""
        with self._bell.listening(*CAUSES) as heard:
            while not stop.is_set():
                try:
                    numbered = await self.step()
                except Exception as failure:  # what waits is numbered by the next round
                    log.warning("relay-failed", passing=is_passing(failure), exc_info=failure)
                    numbered = 0
                if numbered < _BATCH:
                    await wait_for(heard, self._poll)

    async def step(self) -> int:
        async with self._database.transaction() as session:
            if not await session.scalar(_ANY):  # the lock is not worth taking for nothing
                return 0
            numbered = await number(session)
        self._bell.ring(TOPIC)
        return numbered


_ANY = text("select exists (select 1 from events where position is null)")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events a reader wants; empty: all."""

    types: tuple[str, ...] = ()
    seller_id: str | None = None

    def has(self, event: Event) -> bool:
        return (not self.types or event.type in self.types) and self.seller_id in {None, event.seller_id}


@dataclass(frozen=True, slots=True)
class Page:
    """Some events, and the position up to which the feed has been read for them."""

    events: Sequence[Event]
    position: int
    more: bool


async def last_position(session: AsyncSession) -> int:
    return await session.scalar(select(func.coalesce(func.max(Event.position), 0))) or 0


async def page(session: AsyncSession, after: int, limit: int, wanted: Wanted) -> Page:
    """The events after a position. The end is read first: what is numbered meanwhile belongs to the next page."""
    end = await last_position(session)
    query = select(Event).where(Event.position > after, Event.position <= end)
    if wanted.types:
        query = query.where(Event.type.in_(wanted.types))
    if wanted.seller_id is not None:
        query = query.where(Event.seller_id == wanted.seller_id)
    found = list(await session.scalars(query.order_by(Event.position).limit(limit + 1)))
    if len(found) > limit:
        return Page(found[:limit], found[limit - 1].position or after, more=True)
    return Page(found, max(end, after), more=False)


@dataclass(slots=True, eq=False)
class _Follower:
    """Somebody who follows. `behind`: something was missed, so pages are to be read first."""

    waiting: deque[Event] = field(default_factory=deque)
    behind: bool = True
    woken: asyncio.Event = field(default_factory=asyncio.Event)

    def give(self, events: Sequence[Event]) -> None:
        if len(self.waiting) + len(events) > _QUEUE:
            self.behind = True
        else:
            self.waiting.extend(events)
        self.woken.set()

    def catches_up(self) -> None:
        """What waits was numbered before the pages that are read now: they hold it."""
        self.behind = False
        self.waiting.clear()

    async def next(self, silence: float) -> Event | None:
        """The next event; None when none came in time, or when there is something else to do."""
        if not self.waiting and not self.behind:
            await wait_for(self.woken, silence)
        return self.waiting.popleft() if self.waiting else None


class Tail:
    """The end of the feed, for everybody in this process who follows it."""

    def __init__(self, database: Database, bell: Bell, *, poll_seconds: float) -> None:
        self._database, self._bell, self._poll = database, bell, poll_seconds
        self._followers: set[_Follower] = set()
        self._somebody = asyncio.Event()
        self._closed = False

    def close(self) -> None:
        """End every stream: the process is about to stop."""
        self._closed = True
        for follower in self._followers:
            follower.woken.set()

    async def run(self) -> None:
        """Read the end while somebody follows, until cancelled."""
        with self._bell.listening(TOPIC) as heard:
            while True:
                await self._somebody.wait()
                try:
                    await self._while_followed(heard)
                except Exception as failure:  # whoever follows is told to read pages once it works again
                    log.warning("tail-failed", passing=is_passing(failure), exc_info=failure)
                    await asyncio.sleep(self._poll)

    async def _while_followed(self, heard: asyncio.Event) -> None:
        async with self._database.transaction() as session:
            position = await last_position(session)
        for follower in self._followers:  # nobody knows what they missed before this position was read
            follower.behind = True
            follower.woken.set()
        while self._followers:
            async with self._database.transaction() as session:
                found = await page(session, position, _PAGE, Wanted())
            position = found.position
            if found.events:
                for follower in self._followers:
                    follower.give(found.events)
            if not found.more:
                await wait_for(heard, self._poll)
        self._somebody.clear()

    async def follow(self, after: int | None, wanted: Wanted, *, silence: float) -> AsyncIterator[Event | None]:
        """Every event after a position (None: from now on), and None after each `silence` without one.

        Ends when the process stops.
        """
        follower = _Follower()
        self._followers.add(follower)
        self._somebody.set()
        try:
            position = await self._end() if after is None else after
            while not self._closed:
                if follower.behind:
                    follower.catches_up()
                    async for found in self._pages(position, wanted):
                        for event in found.events:
                            yield event
                        position = found.position
                    continue
                given = await follower.next(silence)
                if given is None:
                    yield None
                elif (given.position or 0) > position:
                    position = given.position or 0
                    if wanted.has(given):
                        yield given
        finally:
            self._followers.discard(follower)

    async def _pages(self, position: int, wanted: Wanted) -> AsyncIterator[Page]:
        more = True
        while more and not self._closed:
            async with self._database.transaction() as session:
                found = await page(session, position, _PAGE, wanted)
            yield found
            position, more = found.position, found.more

    async def _end(self) -> int:
        async with self._database.transaction() as session:
            return await last_position(session)
