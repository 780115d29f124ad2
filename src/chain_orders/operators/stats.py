"""What is going on, in numbers: for people as JSON, for Prometheus as text.

Everything is counted from the tables: orders from what their moves add up to, the rest through partial indexes. So
every replica answers alike and a restart forgets nothing. What is done costs nothing; each call that waits a little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from ..alerts import refusals
from ..alerts.models import Alert
from ..deliveries import reach
from ..deliveries.models import KINDS
from ..orders import counting
from ..orders.counting import Standing
from ..outcome import UNSENT, WELL
from . import access, edges
from .access import Operator

router = APIRouter(tags=["health"])

# Served by orders_attention_idx.
_ATTENTION_SINCE = text(
    """
    select extract(epoch from clock_timestamp() - min(attention_since))::float8 as oldest
      from orders where attention_code is not null
    """
)
# Served by deliveries_open_idx alone.
_DELIVERIES = text(
    """
    select state, count(*) as count, extract(epoch from clock_timestamp() - min(created_at))::float8 as oldest
      from deliveries where state in ('ready', 'retrying', 'unknown', 'sending', 'dead') and kind = any(:kinds)
     group by state order by state
    """
)
# Served by notifications_received_idx and notifications_troubled_idx.
_NOTIFICATIONS = text(
    """
    select state, count(*) as count, extract(epoch from clock_timestamp() - min(received_at))::float8 as oldest
      from (select state, received_at from notifications where state = 'received'
            union all
            select state, received_at from notifications where state in ('parked', 'conflict', 'unreadable')) waiting
     group by state order by state
    """
)
# Served by deliveries_due_idx alone, and by attempts_at_idx.
_LANES = text(
    """
    select l.lane, l.breaker, l.paused, l.failures, l.next_at, l.reason, w.waiting,
           extract(epoch from clock_timestamp() - f.created_at)::float8 as oldest,
           coalesce(a.calls, 0) as calls, coalesce(a.failed, 0) as failed,
           greatest((select max(e.position) from events e) - s.position, 0) as behind
      from lanes l
      left join subscriptions s on l.lane = 'subscription:' || s.id
     cross join lateral (
           select count(*) as waiting, min(d.id) as first
             from deliveries d where d.lane = l.lane and d.state in ('ready', 'retrying', 'unknown')) w
      left join deliveries f on f.id = w.first
      left join (select d.lane, count(*) as calls, count(*) filter (where a.outcome <> all(:well)) as failed
                   from attempts a join deliveries d on d.id = a.delivery_id
                  where a.at > statement_timestamp() - interval '5 minutes' and a.outcome <> all(:unsent)
                  group by d.lane) a on a.lane = l.lane
     where l.lane like 'seller:%' or s.id is not null
     order by l.lane
    """
)


async def collect(session: AsyncSession) -> dict[str, Any]:
    """All numbers. Ages are in seconds; calls are those of the last five minutes."""
    orders = await counting.standing(session)
    found = await lanes(session)
    return {
        "orders": dict(orders.open),
        "attention": await attention(session, orders),
        **await queues(session),
        "sellers": [lane for lane in found if "sellerId" in lane],
        "webhooks": [lane for lane in found if "webhookId" in lane],
        "refused": [
            {"kind": row.kind, "subject": row.subject, "calls": row.calls}
            for row in await session.execute(refusals.RECENT)
        ],
        "outOfReach": [{"worker": row.worker, "lanes": row.lanes} for row in await session.execute(reach.SHOWN)],
        "alerts": [
            {"code": alert.code, "sellerId": alert.seller_id, "webhookId": alert.webhook_id}
            for alert in await session.scalars(select(Alert).where(Alert.recovered_at.is_(None)).order_by(Alert.id))
        ],
    }


async def attention(session: AsyncSession, orders: Standing) -> dict[str, Any]:
    """How many orders a person must look at, and for how long the oldest has waited."""
    oldest = await session.scalar(_ATTENTION_SINCE) if orders.attention else None
    return {"count": orders.attention, "oldestSeconds": oldest}


async def queues(session: AsyncSession, kinds: Sequence[str] = KINDS) -> dict[str, Any]:
    """What waits in the outbox, of these kinds, and in the intake, by state."""
    return {
        "deliveries": await _by_state(session, _DELIVERIES, kinds=list(kinds)),
        "notifications": await _by_state(session, _NOTIFICATIONS),
    }


async def lanes(session: AsyncSession) -> list[dict[str, Any]]:
    """How each seller and each subscriber fares."""
    return [_lane(row) for row in await session.execute(_LANES, {"well": list(WELL), "unsent": list(UNSENT)})]


def _lane(row: Any) -> dict[str, Any]:
    whose, _, id_ = row.lane.partition(":")
    return {
        **({"sellerId": id_} if whose == "seller" else {"webhookId": id_, "behind": row.behind}),
        "breaker": row.breaker,
        "paused": row.paused,
        "failuresInARow": row.failures,
        "waitsUntil": row.next_at.isoformat() if row.next_at else None,
        "reason": row.reason,
        "waiting": row.waiting,
        "oldestSeconds": row.oldest,
        "calls": row.calls,
        "failedCalls": row.failed,
    }


async def _by_state(session: AsyncSession, query: Any, **values: Any) -> dict[str, Any]:
    rows = await session.execute(query, values)
    return {row.state: {"count": row.count, "oldestSeconds": row.oldest} for row in rows}


@router.get("/v1/stats")
async def get_stats(request: Request, _: Annotated[Operator, Depends(access.allow("viewer"))]) -> Response:
    """Open orders by status, what waits and since when, and how each seller fares."""
    async with request.app.state.database.transaction() as session:
        return edges.Answer(await collect(session))


class _Numbers(Collector):
    """The numbers as Prometheus gauges."""

    def __init__(self, stats: dict[str, Any]) -> None:
        self._stats = stats

    def collect(self) -> list[GaugeMetricFamily]:
        orders = GaugeMetricFamily("chain_orders_open_orders", "Open orders by status.", labels=["status"])
        for status, count in self._stats["orders"].items():
            orders.add_metric([status], count)
        attention = GaugeMetricFamily("chain_orders_attention", "Orders that a person must look at.")
        attention.add_metric([], self._stats["attention"]["count"])
        oldest = GaugeMetricFamily(
            "chain_orders_attention_oldest_seconds", "For how long the oldest of them has waited."
        )
        oldest.add_metric([], self._stats["attention"]["oldestSeconds"] or 0)
        return [
            orders,
            attention,
            oldest,
            self._alerts(),
            self._refused(),
            self._out_of_reach(),
            *self._queues(),
            *_of_lanes("seller", self._stats["sellers"]),
            *self._webhooks(),
        ]

    def _alerts(self) -> GaugeMetricFamily:
        alerts = GaugeMetricFamily(
            "chain_orders_alert", "1 while an alert is open.", labels=["code", "seller", "webhook"]
        )
        for alert in self._stats["alerts"]:
            alerts.add_metric([alert["code"], alert["sellerId"] or "", alert["webhookId"] or ""], 1)
        return alerts

    def _refused(self) -> GaugeMetricFamily:
        refused = GaugeMetricFamily(
            "chain_orders_refused_calls",
            "Calls of the last 15 minutes that were refused for a wrong secret or too low a role.",
            labels=["kind", "subject"],
        )
        for one in self._stats["refused"]:
            refused.add_metric([one["kind"], one["subject"]], one["calls"])
        return refused

    def _out_of_reach(self) -> GaugeMetricFamily:
        missed = GaugeMetricFamily(
            "chain_orders_out_of_reach",
            "Sellers and webhooks that a worker cannot reach, and others can.",
            labels=["worker"],
        )
        for one in self._stats["outOfReach"]:
            missed.add_metric([one["worker"]], len(one["lanes"]))
        return missed

    def _queues(self) -> list[GaugeMetricFamily]:
        families = []
        for queue in ("deliveries", "notifications"):
            count = GaugeMetricFamily(f"chain_orders_{queue}", f"Open {queue} by state.", labels=["state"])
            oldest = GaugeMetricFamily(
                f"chain_orders_{queue}_oldest_seconds",
                f"Age of the oldest of the {queue} in a state.",
                labels=["state"],
            )
            for state, found in self._stats[queue].items():
                count.add_metric([state], found["count"])
                oldest.add_metric([state], found["oldestSeconds"])
            families += [count, oldest]
        return families

    def _webhooks(self) -> list[GaugeMetricFamily]:
        behind = GaugeMetricFamily(
            "chain_orders_webhook_behind", "Positions of the feed that it was not told of yet.", labels=["webhook"]
        )
        for one in self._stats["webhooks"]:
            behind.add_metric([one["webhookId"]], one["behind"] or 0)
        return [*_of_lanes("webhook", self._stats["webhooks"]), behind]


_LANE: Sequence[tuple[str, str, str]] = (
    ("waiting", "waiting", "Calls that wait for a {whose}."),
    ("oldest_seconds", "oldestSeconds", "Age of the oldest of those calls."),
    ("breaker_open", "breaker", "1 while a {whose}'s breaker is open."),
    ("paused", "paused", "1 while calls to a {whose} are paused."),
    ("failures_in_a_row", "failuresInARow", "Failures in a row of calls to a {whose}."),
    ("calls", "calls", "Calls to a {whose} of the last five minutes."),
    ("failed_calls", "failedCalls", "Those of them that failed."),
)
"""What is told of each lane: the gauge's name, the number's, and what it is."""


def _of_lanes(whose: str, lanes: Sequence[Mapping[str, Any]]) -> list[GaugeMetricFamily]:
    families = []
    for name, number, told in _LANE:
        family = GaugeMetricFamily(f"chain_orders_{whose}_{name}", told.format(whose=whose), labels=[whose])
        for one in lanes:
            value = one[number] != "closed" if number == "breaker" else one[number] or 0
            family.add_metric([one[f"{whose}Id"]], float(value))
        families.append(family)
    return families


@router.get("/metrics")
async def get_metrics(request: Request, _: Annotated[Operator, Depends(access.allow("viewer"))]) -> Response:
    """The same numbers for Prometheus; needs a viewer's key."""
    async with request.app.state.database.transaction() as session:
        registry = CollectorRegistry()
        registry.register(_Numbers(await collect(session)))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
