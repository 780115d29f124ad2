"""Deciding: both facts side by side, what each decision would do, and the decision with its reason on record."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from .. import masking
from ..errors import Problem
from ..notifications.models import Notification
from ..operators import audit, edges
from ..operators.schemas import ResolutionBody
from ..orders import resolving
from ..orders.models import ChainOrder, Order
from ..orders.states import Status
from ..sellers.models import Seller
from . import acts, mistakes
from .texts import _
from .visits import Visit

_SHOWN = 5
_DISMISS = "dismiss"


@dataclass(frozen=True, slots=True)
class Choice:
    """One decision that may be taken: its value in the form, in words, and what it means."""

    value: str
    label: str
    hint: str


async def show(visit: Visit, problem: Problem | None = None, preview: acts.Rehearsed | None = None) -> Response:
    """What is held, what contradicts it, and what may be decided."""
    order, seller, seen = await acts.looked_at(visit)
    async with visit.desk.database.transaction() as session:
        against = list(
            await session.scalars(
                select(Notification)
                .where(Notification.order_id == order.id, Notification.state == "conflict")
                .order_by(Notification.id.desc())
                .limit(_SHOWN)
            )
        )
    return visit.render(
        "act_resolve.html",
        200 if problem is None else problem.status,
        order=order,
        seller=seller,
        seen=seen,
        currency=seller.currency,
        against=[(note, masking.mask_body(note.body)) for note in against],
        choices=choices(order),
        chosen=visit.typed("decision", _DISMISS),
        reason=visit.typed("reason"),
        banner=mistakes.banner(problem),
        wrong=mistakes.beside(problem),
        preview=preview,
    )


def choices(order: Order) -> list[Choice]:
    """What may be decided about an order, the mildest first."""
    found = [Choice(_DISMISS, _("Leave it as it is"), _("You have looked, and what is held is right."))]
    for chain in order.chain_orders:
        found += _of_chain(chain)
    return found


def _of_chain(chain: ChainOrder) -> list[Choice]:
    named = {"chain": chain.chain_order_id}
    found = []
    if any(change.state == "recorded" for change in chain.changes):
        label = _("Accept the change of %(chain)s") % named
        found.append(Choice(f"accept-change|{chain.chain_order_id}", label, _("Its value moves as the seller says.")))
    if chain.status != Status.CANCELLED and chain.invoices:
        label = _("%(chain)s is cancelled") % named
        found.append(
            Choice(f"cancelled|{chain.chain_order_id}", label, _("The cancellation holds; invoices stay seen."))
        )
    if chain.status == Status.CANCELLED:
        label = _("%(chain)s is invoiced") % named
        found.append(Choice(f"invoiced|{chain.chain_order_id}", label, _("The invoice holds; it was not cancelled.")))
    return found


async def decide(visit: Visit) -> Response:
    """The preview, and once it is confirmed, the decision."""
    decision, _bar, chain = visit.typed("decision", _DISMISS).partition("|")
    try:
        body = edges.validated(
            ResolutionBody, {"decision": decision, "reason": visit.typed("reason"), "chainOrderId": chain or None}
        )
        move = resolution(visit, body)
        if visit.typed("confirm"):
            return await acts.perform(visit, move, "resolved")
        return await show(visit, preview=await acts.rehearse(visit, move))
    except Problem as problem:
        return await show(visit, problem)


def resolution(visit: Visit, body: ResolutionBody) -> acts.Move:
    async def move(session: AsyncSession, order: Order, _seller: Seller) -> None:
        actor = visit.operator.actor
        audit.note(session, visit.operator, "order.resolve", order, reason=body.reason)
        await resolving.resolve(session, order, body.decision, body.reason, actor, body.chain_order_id)

    return move
