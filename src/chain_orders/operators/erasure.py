"""The route that erases an order's personal data before its time."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from ..database import read_clock
from ..errors import Conflict
from ..orders import lookup, states
from ..orders.models import Order
from ..orders.states import Status
from ..retention import sealing
from . import access, audit, edges, idempotency, schemas
from .access import Operator
from .edges import DryRun
from .schemas import ReasonBody

router = APIRouter(prefix="/v1", tags=["orders"])


@router.post("/orders/{order_id}/erasure", openapi_extra=edges.described(ReasonBody))
async def erase_order(
    request: Request,
    operator: Annotated[Operator, Depends(access.allow("admin"))],
    order_id: str,
    body: Annotated[ReasonBody, Depends(edges.parsed(ReasonBody))],
    dry_run: DryRun = False,
) -> Response:
    """Replace the personal data of a final order by hashes, now. Ids, money, invoices, receipts and events stay."""
    state = request.app.state
    async with state.database.transaction() as session:
        once = await idempotency.begin(session, request, operator)
        if once.answer is not None:
            return once.answer
        order = await lookup.locked(session, edges.order_id(order_id))
        await _refuse_open(session, order, state.limits.retention)
        audit.note(session, operator, "order.erase", order, reason=body.reason)
        gone = await sealing.erase(session, order, operator.actor)
        await session.flush()
        erased = {"placements": gone.placements, "notifications": gone.notifications, "attempts": gone.attempts}
        view = {**schemas.order_view(order), "erased": erased}
        if dry_run:
            return await edges.rehearsed(session, lambda: view)
        return once.keep(edges.Answer(view, headers=edges.etag(order.version)))


async def _refuse_open(session: AsyncSession, order: Order, after: timedelta | None) -> None:
    """Raise Conflict, with the earliest date on which the order would be sealed by itself."""
    if Status(order.status) in states.FINAL:
        return
    told = f"the order is {order.status}: its parties still need what is stored. It can be erased once it is final"
    extra = {}
    if after is not None:
        earliest = schemas.moment(await read_clock(session) + after)
        told += f", and is by itself {after.days} days later, not before {earliest}"
        extra = {"notBefore": earliest}
    raise Conflict("order-open", told, extra=extra)
