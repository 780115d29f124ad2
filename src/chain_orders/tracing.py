"""Traces, for those who collect them: one from an operator's call through the delivery to the seller's callback.

Needs the extra `otel` and does nothing until it is configured. A span holds a name, times, and attributes of
`ALLOWED`, as a log line does: an address below /cb is a secret, and so may be a query, a body or an exception's text.
Instrumentation that is made by others writes them down; so every span is made here.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

ALLOWED = frozenset(
    {
        "http.request.method", "http.route", "http.response.status_code", "chain_orders.delivery_id",
        "chain_orders.order_id", "chain_orders.kind", "chain_orders.lane", "chain_orders.phase", "chain_orders.attempt",
        "chain_orders.outcome",
    }
)  # fmt: skip
HEADER = "traceparent"
Kind = Literal["server", "client"]

_TRACED = ("/v1/", "/console")
_PARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)

_provider: TracerProvider | None = None


def installed() -> bool:
    """Whether the extra is there."""
    try:
        needed = [find_spec(name) for name in ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")]
    except ModuleNotFoundError:  # not even what it is a part of
        return False
    return None not in needed


def export_to(endpoint: str) -> None:
    """Send traces to a collector, OTLP over HTTP. Headers, sampling and the like: the standard OTEL_* variables."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    start(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")))


def start(processor: SpanProcessor) -> None:
    """Make spans from now on, and hand each to `processor` when it ends. Before, `stop` what there was."""
    global _provider
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    resource = Resource.create({"service.name": "chain-orders", "service.version": version("chain-orders")})
    _provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    _provider.add_span_processor(processor)


def stop() -> None:
    """Make no more spans; what was made is handed over first."""
    global _provider
    if _provider is not None:
        _provider.shutdown()
    _provider = None


def on() -> bool:
    return _provider is not None


def current() -> str | None:
    """The present span as a `traceparent`; None without one. Stored with what is owed, to go on from there."""
    if _provider is None:
        return None
    from opentelemetry.trace import get_current_span

    found = get_current_span().get_span_context()
    return f"00-{found.trace_id:032x}-{found.span_id:016x}-{found.trace_flags:02x}" if found.is_valid else None


def outgoing() -> dict[str, str]:
    """The header that lets whoever is called go on with this trace; none while there is no span."""
    parent = current()
    return {HEADER: parent} if parent is not None else {}


class Span:
    """One step while it runs. Without a tracer behind it, it does nothing."""

    def __init__(self, span: Any = None) -> None:
        self._span = span

    def note(self, **attributes: Any) -> None:
        """Add what is known by now. Raises ValueError for what a span must not hold."""
        told = _named(attributes)
        if self._span is not None:
            self._span.set_attributes(told)

    def rename(self, name: str) -> None:
        if self._span is not None:
            self._span.update_name(name)

    def fail(self) -> None:
        """It did not do what it was to do."""
        if self._span is not None:
            from opentelemetry.trace import StatusCode

            self._span.set_status(StatusCode.ERROR)


def _named(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """`order_id` is `chain_orders.order_id`; `http__route` is `http.route`. What is None is left out."""
    told = {name.replace("__", ".") if "__" in name else f"chain_orders.{name}": v for name, v in attributes.items()}
    wrong = sorted(told.keys() - ALLOWED)
    if wrong:
        raise ValueError(f"a span must not hold {', '.join(wrong)}")
    return {name: value for name, value in told.items() if value is not None}


@contextlib.contextmanager
def span(name: str, kind: Kind, parent: str | None = None, **attributes: Any) -> Iterator[Span]:
    """A step that runs as long as the block, below `parent` where one is given, else below the present span."""
    told = _named(attributes)
    if _provider is None:
        yield Span()
        return
    from opentelemetry import trace

    with _provider.get_tracer("chain-orders").start_as_current_span(
        name,
        context=_context(parent),
        kind=trace.SpanKind[kind.upper()],
        attributes=told,
        record_exception=False,
        set_status_on_exception=False,
    ) as made:
        running = Span(made)
        try:
            yield running
        except BaseException:
            running.fail()
            raise


@contextlib.contextmanager
def below(parent: str | None) -> Iterator[None]:
    """What is owed in the block belongs below this step, whatever step runs it."""
    if _provider is None:
        yield
        return
    from opentelemetry import context

    token = context.attach(_context(parent) or context.Context())
    try:
        yield
    finally:
        context.detach(token)


def record(name: str, parent: str | None, started_ns: int, **attributes: Any) -> None:
    """A step of a caller that began then and ends now: for a parent that is known only afterwards."""
    told = _named(attributes)
    if _provider is None:
        return
    from opentelemetry.trace import SpanKind

    _provider.get_tracer("chain-orders").start_span(
        name, context=_context(parent), kind=SpanKind.SERVER, attributes=told, start_time=started_ns
    ).end(time.time_ns())


def _context(parent: str | None) -> Any:
    """The context of a stored or received `traceparent`; the present one when there is none, or none that is one."""
    if parent is None or not _PARENT.fullmatch(parent):
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({HEADER: parent}, context=None)


class Middleware:
    """A span for each call of an operator, named by its route, below the caller's own `traceparent`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not on() or scope["type"] != "http" or not scope["path"].startswith(_TRACED):
            await self._app(scope, receive, send)
            return
        method = scope["method"]
        with span(method, "server", Headers(scope=scope).get(HEADER), http__request__method=method) as running:

            async def seen(message: Message) -> None:
                if message["type"] == "http.response.start":
                    running.note(http__response__status_code=message["status"])
                    if message["status"] >= 500:
                        running.fail()
                await send(message)

            try:
                await self._app(scope, receive, seen)
            finally:
                route = getattr(
                    scope.get("route"), "path_format", "/console" if scope["path"].startswith("/console") else ""
                )
                running.rename(f"{method} {route}".strip())
                running.note(http__route=route or None)
