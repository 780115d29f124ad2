"""Correcting a rejected order: its document as it was sent, why the seller refused it, and sending another one."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from .. import body, masking, strict_json
from ..errors import Conflict, Malformed, Problem, TooLarge, Unavailable
from ..operators import audit, revealing
from ..operators.orders import receipt_of
from ..operators.revealing import MASKED, Wish
from ..orders import taking
from ..orders.models import Order
from ..orders.states import Status
from ..outcome import Absent, Answered, Conflicting
from ..sellers.models import Seller
from ..vtex.placement import ENDPOINT
from . import acts, mistakes, once, rendering, words
from .order import refusal_of
from .texts import N_, _
from .visits import Visit

_LARGEST = 60_000
"""How many bytes of a page a document takes that can be corrected here: it is shown twice, and posted back."""
TOO_LARGE = N_("The document is too large for this page. Correct it over the API: PUT /v1/orders/{order_id}/placement.")


async def show(
    visit: Visit, problem: Problem | None = None, preview: acts.Rehearsed | None = None, wished: Wish = MASKED
) -> Response:
    """The document that is to be sent, below what the seller said about the one before. That one is masked, unless an
    admin says why it is to be filled in."""
    order, seller, seen = await acts.looked_at(visit)
    if order.status != Status.REJECTED:
        raise Conflict("order-not-rejected", N_("Only a rejected order can be corrected."))
    async with visit.desk.database.transaction() as session:
        sent = await session.scalar(select(Order.placement_body).where(Order.id == order.id))
        refusal = await session.scalar(refusal_of(order.id))
        whole = revealing.grant(session, visit.operator, wished, [audit.name_of(order)])
    document = _pretty(sent or b"") if whole else visit.typed("document")
    fits, wrong = rendering.size(document) <= _LARGEST, mistakes.beside(problem)
    return visit.render(
        "act_correct.html",
        200 if problem is None else problem.status,
        order=order,
        seller=seller,
        seen=seen,
        refusal=refusal,
        meaning=words.code(refusal.last_code) if refusal is not None else "",
        document=document if fits else "",
        fits=fits,
        too_large=_(TOO_LARGE),
        sent=masking.mask_body(sent or b""),
        reason=visit.typed("reason"),
        banner=_above(problem),
        wrong=wrong,
        faults=list(wrong.items()),
        preview=preview,
        body=preview.order.placement_body if preview else None,
    )


def _above(problem: Problem | None) -> str:
    if problem is not None and problem.faults:
        return _("The order cannot be sent as it is. What is wrong is listed by its place in the document.")
    return mistakes.banner(problem)


def _pretty(sent: bytes) -> str:
    """What was sent, without the callback address: every order is given its own."""
    try:
        document = strict_json.parse(sent)
    except strict_json.NotJson:
        return ""
    if isinstance(document, dict):
        document.pop(ENDPOINT, None)
    return json.dumps(document, indent=2, ensure_ascii=False)


async def correct(visit: Visit) -> Response:
    """The preview, and once it is confirmed, the correction: if the seller shows no order of the group."""
    try:
        if visit.typed("fill"):
            return await show(visit, wished=Wish(True, mistakes.reason_of(visit)))
        move = _correction(visit, _document(visit))
        if not visit.typed("confirm"):
            return await show(visit, preview=await acts.rehearse(visit, move))
        async with visit.desk.database.transaction() as session:
            again = await once.repeated(session, visit)
        if not again:
            await _check_absent(visit)
        return await acts.perform(visit, move, "corrected")
    except Problem as problem:
        return await show(visit, problem)


def _document(visit: Visit) -> dict[str, Any]:
    if rendering.size(visit.typed("document")) > _LARGEST:
        raise TooLarge("document-too-large", _(TOO_LARGE))
    found = body.parse(visit.typed("document").encode())
    if not isinstance(found, dict):
        raise Malformed("not-json", N_("The document must be a JSON object."))
    return found


def _correction(visit: Visit, document: dict[str, Any]) -> acts.Move:
    receipt = receipt_of(document)

    async def move(session: AsyncSession, order: Order, seller: Seller) -> None:
        audit.note(session, visit.operator, "order.correct", order)
        await taking.correct(session, order, seller, document, receipt, visit.desk.bases, visit.operator.actor)

    return move


async def _check_absent(visit: Visit) -> None:
    """Read the seller first, outside of any transaction: what it has is not sent again."""
    order, seller, _seen = await acts.looked_at(visit)
    match (await visit.desk.place.find(order, seller, window_over=True)).outcome:
        case Absent():
            return
        case Answered() | Conflicting():
            raise Conflict("order-at-seller", N_("The seller shows an order of this group; it cannot be corrected."))
        case _:
            raise Unavailable("seller-unreadable", N_("The seller could not be read; nothing was changed."))
