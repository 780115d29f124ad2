"""The route that hands out the evidence of one order."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from ..database import Database, read_clock
from ..errors import Forbidden, Invalid
from ..events.models import Event
from ..evidence import archive, gathering
from ..orders import lookup
from ..orders.models import Order
from . import access, audit, auditing, edges, schemas
from .access import Operator
from .audit import Audit

router = APIRouter(prefix="/v1", tags=["orders"])

_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {"description": "The archive.", "content": {"application/zip": {}}},
}


@router.get("/orders/{order_id}/evidence", responses=_ANSWER, response_class=Response)
async def get_evidence(
    request: Request,
    operator: Annotated[Operator, Depends(access.allow("viewer"))],
    order_id: str,
    whole: bool = False,
    reason: Annotated[str | None, Query(min_length=1, max_length=500)] = None,
) -> Response:
    """All that is stored of an order as one zip, with a manifest of hashes, signed where a key is set.

    Names, addresses, documents, e-mail and phone are masked. An admin gets everything as it was sent and received with
    `whole=true` and a `reason`, which is audited.
    """
    if whole and operator.role != "admin":
        raise Forbidden("role-too-low", f"whole evidence needs the role admin; the key has the role {operator.role}")
    if whole and reason is None:
        raise Invalid("reason-missing", "say with `reason` why personal data is needed")
    state = request.app.state
    return await download(
        state.database, operator, edges.order_id(order_id), state.limits.evidence_seed, whole=whole, reason=reason
    )


async def download(
    database: Database,
    operator: Operator,
    order_id: uuid.UUID,
    seed: bytes | None,
    *,
    whole: bool = False,
    reason: str | None = None,
) -> Response:
    """The archive as a file to keep. Raises Unknown."""
    async with database.transaction() as session:
        await session.execute(text("set transaction isolation level repeatable read"))
        order = await lookup.loaded(session, order_id)
        if whole:
            audit.note(session, operator, "order.evidence", order, reason=reason)
        files = await gathering.gather(session, order.id, await _views(session, order), whole=whole)
        made_at = schemas.moment(await read_clock(session))
    about = {"orderId": str(order.id), "orderGroup": order.order_group, "madeAt": made_at, "madeFor": operator.actor}
    packed = archive.pack(files, {**about, "masked": not whole}, seed)
    name = f"evidence-{order.id}{'' if whole else '-masked'}.zip"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return Response(packed, media_type="application/zip", headers=headers)


async def _views(session: AsyncSession, order: Order) -> dict[str, Any]:
    """The order as it is, what happened, and what operators did."""
    events = await session.scalars(select(Event).where(Event.order_id == order.id).order_by(Event.id))
    acts = await session.scalars(select(Audit).where(Audit.object == f"order:{order.id}").order_by(Audit.id))
    return {
        "order.json": schemas.order_view(order),
        "events.json": [schemas.event_view(event) for event in events],
        "acts.json": [auditing.view(act) for act in acts],
    }
