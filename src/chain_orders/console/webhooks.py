"""Who is told of events: how far each webhook is, what was tried, and sending a test, stopping it, letting it go on."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from .. import strict_json
from ..database import read_clock
from ..deliveries.models import Attempt, Delivery
from ..errors import Malformed, Problem, Unknown
from ..events import feed
from ..operators import audit, edges, holding
from ..webhooks import directory, outbox
from ..webhooks.models import Subscription
from . import mistakes, once, words
from .texts import N_
from .visits import Visit

PAGE = 40
_ATTEMPTS = 25


async def show(visit: Visit) -> Response:
    """Every webhook, oldest first."""
    after = _after(visit)
    query = select(Subscription).order_by(Subscription.id).limit(PAGE + 1)
    async with visit.desk.database.transaction() as session:
        found = list(await session.scalars(query.where(Subscription.id > after) if after else query))
        last = await feed.last_position(session)
    return visit.render(
        "webhooks.html",
        rows=found[:PAGE],
        behind={one.id: max(last - one.position, 0) for one in found},
        following=edges.encode_cursor(str(found[PAGE - 1].id)) if len(found) > PAGE else "",
        started=bool(after),
    )


def _after(visit: Visit) -> uuid.UUID | None:
    """Where the page begins. Raises Malformed."""
    text = edges.decode_cursor(visit.given("cursor") or None)
    try:
        return uuid.UUID(text) if text is not None else None
    except ValueError:
        raise Malformed("cursor-unknown", N_("the cursor is not one that this list gave out")) from None


async def show_one(visit: Visit) -> Response:
    return await _page(visit)


async def _page(visit: Visit, problem: Problem | None = None) -> Response:
    """One webhook: what waits for it, and what was tried last."""
    async with visit.desk.database.transaction() as session:
        found = await directory.get(session, webhook_id(visit))
        recent = (
            select(Attempt, Delivery.target, Delivery.body)
            .join(Delivery, Delivery.id == Attempt.delivery_id)
            .where(Delivery.lane == found.lane)
            .order_by(Attempt.id.desc())
            .limit(_ATTEMPTS)
        )
        attempts = [_tried(*row) for row in await session.execute(recent)]
        last = await feed.last_position(session)
        waits = await outbox.waiting(session, found)
        held = await holding.at_gate(session, found.lane)
        failed = await outbox.failed(session, found)
    return visit.render(
        "webhook.html",
        200 if problem is None else problem.status,
        webhook=found,
        behind=max(last - found.position, 0),
        waits=waits,
        held=held,
        failed=failed,
        attempts=attempts,
        banner=mistakes.banner(problem),
        wrong=mistakes.beside(problem),
        reason=visit.typed("reason"),
    )


@dataclass(frozen=True, slots=True)
class Tried:
    """One attempt, and what it carried."""

    attempt: Attempt
    what: str
    message: str
    order_id: str


def _tried(attempt: Attempt, target: str, body: bytes | None) -> Tried:
    told = strict_json.parse(body or b"{}")
    return Tried(attempt, words.event(told.get("type", ""))[0], words.message(target), told.get("orderId", ""))


async def send_test(visit: Visit) -> Response:
    """Send it an event of the type `webhook.test`, whatever it asked for."""
    async with visit.desk.database.transaction() as session:
        found = await directory.get(session, webhook_id(visit))
        if await once.first(session, visit):
            audit.note(session, visit.operator, "webhook.test", found)
            await outbox.test(session, found, await read_clock(session))
    return await done(visit, "tested")


async def enable(visit: Visit) -> Response:
    """Let it go on where it stopped, in order."""
    async with visit.desk.database.transaction() as session:
        await _set_enabled(visit, session, True)
    return await done(visit, "enabled")


async def disable(visit: Visit) -> Response:
    """Stop calling: what it is owed waits."""
    try:
        reason = mistakes.reason_of(visit)
    except Problem as problem:
        return await _page(visit, problem)
    async with visit.desk.database.transaction() as session:
        await _set_enabled(visit, session, False, reason)
    return await done(visit, "disabled")


async def _set_enabled(visit: Visit, session: AsyncSession, enabled: bool, reason: str | None = None) -> None:
    found = await directory.get(session, webhook_id(visit), lock=True)
    if await once.first(session, visit) and found.enabled != enabled:
        audit.note(session, visit.operator, "webhook.change", found, reason=reason)
        await directory.change(session, found, {"enabled": enabled})


async def done(visit: Visit, what: str) -> Response:
    """Set going what was asked for, and go back to the webhook."""
    for topic in (feed.TOPIC, "deliveries"):
        visit.desk.bell.ring(topic)
    return await visit.finished(what, f"/console/webhooks/{webhook_id(visit)}")


def webhook_id(visit: Visit) -> uuid.UUID:
    try:
        return uuid.UUID(str(visit.request.path_params["webhook_id"]))
    except ValueError:
        raise Unknown("webhook-unknown", N_("There is no such webhook.")) from None
