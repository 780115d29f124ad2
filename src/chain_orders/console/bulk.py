"""Acts on many orders at once: what each would come to is shown first, and each has a result of its own.

Every order is moved in a transaction of its own, under the version that was looked at: one that is refused, or that
moved meanwhile, keeps none of the others back.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from ..deliveries.models import Delivery
from ..errors import Conflict, Problem, Stale, Unknown
from ..operators import again, edges
from ..operators.schemas import CancellationBody, ResolutionBody
from ..orders import lookup
from ..orders.models import Order
from ..orders.states import Status
from ..sellers import directory
from ..sellers.models import Seller
from . import acts, deciding, meanwhile, mistakes, once, sentences, words
from .order import dead_of
from .retrying import Result
from .texts import N_, _
from .visits import Visit, list_at
from .words import Told

_AT_ONCE = 40
_LIST = "/console/orders"
_ANY_REASON = _NOTHING = "-"
ACTS = Told(
    {
        "retry": N_("Try dead calls again"),
        "cancel": N_("Ask to cancel"),
        "clear": N_("Clear the attention"),
    }
)


@dataclass(frozen=True, slots=True)
class Planned:
    """What would become of one order: the calls that would leave, or why it is refused."""

    id: uuid.UUID
    group: str
    status: str
    version: int
    seen: str
    calls: list[str] = field(default_factory=list)
    told: str = ""
    refused: bool = False


async def show_list(visit: Visit) -> Response:
    """Whoever comes by the address alone, as to results that were seen before, has chosen nothing yet."""
    return visit.redirect(list_at(visit, _LIST))


async def act(visit: Visit) -> Response:
    """The preview, and once it is confirmed, a result for each."""
    what = visit.given("what")
    if what not in ACTS:
        raise Unknown("not-found", N_("Choose what to do with the orders."))
    if not visit.typed("confirm"):
        return await _preview(visit, what)
    try:
        move = _MOVES[what](visit, mistakes.reason_of(visit))
    except Problem as problem:
        return await _preview(visit, what, problem)
    await once.begin(visit)
    results = [await _result(visit, _looked_at(one), move) for one in visit.form.get("order", [])[:_AT_ONCE]]
    visit.desk.bell.ring("deliveries")
    return visit.render("results.html", results=results, back=list_at(visit, _LIST), what=ACTS[what])


async def _preview(visit: Visit, what: str, problem: Problem | None = None) -> Response:
    """Each order as the act would leave it; nothing is kept of that."""
    chosen = [_looked_at(one).id for one in (visit.form.get("order") or [])[:_AT_ONCE]]
    move = _MOVES[what](visit, visit.typed("reason") or _ANY_REASON)
    planned = [await _plan(visit, order_id, what, move) for order_id in chosen]
    return visit.render(
        "act_bulk.html",
        200 if problem is None else problem.status,
        planned=planned,
        possible=[one for one in planned if not one.refused],
        what=what,
        label=ACTS[what],
        back=list_at(visit, _LIST),
        banner=mistakes.banner(problem),
        wrong=mistakes.beside(problem),
        reason=visit.typed("reason"),
    )


class _LookedAt(NamedTuple):
    """An order, the version of it that was looked at, and what was seen of it."""

    id: uuid.UUID
    version: str
    seen: str


def _looked_at(text: str) -> _LookedAt:
    order_id, version, seen = [*text.split(" ", 2), "", ""][:3]
    return _LookedAt(edges.order_id(order_id), version, seen)


async def _plan(visit: Visit, order_id: uuid.UUID, what: str, move: acts.Move) -> Planned:
    async with visit.desk.database.transaction() as session:
        event = await meanwhile.latest(session, order_id)
        before = await lookup.loaded(session, order_id)
    known = (order_id, before.order_group, before.status, before.version, meanwhile.seen(before, event))
    try:
        rehearsed = await acts.rehearse(visit, move, order_id)
    except Problem as refused:
        told = words.refusal(refused)
        return Planned(*known, told=told, refused=True)
    calls = [f"{one.method} {one.target.partition('?')[0]}" for one in rehearsed.owed]
    told = _foretold(what, rehearsed, before.attention_code)
    return Planned(*known, calls, told)


def _foretold(what: str, after: acts.Rehearsed, attention: str | None) -> str:
    status = words.word(words.STATUSES, after.after_status).label
    if what == "retry":
        return _("The seller is read first; what it does not show is sent again.")
    if what == "clear":
        about = sentences.attention(attention)[0]
        return _("Stays: %(status)s. Cleared: %(what)s.") % {"status": status, "what": about}
    if after.after_status == Status.CANCEL_REQUESTED and not after.owed:
        return _("Becomes: %s. The seller is read first, and asked if it has the order.") % status
    return _("Becomes: %s") % status


async def _result(visit: Visit, one: _LookedAt, move: acts.Move) -> Result:
    async with visit.desk.database.transaction() as session:
        group = (await lookup.loaded(session, one.id)).order_group
    link = f"/console/orders/{one.id}"
    try:
        await acts.perform_on(visit, one.id, one.version, move)
    except Stale as stale:
        return Result(group, link, False, f"{words.refusal(stale)} {await _moved(visit, one)}")
    except Problem as refused:
        return Result(group, link, False, words.refusal(refused))
    return Result(group, link, True, _("Done. The order shows what comes of it."))


async def _moved(visit: Visit, one: _LookedAt) -> str:
    """What changed since the preview, in a line: what differs, else what happened."""
    async with visit.desk.database.transaction() as session:
        order = await lookup.loaded(session, one.id)
        seller = await directory.get(session, order.seller_id)
        moved = await meanwhile.of_order(session, order, one.seen, seller.currency, visit.zone)
    differs = [f"{label}: {was or _NOTHING} → {is_now or _NOTHING}" for label, was, is_now in moved.differs]
    return "; ".join(differs or [event.title for event in moved.events])


def _retry(visit: Visit, reason: str) -> acts.Move:
    async def move(session: AsyncSession, order: Order, _seller: Seller) -> None:
        dead: list[Delivery] = list(await session.scalars(dead_of(order.id)))
        if not dead:
            raise Conflict("delivery-ended", N_("None of its calls is dead."))
        for delivery in dead:
            await again.call(session, delivery, visit.operator, reason)

    return move


def _cancel(visit: Visit, reason: str) -> acts.Move:
    return acts.cancellation(visit, edges.validated(CancellationBody, {"reason": reason}))


def _clear(visit: Visit, reason: str) -> acts.Move:
    body = edges.validated(ResolutionBody, {"decision": "dismiss", "reason": reason})
    return deciding.resolution(visit, body)


_MOVES: dict[str, Callable[[Visit, str], acts.Move]] = {"retry": _retry, "cancel": _cancel, "clear": _clear}
