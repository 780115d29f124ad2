"""The SQL of the outbox, but for settling: claim, give up on the dead, withdraw, try again.

A claim is one transaction: it locks the gates of due lanes, takes as many heads of sequences as each gate lets
through, and writes lease, attempt number and attempt row before anything is sent.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import timedelta

from sqlalchemy import Interval, bindparam, text
from sqlalchemy.ext.asyncio import AsyncSession

from .retry import Course


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery that is ours until its lease ends."""

    id: int
    kind: str
    lane: str
    order_id: uuid.UUID
    chain_order_key: int | None
    method: str
    target: str
    body: bytes | None
    attempt: int
    course: Course
    lane_troubled: bool
    lane_failures: int = 0
    """Failures in a row that the lane's gate counted before it was claimed."""
    probe: bool = False
    """It was claimed while the lane's breaker was open."""
    traceparent: str | None = None

    @property
    def phase(self) -> str:
        return "verify" if self.course.verifying else "send"

    def with_body(self, body: bytes | None) -> Claimed:
        return replace(self, body=body)


# Locks the gates of lanes that have something due. The claim itself is a second statement: only a statement that begins
# once the locks are held sees what the last holder of a gate has put in flight. Served by the lanes' primary key and
# deliveries_due_idx; a lane that is paused or not yet due is left before any of its deliveries is looked at
# (with `exists`, or without the order, the planner may read every delivery that is due). What is due is compared with
# the statement's time: an index cannot be searched for a clock that moves.
_LOCK_GATES = text(
    """
    select l.lane
      from lanes l
     cross join lateral (select d.id from deliveries d
                          where d.lane = l.lane and d.state in ('ready', 'retrying', 'unknown')
                            and d.next_at <= statement_timestamp()
                          order by d.next_at limit 1) due
     where not l.paused
       and starts_with(l.lane, :whose)
       and l.lane <> all(cast(:but as text[]))
       and (cast(:only as text) is null or l.lane = :only)
       and (l.next_at is null or l.next_at <= clock_timestamp())
     order by l.refilled_at
     limit :lanes
       for no key update of l skip locked
    """
)

# Returns the claimed deliveries. Heads are served by deliveries_due_idx, the two guards by deliveries_sequence_idx and
# deliveries_one_in_flight_per_order_key. A clock that was set back takes no tokens away; a rate below one saves up for
# a call. Verifying a placement reads up to three times: the lane pays for all of it, and may owe for a while.
_CLAIM = text(
    """
    with gates as materialized (
        select l.lane, g.ramp, l.failures, l.breaker <> 'closed' as probing,
               l.breaker = 'closed' and coalesce(g.ramp, 2) > 1 as others_pass,
               least(greatest(1, l.rate_per_second),
                     l.tokens + greatest(0, extract(epoch from clock_timestamp() - l.refilled_at)::float8)
                                * l.rate_per_second
               ) as tokens,
               case when l.breaker = 'closed' then least(g.ramp, l.concurrency) else 1 end as cap,
               (select count(*) from deliveries s where s.lane = l.lane and s.state = 'sending') as sending,
               (l.breaker <> 'closed' or l.failures > 0 or g.ramp is not null) as troubled,
               -- A probe that reads settles what is unclear and makes nothing more so; the next one sends, for what
               -- cannot be read must not keep the lane closed.
               (l.breaker <> 'closed' and l.failures % 2 = 0
                and exists (select 1 from deliveries u
                             where u.lane = l.lane and u.state = 'unknown'
                               and u.next_at <= statement_timestamp())) as reads_first,
               (l.breaker <> 'closed' and l.failures % 2 = 1
                and exists (select 1 from deliveries u
                             where u.lane = l.lane and u.state in ('ready', 'retrying')
                               and u.next_at <= statement_timestamp()
                               and not exists (select 1 from deliveries p
                                                where p.sequence = u.sequence and p.id < u.id
                                                  and p.state in ('ready', 'retrying', 'unknown', 'sending', 'dead')))
               ) as sends_first
          from lanes l
         cross join lateral (
               select case when l.refilled_at < clock_timestamp() - interval '15 minutes' then 1 else l.ramp end as ramp
         ) g
         where l.lane = any(:gates)
    ), heads as materialized (
        select g.lane, g.failures as lane_failures, g.troubled, g.probing, g.others_pass, h.id, h.order_id
          from gates g
         cross join lateral (
               select d.id, d.order_id
                 from deliveries d
                where d.lane = g.lane
                  and d.state in ('ready', 'retrying', 'unknown')
                  and d.next_at <= statement_timestamp()
                  and (not g.reads_first or d.state = 'unknown')
                  and (not g.sends_first or d.state <> 'unknown')
                  and not exists (select 1 from deliveries p
                                   where p.sequence = d.sequence and p.id < d.id
                                     and p.state in ('ready', 'retrying', 'unknown', 'sending', 'dead'))
                  and not exists (select 1 from deliveries s
                                   where s.order_id = d.order_id and s.state = 'sending')
                order by d.next_at, d.id
                limit greatest(0, least(floor(g.tokens)::int, g.cap - g.sending::int, :slots))
                  for no key update of d skip locked
         ) h
    ), chosen as (
        select * from (
            select *, row_number() over (partition by coalesce(order_id::text, id::text) order by id) as nth
              from heads
        ) ranked
         where nth = 1
         limit :slots
    ), taken as (
        update deliveries d
           set state = 'sending', attempts = d.attempts + 1, worker = :worker,
               lease_until = clock_timestamp() + :lease
          from chosen c
         where d.id = c.id
        returning d.*, c.lane_failures, c.troubled, c.probing, c.others_pass
    ), noted as (
        insert into attempts (delivery_id, number, phase, worker)
        select id, attempts, phase, :worker from taken
    ), paid as (
        update lanes l
           set tokens = g.tokens - (select coalesce(sum(case when t.kind = 'place' and t.phase = 'verify' then 3
                                                             else 1 end), 0)
                                      from taken t where t.lane = l.lane),
               refilled_at = clock_timestamp(), ramp = g.ramp
          from gates g
         where l.lane = g.lane
    )
    select id, kind, lane, order_id, chain_order_key, method, target, body, attempts, phase, failures, absences,
           coalesce(clock_timestamp() - unclear_since, '0') as unclear_for, lane_failures, troubled, probing,
           traceparent,
           -- Calls that are turned away together say that nobody is let in. One that was turned away before, and others
           -- were let in since, is itself the reason.
           (others_pass and attempts > 1
            and exists (select 1 from attempts a
                         where a.delivery_id = taken.id and a.number = taken.attempts - 1
                           and a.outcome in ('denied', 'throttled', 'untrusted'))) as others_pass
      from taken
     order by id
    """
).bindparams(bindparam("lease", type_=Interval))


async def claim(
    session: AsyncSession,
    *,
    worker: str,
    slots: int,
    lease: timedelta,
    lanes: int = 16,
    whose: str = "",
    but: Collection[str] = (),
    only: str | None = None,
) -> list[Claimed]:
    """Take up to `slots` due deliveries of up to `lanes` lanes, of those whose names begin with `whose`, `but` some, or
    `only` of one.

    Commit before sending any of them.
    """
    asked = {"lanes": lanes, "whose": whose, "but": list(but), "only": only}
    gates = list(await session.scalars(_LOCK_GATES, asked))
    if not gates:
        return []
    rows = await session.execute(_CLAIM, {"worker": worker, "slots": slots, "lease": lease, "gates": gates})
    return [
        Claimed(
            id=row.id,
            kind=row.kind,
            lane=row.lane,
            order_id=row.order_id,
            chain_order_key=row.chain_order_key,
            method=row.method,
            target=row.target,
            body=row.body,
            attempt=row.attempts,
            course=Course(row.phase == "verify", row.failures, row.absences, row.unclear_for, row.others_pass),
            lane_troubled=row.troubled,
            lane_failures=row.lane_failures,
            probe=row.probing,
            traceparent=row.traceparent,
        )
        for row in rows
    ]


# A lease that ended without a settlement: the worker died or froze. A call may have left, so it is unclear.
_ABANDON = text(
    """
    with over as (
        select id, attempts from deliveries
         where state = 'sending' and lease_until < statement_timestamp()
         order by id limit 500
           for update skip locked
    ), noted as (
        update attempts a set outcome = 'abandoned'
          from over o where a.delivery_id = o.id and a.number = o.attempts and a.outcome is null
    )
    update deliveries d
       set state = 'unknown', worker = null, lease_until = null,
           unclear_since = case when d.phase = 'send' then clock_timestamp() else d.unclear_since end,
           absences = case when d.phase = 'send' then 0 else d.absences end,
           phase = 'verify', next_at = clock_timestamp() + :after,
           last_error = 'the worker stopped before it could say what happened'
      from over o where d.id = o.id
    returning d.kind, d.order_id
    """
).bindparams(bindparam("after", type_=Interval))


async def abandon_expired(session: AsyncSession, *, first_read: timedelta) -> dict[str, list[uuid.UUID]]:
    """Turn deliveries with a lease that is over into `unknown`; the orders they belong to, by kind of delivery."""
    found: dict[str, list[uuid.UUID]] = {}
    for row in await session.execute(_ABANDON, {"after": first_read}):
        found.setdefault(row.kind, []).append(row.order_id)
    return found


# Leaves alone what is in flight and whatever may have been done: an unclear call is read first, and so is one that was
# answered, of which only the record failed.
_WITHDRAW = text(
    """
    update deliveries d
       set state = 'withdrawn', settled_at = clock_timestamp(), last_error = :reason
     where order_id = :order_id and kind = :kind and state in ('ready', 'retrying', 'dead')
       and (cast(:chain_order_key as bigint) is null or chain_order_key = :chain_order_key)
       and not exists (select 1 from attempts a
                        where a.delivery_id = d.id
                          and coalesce(a.outcome, 'unknown')
                              in ('unknown', 'ambiguous', 'abandoned', 'already-there', 'answered'))
    returning id
    """
)


async def withdraw_unsent(
    session: AsyncSession,
    order_id: uuid.UUID,
    kind: str,
    reason: str,
    chain_order_key: int | None = None,
) -> int:
    """Withdraw what is known not to have been done. The order's row must be locked. Says how many."""
    rows = await session.execute(
        _WITHDRAW,
        {"order_id": order_id, "kind": kind, "reason": reason, "chain_order_key": chain_order_key},
    )
    return len(rows.all())


# What waits to be sent, and what nobody would try again. In flight it is left alone.
_READ_FIRST = text(
    """
    update deliveries
       set state = 'unknown', phase = 'verify', failures = 0, absences = 0,
           unclear_since = clock_timestamp(), next_at = clock_timestamp(), settled_at = null
     where order_id = :order_id and kind = :kind and state in ('ready', 'retrying', 'dead')
       and (cast(:chain_order_key as bigint) is null or chain_order_key = :chain_order_key)
    """
)


async def read_first(session: AsyncSession, order_id: uuid.UUID, kind: str, chain_order_key: int | None = None) -> None:
    """Have the seller read before anything of this kind is sent. The order's row must be locked."""
    await session.execute(_READ_FIRST, {"order_id": order_id, "kind": kind, "chain_order_key": chain_order_key})


_RETRY = text(
    """
    update deliveries
       set next_at = clock_timestamp(),
           state = case when state = 'dead' then 'unknown' else state end,
           phase = case when state = 'dead' then 'verify' else phase end,
           failures = case when state = 'dead' then 0 else failures end,
           absences = case when state = 'dead' then 0 else absences end,
           unclear_since = case when state = 'dead' then clock_timestamp() else unclear_since end,
           settled_at = null
     where id = :id and state in ('ready', 'retrying', 'unknown', 'dead')
    returning id
    """
)


async def retry(session: AsyncSession, delivery_id: int) -> bool:
    """Make a delivery due now; a dead one is verified before it is sent again. False when it has ended or is under way.

    The order's row must be locked.
    """
    return (await session.execute(_RETRY, {"id": delivery_id})).scalar_one_or_none() is not None


# One probe of deliveries_due_idx for each lane that is open, however much waits.
_NEXT_DUE = text(
    """
    select extract(epoch from min(due.next_at) - clock_timestamp())::float8
      from lanes l
     cross join lateral (select d.next_at from deliveries d
                          where d.lane = l.lane and d.state in ('ready', 'retrying', 'unknown')
                            and d.next_at > statement_timestamp()
                          order by d.next_at limit 1) due
     where not l.paused
    """
)


async def seconds_until_due(session: AsyncSession) -> float | None:
    """How long until the next waiting delivery is due; None when none waits."""
    seconds: float | None = (await session.execute(_NEXT_DUE)).scalar_one_or_none()
    return seconds
