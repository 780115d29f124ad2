"""Deciding: both facts side by side, what each decision would do, and the decision with its reason on record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo

from pydantic import TypeAdapter
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from .. import masking, strict_json
from ..deliveries.models import Attempt, Delivery
from ..errors import Problem
from ..notifications.models import LISTED, Notification
from ..operators import audit, edges
from ..operators.schemas import ResolutionBody
from ..orders import resolving
from ..orders.models import ChainOrder, Change, Order
from ..orders.seen import Seen
from ..orders.states import Status
from ..sellers.models import Seller
from ..vtex import values
from . import acts, mistakes, rendering, words
from .texts import N_, _
from .visits import Visit
from .words import Told

_SHOWN = 5
_FIELDS: Mapping[str, str] = Told(
    {
        "sellerOrderId": N_("Chain order"),
        "invoiceNumber": N_("Invoice"),
        "type": N_("Kind"),
        "invoiceValue": N_("Value"),
        "issuanceDate": N_("Issued"),
        "trackingNumber": N_("Tracking number"),
        "requestId": N_("Request"),
        "incrementValue": N_("More to pay"),
        "discountValue": N_("Less to pay"),
    }
)
_DISMISS = "dismiss"
_CENTS: TypeAdapter[int] = TypeAdapter(values.Cents)


@dataclass(frozen=True, slots=True)
class Choice:
    """One decision that may be taken: its value in the form, in words, and what it means."""

    value: str
    label: str
    hint: str


@dataclass(frozen=True, slots=True)
class Shown:
    """What the seller itself showed last: of a chain order, or of the whole when it was placed or looked for."""

    what: str
    at: datetime
    answer: bytes
    link: str = ""


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
                .options(*LISTED)
            )
        )
        shown = await _shown(session, order)
    offered, chosen = choices(order), visit.typed("decision", _DISMISS)
    if preview is None and chosen not in {one.value for one in offered}:
        chosen = _DISMISS  # what was chosen is not offered any more
    return visit.render(
        "act_resolve.html",
        200 if problem is None else problem.status,
        order=order,
        seller=seller,
        seen=seen,
        currency=seller.currency,
        against=[(note, said := _said(note), _facts(said, seller.currency, visit.zone)) for note in against],
        changes=_waiting(order),
        shown=shown,
        choices=offered,
        chosen=chosen,
        reason=visit.typed("reason"),
        banner=mistakes.banner(problem),
        wrong=mistakes.beside(problem),
        preview=preview,
    )


def _waiting(order: Order) -> list[tuple[ChainOrder, Change]]:
    """The latest changes that wait for a decision."""
    changes = [(chain, change) for chain in order.chain_orders for change in chain.changes]
    return [one for one in changes if one[1].state == "recorded"][-_SHOWN:]


async def _shown(session: AsyncSession, order: Order) -> list[Shown]:
    """The seller's own word, masked: what stands against what is held where no notification does."""
    found = []
    for chain in order.chain_orders[:_SHOWN]:
        latest = select(Seen).where(Seen.chain_order_key == chain.key).order_by(Seen.id.desc()).limit(1)
        if (seen := await session.scalar(latest)) is not None:
            found.append(Shown(chain.chain_order_id, seen.last_at, seen.answer))
    placing = select(Attempt).join(Delivery, Delivery.id == Attempt.delivery_id)
    placing = placing.where(Delivery.order_id == order.id, Delivery.kind == "place", Attempt.response.is_not(None))
    attempt = await session.scalar(placing.order_by(Attempt.id.desc()).limit(1))
    if attempt is not None:
        what = _("Read when it was looked for") if attempt.phase == "verify" else _("Answered when it was placed")
        link = f"/console/deliveries/{attempt.delivery_id}"
        found.append(Shown(what, attempt.at, masking.mask_body(attempt.response or b""), link))
    return found


def _said(note: Notification) -> bytes:
    """What a notification said, masked; nothing of one that is long."""
    return b"" if note.is_long else masking.mask_body(note.beginning)


def _facts(said: bytes, currency: str | None, zone: tzinfo) -> list[tuple[str, str]]:
    """The same in words: the fields that people compare, as far as they are not masked."""
    try:
        document = strict_json.parse(said)
    except strict_json.NotJson:
        return []
    fields = document.items() if isinstance(document, dict) else ()
    given = {name: value for name, value in fields if isinstance(value, str | int | float) and value != masking.MASK}
    return [(label, _value(name, given[name], currency, zone)) for name, label in _FIELDS.items() if name in given]


def _value(name: str, value: str | float, currency: str | None, zone: tzinfo) -> str:
    """As what is held is written; read as it was when it was applied."""
    try:
        if name.endswith("Value"):
            return rendering.money(_CENTS.validate_python(value), currency)
        if name == "issuanceDate":
            return rendering.clock(values.moment(value), zone)
    except ValueError:
        return str(value)
    return words.INVOICE_TYPES.get(str(value), str(value)) if name == "type" else str(value)


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
