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
from . import filters, rendering, sentences
from .texts import N_, _
from .visits import Visit

Changes = list[tuple[str, str, str]]
PAGE = 40
SHOWN = 200
"""How many characters of a value are shown."""
_TOGETHER, _MARKUP = 48_000, 100
"""How many bytes of the page all changes take, and what one of them takes beside its values."""
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
    chosen = {name: visit.given(name)[:200].replace("\x00", "") for name in ("actor", "object")}
    chosen["action"] = visit.given("action") if visit.given("action") in sentences.ACTS else ""
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
    rows = _affordable([(act, names.get(act.object, act.object), changes(act)) for act in found[:PAGE]])
    last = rows[-1][0] if rows else None
    return visit.render(
        "audit.html",
        rows=[(act, name, link_of(act.object), changed) for act, name, changed in rows],
        shown=SHOWN,
        parameters=chosen,
        ignored=filters.ignored(visit, chosen),
        acts=list(sentences.ACTS.items()),
        following=edges.encode_cursor(last.id) if last is not None and len(found) > len(rows) else "",
        started=bool(before),
    )


def _affordable(rows: list[tuple[Audit, str, Changes]]) -> list[tuple[Audit, str, Changes]]:
    """The latest acts whose changes the page can afford: it goes on with the others."""
    rest, found = _TOGETHER, list[tuple[Audit, str, Changes]]()
    for row in rows:
        for _name, *values in row[2]:
            rest -= _MARKUP + sum(rendering.size(rendering.brief(value, SHOWN)) for value in values)
        if rest < 0 and found:
            break
        found.append(row)
    return found


def _actor(text: str) -> str:
    return text if ":" in text else f"operator:{text}"


async def _objects(session: AsyncSession, text: str) -> list[str]:
    """What people call `order:{id}` and the like: an order by its group, a key by its name, a webhook by its address, a
    seller by its id; calls and notifications as this page names them."""
    orders = await session.scalars(select(Order.id).where(Order.order_group == text))
    keys = await session.scalars(select(ApiKey.id).where(ApiKey.name == text))
    webhooks = await session.scalars(select(Subscription.id).where(Subscription.url == text))
    patterns = {kind: re.escape(_(label)).replace("%s", "([0-9]+)") for kind, label in _NUMBERED.items()}
    numbered = {kind: re.fullmatch(pattern, text) for kind, pattern in patterns.items()}
    return [
        *(text, f"seller:{text}", f"key:{text}"),
        *(f"order:{one}" for one in orders),
        *(f"key:{one}" for one in keys),
        *(f"webhook:{one}" for one in webhooks),
        *(f"{kind}:{found[1]}" for kind, found in numbered.items() if found),
    ]


async def _names(session: AsyncSession, acts: Sequence[Audit]) -> dict[str, str]:
    """What people call the objects of these acts."""
    ids: dict[str, set[str]] = defaultdict(set)
    for act in acts:
        kind, _colon, identity = act.object.partition(":")
        ids[kind].add(identity)
    found = {f"{kind}:{one}": _(label) % one for kind, label in _NUMBERED.items() for one in ids[kind]}
    # The first admin's key is made before it has an id to be named by.
    found |= {f"{kind}:{one}": one for kind in ("seller", "key") for one in ids[kind]}
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


def changes(act: Audit) -> Changes:
    """What was different afterwards: the name, and both values."""
    before, after = act.before or {}, act.after or {}
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return [(name, _shown(before.get(name)), _shown(after.get(name))) for name in names]


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {one}" for name, one in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, float):
        return f"{value:.12g}"
    return "" if value is None else str(value)
