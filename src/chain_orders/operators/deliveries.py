"""Routes of the outbox: what is owed to sellers and to subscribers, and trying it again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession

from ..deliveries.models import LISTED, Attempt, Delivery
from ..errors import Conflict, Sentence, Unknown
from ..orders.models import Order
from ..sellers import directory
from ..webhooks.models import LANE
from ..webhooks.outbox import KIND as WEBHOOK
from . import access, again, bodies, edges, holding, idempotency, revealing
from .access import Operator
from .edges import DryRun
from .revealing import Wish
from .schemas import ReasonBody, RetryBody

router = APIRouter(prefix="/v1/deliveries", tags=["deliveries"])

State = Literal["ready", "retrying", "unknown", "sending", "delivered", "rejected", "dead", "withdrawn"]
Kind = Literal["place", "authorize", "cancel", "webhook"]


@router.get("")
async def list_deliveries(
    request: Request,
    operator: Annotated[Operator, Depends(access.allow("viewer"))],
    wished: Annotated[Wish, Depends(revealing.wish)],
    state: Annotated[list[State] | None, Query()] = None,
    kind: Kind | None = None,
    seller: Annotated[str | None, Query(max_length=63)] = None,
    webhook: Annotated[str | None, Query(max_length=36)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
) -> Response:
    """Calls owed to sellers, newest first; with `kind=webhook` or the id of a `webhook`, calls owed to subscribers.

    Answers are masked; of a long one only its length is shown. An admin gets them as they came, up to 16 KiB of each,
    with `whole=true` and a `reason`, which is audited.
    """
    query = select(Delivery).where(_of_kind(kind, webhook))
    if state:
        query = query.where(Delivery.state.in_(state))
    if seller is not None:
        query = query.where(Delivery.lane == f"seller:{seller}")
    if webhook is not None:
        query = query.where(Delivery.lane == f"{LANE}{webhook}")
    before = edges.number(cursor)
    if before:
        query = query.where(Delivery.id < before)
    async with request.app.state.database.transaction() as session:
        found = list(await session.scalars(query.order_by(Delivery.id.desc()).limit(limit + 1)))
        whole = revealing.grant(session, operator, wished, revealing.about(found[:limit]))
        shown = await views(session, found[:limit], whole=whole, listed=True)
    return edges.page(request, shown, found[limit - 1].id if len(found) > limit else None)


@router.get("/{delivery_id:int}")
async def get_delivery(
    request: Request,
    operator: Annotated[Operator, Depends(access.allow("viewer"))],
    wished: Annotated[Wish, Depends(revealing.wish)],
    delivery_id: edges.RowId,
) -> Response:
    """One call with each of its attempts, masked. An admin gets it whole with `whole=true` and a `reason`."""
    async with request.app.state.database.transaction() as session:
        delivery = await session.get(Delivery, delivery_id)
        if delivery is None:
            raise Unknown("delivery-unknown", Sentence("there is no delivery {id}", id=delivery_id))
        whole = revealing.grant(session, operator, wished, revealing.about([delivery]))
        (view,) = await views(session, [delivery], whole=whole)
    return edges.Answer(view)


@router.post("/{delivery_id:int}/retry", openapi_extra=edges.described(ReasonBody))
async def retry_delivery(
    request: Request,
    operator: Annotated[Operator, Depends(access.allow("operator"))],
    delivery_id: edges.RowId,
    body: Annotated[ReasonBody, Depends(edges.parsed(ReasonBody, optional=True))],
    dry_run: DryRun = False,
) -> Response:
    """Try a call now, with a reason. One that is dead is verified first: the seller is read before it is sent again."""
    async with request.app.state.database.transaction() as session:
        once = await idempotency.begin(session, request, operator)
        if once.answer is not None:
            return once.answer
        delivery = await session.get(Delivery, delivery_id)
        if delivery is None:
            raise Unknown("delivery-unknown", Sentence("there is no delivery {id}", id=delivery_id))
        await again.call(session, delivery, operator, body.reason)
        (view,) = await views(session, [delivery])
        if dry_run:
            return await edges.rehearsed(session, lambda: view)
        answer = once.keep(edges.Answer(view, 202))
    request.app.state.bell.ring("deliveries")
    return answer


@router.post("/retry", openapi_extra=edges.described(RetryBody))
async def retry_deliveries(
    request: Request,
    operator: Annotated[Operator, Depends(access.allow("operator"))],
    body: Annotated[RetryBody, Depends(edges.parsed(RetryBody, optional=True))],
    dry_run: DryRun = False,
) -> Response:
    """Try every call that matches, dead ones unless told otherwise, with a reason; a result for each, the oldest first.

    Where more match than `limit`, `next` is the `cursor` with which to ask again.
    """
    begun = edges.number(body.cursor)
    query = select(Delivery).where(Delivery.state == body.state, Delivery.id > begun, _of_kind(body.kind))
    if body.seller_id is not None:
        query = query.where(Delivery.lane == f"seller:{body.seller_id}")
    async with request.app.state.database.transaction() as session:
        once = await idempotency.begin(session, request, operator)
        if once.answer is not None:
            return once.answer
        if body.seller_id is not None:
            await directory.get(session, body.seller_id)
        found = list(await session.scalars(query.order_by(Delivery.id).limit(body.limit + 1)))
        following = edges.encode_cursor(found[body.limit - 1].id) if len(found) > body.limit else None
        del found[body.limit :]
        # Orders are locked in one order, so that two who retry at once cannot wait for each other.
        found.sort(key=lambda one: str(one.order_id))
        results = [await _result(session, one, operator, body.reason) for one in found]
        results.sort(key=lambda result: int(result["id"]))
        told = {"items": results, "next": following}
        if dry_run:
            return await edges.rehearsed(session, lambda: told)
        answer = once.keep(edges.Answer(told))
    request.app.state.bell.ring("deliveries")
    return answer


async def _result(session: AsyncSession, delivery: Delivery, operator: Operator, reason: str) -> dict[str, Any]:
    try:
        async with session.begin_nested():
            await again.call(session, delivery, operator, reason)
    except Conflict as conflict:
        return {"id": delivery.id, "result": "refused", "code": conflict.code, "detail": conflict.detail}
    return {"id": delivery.id, "result": "retried"}


def _of_kind(kind: str | None, webhook: str | None = None) -> ColumnElement[bool]:
    """What is asked for; without a kind, calls to sellers unless it is a webhook's."""
    if kind is not None:
        return Delivery.kind == kind
    return Delivery.kind != WEBHOOK if webhook is None else Delivery.kind == WEBHOOK


async def views(
    session: AsyncSession, deliveries: Sequence[Delivery], *, whole: bool = False, listed: bool = False
) -> list[dict[str, Any]]:
    """Calls as they are shown, each with its attempts. `listed`: they are many, and long answers are cut."""
    query = select(Attempt).where(Attempt.delivery_id.in_([one.id for one in deliveries])).order_by(Attempt.id)
    attempts = list(await session.scalars(query.options(*LISTED) if listed else query))
    of = select(Order.id, Order.order_group).where(Order.id.in_([one.order_id for one in deliveries if one.order_id]))
    groups = {row.id: row.order_group for row in await session.execute(of)}
    tried = {one.id: [attempt for attempt in attempts if attempt.delivery_id == one.id] for one in deliveries}
    held = await holding.at_gates(session, deliveries)
    return [
        bodies.delivery_view(one, tried[one.id], groups.get(one.order_id), held.get(one.id), whole=whole, listed=listed)
        for one in deliveries
    ]
