"""What a person must hear of: the alerts that are open, each with what to do here, and those that are over."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from ..alerts.models import Alert
from ..operators import edges
from ..webhooks.models import Subscription
from . import sentences
from .visits import Visit

PAGE = 40


@dataclass(frozen=True, slots=True)
class Shown:
    """An alert in words, and about whom it is. `link` leads to where it is dealt with."""

    alert: Alert
    about: str
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
        names = await names_of(session, visit, [*current, *over])
    return visit.render(
        "alerts.html",
        opened=[shown(visit, alert, names) for alert in current[:PAGE]],
        opened_following=edges.encode_cursor(current[PAGE - 1].id) if len(current) > PAGE else "",
        opened_started=bool(open_before),
        over=[shown(visit, alert, names) for alert in over[:PAGE]],
        following=edges.encode_cursor(over[PAGE - 1].id) if len(over) > PAGE else "",
        started=bool(before),
    )


async def opened(session: AsyncSession, limit: int, before: int = 0) -> list[Alert]:
    """Those that are not over, newest first; those before an id where one is given."""
    query = select(Alert).where(Alert.recovered_at.is_(None))
    if before:
        query = query.where(Alert.id < before)
    return list(await session.scalars(query.order_by(Alert.id.desc()).limit(limit)))


async def names_of(session: AsyncSession, visit: Visit, alerts: Sequence[Alert]) -> dict[str, str]:
    """What admins call the webhooks that alerts are about; to others these are ids."""
    ids = {uuid.UUID(one.webhook_id) for one in alerts if one.webhook_id is not None}
    if not ids or not visit.may("admin"):
        return {}
    columns = (Subscription.id, Subscription.description, Subscription.url)
    rows = await session.execute(select(*columns).where(Subscription.id.in_(ids)))
    return {str(row.id): row.description or row.url for row in rows}


def shown(visit: Visit, alert: Alert, names: Mapping[str, str]) -> Shown:
    """The alert in words; without a link where it leads to a page of admins only. Calls are for everybody to see."""
    about = alert.seller_id or names.get(alert.webhook_id or "") or alert.webhook_id or "chain-orders"
    what, do = sentences.ALERTS.get(alert.code, (alert.code, ""))
    if alert.webhook_id is not None:
        what, do = sentences.WEBHOOK_ALERTS.get(alert.code, (what, do))
        calls = f"/console/deliveries?webhook={alert.webhook_id}"
        own = f"/console/webhooks/{alert.webhook_id}" if visit.may("admin") else calls
        return Shown(alert, about, what, do, f"{calls}&state=dead" if alert.code == "dead-deliveries" else own)
    link = sentences.ALERT_LINKS.get(alert.code, "").format(seller=alert.seller_id or "")
    return Shown(alert, about, what, do, link if link != "/console/keys" or visit.may("admin") else "")
