"""Many sellers that come back at once after an outage: none is called faster than its rate allows, or nearly so.

The clock that the gates go by is moved a fifth of a second at a time, and each call is answered a fifth of a second
after it was claimed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import Interval, bindparam, text
from sqlalchemy.ext.asyncio import AsyncSession

from chain_orders.database import Database
from chain_orders.deliveries import lanes, queue
from chain_orders.deliveries.queue import Claimed
from chain_orders.outcome import Answered

from .outbox import LEASE

SELLERS, OWED, RATE = 10, 200, 20  # calls owed to each seller, and calls a second that each takes
A_SECOND = 5  # moves of the clock
MOVE = timedelta(seconds=1) / A_SECOND

_OUTAGE = text(
    """
    with away as (
        insert into lanes (lane, concurrency, rate_per_second, tokens, refilled_at, breaker, failures)
        select 'seller:s' || s, 50, :rate, 0, clock_timestamp() - interval '2 hours', 'open', 20
          from generate_series(1, :sellers) s
        returning lane
    )
    insert into deliveries (lane, sequence, order_id, kind, method, target, body, state, failures, next_at)
    select lane, lane || n, gen_random_uuid(), 'authorize', 'POST', '/', '', 'retrying', 5,
           clock_timestamp() - random() * interval '2 hours'
      from away, generate_series(1, :owed) n
    """
)
_MOVE = text("update lanes set refilled_at = clock_timestamp() - :by").bindparams(bindparam("by", type_=Interval))
_DONE = text("update deliveries set state = 'delivered', lease_until = null where id = any(:ids)")


async def _answer(session: AsyncSession, claimed: Sequence[Claimed]) -> None:
    await session.execute(_DONE, {"ids": [one.id for one in claimed]})
    for one in claimed:
        if one.lane_troubled:
            await lanes.note(session, one.lane, Answered(), troubled=True, probe=one.probe)


async def test_sellers_that_come_back_together_are_called_at_their_own_pace(database: Database) -> None:
    async with database.transaction() as session:
        await session.execute(_OUTAGE, {"sellers": SELLERS, "owed": OWED, "rate": RATE})
        await session.execute(text("analyze"))
    calls: list[int] = []
    claimed: Sequence[Claimed] = ()
    while sum(calls) < SELLERS * OWED and len(calls) < 20 * A_SECOND:
        async with database.transaction() as session:
            await _answer(session, claimed)
            if calls:
                await session.execute(_MOVE, {"by": MOVE})
            claimed = await queue.claim(session, worker="w", slots=1000, lease=LEASE)
            calls.append(len(claimed))

    busiest = max(sum(calls[at : at + A_SECOND]) for at in range(len(calls)))
    assert calls[0] == SELLERS, "one probe each"
    assert busiest <= 2 * SELLERS * RATE
    assert sum(calls) == SELLERS * OWED, "and none waits for long: it takes little more than the rates allow"
