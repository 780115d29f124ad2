"""What operators did, newest first: by whom, to what, of which kind, since when."""

from __future__ import annotations

from sqlalchemy import select
from starlette.responses import Response

from ..operators import edges
from ..operators.audit import Audit
from . import filters, sentences
from .visits import Visit

PAGE = 40
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
    if chosen["object"]:
        query = query.where(Audit.object == chosen["object"])
    if chosen["action"]:
        query = query.where(Audit.action == chosen["action"])
    if chosen["since"]:
        query = query.where(Audit.at >= filters.midnight(chosen["since"], visit.zone))
    if before:
        query = query.where(Audit.id < before)
    async with visit.desk.database.transaction() as session:
        found = list(await session.scalars(query.order_by(Audit.id.desc()).limit(PAGE + 1)))
    shown = found[:PAGE]
    return visit.render(
        "audit.html",
        rows=[(act, link_of(act.object), changes(act)) for act in shown],
        parameters=chosen,
        ignored=filters.ignored(visit, chosen),
        acts=list(sentences.ACTS.items()),
        following=edges.encode_cursor(shown[-1].id) if len(found) > PAGE else "",
        started=bool(before),
    )


def _actor(text: str) -> str:
    return text if ":" in text else f"operator:{text}"


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
