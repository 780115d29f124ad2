"""The first page: what needs somebody, where everything stands, and how the last hours went."""

from __future__ import annotations

import uuid
from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import pairwise
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from ..operators import stats
from ..orders import counting
from ..orders.models import Order
from ..orders.states import Status
from ..outcome import UNSENT, WELL
from ..sellers import directory
from . import alerts, charts, rendering, words
from .charts import Chart, Counted, Series
from .texts import _, ngettext
from .visits import Visit

_OLDEST = 8
_ALERTS = 5
_SELLERS = 12
_MINUTES = 60
_HOURS = 24
_LATEST_INVOICES = 1000
_OVER = (Status.INVOICED, Status.CANCELLED)
_OPEN = [status for status in Status if status not in _OVER]
# Served by the primary key: ids are ordered by time.
_TAKEN = text(
    """
    select floor(extract(epoch from clock_timestamp() - created_at) / 60)::int as ago, count(*) as number
      from orders where id >= :since group by 1
    """
)
# Served by attempts_at_idx: a clock that moves within a statement would keep the index out.
_PLACED = text(
    """
    select floor(extract(epoch from clock_timestamp() - d.settled_at) / 60)::int as ago, count(distinct d.id) as number
      from attempts a join deliveries d on d.id = a.delivery_id
     where a.at > statement_timestamp() - interval '61 minutes' and a.outcome = 'answered'
       and d.kind = 'place' and d.state = 'delivered'
     group by 1
    """
)
_OUTCOMES = text(
    """
    select floor(extract(epoch from a.at) / 3600)::int as hour, a.outcome, count(*) as number
      from attempts a join deliveries d on d.id = a.delivery_id and d.kind = any(:kinds)
     where a.at >= :since and a.outcome <> all(:unsent)
     group by 1, 2
    """
)
# How long the latest orders took from being placed to their latest invoice.
_TIMES = text(
    """
    select extract(epoch from i.created_at - p.at)::float8 as seconds
      from (select chain_order_key, created_at from invoices where type = 'Output' order by id desc limit :latest) i
      join chain_orders c on c.key = i.chain_order_key and c.status = 'invoiced'
      join lateral (select at from events e where e.order_id = c.order_id and e.type = 'order.placed'
                     order by id limit 1) p on true
    """
)
_BAD = frozenset({"refused", "conflicting", "denied"})
_LENGTHS = (60, 600, 3600, 21600, 86400, 259200)


async def show(visit: Visit) -> Response:
    """The overview."""
    async with visit.desk.database.transaction() as session:
        orders = await counting.standing(session)
        attention = await stats.attention(session, orders)
        queues = await stats.queues(session, list(words.TO_SELLERS))
        lanes = await stats.lanes(session)
        waiting = list(
            await session.scalars(
                select(Order)
                .where(Order.attention_code.is_not(None))
                .order_by(Order.attention_since, Order.id)
                .limit(_OLDEST)
            )
        )
        sellers = await directory.all_of(session)
        troubles = await alerts.opened(session, _ALERTS + 1)
        names = await alerts.names_of(session, visit, troubles)
    counted = await visit.desk.counted.get(lambda: _count(visit))
    by_status = orders.by_status
    numbers = {lane["sellerId"]: lane for lane in lanes if "sellerId" in lane}
    return visit.render(
        "overview.html",
        statuses=[(status, by_status[status]) for status in _OPEN],
        over=[(status, by_status[status]) for status in _OVER],
        most=max((by_status[status] for status in _OPEN), default=0),
        share=charts.share,
        turns=orders.by_turn,
        attention=attention,
        waiting=waiting,
        queues=_queues(queues),
        alerts=[alerts.shown(visit, alert, names) for alert in troubles[:_ALERTS]],
        more_alerts=len(troubles) > _ALERTS,
        sellers=sorted(sellers, key=lambda seller: _wellness(numbers.get(seller.id)))[:_SELLERS],
        every_seller=len(sellers),
        numbers=numbers,
        dead=queues["deliveries"].get("dead", {"count": 0})["count"],
        pictures=_draw(counted, visit.zone),
    )


def _wellness(lane: Mapping[str, Any] | None) -> tuple[bool, bool, bool, int, float]:
    """What sellers are sorted by: those in trouble first, then by how long their oldest call has waited."""
    if lane is None:
        return True, True, True, 0, 0.0
    works, waits = lane["breaker"] == "closed", rendering.ahead(lane["waitsUntil"])
    return works, not lane["paused"], not waits, -lane["failuresInARow"], -(lane["oldestSeconds"] or 0.0)


def _queues(numbers: dict[str, Any]) -> list[dict[str, Any]]:
    """What waits where, and since when."""
    found = []
    kinds = (("deliveries", words.DELIVERY_STATES), ("notifications", words.NOTIFICATION_STATES))
    for queue, labels in kinds:
        for state, one in numbers[queue].items():
            found.append({"queue": queue, "state": state, "word": words.word(labels, state), **one})
    return found


async def _count(visit: Visit) -> Counted:
    now = datetime.now(UTC)
    # Ids begin with the milliseconds at which they were made (UUIDv7).
    since = uuid.UUID(int=int((now - timedelta(minutes=_MINUTES)).timestamp() * 1000) << 80)
    async with visit.desk.database.transaction() as session:
        taken = {row.ago: row.number for row in await session.execute(_TAKEN, {"since": since})}
        placed = {row.ago: row.number for row in await session.execute(_PLACED)}
        outcomes = await visit.desk.hours.get(_hours(now), lambda hour: _outcomes(session, hour))
        seconds = list(await session.scalars(_TIMES, {"latest": _LATEST_INVOICES}))
    return Counted(taken, placed, outcomes, seconds)


def _hours(now: datetime) -> range:
    """The day until now, in hours since 1970."""
    last = int(now.timestamp()) // 3600
    return range(last - _HOURS + 1, last + 1)


async def _outcomes(session: AsyncSession, since: int) -> defaultdict[int, Counter[str]]:
    """The calls of an hour and of those after it, by what came of them."""
    given = {
        "since": datetime.fromtimestamp(since * 3600, UTC),
        "unsent": list(UNSENT),
        "kinds": list(words.TO_SELLERS),
    }
    found: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for row in await session.execute(_OUTCOMES, given):
        found[row.hour][_sort(row.outcome)] += row.number
    return found


def _draw(counted: Counted, zone: tzinfo) -> list[Chart]:
    """The pictures, by the clock of whoever looks."""
    now = datetime.now(UTC)
    return [
        picture_of_intake(now, zone, counted.taken, counted.placed),
        _calls(now, zone, counted.outcomes),
        picture_of_times(counted.seconds),
    ]


def _sort(outcome: str) -> str:
    return "good" if outcome in WELL else "bad" if outcome in _BAD else "wait"


def picture_of_intake(now: datetime, zone: tzinfo, taken: dict[int, int], placed: dict[int, int]) -> Chart:
    """`now` is of UTC: in a zone whose clocks have just been changed, an hour ago is not an hour less."""
    ago = list(range(_MINUTES - 1, -1, -1))
    every = [rendering.time_of_day((now - timedelta(minutes=one)).astimezone(zone)) for one in ago]
    series = [
        Series(_("taken from you"), "busy", [taken.get(one, 0) for one in ago]),
        Series(_("placed at sellers"), "good", [placed.get(one, 0) for one in ago], line=True),
    ]
    summary = _("In the last hour: taken %(taken)s, placed %(placed)s.") % {
        "taken": rendering.count(sum(series[0].values)),
        "placed": rendering.count(sum(series[1].values)),
    }
    ticks = [every[0], every[_MINUTES // 2], _("now")]
    return charts.draw("intake", _("Orders a minute"), summary, series, ticks, every)


def _calls(now: datetime, zone: tzinfo, outcomes: Mapping[int, Counter[str]]) -> Chart:
    hours = _hours(now)
    begins = [datetime.fromtimestamp(hour * 3600, zone) for hour in (*hours, hours[-1] + 1)]
    clocks = [rendering.time_of_day(begin) for begin in begins]
    every = [f"{begin} - {end}" for begin, end in pairwise(clocks)]
    kinds = (("good", _("done")), ("wait", _("unclear or failed")), ("bad", _("refused")))
    series = [
        Series(label, tone, [outcomes.get(hour, Counter())[tone] for hour in hours]) for tone, label in kinds
    ]  # fmt: skip
    good, wait, bad = (sum(one.values) for one in series)
    summary = _("To sellers in the last day: %(all)s. Done %(good)s, unclear or failed %(wait)s, refused %(bad)s.")
    numbers = {"all": good + wait + bad, "good": good, "wait": wait, "bad": bad}
    told = {name: rendering.count(number) for name, number in numbers.items()}
    ticks = [clocks[0], clocks[_HOURS // 2], _("now")]
    return charts.draw("calls", _("Calls an hour"), summary % told, series, ticks, every)


def picture_of_times(seconds: list[float]) -> Chart:
    limits = [rendering.span(limit) for limit in _LENGTHS]
    between = [_("%(least)s to %(most)s") % {"least": least, "most": most} for least, most in pairwise(limits)]
    labels = [_("under %s") % limits[0], *between, _("%s or more") % limits[-1]]
    counts = [0] * len(labels)
    for one in seconds:
        counts[next((at for at, limit in enumerate(_LENGTHS) if one < limit), len(_LENGTHS))] += 1
    series = [Series(_("invoices"), "good", counts)]
    if seconds:
        middle = sorted(seconds)[len(seconds) // 2]
        within = next((rendering.span(limit) for limit in _LENGTHS if middle < limit), None)
        half = _("within %s") % within if within else _("after more than %s") % limits[-1]
        told = ngettext(
            "The latest invoice came %(half)s.", "Of the latest %(count)s invoices, half came %(half)s.", len(seconds)
        )
        summary = told % {"count": rendering.count(len(seconds)), "half": half}
    else:
        summary = _("No order has been invoiced yet.")
    ticks = [rendering.narrow(limit) for limit in _LENGTHS]  # each stands between two bars
    return charts.draw("times", _("From placed to invoiced"), summary, series, ticks, labels, even=True)
