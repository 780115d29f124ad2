"""The scheduled job: seal what has been final for long enough, in batches, by one process of the fleet at a time.

Each batch is a short transaction under an advisory lock; whoever does not get the lock leaves the work to the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Interval, bindparam, text
from sqlalchemy.ext.asyncio import AsyncSession

from .. import logs
from ..database import Database, is_passing
from ..orders import lookup
from .sealing import BODY_GOES, GRACE, STRAY, Sealed, seal, seal_strays, whole

log = logs.get("retention")

ACTOR = "service"
_BATCH = 50


@dataclass(frozen=True, slots=True)
class Report:
    """What a run did. `again`: sealed orders that were told something since."""

    orders: int = 0
    again: int = 0
    strays: int = 0
    rows: Sealed = field(default_factory=Sealed)
    elsewhere: bool = False
    """Another process is at it."""

    def as_dict(self) -> dict[str, Any]:
        return {
            "orders": self.orders,
            "sealedAgain": self.again,
            "placements": self.rows.placements,
            "notifications": self.rows.notifications + self.strays,
            "attempts": self.rows.attempts,
        }


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a run would do now."""

    orders: int
    again: int
    oldest: datetime | None
    placements: int
    notifications: int
    attempts: int

    def as_dict(self) -> dict[str, Any]:
        return {
            "orders": self.orders,
            "sealedAgain": self.again,
            "finalSince": self.oldest.isoformat() if self.oldest else None,
            "placements": self.placements,
            "notifications": self.notifications,
            "attempts": self.attempts,
        }


class Retention:
    """`after`: how long a final order keeps its bodies; None: until somebody asks for its erasure."""

    def __init__(self, database: Database, *, after: timedelta | None, every: timedelta) -> None:
        self._database = database
        self._after = after
        self._every = every

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set."""
        while not stop.is_set():
            try:
                await self.step(stop=stop)
            except Exception as failure:  # the next round may succeed
                log.warning("retention-failed", passing=is_passing(failure), exc_info=failure)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._every.total_seconds())

    async def step(self, told: Callable[[Report], None] | None = None, *, stop: asyncio.Event | None = None) -> Report:
        """Seal whatever is due; `told` hears of each batch."""
        report = Report()
        for batch in (self._due, self._told_since, self._waited, self._strays):
            more = True
            while more and not (stop is not None and stop.is_set()):
                async with self._database.transaction() as session:
                    if not await session.scalar(_TURN):
                        return replace(report, elsewhere=True)
                    before, report = report, await batch(session, report)
                more = report != before
                if more and told is not None:
                    told(report)
        if report != Report():
            log.info("sealed", count=report.orders + report.again + report.strays)
        return report

    async def forecast(self) -> Forecast:
        """Count, and change nothing."""
        async with self._database.transaction() as session:
            row = (await session.execute(_FORECAST, {"after": self._after or _NEVER, "grace": GRACE})).one()
        return Forecast(row.orders, row.again, row.oldest, row.placements, row.notifications, row.attempts)

    async def _due(self, session: AsyncSession, report: Report) -> Report:
        await session.execute(_DATE, {"batch": _BATCH})
        if self._after is None:
            return report
        due = await session.scalars(_DUE, {"after": self._after, "grace": GRACE, "batch": _BATCH})
        orders = list(due)
        rows = await _seal(session, orders)
        return replace(report, orders=report.orders + len(orders), rows=report.rows + rows)

    async def _told_since(self, session: AsyncSession, report: Report) -> Report:
        return await _seal_again(session, list(await session.scalars(_TOLD_SINCE, {"batch": _BATCH})), report)

    async def _waited(self, session: AsyncSession, report: Report) -> Report:
        orders = await session.scalars(_WAITED, {"batch": _BATCH, "grace": GRACE})
        return await _seal_again(session, list(orders), report)

    async def _strays(self, session: AsyncSession, report: Report) -> Report:
        if self._after is None:
            return report
        return replace(report, strays=report.strays + await seal_strays(session, self._after))


async def _seal_again(session: AsyncSession, order_ids: list[uuid.UUID], report: Report) -> Report:
    rows = await _seal(session, order_ids)
    return replace(report, again=report.again + len(order_ids), rows=report.rows + rows)


async def _seal(session: AsyncSession, order_ids: list[uuid.UUID]) -> Sealed:
    gone = Sealed()
    for order_id in order_ids:
        gone += await seal(session, await lookup.locked(session, order_id), ACTOR)
    return gone


_NEVER = timedelta(days=365_000)

_TURN = text("select pg_try_advisory_xact_lock(hashtextextended('chain-orders retention', 0))")

# Orders that an earlier release made final carry no date: their last change is the nearest to it.
_DATE = text(
    """
    update orders set final_at = updated_at
     where id in (select id from orders
                   where sealed_at is null and status in ('cancelled', 'invoiced', 'rejected') and final_at is null
                   limit :batch for no key update skip locked)
    """
)

_IDLE = "not exists (select 1 from deliveries d where d.order_id = o.id and d.state = 'sending')"

_IS_DUE = f"""
           o.sealed_at is null and o.status in ('cancelled', 'invoiced', 'rejected')
       and o.final_at < statement_timestamp() - :after
       and {_IDLE}
       and not exists (select 1 from notifications n
                        where n.order_id = o.id and n.state in ('received', 'parked')
                          and n.received_at > clock_timestamp() - :grace)
"""  # noqa: S608

# Served by orders_unsealed_idx.
_DUE = text(
    f"select o.id from orders o where {_IS_DUE} order by o.final_at limit :batch for no key update skip locked"  # noqa: S608
).bindparams(bindparam("after", type_=Interval), bindparam("grace", type_=Interval))

# Served by orders_told_since_sealed_idx. Their numbers are made equal by sealing, so that each is found once.
_IS_TOLD_SINCE = f"o.sealed_at is not null and o.applied_seq <> o.sealed_seq and {_IDLE}"

# What cannot be applied at all moves no number: a sealed order is found by what has waited for too long. Served by
# notifications_parked_idx and notifications_received_idx; sealing lets it go, so that each is found once.
_HAS_WAITED = f"""
           o.sealed_at is not null and {_IDLE}
       and o.id in (select n.order_id from notifications n
                     where n.state = 'parked' and n.received_at <= clock_timestamp() - :grace
                     union all
                    select n.order_id from notifications n
                     where n.state = 'received' and n.tries > 0 and n.received_at <= clock_timestamp() - :grace)
"""  # noqa: S608

_TOLD_SINCE = text(f"select o.id from orders o where {_IS_TOLD_SINCE} limit :batch for no key update skip locked")  # noqa: S608

_WAITED = text(
    f"select o.id from orders o where {_HAS_WAITED} limit :batch for no key update skip locked"  # noqa: S608
).bindparams(bindparam("grace", type_=Interval))

# Counts with the very conditions of the run.
_FORECAST = text(
    f"""
    with due as materialized (
        select o.id from orders o where {_IS_DUE}
         union select o.id from orders o where {_IS_TOLD_SINCE}
         union select o.id from orders o where {_HAS_WAITED}
    )
    select count(*) filter (where sealed_at is null) as orders,
           count(*) filter (where sealed_at is not null) as again,
           min(final_at) filter (where sealed_at is null) as oldest,
           count(*) filter (where {whole("placement_body")})
               + (select count(*) from placement_revisions r join due on due.id = r.order_id
                   where {whole("r.placement_body")}) as placements,
           (select count(*) from notifications n join due on due.id = n.order_id where {BODY_GOES})
               + (select count(*) from notifications where {STRAY}) as notifications,
           (select count(*) from attempts a join deliveries d on d.id = a.delivery_id join due on due.id = d.order_id
             where {whole("a.response")}) as attempts
      from orders join due using (id)
    """  # noqa: S608
).bindparams(bindparam("after", type_=Interval), bindparam("grace", type_=Interval))
