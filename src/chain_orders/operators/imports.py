"""Importing orders in bulk: a line an order, a result a line, as often as need be.

Lines are taken as they arrive, a commit for every hundred; one that is refused holds up no other. An order group is
one order for ever, so that an import that broke off is simply run again: what is there already says so.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import ClientDisconnect

from .. import logs, strict_json
from ..database import is_passing
from ..errors import Problem, TooLarge, UnsupportedMedia
from ..orders import taking
from ..orders.models import Order
from ..sellers import directory
from . import access, audit
from .access import Operator
from .orders import receipt_of

router = APIRouter(prefix="/v1", tags=["orders"])
log = logs.get("imports")

TOTAL_BYTES = 64 * 1024 * 1024
LINE_BYTES = 256 * 1024
LINES_PER_COMMIT = 100
SECONDS = 600.0
_KINDS = {"application/x-ndjson", "application/jsonl", "application/json"}
_DESCRIBED = {
    "requestBody": {
        "required": True,
        "description": f"One order a line, as for placing one; a line has at most {LINE_BYTES} bytes.",
        "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
    }
}


@dataclass(frozen=True, slots=True)
class Line:
    """A line as it came. `raw` is None for one that is too long."""

    number: int
    raw: bytes | None


@router.post(
    "/sellers/{seller_id}/orders/import",
    openapi_extra=_DESCRIBED,
    responses={200: {"description": "A result a line.", "content": {"application/x-ndjson": {}}}},
)
async def import_orders(
    request: Request,
    operator: Annotated[Operator, Depends(access.allow("operator"))],
    seller_id: str,
    dry_run: Annotated[bool, Query(alias="dryRun")] = False,
) -> Response:
    """Take orders from NDJSON; the results come as NDJSON once the whole body has been read.

    `result` is `accepted`, `exists` (the same order was taken before), `refused`, or `failed` (not tried or not
    stored: send it again).
    """
    _check_kind(request)
    async with request.app.state.database.transaction() as session:
        await directory.get(session, seller_id)
    results: list[dict[str, Any]] = []
    batch: list[Line] = []
    try:
        async with asyncio.timeout(SECONDS):
            async for line in _lines(request):
                batch.append(line)
                if len(batch) == LINES_PER_COMMIT:
                    results += await _take(request, seller_id, operator, batch, dry_run)
                    batch = []
        results += await _take(request, seller_id, operator, batch, dry_run)
    except (TooLarge, TimeoutError) as cut:
        results += await _take(request, seller_id, operator, batch, dry_run)
        code = "body-too-large" if isinstance(cut, TooLarge) else "body-timeout"
        results.append({"line": len(results) + 1, "result": "failed", "code": code, "detail": "the rest was not read"})
    except ClientDisconnect:
        log.info("import-broken-off", seller_id=seller_id, count=len(results))
    return StreamingResponse(_written(results), media_type="application/x-ndjson")


def _check_kind(request: Request) -> None:
    kind = request.headers.get("content-type", "application/x-ndjson").partition(";")[0].strip().lower()
    if kind not in _KINDS:
        raise UnsupportedMedia("content-type", "send application/x-ndjson")
    if request.headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}:
        raise UnsupportedMedia("content-encoding", "send the body uncompressed")
    size = request.headers.get("content-length", "0")
    if size.isdigit() and int(size) > TOTAL_BYTES:
        raise TooLarge("body-too-large", f"an import may have at most {TOTAL_BYTES} bytes; send it in parts")


async def _lines(request: Request) -> AsyncIterator[Line]:
    """The lines that are not blank, numbered as in the body. Never holds more than one line and one chunk.

    Raises TooLarge.
    """
    number, held, skipping, size = 1, b"", False, 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > TOTAL_BYTES:
            raise TooLarge("body-too-large", "")
        *whole, rest = (held + chunk).split(b"\n")
        for raw in whole:
            if skipping or len(raw) > LINE_BYTES:
                yield Line(number, None)
            elif raw.strip():
                yield Line(number, raw)
            number, skipping = number + 1, False
        skipping = skipping or len(rest) > LINE_BYTES
        held = b"" if skipping else rest
    if skipping or held.strip():
        yield Line(number, None if skipping else held)


async def _take(
    request: Request, seller_id: str, operator: Operator, lines: Sequence[Line], dry_run: bool
) -> list[dict[str, Any]]:
    """One commit. Raises nothing for what a line holds or for a database that is away."""
    if not lines:
        return []
    state = request.app.state
    try:
        async with state.database.transaction() as session:
            found = await _take_each(session, request, seller_id, operator, lines)
            if dry_run:
                found = [{**result, "orderId": None, "dryRun": True} for result in found]
                await session.rollback()
    except Exception as failure:
        if not is_passing(failure):
            raise
        log.warning("import-failed", seller_id=seller_id, count=len(lines), exc_info=failure)
        told = {"result": "failed", "code": "not-stored", "detail": "the database is away or busy; send it again"}
        return [{"line": line.number, **told} for line in lines]
    if not dry_run:
        state.bell.ring("deliveries")
    return found


async def _take_each(
    session: AsyncSession, request: Request, seller_id: str, operator: Operator, lines: Sequence[Line]
) -> list[dict[str, Any]]:
    """Take the lines by order group, so that two imports wait for each other and never in a circle."""
    seller = await directory.get(session, seller_id)
    results: list[dict[str, Any]] = []
    read: list[tuple[str, int, dict[str, Any]]] = []
    for line in lines:
        document = _document(line)
        if isinstance(document, Problem):
            results.append(_refused(line.number, None, document))
        else:
            group = document.get("marketplaceOrderGroup")
            read.append((group if isinstance(group, str) else "", line.number, document))
    for group, number, document in sorted(read, key=lambda one: one[:2]):
        try:
            async with session.begin_nested():
                receipt = receipt_of(document)
                taken = await taking.take(session, seller, document, receipt, request.app.state.bases, operator.actor)
                audit.note(session, operator, "order.place", f"order:{taken.order_id}", created=taken.created)
        except Problem as problem:
            results.append(_refused(number, group or None, problem))
            continue
        status = await session.scalar(select(Order.status).where(Order.id == taken.order_id))
        done = {"result": "accepted" if taken.created else "exists", "orderGroup": group}
        results.append({"line": number, **done, "orderId": str(taken.order_id), "status": status})
    return sorted(results, key=lambda result: int(result["line"]))


def _document(line: Line) -> dict[str, Any] | Problem:
    if line.raw is None:
        return Problem("line-too-long", f"a line may have at most {LINE_BYTES} bytes")
    try:
        document = strict_json.parse(line.raw)
    except strict_json.NotJson as wrong:
        return Problem("not-json", f"the line is not valid JSON: {wrong}")
    return document if isinstance(document, dict) else Problem("wrong-type", "the order must be a JSON object")


def _refused(number: int, group: str | None, problem: Problem) -> dict[str, Any]:
    told: dict[str, Any] = {"line": number, "result": "refused", "orderGroup": group, "orderId": None}
    told |= {**problem.extra, "code": problem.code, "detail": problem.detail}
    if problem.faults:
        told["errors"] = [fault.as_dict() for fault in problem.faults]
    return told


def _written(results: Sequence[dict[str, Any]]) -> Iterator[bytes]:
    for start in range(0, len(results), 500):
        part = results[start : start + 500]
        yield "".join(json.dumps(one, ensure_ascii=True, separators=(",", ":")) + "\n" for one in part).encode("ascii")
