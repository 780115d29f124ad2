"""Routes where a person decides: an order's contradictions, and what sellers told us that could not be applied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from sqlalchemy import ColumnElement, Select, select, union_all
from sqlalchemy.ext.asyncio import AsyncSession

from ..errors import Sentence, Unknown
from ..notifications.inbox import TOPIC
from ..notifications.models import LISTED, Notification, Receipt
from ..orders import lookup, resolving
from ..orders.models import Order
from . import access, again, audit, bodies, edges, idempotency, revealing, schemas, versions
from .access import Operator
from .edges import DryRun
from .revealing import Wish
from .schemas import ReasonBody, ResolutionBody

router = APIRouter(prefix="/v1", tags=["decisions"])

Acting = Annotated[Operator, Depends(access.allow("operator"))]
State = Literal["received", "applied", "parked", "conflict", "ignored", "unreadable"]
Kind = Literal["cancellation", "invoice", "tracking", "change", "unreadable"]


@router.post("/orders/{order_id}/resolution", openapi_extra=edges.described(ResolutionBody))
async def resolve_order(
    request: Request,
    operator: Acting,
    order_id: str,
    body: Annotated[ResolutionBody, Depends(edges.parsed(ResolutionBody))],
    dry_run: DryRun = False,
) -> Response:
    """Say what holds where the seller contradicts itself, accept changes that it told, or that all is well as it is.

    Needs `If-Match`. Settles what it answers, of one chain order; `dismiss` settles all. What is still open keeps the
    order's attention. The reason stands in its timeline.
    """
    async with request.app.state.database.transaction() as session:
        once = await idempotency.begin(session, request, operator)
        if once.answer is not None:
            return once.answer
        order = await lookup.locked(session, edges.order_id(order_id))
        await versions.check_order(request, session, order, required=True)
        audit.note(session, operator, "order.resolve", order, reason=body.reason)
        await resolving.resolve(session, order, body.decision, body.reason, operator.actor, body.chain_order_id)
        await session.flush()
        if dry_run:
            return await edges.rehearsed(session, lambda: schemas.order_view(order))
        answer = once.keep(edges.Answer(schemas.order_view(order), headers=edges.etag(order.version)))
    request.app.state.bell.ring("orders")
    return answer


@router.get("/notifications")
async def list_notifications(
    request: Request,
    operator: Annotated[Operator, Depends(access.allow("viewer"))],
    wished: Annotated[Wish, Depends(revealing.wish)],
    state: Annotated[list[State] | None, Query()] = None,
    seller: Annotated[str | None, Query(max_length=63)] = None,
    kind: Annotated[list[Kind] | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
) -> Response:
    """What sellers told us, newest first, masked; of a long body only its length.

    An admin gets it as it came, up to 16 KiB of each, with `whole=true` and a `reason`, which is audited.
    """
    before = edges.number(cursor)
    async with request.app.state.database.transaction() as session:
        found = await heard(session, limit + 1, states=state or (), kinds=kind or (), seller=seller, before=before)
        shown = found[:limit]
        whole = revealing.grant(session, operator, wished, revealing.about(shown))
        keys = [note.dedupe_key for note in shown]
        rows = await session.execute(select(Receipt.dedupe_key, Receipt.repeats).where(Receipt.dedupe_key.in_(keys)))
        repeats = {row.dedupe_key: row.repeats for row in rows}
    views = [bodies.listed_notification_view(note, repeats.get(note.dedupe_key, 0), whole=whole) for note in shown]
    return edges.page(request, views, shown[-1].id if len(found) > limit else None)


@router.get("/notifications/{notification_id:int}")
async def get_notification(
    request: Request,
    operator: Annotated[Operator, Depends(access.allow("viewer"))],
    notification_id: edges.RowId,
    wished: Annotated[Wish, Depends(revealing.wish)],
) -> Response:
    """One of them, its body masked from end to end; as it came for an admin, with `whole=true` and a `reason`."""
    async with request.app.state.database.transaction() as session:
        note = await _found(session, notification_id)
        whole = revealing.grant(session, operator, wished, revealing.about([note]))
        repeats = await session.scalar(select(Receipt.repeats).where(Receipt.dedupe_key == note.dedupe_key))
    return edges.Answer(bodies.notification_view(note, repeats or 0, whole=whole))


async def _found(session: AsyncSession, notification_id: int) -> Notification:
    note = await session.get(Notification, notification_id) if notification_id < 2**63 else None
    if note is None:
        raise Unknown("notification-unknown", Sentence("there is no notification {id}", id=notification_id))
    return note


async def heard(
    session: AsyncSession,
    limit: int,
    *,
    states: Sequence[str] = (),
    kinds: Sequence[str] = (),
    seller: str | None = None,
    before: int = 0,
) -> list[Notification]:
    """What sellers told us, or one of them, newest first, loaded as `LISTED`. Empty `states` and `kinds` are all."""
    conditions = [
        *([Notification.state.in_(states)] if states else ()),
        *([Notification.kind.in_(kinds)] if kinds else ()),
        *([Notification.id < before] if before else ()),
    ]
    query = select(Notification).where(*conditions)
    if seller is not None:
        query = select(Notification).where(Notification.id.in_(_heard_from(seller, conditions, limit)))
    return list(await session.scalars(query.options(*LISTED).order_by(Notification.id.desc()).limit(limit)))


def _heard_from(seller: str, conditions: Sequence[ColumnElement[bool]], limit: int) -> Select[int]:
    """The ids of what one seller told us: by its token, and about its orders. Each is a query of its own, so that
    notifications_seller_idx serves the one; orders_seller_idx and notifications_order_idx serve the other, or where
    most orders are the seller's, the primary key."""
    ids = select(Notification.id).where(*conditions)
    ways = (
        ids.where(Notification.seller_id == seller),
        ids.join(Order, Order.id == Notification.order_id).where(Order.seller_id == seller),
    )
    parts = [way.order_by(Notification.id.desc()).limit(limit).subquery() for way in ways]
    return select(union_all(*(select(part.c.id) for part in parts)).subquery().c.id)


@router.post("/notifications/{notification_id:int}/replay", status_code=202, openapi_extra=edges.described(ReasonBody))
async def replay_notification(
    request: Request,
    operator: Acting,
    notification_id: edges.RowId,
    body: Annotated[ReasonBody, Depends(edges.parsed(ReasonBody, optional=True))],
    dry_run: DryRun = False,
) -> Response:
    """Apply again what is parked, could not be read, or was dismissed, with a reason. What contradicts is decided
    instead."""
    async with request.app.state.database.transaction() as session:
        once = await idempotency.begin(session, request, operator)
        if once.answer is not None:
            return once.answer
        note = await _found(session, notification_id)
        await again.notification(session, note, operator, body.reason)
        view = await _view(session, note)
        if dry_run:
            return await edges.rehearsed(session, lambda: view)
        answer = once.keep(edges.Answer(view, 202))
    request.app.state.bell.ring(TOPIC)
    return answer


@router.post("/notifications/{notification_id:int}/dismissal", openapi_extra=edges.described(ReasonBody))
async def dismiss_notification(
    request: Request,
    operator: Acting,
    notification_id: edges.RowId,
    body: Annotated[ReasonBody, Depends(edges.parsed(ReasonBody, optional=True))],
    dry_run: DryRun = False,
) -> Response:
    """Give up what is parked, or could not be read, with a reason: it is kept, and not tried again by itself.

    Ends the attention of its order that was about it, unless another one waits for the same. It can be replayed.
    """
    async with request.app.state.database.transaction() as session:
        once = await idempotency.begin(session, request, operator)
        if once.answer is not None:
            return once.answer
        note = await _found(session, notification_id)
        await again.dismiss(session, note, operator, body.reason)
        view = await _view(session, note)
        if dry_run:
            return await edges.rehearsed(session, lambda: view)
        answer = once.keep(edges.Answer(view))
    request.app.state.bell.ring("orders")
    return answer


async def _view(session: AsyncSession, note: Notification) -> dict[str, Any]:
    repeats = await session.scalar(select(Receipt.repeats).where(Receipt.dedupe_key == note.dedupe_key))
    return bodies.notification_view(note, repeats or 0)
