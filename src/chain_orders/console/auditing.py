"""What operators did, newest first: by whom, to what, of which kind, since when."""

from __future__ import annotations

import re
import uuid
from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from ..operators import edges
from ..operators.audit import Audit
from ..operators.models import ApiKey
from ..orders.models import Order
from ..webhooks.models import Subscription
from . import filters, sentences
from .texts import N_, _
from .visits import Visit

PAGE = 40
_NUMBERED = {"delivery": N_("Delivery %s"), "notification": N_("Notification %s")}
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_LINKS = {
    "order": "/console/orders/",
    "seller": "/console/sellers/",
    "delivery": "/console/deliveries/",
    "notification": "/console/notifications/",
    "webhook": "/console/webhooks/",
}


async def show(visit: Visit) -> Response:
    """A page of acts, as the filters ask."""
    chosen = {name: visit.given(name)[:200].replace("\x00", "") for name in ("actor", "object", "action")}
    chosen["since"] = filters.day(visit.given("since"))
    before = edges.number(visit.given("cursor") or None)
    query = select(Audit)
    if chosen["actor"]:
        query = query.where(Audit.actor == _actor(chosen["actor"]))
    if chosen["action"]:
        query = query.where(Audit.action == chosen["action"])
    if chosen["since"]:
        query = query.where(Audit.at >= filters.midnight(chosen["since"], visit.zone))
    if before:
        query = query.where(Audit.id < before)
    async with visit.desk.database.transaction() as session:
        if chosen["object"]:
            query = query.where(Audit.object.in_(await _objects(session, chosen["object"])))
        found = list(await session.scalars(query.order_by(Audit.id.desc()).limit(PAGE + 1)))
        names = await _names(session, found[:PAGE])
    shown = found[:PAGE]
    return visit.render(
        "audit.html",
        rows=[(act, names.get(act.object, act.object), link_of(act.object), changes(act)) for act in shown],
        parameters=chosen,
        ignored=filters.ignored(visit, chosen),
        acts=list(sentences.ACTS.items()),
        following=edges.encode_cursor(shown[-1].id) if len(found) > PAGE else "",
        started=bool(before),
    )


def _actor(text: str) -> str:
    return text if ":" in text else f"operator:{text}"


async def _objects(session: AsyncSession, text: str) -> list[str]:
    """What people call `order:{id}` and the like: an order by its group, a key by its name, a seller by its id."""
    orders = await session.scalars(select(Order.id).where(Order.order_group == text))
    keys = await session.scalars(select(ApiKey.id).where(ApiKey.name == text))
    return [text, f"seller:{text}", *(f"order:{one}" for one in orders), *(f"key:{one}" for one in keys)]


async def _names(session: AsyncSession, acts: Sequence[Audit]) -> dict[str, str]:
    """What people call the objects of these acts."""
    ids: dict[str, set[str]] = defaultdict(set)
    for act in acts:
        kind, _colon, identity = act.object.partition(":")
        ids[kind].add(identity)
    found = {f"{kind}:{one}": _(label) % one for kind, label in _NUMBERED.items() for one in ids[kind]}
    found |= {f"seller:{one}": one for one in ids["seller"]}
    for kind, id_, name in (
        ("order", Order.id, Order.order_group),
        ("key", ApiKey.id, ApiKey.name),
        ("webhook", Subscription.id, Subscription.url),
    ):
        wanted = [uuid.UUID(one) for one in ids[kind] if _UUID.fullmatch(one)]
        if wanted:
            rows = await session.execute(select(id_, name).where(id_.in_(wanted)))
            found |= {f"{kind}:{row[0]}": row[1] for row in rows}
    return found


def link_of(about: str) -> str:
    """The page of what was acted upon; keys have none of their own."""
    kind, _colon, identity = about.partition(":")
    return _LINKS[kind] + identity if kind in _LINKS else ""


def changes(act: Audit) -> list[tuple[str, str, str]]:
    """What was different afterwards: the name, and both values."""
    before, after = act.before or {}, act.after or {}
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return [(name, _shown(before.get(name)), _shown(after.get(name))) for name in names]


def _shown(value: object) -> str:
    return "" if value is None else str(value)
