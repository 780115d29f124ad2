"""What the rules are asked about, counted from the tables: no more than what `/v1/stats` knows, but per seller."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from ..deliveries import reach
from ..webhooks.directory import BY_OPERATOR
from . import refusals
from .rules import Measure

# One row a lane: a seller's, or a subscribed webhook's. What waits is served by deliveries_sequence_idx, which holds
# only what has not ended well.
_LANES = text(
    """
    select l.lane, l.breaker, l.paused, l.failures, l.reason, s.disabled_reason,
           coalesce(d.waiting, 0) as waiting, d.oldest_waiting, coalesce(d.dead, 0) as dead, d.oldest_dead,
           coalesce(d.unclear, 0) as unclear, d.oldest_unclear
      from lanes l
      left join subscriptions s on l.lane = 'subscription:' || s.id
      left join (
           select lane,
                  count(*) filter (where state in ('ready', 'retrying')) as waiting,
                  clock_timestamp() - min(created_at) filter (where state in ('ready', 'retrying')) as oldest_waiting,
                  count(*) filter (where state = 'dead') as dead,
                  clock_timestamp() - min(settled_at) filter (where state = 'dead') as oldest_dead,
                  count(*) filter (where state = 'unknown') as unclear,
                  clock_timestamp() - min(unclear_since) filter (where state = 'unknown') as oldest_unclear
             from deliveries
            where state in ('ready', 'retrying', 'unknown', 'dead')
            group by lane) d on d.lane = l.lane
     where l.lane like 'seller:%' or s.id is not null
     order by l.lane
    """
)

# (code, subject, many, oldest). An order that nothing has touched is taken for one whose state has not changed.
_OTHERS = (
    text(
        """
        select 'stuck-' || status as code, 'seller:' || seller_id as subject, count(*) as many,
               clock_timestamp() - min(updated_at) as oldest
          from orders
         where status not in ('invoiced', 'cancelled', 'rejected') and (status <> 'placed' or receipt is null)
         group by status, seller_id order by status, seller_id
        """
    ),
    text(
        """
        select 'parked-long' as code, coalesce('seller:' || o.seller_id, '') as subject, count(*) as many,
               clock_timestamp() - min(n.received_at) as oldest
          from notifications n left join orders o on o.id = n.order_id
         where n.state = 'parked'
         group by o.seller_id order by o.seller_id
        """
    ),
    text(
        """
        select 'conflicts' as code, 'seller:' || o.seller_id as subject, count(*) as many, interval '0' as oldest
          from notifications n join orders o on o.id = n.order_id
         where n.state = 'conflict'
         group by o.seller_id order by o.seller_id
        """
    ),
    # What a read or an answer of the seller contradicts, where no notification does. Served by orders_attention_idx.
    text(
        """
        select 'differs-at-seller' as code, 'seller:' || seller_id as subject, count(*) as many,
               interval '0' as oldest
          from orders
         where attention_code in ('placement-conflict', 'items-differ', 'split-incomplete', 'missing-at-seller',
                                  'cancelled-at-seller', 'cancellation-not-at-seller', 'return-not-at-seller',
                                  'authorized-after-cancellation', 'not-authorized-at-seller', 'said-to-be-there')
         group by seller_id order by seller_id
        """
    ),
    text(
        """
        select 'unapplied-long' as code, '' as subject, count(*) as many,
               clock_timestamp() - min(received_at) as oldest
          from notifications where state = 'received'
        """
    ),
    text(
        """
        select 'unnumbered-long' as code, '' as subject, count(*) as many, clock_timestamp() - min(at) as oldest
          from events where position is null
        """
    ),
    # Served by subscriptions_behind_idx and the feed's unique position.
    text(
        """
        select 'behind-long' as code, 'subscription:' || s.id as subject, f.last - s.position as many,
               (select clock_timestamp() - e.at from events e
                 where e.position > s.position order by e.position limit 1) as oldest
          from subscriptions s, (select max(position) as last from events) f
         where s.enabled and s.position < f.last
         order by s.id
        """
    ),
)

# The oldest tells why. A seller that is paused is not read. Served by reads_failing_idx.
_UNREAD = text(
    """
    select r.lane, count(*) as many, clock_timestamp() - min(r.failing_since) as oldest,
           (array_agg(o.order_group || ': ' || coalesce(r.last_error, '') order by r.failing_since))[1] as why
      from reads r join orders o on o.id = r.order_id join lanes l on l.lane = r.lane
     where r.failing_since is not null and not l.paused
     group by r.lane order by r.lane
    """
)


async def measure(session: AsyncSession) -> list[Measure]:
    """Every measure there is, also those that break no rule."""
    found = [one for row in await session.execute(_LANES) for one in _lane(row)]
    for query in _OTHERS:
        found += [
            Measure(row.code, row.subject, row.many, row.oldest or timedelta()) for row in await session.execute(query)
        ]
    found += [
        Measure("unread-long", row.lane, row.many, row.oldest, detail=row.why) for row in await session.execute(_UNREAD)
    ]
    found += [
        Measure("out-of-reach", f"worker:{row.worker}", len(row.lanes), row.oldest, detail=f"worker {row.worker}")
        for row in await session.execute(reach.SHOWN)
    ]
    return found + [_refused(row) for row in await session.execute(refusals.RECENT) if row.calls >= refusals.BURST]


def _refused(row: Any) -> Measure:
    told = {"bad-mac": "callback addresses under kid", "bad-token": "sellers' tokens under kid", "denied": "API key"}
    return Measure("bad-mac-burst", f"{row.kind}:{row.subject}", row.calls, detail=f"{told[row.kind]} {row.subject}")


def _lane(row: Any) -> Iterator[Measure]:
    nothing = timedelta()
    on_purpose = row.disabled_reason == BY_OPERATOR
    if row.disabled_reason is not None and not on_purpose:
        yield Measure("webhook-disabled", row.lane, 1, detail=row.disabled_reason)
    elif row.breaker == "open":
        yield Measure("breaker-open", row.lane, row.failures, detail=row.reason)
    if row.dead:
        yield Measure("dead-deliveries", row.lane, row.dead, row.oldest_dead or nothing)
    if row.waiting:
        code = "paused-long" if row.paused else "waiting-long"
        yield Measure(code, row.lane, row.waiting, row.oldest_waiting or nothing)
    if row.unclear and not on_purpose:
        yield Measure("unknown-long", row.lane, row.unclear, row.oldest_unclear or nothing)
