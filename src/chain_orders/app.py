"""The application: what answers over HTTP, joined with the parts of the process that serves it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from importlib.metadata import version
from typing import Any, Literal
from urllib.parse import urlsplit

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.telemetry import TelemetryConfig
from starlette import types

from . import headers, logs, tracing
from .alerts import refusals
from .console.site import Console
from .console.visits import Desk
from .events.feed import Tail
from .operators import alerts as alert_routes
from .operators import (
    auditing,
    deciding,
    description,
    edges,
    erasure,
    evidence,
    feed,
    finding,
    health,
    history,
    imports,
    keys,
    onboarding,
    stats,
)
from .operators import deliveries as delivery_routes
from .operators import orders as order_routes
from .operators import sellers as seller_routes
from .operators import webhooks as webhook_routes
from .operators.heads import Heads
from .orders.watch import Watch
from .parts import Parts, assemble, check_database, running
from .receivers import routes as receivers
from .receivers.probe import Probe
from .settings import Settings

log = logs.get("app")

Surface = Literal["callbacks", "operators", "all"]


class Service(FastAPI):
    """The application. Sellers' calls go past the middleware, which would cost as much as hearing them does."""

    callbacks: receivers.Callbacks | None = None
    encrypted = False
    """Whether callers talk TLS, to us or to what stands before us."""

    async def __call__(self, scope: types.Scope, receive: types.Receive, send: types.Send) -> None:
        if scope["type"] == "http":
            if self.callbacks is not None and scope["method"] in receivers.METHODS:
                parts = self.callbacks.parts(scope)
                if parts is not None:
                    await self.callbacks.hear(scope, parts, receive, send)
                    return
            send = headers.guarded(send, encrypted=self.encrypted or scope["scheme"] == "https")
        try:
            await super().__call__(scope, receive, send)
        except Exception:
            if not edges.is_told(scope):
                raise


def create_app(settings: Settings, *, worker: bool = True, surface: Surface = "all") -> FastAPI:
    """The ASGI application; with `worker` it also sends and applies.

    `surface` says who is served: sellers (`callbacks`), operators with API and console, or both. Health always is.
    """
    parts = assemble(settings)
    app = Service(
        title="chain-orders",
        version=version("chain-orders"),
        summary="The marketplace's side of VTEX's chain-order protocol.",
        openapi_url="/openapi.json" if surface != "callbacks" else None,
        docs_url=None,
        redoc_url=None,
        lifespan=lambda app: _running(app, parts, worker, surface),
        redirect_slashes=False,
        telemetry=_NO_TELEMETRY,
    )
    app.state.database, app.state.bell, app.state.vault = parts.database, parts.bell, parts.vault
    app.state.bases, app.state.place, app.state.limits = parts.bases, parts.place, settings
    app.state.watch = Watch(parts.database, parts.bell)
    app.state.tail = Tail(parts.database, parts.bell, poll_seconds=settings.poll_seconds)
    app.state.stopping, app.state.failures = asyncio.Event(), parts.failures
    app.state.wire = parts.wire
    app.state.refusals = tally = refusals.Tally(parts.database)
    app.encrypted = urlsplit(settings.public_url).scheme == "https" or not settings.development
    if surface != "operators":
        app.callbacks = receivers.Callbacks(
            parts.inbox,
            parts.keyring,
            tally.count,
            open_mode=settings.open_callbacks,
            encrypted=app.encrypted,
        )
        app.router.routes.insert(0, app.callbacks)
        app.router.routes.insert(0, Probe(parts.keyring))
    app.include_router(health.router)
    if surface != "callbacks":
        for routes in _OPERATORS:
            app.include_router(routes.router)
        app.router.routes.append(Console(_desk(parts, app.state.tail, tally, app.version)))
        app.include_router(deciding.router)
        app.router.routes.append(Heads(app.router))
    edges.install(app)
    if settings.otel_endpoint or tracing.on():
        app.add_middleware(tracing.Middleware)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


# The framework's own writes down addresses and the texts of exceptions. What is traced is said in `tracing`.
_NO_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}

_OPERATORS = (
    seller_routes,
    order_routes,
    finding,
    imports,
    history,
    erasure,
    evidence,
    delivery_routes,
    feed,
    webhook_routes,
    alert_routes,
    keys,
    onboarding,
    stats,
    auditing,
)


def _desk(parts: Parts, tail: Tail, tally: refusals.Tally, version: str) -> Desk:
    """What the console works with."""
    settings = parts.settings
    return Desk(
        parts.database,
        parts.bell,
        tail,
        parts.vault,
        parts.wire,
        parts.bases,
        parts.place,
        tally.count,
        settings.development,
        settings.seller_hosts,
        settings.public_url,
        version,
        settings.evidence_seed,
        settings.shown(),
    )


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
        schema["webhooks"] = receivers.describe()
        schema["components"] = schema.get("components", {}) | {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}
        }
        schema["security"] = [{"key": []}]
        description.complete(schema)
        app.openapi_schema = schema
    return app.openapi_schema


@contextlib.asynccontextmanager
async def _running(app: FastAPI, parts: Parts, worker: bool, surface: Surface) -> AsyncIterator[None]:
    await check_database(parts)
    waiting = (app.state.watch.run(), app.state.tail.run(), app.state.refusals.run())
    async with running(parts, worker=worker, waiting=waiting) as stop:
        log.info("started", surface=surface, version=app.version)
        yield
        drain(app)
        stop.set()


def drain(app: FastAPI) -> None:
    """Say that the process is about to stop, and end the streams that would never end by themselves."""
    app.state.stopping.set()
    app.state.tail.close()
