"""Waiting for an order's outcome without holding a connection: one shared query for everybody who waits."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections import defaultdict

from sqlalchemy import select

from .. import logs
from ..database import Bell, Database, wait_for
from .models import Order
from .states import Status

log = logs.get("watch")

LONGEST = 30.0
_LOOK_EVERY = 0.25
_UNDECIDED = (Status.ACCEPTED, Status.PLACING, Status.PLACEMENT_UNKNOWN)


class Watch:
    """Tells when orders have left the states in which nobody knows whether they are placed."""

    def __init__(self, database: Database, bell: Bell) -> None:
        self._database = database
        self._bell = bell
        self._waiting: dict[uuid.UUID, set[asyncio.Event]] = defaultdict(set)
        self._somebody = asyncio.Event()

    async def decided(self, order_id: uuid.UUID, seconds: float) -> bool:
        """Whether the order was placed or refused within the time."""
        told = asyncio.Event()
        self._waiting[order_id].add(told)
        self._somebody.set()
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(told.wait(), min(seconds, LONGEST))
            return told.is_set()
        finally:
            self._waiting[order_id].discard(told)
            if not self._waiting[order_id]:
                del self._waiting[order_id]

    async def run(self) -> None:
        """Look while somebody waits, until cancelled."""
        with self._bell.listening("orders") as heard:
            while True:
                if not self._waiting:
                    self._somebody.clear()
                    await self._somebody.wait()
                await wait_for(heard, _LOOK_EVERY)
                try:
                    await self._look()
                except Exception as failure:  # the next look may succeed; the waiters have a deadline of their own
                    log.warning("look-failed", exc_info=failure)

    async def _look(self) -> None:
        async with self._database.transaction() as session:
            decided = await session.scalars(
                select(Order.id).where(Order.id.in_(list(self._waiting)), Order.status.not_in(_UNDECIDED))
            )
            for order_id in decided:
                for told in self._waiting.get(order_id, ()):
                    told.set()
