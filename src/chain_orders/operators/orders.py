"""Routes of orders: place, authorize, cancel, correct, show."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from ..database import Database
from ..errors import Conflict, Invalid, Unavailable
from ..orders import authorizing, cancelling, lookup, taking
from ..orders.models import Order
from ..orders.receipts import GivenReceipt
from ..orders.states import Status
from ..outcome import Absent, Answered, Conflicting
from ..sellers import directory
from ..vtex.placement import RECEIPT
from . import access, audit, edges, holding, idempotency, schemas, versions
from .access import Operator
from .edges import DryRun
from .schemas import AuthorizationBody, CancellationBody, ReceiptBody

router = APIRouter(prefix="/v1", tags=["orders"])

Acting = Annotated[Operator, Depends(access.allow("operator"))]
Viewing = Annotated[Operator, Depends(access.allow("viewer"))]

_PLACEMENT_BODY = {
    "requestBody": {
        "required": True,
        "description": "VTEX's order, as in its page on multilevel orders; an `authorizationReceipt` beside its "
        "fields authorizes it as soon as it is placed.",
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
}


@router.post("/sellers/{seller_id}/orders", status_code=202, openapi_extra=_PLACEMENT_BODY)
async def place_order(request: Request, operator: Acting, seller_id: str, dry_run: DryRun = False) -> Response:
    """Place an order at the seller. `Prefer: wait=N` waits up to N seconds (30 at most) for the outcome."""
    document = await edges.document(request)
    receipt = receipt_of(document)
    state = request.app.state
    database: Database = state.database
    async with database.transaction() as session:
        once = await idempotency.begin(session, request, operator)
        if once.order_id is not None:
            taken = taking.Taken(once.order_id, created=once.status == 202)
        else:
            seller = await directory.get(session, seller_id)
            taken = await taking.take(session, seller, document, receipt, state.bases, operator.actor)
            if dry_run:
                order = await lookup.loaded(session, taken.order_id)
                view = schemas.order_view(order)
                return await edges.rehearsed(session, lambda: {**view, "id": None} if taken.created else view)
            audit.note(session, operator, "order.place", f"order:{taken.order_id}", created=taken.created)
            once.keep_order(taken.order_id, 202 if taken.created else 200)
    state.bell.ring("deliveries")
    waited = _preferred_wait(request)
    if waited:
        await state.watch.decided(taken.order_id, waited)
    async with database.transaction() as session:
        order = await lookup.loaded(session, taken.order_id)
        stuck = await holding.look(session, order.id)
    headers = {"Location": f"/v1/orders/{order.id}", **edges.etag(order.version)}
    if waited:
        headers["Preference-Applied"] = f"wait={waited}"
    if once.order_id is not None:
        headers["Idempotency-Replayed"] = "true"
    if order.status == Status.REJECTED and waited:
        raise Invalid(
            "seller-refused",
            (stuck.call.last_error if stuck else None) or "the seller refused the order",
            headers=headers,
            extra={"sellerCode": stuck.call.last_code if stuck else None, "orderId": str(order.id)},
        )
    return edges.Answer(schemas.order_view(order, stuck), _placement_status(order, taken.created), headers)


def _placement_status(order: Order, created: bool) -> int:
    undecided = {Status.ACCEPTED, Status.PLACING, Status.PLACEMENT_UNKNOWN, Status.REJECTED}
    if Status(order.status) in undecided:
        return 202 if created else 200
    return 201 if created else 200


def receipt_of(document: Any) -> GivenReceipt | None:
    """The receipt beside an order's fields."""
    if not isinstance(document, dict) or document.get(RECEIPT) is None:
        return None
    given = edges.validated(ReceiptBody, document[RECEIPT], under=f"/{RECEIPT}")
    return GivenReceipt(given.date, given.receipt)


def _preferred_wait(request: Request) -> int:
    """`Prefer: wait=N` in seconds, 0 when there is none."""
    for preference in ",".join(request.headers.getlist("prefer")).split(","):
        found = re.fullmatch(r"\s*wait\s*=\s*(\d{1,40})\s*", preference, re.ASCII | re.IGNORECASE)
        if found:
            return min(int(found[1]), 30)
    return 0


@router.get("/orders/{order_id}")
async def get_order(request: Request, _: Viewing, order_id: str) -> Response:
    """One order: its chain orders, invoices, tracking, money, and whose turn it is.

    `lastError` says why it is not further: in words, whether the call is tried again and when, and who must act. A call
    that is held back with all others of its seller says so: `calls-paused`, `credentials-refused`, `calls-stopped`,
    `asked-to-wait`; then `nextAttemptAt` is null where nobody knows when it goes on. `turn` goes by the order alone, as
    in the list.
    """
    async with request.app.state.database.transaction() as session:
        order = await lookup.loaded(session, edges.order_id(order_id))
        stuck = await holding.look(session, order.id)
    return edges.Answer(schemas.order_view(order, stuck), headers=edges.etag(order.version))


@router.post(
    "/orders/{order_id}/authorization",
    status_code=202,
    openapi_extra=edges.described(AuthorizationBody, optional=True),
)
async def authorize_order(
    request: Request,
    operator: Acting,
    order_id: str,
    body: Annotated[AuthorizationBody, Depends(edges.parsed(AuthorizationBody, optional=True))],
    dry_run: DryRun = False,
) -> Response:
    """Say that payment is approved. Sent to each chain order; before the order is placed, as soon as it is.

    Without a body, or without a receipt in it, the service mints date and receipt, once.
    """
    given = GivenReceipt(
        body.authorization_receipt.date,
        body.authorization_receipt.receipt,
        [item.model_dump(by_alias=True) for item in body.items] if body.items else None,
    )
    state = request.app.state
    async with state.database.transaction() as session:
        once = await idempotency.begin(session, request, operator)
        if once.answer is not None:
            return once.answer
        order = await lookup.locked(session, edges.order_id(order_id))
        await versions.check_order(request, session, order, required=False)
        audit.note(session, operator, "order.authorize", order)
        authorizing.check_group(order, body.marketplace_order_group)
        seller = await directory.get(session, order.seller_id)
        await authorizing.authorize(session, order, seller, given, operator.actor, body.chain_order_id)
        if dry_run:
            return await edges.rehearsed(session, lambda: schemas.order_view(order))
        await session.flush()
        waiting = {Status.ACCEPTED, Status.PLACING, Status.PLACEMENT_UNKNOWN, Status.PLACED, Status.AUTHORIZING}
        code = 202 if Status(order.status) in waiting else 200
        answer = once.keep(edges.Answer(schemas.order_view(order), code, edges.etag(order.version)))
    state.bell.ring("deliveries")
    return answer


@router.post("/orders/{order_id}/cancellation", status_code=202, openapi_extra=edges.described(CancellationBody))
async def cancel_order(
    request: Request,
    operator: Acting,
    order_id: str,
    body: Annotated[CancellationBody, Depends(edges.parsed(CancellationBody))],
    dry_run: DryRun = False,
) -> Response:
    """Ask the seller to cancel. Asked is not cancelled: a notification or a read says how it ended.

    An order of which nothing has left is cancelled here and now.
    """
    state = request.app.state
    async with state.database.transaction() as session:
        once = await idempotency.begin(session, request, operator)
        if once.answer is not None:
            return once.answer
        order = await lookup.locked(session, edges.order_id(order_id))
        await versions.check_order(request, session, order, required=False)
        seller = await directory.get(session, order.seller_id)
        audit.note(session, operator, "order.cancel", order, reason=body.reason)
        await cancelling.request(session, order, seller, body.reason, operator.actor, body.chain_order_id)
        if dry_run:
            return await edges.rehearsed(session, lambda: schemas.order_view(order))
        await session.flush()
        code = 200 if order.status == Status.CANCELLED else 202
        answer = once.keep(edges.Answer(schemas.order_view(order), code, edges.etag(order.version)))
    state.bell.ring("deliveries")
    return answer


@router.put("/orders/{order_id}/placement", status_code=202, openapi_extra=_PLACEMENT_BODY)
async def correct_placement(request: Request, operator: Acting, order_id: str, dry_run: DryRun = False) -> Response:
    """Give a rejected order a corrected body under the same group, once the seller shows no such order."""
    document = await edges.document(request)
    receipt = receipt_of(document)
    state = request.app.state
    async with state.database.transaction() as session:
        order = await lookup.loaded(session, edges.order_id(order_id))
        await versions.check_order(request, session, order, required=True)
        seller = await directory.get(session, order.seller_id)
    if order.status != Status.REJECTED:
        raise taking.not_rejected(order)
    read = (await state.place.find(order, seller, window_over=True)).outcome
    match read:
        case Absent():
            pass
        case Answered() | Conflicting():
            raise Conflict("order-at-seller", "the seller shows an order of this group; it cannot be corrected")
        case _:
            raise Unavailable("seller-unreadable", "the seller could not be read; nothing was changed")
    async with state.database.transaction() as session:
        order = await lookup.locked(session, order.id)
        await versions.check_order(request, session, order, required=True)
        audit.note(session, operator, "order.correct", order)
        await taking.correct(session, order, seller, document, receipt, state.bases, operator.actor)
        if dry_run:
            return await edges.rehearsed(session, lambda: schemas.order_view(order))
    state.bell.ring("deliveries")
    return edges.Answer(schemas.order_view(order), 202, edges.etag(order.version))
