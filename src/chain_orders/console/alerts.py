"""What a person must hear of: the alerts that are open, each with what to do here, and those that are over."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
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
    open_before, before = (edges.number(visit.given(name) or None) for name in ("open", "cursor"))
    query = select(Alert).where(Alert.recovered_at.is_not(None))
    if before:
        query = query.where(Alert.id < before)
    async with visit.desk.database.transaction() as session:
        current = await opened(session, PAGE + 1, open_before)
        over = list(await session.scalars(query.order_by(Alert.id.desc()).limit(PAGE + 1)))
    return visit.render(
        "alerts.html",
        opened=[shown(visit, alert) for alert in current[:PAGE]],
        opened_following=edges.encode_cursor(current[PAGE - 1].id) if len(current) > PAGE else "",
        opened_started=bool(open_before),
        over=[shown(visit, alert) for alert in over[:PAGE]],
        following=edges.encode_cursor(over[PAGE - 1].id) if len(over) > PAGE else "",
        started=bool(before),
    )


async def opened(session: AsyncSession, limit: int, before: int = 0) -> list[Alert]:
    """Those that are not over, newest first; those before an id where one is given."""
    query = select(Alert).where(Alert.recovered_at.is_(None))
    if before:
        query = query.where(Alert.id < before)
    return list(await session.scalars(query.order_by(Alert.id.desc()).limit(limit)))


def shown(visit: Visit, alert: Alert) -> Shown:
    """The alert in words; without a link where it leads to a page of admins only. Calls are for everybody to see."""
    what, do = sentences.ALERTS.get(alert.code, (alert.code, ""))
    if alert.webhook_id is not None:
        what, do = sentences.WEBHOOK_ALERTS.get(alert.code, (what, do))
        calls = f"/console/deliveries?webhook={alert.webhook_id}"
        own = f"/console/webhooks/{alert.webhook_id}" if visit.may("admin") else calls
        return Shown(alert, what, do, f"{calls}&state=dead" if alert.code == "dead-deliveries" else own)
    link = sentences.ALERT_LINKS.get(alert.code, "").format(seller=alert.seller_id or "")
    return Shown(alert, what, do, link if link != "/console/keys" or visit.may("admin") else "")
