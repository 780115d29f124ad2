"""One order: what it is, whose turn it is, its money, its parts, its story, and what may be done now."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from starlette.responses import Response

from ..deliveries.models import Delivery
from ..operators import edges, holding, schemas
from ..operators.evidence import download
from ..operators.holding import Held
from ..orders import lookup
from ..orders.models import Order
from ..orders.states import Status, Turn
from ..sellers import directory
from . import story
from .texts import _
from .visits import Visit

_AUTHORIZABLE = frozenset({Status.ACCEPTED, Status.PLACING, Status.PLACEMENT_UNKNOWN, Status.PLACED})
_NOT_CANCELLED = frozenset({Status.REJECTED, Status.INVOICED, Status.CANCELLED, Status.CANCEL_REQUESTED})

_INVOICES = 30
"""Of all chain orders together: what the page shows of an order stays small however often it is split."""


async def show(visit: Visit) -> Response:
    """The order's page."""
    order_id = edges.order_id(visit.request.path_params["order_id"])
    before = story.place(visit.given("before"))
    async with visit.desk.database.transaction() as session:
        order = await lookup.loaded(session, order_id)
        seller = await directory.get(session, order.seller_id)
        stuck = await holding.look(session, order.id)
        held = stuck.held if stuck is not None else None
        told = await story.tell(session, order, seller.currency, visit.zone, before, held)
        dead = (await session.scalars(dead_of(order.id))).all()
        refused = order.status == Status.REJECTED
        refusal = await session.scalar(refusal_of(order.id)) if refused else None
    view = schemas.order_view(order)
    return visit.render(
        "order.html",
        order=order,
        live_order=order.id,
        view=view,
        turn=turn_of(order, view["turn"], dead, held),
        seller=seller,
        currency=seller.currency,
        held=held,
        story=told,
        story_brief=story.BRIEF,
        invoices_each=max(_INVOICES // max(len(order.chain_orders), 1), 1),
        before=before,
        dead=dead,
        refusal=refusal,
        may=legal(order) if visit.may("operator") else {},
    )


async def evidence(visit: Visit) -> Response:
    """All that is stored of the order as one archive, without names and addresses."""
    order_id = edges.order_id(visit.request.path_params["order_id"])
    return await download(visit.desk.database, visit.operator, order_id, visit.desk.evidence_seed)


def refusal_of(order_id: uuid.UUID) -> Any:
    """The placement that the seller refused last."""
    refused = select(Delivery).where(
        Delivery.order_id == order_id, Delivery.kind == "place", Delivery.state == "rejected"
    )
    return refused.order_by(Delivery.id.desc()).limit(1)


def dead_of(order_id: uuid.UUID) -> Any:
    """The calls of an order that wait for an operator."""
    return select(Delivery).where(Delivery.order_id == order_id, Delivery.state == "dead").order_by(Delivery.id)


def turn_of(order: Order, turn: Turn, dead: Sequence[Delivery], held: Held | None) -> Turn:
    """Whose turn it is. By its status it may be ours, and yet nothing is at work: a call is dead, or what refused or
    withdrew its authorization leaves it to a person, or its calls are held back."""
    if turn is not Turn.US:
        return turn
    if dead or order.status == Status.PLACED:
        return Turn.OPERATOR
    return Turn(held.owner) if held is not None and held.owner != "nobody" else turn


def legal(order: Order) -> dict[str, str]:
    """What may be done with the order now, each with the reason to do it."""
    # Each chain order for itself: one may be authorized, or cancelled, while another is being cancelled.
    status, found = Status(order.status), {}
    statuses = [Status(chain.status) for chain in order.chain_orders] or [status]
    if order.receipt is None and not _AUTHORIZABLE.isdisjoint(statuses):
        found["authorize"] = _("Say that payment is approved.")
    elif Status.PLACED in statuses:
        found["authorize"] = _("Say again that payment is approved, with the same receipt.")
    if not _NOT_CANCELLED.issuperset(statuses):
        found["cancel"] = _("Ask the seller to cancel, with a reason.")
    if status == Status.REJECTED:
        found["correct"] = _("Correct what the seller refused, and send it again.")
    if order.attention:
        found["resolve"] = _("Say what holds, and why.")
    return found
