"""Liveness and readiness."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request, Response

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
    """The process can serve: it is not stopping, and the database answers, however busy the process's own pools are."""
    if request.app.state.stopping.is_set():
        return edges.Answer({"status": "stopping"}, 503)
    try:
        async with asyncio.timeout(2):
            await request.app.state.database.ask()
    except Exception as failure:  # whatever it is, this process cannot serve now
        log.warning("not-ready", exc_info=failure)
        return edges.Answer({"status": "database unreachable"}, 503, {"Retry-After": "2"})
    return edges.Answer({"status": "ready"})
