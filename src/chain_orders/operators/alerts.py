"""The route of alerts: what a person must hear of, and what to do about it."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from sqlalchemy import select

from ..alerts import telling
from ..alerts.models import Alert
from . import access, edges
from .access import Operator

router = APIRouter(prefix="/v1/alerts", tags=["health"])


@router.get("")
async def list_alerts(
    request: Request,
    _: Annotated[Operator, Depends(access.allow("viewer"))],
    state: Literal["open", "recovered"] | None = None,
    seller: Annotated[str | None, Query(max_length=63)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
) -> Response:
    """Alerts, newest first, each with what to do; `state=open` for those that are not over."""
    query = select(Alert)
    if state is not None:
        query = query.where(Alert.recovered_at.is_(None) if state == "open" else Alert.recovered_at.is_not(None))
    if seller is not None:
        query = query.where(Alert.subject == f"seller:{seller}")
    before = edges.number(cursor)
    if before:
        query = query.where(Alert.id < before)
    async with request.app.state.database.transaction() as session:
        found = list(await session.scalars(query.order_by(Alert.id.desc()).limit(limit + 1)))
    views = [telling.view(alert) for alert in found[:limit]]
    return edges.page(request, views, found[limit - 1].id if len(found) > limit else None)
