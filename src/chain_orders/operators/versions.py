"""What `If-Match` protects: whoever changes what has changed since is told what happened meanwhile."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from pydantic.alias_generators import to_camel
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ..errors import Stale
from ..events.models import Event
from ..orders.models import Order
from ..sellers.models import Seller
from . import audit, edges, schemas
from .audit import Audit

_SHOWN = 5
_NO_SETTING = frozenset({"version"})


async def check_order(request: Request, session: AsyncSession, order: Order, *, required: bool) -> None:
    """Raises Stale with the order's last events, Unconditional."""
    try:
        edges.check_version(request, order.version, required=required)
    except Stale as stale:
        latest = select(Event).where(Event.order_id == order.id).order_by(Event.id.desc()).limit(_SHOWN)
        views = [schemas.event_view(event) for event in await session.scalars(latest)]
        stale.extra["latest"] = [{name: view[name] for name in ("type", "at", "actor")} for view in views]
        raise


async def check_seller(request: Request, session: AsyncSession, seller: Seller) -> None:
    """Raises Stale with the seller's last changes, Unconditional."""
    try:
        edges.check_version(request, seller.version, required=True)
    except Stale as stale:
        latest = select(Audit).where(Audit.object == audit.name_of(seller)).order_by(Audit.id.desc()).limit(_SHOWN)
        stale.extra["latest"] = [_change(act) for act in await session.scalars(latest)]
        raise


def _change(act: Audit) -> dict[str, Any]:
    """Who did what, when, and which settings it moved. Credentials are named by the act alone."""
    before, after = act.before or {}, act.after or {}
    changed = [name for name in after if name not in _NO_SETTING and name in before and before[name] != after[name]]
    told = {"type": act.action, "at": schemas.moment(act.at), "actor": act.actor}
    return {**told, "changed": [to_camel(name) for name in sorted(changed)]}
