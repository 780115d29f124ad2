"""When orders are read at the seller: the plan, and the SQL of the `reads` table.

A lost notification is found by looking. What the seller told us and cannot be undone is confirmed by looking.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Interval, bindparam, text
from sqlalchemy.ext.asyncio import AsyncSession

TOPIC = "reads"


@dataclass(frozen=True, slots=True)
class Plan:
    """When to read. `every`: between looks at an order younger than a day; older ones are read more and more rarely.

    `confirm_at`: how long after a seller's claim it is read again, beside at once; after the last it is disbelieved.
    """

    every: timedelta
    confirm_at: Sequence[timedelta]

    def periodic(self, age: timedelta) -> timedelta:
        """The wait before the next look at an open order of this age."""
        if age < timedelta(days=1):
            return self.every
        return self.every * (6 if age < timedelta(days=7) else 24)

    def confirming(self, reads: int, asked_for: timedelta) -> timedelta | None:
        """The wait after so many reads that did not confirm; None when no more will be made."""
        return max(self.confirm_at[reads - 1] - asked_for, timedelta()) if reads <= len(self.confirm_at) else None


async def watch(session: AsyncSession, order_id: uuid.UUID, lane: str, plan: Plan) -> None:
    """Begin to look at an order that was placed."""
    await session.execute(_WATCH, {"order_id": order_id, "lane": lane, "after": plan.periodic(timedelta())})


_WATCH = text(
    """
    insert into reads (order_id, lane, next_at) values (:order_id, :lane, clock_timestamp() + :after)
    on conflict (order_id) do nothing
    """
).bindparams(bindparam("after", type_=Interval))


async def confirm(session: AsyncSession, order_id: uuid.UUID, lane: str) -> None:
    """Ask for reads that confirm, or do not, what the seller told us just now."""
    await session.execute(_CONFIRM, {"order_id": order_id, "lane": lane})


_CONFIRM = text(
    """
    insert into reads as r (order_id, lane, next_at, asked_at)
    values (:order_id, :lane, clock_timestamp(), clock_timestamp())
    on conflict (order_id) do update
       set asked_at = coalesce(r.asked_at, excluded.asked_at), next_at = least(r.next_at, excluded.next_at)
    """
)

# Claims what is due, at most half of a lane's tokens, so that placements are never starved by reads. A claim moves the
# row out of the way for the length of a lease; a reader that dies is thereby forgotten. Served by reads_due_idx.
_CLAIM = text(
    """
    with gates as materialized (
        select l.lane,
               least(l.rate_per_second,
                     l.tokens + extract(epoch from clock_timestamp() - l.refilled_at)::float8 * l.rate_per_second
               ) as tokens
          from lanes l
         where not l.paused and l.breaker = 'closed'
           and (l.next_at is null or l.next_at <= clock_timestamp())
           and exists (select 1 from reads r where r.lane = l.lane and r.next_at <= clock_timestamp())
         order by l.refilled_at
         limit 16
           for no key update of l skip locked
    ), due as (
        select g.lane, d.order_id
          from gates g
         cross join lateral (
               select r.order_id from reads r
                where r.lane = g.lane and r.next_at <= clock_timestamp()
                order by r.next_at
                limit least(floor(g.tokens)::int, greatest(1, floor(g.tokens / 2)::int), :slots)
                  for no key update of r skip locked
         ) d
         limit :slots
    ), taken as (
        update reads r set next_at = clock_timestamp() + :lease from due d where r.order_id = d.order_id
        returning r.order_id, r.lane
    ), paid as (
        update lanes l
           set tokens = g.tokens - (select count(*) from taken t where t.lane = l.lane), refilled_at = clock_timestamp()
          from gates g where l.lane = g.lane
    )
    select order_id from taken
    """
).bindparams(bindparam("lease", type_=Interval))


async def claim(session: AsyncSession, *, slots: int, lease: timedelta) -> list[uuid.UUID]:
    """Orders that are to be read now. Commit before reading any."""
    return list(await session.scalars(_CLAIM, {"slots": slots, "lease": lease}))
