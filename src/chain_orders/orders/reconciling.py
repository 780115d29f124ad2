"""Reading orders at the seller: open ones by age, ended ones a few times more, and when something is to be confirmed.

What the seller shows is applied as if it had been told, with the source `read`. Reads are outside the orders'
sequences and take their tokens from the same gate as everything else that is sent to the seller. Each order is read
in a task of its own, a few at a time of each seller: one that is slow or fails delays no other. Of several that say
nothing the reads may take all places there are, until their breakers open.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import delete, func, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from .. import logs
from ..database import Bell, Database, is_passing, now, read_clock, wait_for
from ..deliveries import lanes
from ..deliveries.reach import Reach
from ..outbound import Exchange, Wire
from ..outcome import Answered
from ..sellers.directory import client_of
from ..sellers.models import Seller
from ..sellers.vault import Vault
from ..vtex import answers
from ..vtex.messages import SellerOrder, reader_of
from . import attention, authorizing, comparing, lookup, reads
from . import seen as answered
from .models import ChainOrder, Order, Read
from .reads import Due, Plan
from .states import Status

log = logs.get("reconciling")

_AT_ONCE, _OF_EACH_SELLER, _PROBES = 16, 4, 4
_LEASE = timedelta(seconds=120)
_PATIENCE = 90.0  # seconds for all reads of an order, well within the lease
_CLOSED = frozenset({Status.INVOICED, Status.CANCELLED, Status.REJECTED})


class Reconciler:
    def __init__(
        self, database: Database, bell: Bell, wire: Wire, vault: Vault, plan: Plan, reach: Reach, *, poll_seconds: float
    ) -> None:
        self._database, self._bell, self._wire, self._vault = database, bell, wire, vault
        self._plan, self._reach = plan, reach
        self._poll = poll_seconds
        self._running: dict[asyncio.Task[None], Due] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Read until `stop` is set; reads that are then under way are given up, for they change nothing."""
        with self._bell.listening(reads.TOPIC) as heard:
            try:
                while not stop.is_set():
                    try:
                        began = await self._round(heard)
                    except Exception as failure:
                        log.warning("read-round-failed", passing=is_passing(failure), exc_info=failure)
                        began = 0
                    if not began:
                        await wait_for(heard, self._poll)
            finally:
                for task in self._running:
                    task.cancel()
                await asyncio.gather(*self._running, return_exceptions=True)

    async def _round(self, heard: asyncio.Event) -> int:
        """Begin to read what is due; says how many orders."""
        slots = _AT_ONCE - len(self._running)
        if slots <= 0:
            return 0
        async with self._database.transaction() as session:
            # What this process cannot reach is left to others, as if it had all its reads under way.
            reading = Counter(one.lane for one in self._running.values())
            busy = reading | Counter(dict.fromkeys(self._reach.beyond, _OF_EACH_SELLER))
            probes = _PROBES - sum(one.probe for one in self._running.values())
            due = await reads.claim(session, slots=slots, each=_OF_EACH_SELLER, lease=_LEASE, probes=probes, busy=busy)

        def finished(task: asyncio.Task[None]) -> None:
            del self._running[task]
            heard.set()

        for one in due:
            task = asyncio.create_task(self._look(one))
            self._running[task] = one
            task.add_done_callback(finished)
        return len(due)

    async def _look(self, due: Due) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._read(due)
        except Exception as failure:  # it is read again once its lease is over
            log.warning("read-failed", order_id=str(due.order_id), passing=is_passing(failure), exc_info=failure)

    async def _read(self, due: Due) -> None:
        order_id = due.order_id
        async with self._database.transaction() as session:
            order = await lookup.loaded(session, order_id)
            seller = await session.get_one(Seller, order.seller_id)
            began = await read_clock(session)
        client = client_of(seller, self._wire, self._vault)
        seen: dict[int, tuple[Exchange, SellerOrder | None]] = {}
        for chain in order.chain_orders:
            if seen and not await self._is_open(due):
                return
            exchange = await client.read_order(chain.chain_order_id)
            found = answers.found(exchange, reader_of(chain.chain_order_id))
            if isinstance(found, answers.Unread):
                await self._unread(due, found)
                return
            if due.probe and not seen:
                await self._close_breaker(due)
            seen[chain.key] = exchange, found
        async with self._database.transaction() as session:
            await self._learn(session, order_id, seen, began)
            await lanes.note(session, due.lane, Answered(), troubled=due.troubled)
        self._bell.ring("notifications")
        self._bell.ring("orders")

    async def _close_breaker(self, due: Due) -> None:
        """The probe was answered: calls go on, the further reads of this order too."""
        async with self._database.transaction() as session:
            await lanes.note(session, due.lane, Answered(), troubled=True, probe=True)
        self._bell.ring("deliveries")

    async def _is_open(self, due: Due) -> bool:
        """Whether the order may be read on; if not, it is read from its beginning once calls go on."""
        async with self._database.transaction() as session:
            if await lanes.lets_through(session, due.lane):
                return True
            values = {"next_at": now(), "last_error": lanes.CLOSED}
            await session.execute(update(Read).where(Read.order_id == due.order_id).values(values))
        return False

    async def _learn(
        self,
        session: AsyncSession,
        order_id: uuid.UUID,
        seen: Mapping[int, tuple[Exchange, SellerOrder | None]],
        began: datetime,
    ) -> None:
        """Move the order by what was seen, keep that, and plan the next look."""
        order = await lookup.locked(session, order_id)
        row = await session.get(Read, order_id)
        if row is None:
            return
        row.failing_since = None
        # What the seller told us while it was being read is confirmed by the next read; it is due already.
        outdated = row.asked_at is not None and row.asked_at > began
        last = row.asked_at is not None and not outdated and row.asked_reads >= len(self._plan.confirm_at)
        soon = row.asked_at is not None and not last
        different, asking = False, set(await session.scalars(_ASKING, {"order_id": order_id}))
        for chain in order.chain_orders:
            if chain.key in seen:
                exchange, found = seen[chain.key]
                await answered.keep(session, chain, exchange, began)
                chain.seller_read_at, before = began, chain.status
                comparing.compare(
                    order,
                    chain,
                    found,
                    waited_long_enough=last,
                    asking=outdated or chain.key in asking,
                    again_soon=soon,
                )
                if chain.status != before:
                    await authorizing.overtake(session, order, chain, f"the seller shows it as {chain.status}")
                different |= await _differs(session, order, chain, found, tell=last)
        order.settle_status()
        if not any(chain.seller_status == comparing.NOT_SHOWN for chain in order.chain_orders):
            await attention.settle(session, order, "service", comparing.MISSING)
        await lookup.save_names(session, [order])
        await session.flush()
        if not outdated:
            await self._reschedule(session, order, row, different=different and not last)
        await session.execute(_WAKE_VERIFYING, {"order_id": order_id})

    async def _reschedule(self, session: AsyncSession, order: Order, row: Read, *, different: bool) -> None:
        at = await read_clock(session)
        if different and row.asked_at is None:
            row.asked_at, row.asked_reads = at, 0
        if row.asked_at is not None:
            waits = await session.scalar(_ANY_VERIFYING, {"order_id": order.id})
            if waits or different or any(comparing.unconfirmed(chain) for chain in order.chain_orders):
                row.asked_reads += 1
                after = self._plan.confirming(row.asked_reads, at - row.asked_at)
                if after is not None:
                    row.next_at, row.last_error = at + after, None
                    return
            row.asked_at, row.asked_reads = None, 0
        after = await self._until_next(session, order, at)
        if after is None:
            await session.execute(delete(Read).where(Read.order_id == order.id))
            return
        row.next_at, row.last_error = at + after, None

    async def _until_next(self, session: AsyncSession, order: Order, at: datetime) -> timedelta | None:
        """Also what has ended is told of again: a return, or a cancellation of what was invoiced."""
        if Status(order.status) not in _CLOSED:
            return self._plan.periodic(at - order.created_at)
        await session.refresh(order, ["final_at"])  # it may have been set just now, by the database's clock
        return self._plan.closed(at - order.final_at) if order.final_at is not None else None

    async def _unread(self, due: Due, why: answers.Unread) -> None:
        """The read said nothing: try again in a minute, whatever was waited for."""
        async with self._database.transaction() as session:
            await session.execute(
                update(Read)
                .where(Read.order_id == due.order_id)
                .values(
                    next_at=now() + timedelta(seconds=60),
                    last_error=why.reason,
                    failing_since=func.coalesce(Read.failing_since, func.clock_timestamp()),
                )
            )
            if due.probe:
                await lanes.let_go(session, due.lane)
            await lanes.note(session, due.lane, why, troubled=True, probe=due.probe)


async def _differs(
    session: AsyncSession, order: Order, chain: ChainOrder, found: SellerOrder | None, *, tell: bool
) -> bool:
    """Whether the seller shows another value, of which no person has heard yet. One is told of it with `tell`, once:
    what explains it had time to come."""
    shown = comparing.differences(chain, found)
    if shown:
        codes = list(comparing.DIFFERENCES)
        heard = set(await session.scalars(_HEARD_OF, {"order_id": order.id, "codes": codes}))
        shown = [one for one in shown if one.reason not in heard]
    if tell:
        comparing.tell(order, chain, shown)
    return bool(shown)


# Served by events_order_idx.
_HEARD_OF = text(
    """
    select data ->> 'reason' from events
     where order_id = :order_id and type = 'order.attention' and data ->> 'code' = any(cast(:codes as text[]))
    """
)

# Served by deliveries_order_idx.
_ASKING = text(
    """
    select chain_order_key from deliveries
     where order_id = :order_id and kind = 'cancel' and state in ('ready', 'retrying', 'unknown', 'sending', 'dead')
    """
)

_ANY_VERIFYING = text(
    """
    select exists (select 1 from notifications
                    where order_id = :order_id and state = 'parked' and reason = 'verifying')
    """
)

# What waits for a read is looked at again by the applier.
_WAKE_VERIFYING = text(
    """
    update notifications set state = 'received'
     where order_id = :order_id and state = 'parked' and reason = 'verifying'
    """
)
