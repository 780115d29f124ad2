"""Liveness and readiness."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request, Response
from sqlalchemy import text

from .. import logs
from . import edges

router = APIRouter(tags=["health"])
log = logs.get("health")


@router.get("/livez")
async def livez() -> Response:
    """The process runs. It says nothing of the database: a restart would not mend that."""
    return edges.Answer({"status": "alive"})


@router.get("/readyz")
async def readyz(request: Request) -> Response:
    """The process can serve: it is not stopping, and the database answers."""
    if request.app.state.stopping.is_set():
        return edges.Answer({"status": "stopping"}, 503)
    try:
        async with asyncio.timeout(2):
            async with request.app.state.database.transaction() as session:
                await session.execute(text("select 1"))
    except Exception as failure:  # whatever it is, this process cannot serve now
        log.warning("not-ready", exc_info=failure)
        return edges.Answer({"status": "database unreachable"}, 503, {"Retry-After": "2"})
    return edges.Answer({"status": "ready"})
