"""Routes of an order's history: its timeline, the calls owed for it, and what its seller told us."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from sqlalchemy import Select, select

from ..deliveries.models import Delivery
from ..events.models import Event
from ..notifications.models import LISTED, Notification, Receipt
from ..orders import lookup
from ..orders.models import Order
from . import access, bodies, deliveries, edges, revealing, schemas
from .access import Operator
from .revealing import Wish

router = APIRouter(prefix="/v1/orders/{order_id}", tags=["orders"])

Viewing = Annotated[Operator, Depends(access.allow("viewer"))]
Wished = Annotated[Wish, Depends(revealing.wish)]
Limit = Annotated[int, Query(ge=1, le=200)]
Cursor = Annotated[str | None, Query(max_length=100)]


@router.get("/timeline")
async def get_timeline(
    request: Request, _: Viewing, order_id: str, limit: Limit = 100, cursor: Cursor = None
) -> Response:
    """What happened, oldest first."""
    after = edges.number(cursor)
    query = select(Event).where(Event.order_id == edges.order_id(order_id), Event.id > after).order_by(Event.id)
    events = await _page_of(request, order_id, query, limit)
    shown = events[:limit]
    following = shown[-1].id if len(events) > limit else None
    return edges.page(request, [schemas.event_view(event) for event in shown], following)


@router.get("/deliveries")
async def get_deliveries(
    request: Request, operator: Viewing, order_id: str, wished: Wished, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """The calls owed to the seller for this order, each with its attempts, oldest first. Answers are masked.

    Of a long answer only its length is shown. An admin gets them as they came, up to 16 KiB of each, with `whole=true`
    and a `reason`, which is audited.
    """
    after = edges.number(cursor)
    query = (
        select(Delivery).where(Delivery.order_id == edges.order_id(order_id), Delivery.id > after).order_by(Delivery.id)
    )
    owed = await _page_of(request, order_id, query, limit)
    shown = owed[:limit]
    async with request.app.state.database.transaction() as session:
        whole = revealing.grant(session, operator, wished, [f"order:{edges.order_id(order_id)}"])
        views = await deliveries.views(session, shown, whole=whole, listed=True)
    return edges.page(request, views, shown[-1].id if len(owed) > limit else None)


@router.get("/notifications")
async def get_notifications(
    request: Request, operator: Viewing, order_id: str, wished: Wished, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """What the seller told us about this order, masked, oldest first; of a long body only its length.

    An admin gets it as it came, up to 16 KiB of each, with `whole=true` and a `reason`, which is audited.
    """
    after = edges.number(cursor)
    query = (
        select(Notification)
        .where(Notification.order_id == edges.order_id(order_id), Notification.id > after)
        .order_by(Notification.id)
        .options(*LISTED)
    )
    notes = await _page_of(request, order_id, query, limit)
    shown = notes[:limit]
    async with request.app.state.database.transaction() as session:
        whole = revealing.grant(session, operator, wished, [f"order:{edges.order_id(order_id)}"])
        keys = [note.dedupe_key for note in shown]
        rows = await session.execute(select(Receipt.dedupe_key, Receipt.repeats).where(Receipt.dedupe_key.in_(keys)))
        repeats = {row.dedupe_key: row.repeats for row in rows}
    following = shown[-1].id if len(notes) > limit else None
    views = [bodies.listed_notification_view(note, repeats.get(note.dedupe_key, 0), whole=whole) for note in shown]
    return edges.page(request, views, following)


async def _page_of(request: Request, order_id: str, query: Select[Any], limit: int) -> Sequence[Any]:
    """One row more than the page, so that it knows whether there is a next one. Raises Unknown."""
    async with request.app.state.database.transaction() as session:
        rows: Sequence[Any] = (await session.scalars(query.limit(limit + 1))).all()
        if not rows and await session.get(Order, edges.order_id(order_id)) is None:
            raise lookup.unknown(order_id)
    return rows
