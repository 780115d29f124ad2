"""When orders are read at the seller: the plan, and the SQL of the `reads` table.

A lost notification is found by looking. What the seller told us and cannot be undone is confirmed by looking.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Interval, bindparam, text
from sqlalchemy.ext.asyncio import AsyncSession

TOPIC = "reads"


@dataclass(frozen=True, slots=True)
class Plan:
    """When to read. `every`: between looks at an order younger than a day; older ones are read more and more rarely.

    `confirm_at`: how long after a seller's claim it is read again, beside at once; after the last it is disbelieved.
    `closed_at`: how long after its end an order is still read, ascending.
    """

    every: timedelta
    confirm_at: Sequence[timedelta]
    closed_at: Sequence[timedelta] = ()

    def periodic(self, age: timedelta) -> timedelta:
        """The wait before the next look at an open order of this age."""
        if age < timedelta(days=1):
            return self.every
        return self.every * (6 if age < timedelta(days=7) else 24)

    def closed(self, since: timedelta) -> timedelta | None:
        """The wait before the next look at an order that ended so long ago; None when there will be no more."""
        return next((at - since for at in self.closed_at if at > since), None)

    def confirming(self, reads: int, asked_for: timedelta) -> timedelta | None:
        """The wait after so many reads that did not confirm; None when no more will be made."""
        return max(self.confirm_at[reads - 1] - asked_for, timedelta()) if reads <= len(self.confirm_at) else None


async def watch(session: AsyncSession, placed: Sequence[tuple[uuid.UUID, str]], plan: Plan) -> None:
    """Begin to look at orders that were placed, each with its lane."""
    orders, lanes = zip(*placed, strict=True)
    asked = {"orders": list(orders), "lanes": list(lanes), "after": plan.periodic(timedelta())}
    await session.execute(_WATCH, asked)


_WATCH = text(
    """
    insert into reads (order_id, lane, next_at)
    select order_id, lane, clock_timestamp() + :after
      from unnest(cast(:orders as uuid[]), cast(:lanes as text[])) as p(order_id, lane)
        on conflict (order_id) do nothing
    """
).bindparams(bindparam("after", type_=Interval))


async def confirm(session: AsyncSession, order_id: uuid.UUID, lane: str, *, fresh: bool = True) -> None:
    """Ask for reads that confirm, or do not, what the seller told us. `fresh`: it was told just now, and not before."""
    await session.execute(_CONFIRM, {"order_id": order_id, "lane": lane, "fresh": fresh})


# What was told anew has as much time to show as anything else, whatever was waited for before. What waits already is
# tried again after each read, and waits for the next one that is planned: else reads would follow each other at once.
_CONFIRM = text(
    """
    insert into reads as r (order_id, lane, next_at, asked_at)
    values (:order_id, :lane, clock_timestamp(), clock_timestamp())
    on conflict (order_id) do update
       set asked_at = case when :fresh then excluded.asked_at else coalesce(r.asked_at, excluded.asked_at) end,
           asked_reads = case when :fresh then 0 else r.asked_reads end,
           next_at = case when :fresh or r.asked_at is null then least(r.next_at, excluded.next_at) else r.next_at end
    """
)

# Claims what is due, at most half of a lane's tokens, so that placements are never starved by reads. An order costs a
# token for each of its chain orders; one that costs more than there is leaves the lane in debt. A claim moves the row
# out of the way for the length of a lease; a reader that dies is thereby forgotten. Served by reads_due_idx, by which
# a clock that moves within the statement could not be looked up.
# Behind an open breaker a read is the probe while no call could be one: else nobody would find that the seller is back.
# The gate then lets nothing else through until that read has ended, or is given up. Few are made at once, as they may
# hang.
_CLAIM = text(
    """
    with gates as materialized (
        select l.lane, g.ramp, l.breaker <> 'closed' as probing,
               (l.breaker <> 'closed' or l.failures > 0 or g.ramp is not null) as troubled,
               g.cap - coalesce(b.reads, 0) as room,
               least(greatest(1, l.rate_per_second),
                     l.tokens + greatest(0, extract(epoch from clock_timestamp() - l.refilled_at)::float8)
                                * l.rate_per_second
               ) as tokens
          from lanes l
         cross join lateral (
               select r.ramp,
                      case when l.breaker = 'closed' then least(:each, coalesce(r.ramp, :each)) else 1 end as cap
                 from (select case when l.refilled_at < clock_timestamp() - interval '15 minutes' then 1
                                   else l.ramp end as ramp) r
         ) g
          left join unnest(cast(:busy as text[]), cast(:reads as int[])) as b(lane, reads) on b.lane = l.lane
         where not l.paused
           and (l.next_at is null or l.next_at <= clock_timestamp())
           and exists (select 1 from reads r where r.lane = l.lane and r.next_at <= statement_timestamp())
           and g.cap > coalesce(b.reads, 0)
           and (l.breaker = 'closed'
                or not exists (select 1 from deliveries d where d.lane = l.lane and d.state = 'sending')
                   and not exists (select 1 from deliveries d
                                    where d.lane = l.lane and d.state in ('ready', 'retrying', 'unknown')
                                      and d.next_at <= statement_timestamp()
                                      and not exists (select 1 from deliveries p
                                                       where p.sequence = d.sequence and p.id < d.id
                                                         and p.state in ('ready', 'retrying', 'unknown', 'dead'))))
         order by l.refilled_at
         limit 16
           for no key update of l skip locked
    ), chosen as (
        select * from (select *, row_number() over (partition by probing) as nth from gates) numbered
         where not probing or nth <= :probes
    ), due as (
        select g.lane, g.troubled, g.probing, d.order_id, d.cost
          from chosen g
         cross join lateral (
               select order_id, cost, sum(cost) over (order by next_at, order_id) - cost as before
                 from (select r.order_id, r.next_at,
                              greatest(1, (select count(*) from chain_orders c where c.order_id = r.order_id)) as cost
                         from reads r
                        where r.lane = g.lane and r.next_at <= statement_timestamp()
                        order by r.next_at
                        limit g.room
                          for no key update of r skip locked) one
         ) d
         where d.before < least(floor(g.tokens), greatest(1, floor(g.tokens / 2)))
         limit :slots
    ), taken as (
        update reads r set next_at = clock_timestamp() + :lease from due d where r.order_id = d.order_id
        returning r.order_id, r.lane, d.cost, d.troubled, d.probing
    ), paid as (
        update lanes l
           set tokens = g.tokens - (select coalesce(sum(t.cost), 0) from taken t where t.lane = l.lane),
               refilled_at = clock_timestamp(), ramp = g.ramp,
               next_at = case when g.probing and exists (select 1 from taken t where t.lane = l.lane)
                              then clock_timestamp() + :lease else l.next_at end
          from gates g where l.lane = g.lane
    )
    select order_id, lane, troubled, probing from taken
    """
).bindparams(bindparam("lease", type_=Interval))


@dataclass(frozen=True, slots=True)
class Due:
    """An order that is to be read now. `troubled`: its lane would be helped by a read that is answered; `probe`: the
    lane's breaker is open, and waits for this read."""

    order_id: uuid.UUID
    lane: str
    troubled: bool
    probe: bool = False


async def claim(
    session: AsyncSession,
    *,
    slots: int,
    each: int,
    lease: timedelta,
    probes: int = 1,
    busy: Mapping[str, int] | None = None,
) -> list[Due]:
    """Up to `slots` orders to read now, at most `probes` of them as probes, so that no lane has more than `each` under
    way; `busy` says how many each has. Commit before reading any."""
    under_way = busy or {}
    asked = {"slots": slots, "each": each, "lease": lease, "probes": probes}
    rows = await session.execute(_CLAIM, {**asked, "busy": [*under_way], "reads": [*under_way.values()]})
    return [Due(row.order_id, row.lane, row.troubled, row.probing) for row in rows]
