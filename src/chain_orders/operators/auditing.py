"""The route that shows the audit: by actor, by action, by object, by time; as pages of JSON, or all of it as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy import Select, select

from ..database import Database
from . import access, edges, schemas
from .access import Operator
from .audit import Audit
from .spreadsheet import defused

router = APIRouter(prefix="/v1/audit", tags=["audit"])

_CSV_PAGE = 500
_COLUMNS = ("id", "at", "actor", "keyId", "action", "object", "reason", "before", "after")
_CSV_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {"description": "A page of acts, or all of them as CSV.", "content": {"text/csv": {}}}
}


def view(act: Audit) -> dict[str, Any]:
    return {
        "id": act.id,
        "at": schemas.moment(act.at),
        "actor": act.actor,
        "keyId": str(act.key_id) if act.key_id else None,
        "action": act.action,
        "object": act.object,
        "reason": act.reason,
        "before": act.before,
        "after": act.after,
    }


@router.get("", responses=_CSV_ANSWER)
async def list_acts(
    request: Request,
    _: Annotated[Operator, Depends(access.allow("admin"))],
    actor: Annotated[str | None, Query(max_length=200)] = None,
    about: Annotated[str | None, Query(alias="object", max_length=200)] = None,
    action: Annotated[list[edges.Named] | None, Query(max_length=50)] = None,
    since: edges.Moment | None = None,
    until: edges.Moment | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
) -> Response:
    """What operators did, newest first. `object` is `order:{id}`, `seller:{id}`, `delivery:{id}` and the like.

    `since` is the first moment that is shown, `until` the first that is not any more.
    With `Accept: text/csv` every act that matches comes as CSV.
    """
    query = select(Audit).order_by(Audit.id.desc())
    if actor is not None:
        query = query.where(Audit.actor == actor)
    if about is not None:
        query = query.where(Audit.object == about)
    if action:
        query = query.where(Audit.action.in_(action))
    if since is not None:
        query = query.where(Audit.at >= edges.in_utc("since", since))
    if until is not None:
        query = query.where(Audit.at < edges.in_utc("until", until))
    before = edges.number(cursor)
    database: Database = request.app.state.database
    if edges.wants_csv(request):
        headers = {"Content-Disposition": 'attachment; filename="audit.csv"', "Cache-Control": "no-store"}
        return StreamingResponse(_csv(database, query, before), media_type="text/csv", headers=headers)
    found = await _page(database, query, before, limit + 1)
    following = found[limit - 1].id if len(found) > limit else None
    return edges.page(request, [view(act) for act in found[:limit]], following)


async def _page(database: Database, query: Select[Audit], before: int, limit: int) -> list[Audit]:
    if before:
        query = query.where(Audit.id < before)
    async with database.transaction() as session:
        return list(await session.scalars(query.limit(limit)))


async def _csv(database: Database, query: Select[Audit], before: int) -> AsyncIterator[str]:
    """Page by page, a short transaction each."""
    yield _lines([list(_COLUMNS)])
    while found := await _page(database, query, before, _CSV_PAGE):
        yield _lines([[_cell(value) for value in view(act).values()] for act in found])
        before = found[-1].id


def _lines(rows: list[list[str]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerows(rows)
    return buffer.getvalue()


def _cell(value: Any) -> str:
    return defused(json.dumps(value, sort_keys=True) if isinstance(value, dict) else value)
