"""What sellers told us: the ones that wait or contradict first, and each with its raw bytes, shown safely."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import undefer
from starlette.responses import Response

from .. import masking
from ..errors import Problem, Unknown
from ..notifications.inbox import TOPIC
from ..notifications.models import STATES, Notification, Receipt
from ..operators import again, deciding, edges, revealing
from ..operators.access import Operator
from ..operators.revealing import MASKED, Wish
from ..orders.models import Order
from . import filters, mistakes, once
from .texts import N_, _
from .visits import Visit

PAGE = 40


async def show(visit: Visit) -> Response:
    """Those that a person may have to look at, newest first; others when they are asked for."""
    state = visit.given("state")
    state = state if state in {*STATES, "all"} else ""
    seller = visit.given("seller")[:63].replace("\x00", "")
    before = edges.number(visit.given("cursor") or None)
    parameters = {"state": state, "seller": seller}
    states = () if state == "all" else (state,) if state else again.UNSETTLED
    async with visit.desk.database.transaction() as session:
        found = await deciding.heard(session, PAGE + 1, states=states, seller=seller or None, before=before)
        ids = {note.order_id for note in found if note.order_id is not None}
        rows = await session.execute(select(Order.id, Order.order_group, Order.seller_id).where(Order.id.in_(ids)))
        orders = {row.id: row for row in rows}
        sellers = await filters.sellers(session)
    shown = found[:PAGE]
    return visit.render(
        "notifications.html",
        rows=shown,
        orders=orders,
        parameters=parameters,
        ignored=filters.ignored(visit, parameters),
        sellers=sellers,
        following=edges.encode_cursor(shown[-1].id) if len(found) > PAGE else "",
        started=bool(before),
    )


async def show_one(visit: Visit, wished: Wish = MASKED) -> Response:
    """One notification: what it is, what became of it, and what it said: masked, unless an admin says why not."""
    async with visit.desk.database.transaction() as session:
        note = await find(session, visit)
        repeats = await session.scalar(select(Receipt.repeats).where(Receipt.dedupe_key == note.dedupe_key))
        order = await session.get(Order, note.order_id) if note.order_id is not None else None
        whole = revealing.grant(session, visit.operator, wished, revealing.about([note]))
    return visit.render(
        "notification.html",
        note=note,
        repeats=repeats or 0,
        again=again.replayable(note) and visit.may("operator"),
        dismiss=again.dismissable(note) and visit.may("operator"),
        decide=note.state == "conflict" and visit.may("operator"),
        order=order,
        is_text=_is_text(note.body),
        whole=whole,
        address=note.path if whole else masking.mask_path(note.path),
        body=note.body if whole else masking.mask_body(note.body),
        headers=note.headers if whole else masking.mask_headers(note.headers),
    )


@dataclass(frozen=True, slots=True)
class _Act:
    """What may be done with one that was not applied: where its form is sent, what it says, and what it came to; for
    which it is allowed, and why it is refused of others; what it does, and whom it wakes."""

    name: str
    title: str
    sentence: str
    button: str
    done: str
    allowed: Callable[[Notification], bool]
    refused: Callable[[Notification], Problem]
    does: Callable[[AsyncSession, Notification, Operator, str], Awaitable[None]]
    topic: str


_REPLAY = _Act(
    "replay",
    N_("Apply it again"),
    N_(
        "It is judged anew, as if it came now: applied if the order allows it by now, and kept as it is if not. "
        "Nothing is sent to the seller."
    ),
    N_("Apply it again now"),
    "replayed",
    again.replayable,
    again.settled,
    again.notification,
    TOPIC,
)
_DISMISS = _Act(
    "dismiss",
    N_("Dismiss it"),
    N_(
        "It is not tried again and moves nothing: the order stays as it is, and nobody is asked to look at this any "
        "more. What it said is kept. If the seller repeats it, it stays dismissed; you can apply it again later. "
        "Nothing is sent to the seller."
    ),
    N_("Dismiss it now"),
    "dismissed",
    again.dismissable,
    again.not_waiting,
    again.dismiss,
    "orders",
)


async def show_replay(visit: Visit) -> Response:
    """What applying it again will do, and why it is done."""
    return await _show(visit, _REPLAY)


async def replay(visit: Visit) -> Response:
    """Apply it again: the next time the applier looks."""
    return await _do(visit, _REPLAY)


async def show_dismiss(visit: Visit) -> Response:
    """What giving it up means, and why it is done."""
    return await _show(visit, _DISMISS)


async def dismiss(visit: Visit) -> Response:
    """Give it up."""
    return await _do(visit, _DISMISS)


async def _show(visit: Visit, act: _Act, problem: Problem | None = None) -> Response:
    async with visit.desk.database.transaction() as session:
        note = await find(session, visit)
        order = await session.get(Order, note.order_id) if note.order_id is not None else None
    if not act.allowed(note):
        raise act.refused(note)
    return visit.render(
        "act_notification.html",
        200 if problem is None else problem.status,
        act=act.name,
        title=_(act.title),
        sentence=_(act.sentence),
        button=_(act.button),
        note=note,
        order=order,
        body=masking.mask_body(note.body),
        banner=mistakes.banner(problem),
        wrong=mistakes.beside(problem),
        reason=visit.typed("reason"),
    )


async def _do(visit: Visit, act: _Act) -> Response:
    try:
        reason = mistakes.reason_of(visit)
    except Problem as problem:
        return await _show(visit, act, problem)
    async with visit.desk.database.transaction() as session:
        note = await find(session, visit)
        if await once.first(session, visit):
            await act.does(session, note, visit.operator, reason)
    visit.desk.bell.ring(act.topic)
    return await visit.finished(act.done, f"/console/notifications/{note.id}")


async def find(session: AsyncSession, visit: Visit) -> Notification:
    """The notification that the address names. Raises Unknown."""
    text = str(visit.request.path_params["notification_id"])
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0
    query = select(Notification).where(Notification.id == number).options(undefer(Notification.headers))
    note = await session.scalar(query) if number else None
    if note is None:
        raise Unknown("notification-unknown", N_("There is no such notification."))
    return note


def _is_text(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return b"\x00" not in raw
