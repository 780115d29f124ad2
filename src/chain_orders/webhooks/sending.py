"""Sending one message: the handler of `webhook` deliveries.

Promises at least once: what was not answered with 2xx is sent again with the same id, and a receiver tells a repeat
by it. So nothing is ever read before it is repeated. 410 disables the subscription; what it is owed waits.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from .. import logs
from ..database import Database, read_clock
from ..deliveries.queue import Claimed
from ..deliveries.settling import Ended, Recorded
from ..deliveries.worker import Attempted
from ..outbound import TOO_LATE, Exchange, Wire
from ..outcome import Absent, Again, Answered, Denied, GivenBack, Outcome, Recalled, Throttled
from ..sellers.vault import Vault
from ..vtex.answers import asked_pause
from . import directory, outbox, signing
from .models import Subscription

log = logs.get("webhooks")

GONE = 410
_BUSY = (429, 503)


class Send:
    """The handler. It loads the subscription itself: what it says at the moment of sending counts."""

    def __init__(self, database: Database, wire: Wire, vault: Vault) -> None:
        self._database, self._wire, self._vault = database, wire, vault

    async def prepare(self, _: AsyncSession, claimed: Sequence[Claimed]) -> Sequence[Claimed]:
        return claimed

    async def send(self, claimed: Claimed, _: Any, in_time: Callable[[], bool]) -> Attempted:
        async with self._database.transaction() as session:
            subscription = await session.get(Subscription, outbox.lane_owner(claimed.lane))
            clock = await read_clock(session)
        if subscription is None:
            return Attempted(Recalled("the subscription was removed"))
        if not subscription.enabled:
            return Attempted(GivenBack("the subscription is disabled"))
        address = directory.address_of(subscription, self._vault, clock)
        body = claimed.body or b""
        exchange = await self._wire.exchange(
            "POST",
            address.url,
            headers={
                "Content-Type": "application/json",
                **signing.headers(claimed.target, int(clock.timestamp()), body, address.secrets),
            },
            content=body,
            reuse=True,
            in_time=in_time,
        )
        # A receiver may look up whom an event is about, and say it: its words are not kept.
        return Attempted(read(exchange), replace(exchange, body=b""))

    async def verify(self, _claimed: Claimed, _: Any) -> Attempted:
        """Nothing is read: the same message may be sent again."""
        return Attempted(Absent("a receiver tells a repeat by its id", repeatable=True))

    async def record(self, session: AsyncSession, ended: Sequence[Ended]) -> Recorded:
        gone = {one.claimed.lane: one.outcome for one in ended if isinstance(one.outcome, Denied) and one.outcome.gone}
        for lane, outcome in sorted(gone.items()):
            if await directory.disable(session, outbox.lane_owner(lane), outcome.reason):
                log.warning("subscription-disabled", lane=lane)
        return Recorded(rings=())

    async def unclear(self, _session: AsyncSession, _order_ids: Sequence[uuid.UUID]) -> None:
        """No order shows it."""


def read(exchange: Exchange) -> Outcome:
    """What a receiver's answer means. Redirects are not followed: they are failures like any other."""
    status = exchange.status
    if status is None:
        if exchange.error == TOO_LATE:
            return GivenBack()
        return Again(f"the receiver did not answer ({exchange.error})")
    if 200 <= status < 300:
        return Answered()
    if status == GONE:
        return Denied("the receiver answered 410: it wants no more", gone=True)
    if status in _BUSY and "retry-after" in exchange.headers:
        return Throttled(f"the receiver answered {status} and asks to wait", asked_pause(exchange.headers))
    return Again(f"the receiver answered {status}")
