"""The route that hands out the evidence of one order."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from ..database import Database, read_clock
from ..deliveries.models import Delivery
from ..events.models import Event
from ..evidence import archive, gathering
from ..notifications.models import Notification
from ..orders import lookup
from ..orders.models import Order, Read
from . import access, audit, auditing, edges, revealing, schemas
from .access import Operator
from .audit import Audit
from .revealing import Wish

router = APIRouter(prefix="/v1", tags=["orders"])

_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {"description": "The archive.", "content": {"application/zip": {}}},
}


@router.get("/orders/{order_id}/evidence", responses=_ANSWER, response_class=Response)
async def get_evidence(
    request: Request,
    operator: Annotated[Operator, Depends(access.allow("viewer"))],
    order_id: str,
    wished: Annotated[Wish, Depends(revealing.wish)],
) -> Response:
    """All that is stored of an order as one zip, with a manifest of hashes, signed where a key is set.

    Names, addresses, documents, e-mail and phone are masked. An admin gets everything as it was sent and received with
    `whole=true` and a `reason`, which is audited.
    """
    state = request.app.state
    return await download(state.database, operator, edges.order_id(order_id), state.limits.evidence_seed, wished)


async def download(
    database: Database, operator: Operator, order_id: uuid.UUID, seed: bytes | None, wished: Wish | None = None
) -> Response:
    """The archive as a file to keep. Raises Unknown, Forbidden, Invalid."""
    async with database.transaction() as session:
        await session.execute(text("set transaction isolation level repeatable read"))
        order = await lookup.loaded(session, order_id)
        whole = revealing.grant(session, operator, wished or Wish(), [audit.name_of(order)], "order.evidence")
        files = await gathering.gather(session, order.id, await _views(session, order), whole=whole)
        made_at = schemas.moment(await read_clock(session))
    about = {"orderId": str(order.id), "orderGroup": order.order_group, "madeAt": made_at, "madeFor": operator.actor}
    packed = archive.pack(files, {**about, "masked": not whole}, seed)
    name = f"evidence-{order.id}{'' if whole else '-masked'}.zip"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return Response(packed, media_type="application/zip", headers=headers)


async def _views(session: AsyncSession, order: Order) -> dict[str, Any]:
    """The order as it is, what happened, what operators did to it and all of its own, and what reads showed."""
    events = await session.scalars(select(Event).where(Event.order_id == order.id).order_by(Event.id))
    objects = [f"order:{order.id}"]
    for table in (Delivery, Notification):
        ids = await session.scalars(select(table.id).where(table.order_id == order.id))
        objects += [audit.named(table, one) for one in ids]
    acts = await session.scalars(select(Audit).where(Audit.object.in_(objects)).order_by(Audit.id))
    return {
        "order.json": schemas.order_view(order),
        "events.json": [schemas.event_view(event) for event in events],
        "acts.json": [auditing.view(act) for act in acts],
        "reads.json": await _reads(session, order),
    }


async def _reads(session: AsyncSession, order: Order) -> dict[str, Any]:
    """When the seller's own word was last read, and what went wrong. What a read changed stands among the events."""
    watched = await session.get(Read, order.id)
    return {
        "nextAt": schemas.moment(watched.next_at) if watched else None,
        "askedAt": schemas.moment(watched.asked_at) if watched else None,
        "lastError": watched.last_error if watched else None,
        "chainOrders": [
            {
                "chainOrderId": chain.chain_order_id,
                "sellerStatus": chain.seller_status,
                "readAt": schemas.moment(chain.seller_read_at),
            }
            for chain in order.chain_orders
        ],
    }
