"""Acts on many orders at once: what each would come to is shown first, and each has a result of its own.

Every order is moved in a transaction of its own, under the version that was looked at: one that is refused, or that
moved meanwhile, keeps none of the others back.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from ..deliveries.models import Delivery
from ..errors import Conflict, Problem, Unknown
from ..operators import again, edges
from ..operators.schemas import CancellationBody, ResolutionBody
from ..orders.models import Order
from ..orders.states import Status
from ..sellers.models import Seller
from . import acts, deciding, mistakes, once, words
from .order import dead_of
from .retrying import Result
from .texts import N_, _
from .visits import Visit, list_at
from .words import Told

_AT_ONCE = 40
_LIST = "/console/orders"
_ANY_REASON = "-"
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
    calls: list[str] = field(default_factory=list)
    told: str = ""
    refused: bool = False


async def act(visit: Visit) -> Response:
    """The preview, and once it is confirmed, a result for each."""
    what = visit.given("what")
    if what not in ACTS:
        raise Unknown("not-found", _("Choose what to do with the orders."))
    if not visit.typed("confirm"):
        return await _preview(visit, what)
    try:
        move = _MOVES[what](visit, mistakes.reason_of(visit))
    except Problem as problem:
        return await _preview(visit, what, problem)
    await once.begin(visit)
    results = [await _result(visit, *_looked_at(one), move) for one in visit.form.get("order", [])[:_AT_ONCE]]
    visit.desk.bell.ring("deliveries")
    return visit.render("results.html", results=results, back=list_at(visit, _LIST), what=ACTS[what])


async def _preview(visit: Visit, what: str, problem: Problem | None = None) -> Response:
    """Each order as the act would leave it; nothing is kept of that."""
    chosen = [_looked_at(one)[0] for one in (visit.form.get("order") or [])[:_AT_ONCE]]
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


def _looked_at(text: str) -> tuple[uuid.UUID, str]:
    """The order's id, and the version of it that was looked at."""
    order_id, _blank, version = text.partition(" ")
    return edges.order_id(order_id), version


async def _plan(visit: Visit, order_id: uuid.UUID, what: str, move: acts.Move) -> Planned:
    before = await _standing(visit, order_id)
    try:
        rehearsed = await acts.rehearse(visit, move, order_id)
    except Problem as refused:
        told = words.refusal(refused)
        return Planned(order_id, before.order_group, before.status, before.version, told=told, refused=True)
    calls = [f"{one.method} {one.target.partition('?')[0]}" for one in rehearsed.owed]
    told = _foretold(what, rehearsed)
    return Planned(order_id, before.order_group, before.status, before.version, calls, told)


def _foretold(what: str, after: acts.Rehearsed) -> str:
    status = words.word(words.STATUSES, after.after_status).label
    if what == "retry":
        return _("The seller is read first; what it does not show is sent again.")
    if what == "clear":
        return _("Stays: %s") % status
    if after.after_status == Status.CANCEL_REQUESTED and not after.owed:
        return _("Becomes: %s. The seller is read first, and asked if it has the order.") % status
    return _("Becomes: %s") % status


async def _standing(visit: Visit, order_id: uuid.UUID) -> Order:
    async with visit.desk.database.transaction() as session:
        found = await session.get(Order, order_id)
    if found is None:
        raise Unknown("order-unknown", _("There is no such order."))
    return found


async def _result(visit: Visit, order_id: uuid.UUID, version: str, move: acts.Move) -> Result:
    group = (await _standing(visit, order_id)).order_group
    try:
        await acts.perform_on(visit, order_id, version, move)
    except Problem as refused:
        return Result(group, f"/console/orders/{order_id}", False, words.refusal(refused))
    return Result(group, f"/console/orders/{order_id}", True, _("Done. The order shows what comes of it."))


def _retry(visit: Visit, reason: str) -> acts.Move:
    async def move(session: AsyncSession, order: Order, _seller: Seller) -> None:
        dead: list[Delivery] = list(await session.scalars(dead_of(order.id)))
        if not dead:
            raise Conflict("delivery-ended", _("None of its calls is dead."))
        for delivery in dead:
            await again.call(session, delivery, visit.operator, reason)

    return move


def _cancel(visit: Visit, reason: str) -> acts.Move:
    return acts.cancellation(visit, edges.validated(CancellationBody, {"reason": reason}))


def _clear(visit: Visit, reason: str) -> acts.Move:
    body = edges.validated(ResolutionBody, {"decision": "dismiss", "reason": reason})
    return deciding.resolution(visit, body)


_MOVES: dict[str, Callable[[Visit, str], acts.Move]] = {"retry": _retry, "cancel": _cancel, "clear": _clear}
