"""What a person must hear of: the alerts that are open, each with what to do here, and those that are over."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from starlette.responses import Response

from ..alerts.models import Alert
from ..operators import edges
from . import sentences
from .visits import Visit

PAGE = 40


@dataclass(frozen=True, slots=True)
class Shown:
    """An alert in words. `link` leads to where it is dealt with."""

    alert: Alert
    what: str
    do: str
    link: str


async def show(visit: Visit) -> Response:
    """The open ones first, then those that are over, newest first."""
    before = edges.number(visit.given("cursor") or None)
    query = select(Alert).where(Alert.recovered_at.is_not(None))
    if before:
        query = query.where(Alert.id < before)
    async with visit.desk.database.transaction() as session:
        opened = await session.scalars(select(Alert).where(Alert.recovered_at.is_(None)).order_by(Alert.id.desc()))
        over = list(await session.scalars(query.order_by(Alert.id.desc()).limit(PAGE + 1)))
    return visit.render(
        "alerts.html",
        opened=[_shown(alert) for alert in opened],
        over=[_shown(alert) for alert in over[:PAGE]],
        following=edges.encode_cursor(over[PAGE - 1].id) if len(over) > PAGE else "",
        started=bool(before),
    )


def _shown(alert: Alert) -> Shown:
    what, do = sentences.ALERTS.get(alert.code, (alert.code, ""))
    if alert.webhook_id is not None:
        what, do = sentences.WEBHOOK_ALERTS.get(alert.code, (what, do))
        return Shown(alert, what, do, f"/console/webhooks/{alert.webhook_id}")
    link = sentences.ALERT_LINKS.get(alert.code, "")
    return Shown(alert, what, do, link.format(seller=alert.seller_id or ""))
