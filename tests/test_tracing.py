"""Traces: one from an operator's call to the seller's callback, and nothing in it that is a secret or a person's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import ValidationError

from chain_orders import app, parts, tracing
from chain_orders.database import Database
from chain_orders.operators import edges
from chain_orders.orders.models import Order
from chain_orders.settings import Settings

from .builders import Marketplace, SimulatedSeller, invoice, order, settings_for, until
from .conftest import serving

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    tracing.start(SimpleSpanProcessor(exporter))
    yield exporter
    tracing.stop()


@pytest.fixture
async def traced(
    spans: InMemorySpanExporter, database: Database, simulated: SimulatedSeller
) -> AsyncIterator[Marketplace]:
    async with serving(database, Settings(**settings_for(database.url))) as marketplace:
        await marketplace.add_seller(simulated.url)
        yield marketplace


async def named(spans: InMemorySpanExporter, name: str) -> ReadableSpan:
    """The span of that name, once it has ended."""

    async def ended() -> ReadableSpan | None:
        return next((span for span in spans.get_finished_spans() if span.name == name), None)

    found: ReadableSpan = await until(ended)
    return found


async def test_one_trace_leads_from_an_operators_call_through_the_delivery_to_the_sellers_callback(
    traced: Marketplace, simulated: SimulatedSeller, spans: InMemorySpanExporter
) -> None:
    placed = await traced.place(order("TRACE1"))
    base = await simulated.base("TRACE1")
    await traced.notify(f"{base}/pvt/orders/MKP-TRACE1-01/invoice?secret=s3cret", invoice())
    steps = [
        await named(spans, name) for name in ("POST /v1/sellers/{seller_id}/orders", "place send", "callback")
    ]  # fmt: skip

    call, delivery, callback = steps
    assert len({step.context.trace_id for step in steps}) == 1
    assert {delivery.parent.span_id, callback.parent.span_id} == {call.context.span_id}
    assert call.parent is None
    assert delivery.attributes["chain_orders.order_id"] == callback.attributes["chain_orders.order_id"] == placed["id"]
    assert delivery.attributes["http.response.status_code"] == 201
    assert callback.attributes["http.response.status_code"] == 200


async def test_what_comes_with_a_sellers_token_is_traced_once_its_order_is_found(
    traced: Marketplace, spans: InMemorySpanExporter
) -> None:
    placed = await traced.place(order("TRACE6"))
    token = (await traced.client.post("/v1/sellers/acme/callback-token")).json()["token"]
    url = f"{traced.url}/pvt/orders/MKP-TRACE6-01/invoice"
    assert (await traced.notify(url, invoice(), Authorization=f"Bearer {token}")).status_code == 200
    call, callback = [await named(spans, name) for name in ("POST /v1/sellers/{seller_id}/orders", "callback")]

    assert callback.context.trace_id == call.context.trace_id
    assert callback.parent.span_id == call.context.span_id
    assert dict(callback.attributes) == {"chain_orders.order_id": placed["id"], "chain_orders.kind": "invoice"}


async def test_the_seller_is_handed_the_trace_and_an_operators_own_goes_on(
    traced: Marketplace, simulated: SimulatedSeller, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed: list[str | None] = []
    original = tracing.outgoing
    monkeypatch.setattr(tracing, "outgoing", lambda: handed.append(original().get("traceparent")) or original())

    await traced.client.post("/v1/sellers/acme/orders", json=order("TRACE2"), headers={"traceparent": PARENT})
    delivery = await named(spans, "place send")

    trace_id, span_id = f"{delivery.context.trace_id:032x}", f"{delivery.context.span_id:016x}"
    assert handed == [f"00-{trace_id}-{span_id}-01"]
    assert trace_id == PARENT.split("-")[1]


async def test_no_span_holds_an_address_a_query_a_body_or_the_text_of_a_failure(
    traced: Marketplace, simulated: SimulatedSeller, spans: InMemorySpanExporter
) -> None:
    await traced.place(order("TRACE3"))
    base = await simulated.base("TRACE3")
    for path in ("/pvt/orders/MKP-TRACE3-01/invoice?secret=s3cret", "/nowhere/s3cret"):
        await traced.notify(base + path, invoice())
    await traced.client.get("/v1/orders", params={"q": "s3cret"})
    await traced.client.get("/console/s3cret")
    await named(spans, "GET /v1/orders")
    await named(spans, "callback")
    with pytest.raises(RuntimeError), tracing.span("broken", "client"):
        raise RuntimeError("s3cret")

    told = " ".join(span.to_json() for span in spans.get_finished_spans())
    ref, mac = base.rsplit("/", 2)[1:]
    person = order()["clientProfileData"]
    assert [one for one in ("s3cret", ref, mac, "/cb", *person.values()) if one in told] == []
    assert {name for span in spans.get_finished_spans() for name in span.attributes} <= tracing.ALLOWED


async def test_a_stranger_leaves_no_trace(traced: Marketplace, spans: InMemorySpanExporter) -> None:
    spans.clear()
    answer = await traced.notify(f"{traced.url}/cb/k1/{'a' * 26}/{'a' * 26}/pvt/orders/x/invoice", invoice())
    await traced.client.get("/v1/sellers")
    await named(spans, "GET /v1/sellers")

    assert answer.status_code == 404
    assert [span.name for span in spans.get_finished_spans()] == ["GET /v1/sellers"]


async def test_without_a_collector_nothing_is_handed_on_and_nothing_is_stored(marketplace: Marketplace) -> None:
    placed = await marketplace.place()

    assert (tracing.on(), tracing.current(), tracing.outgoing()) == (False, None, {})
    async with marketplace.database.transaction() as session:
        found = await session.get_one(Order, edges.order_id(placed["id"]))
    assert found.traceparent is None


def test_what_a_span_must_not_hold_is_refused() -> None:
    for attributes in ({"url": "https://a.example"}, {"url__full": "https://a.example"}):
        with pytest.raises(ValueError, match="must not hold"), tracing.span("x", "client", **attributes):
            pass


def test_the_service_is_there_without_the_extra_and_refuses_to_trace_without_it() -> None:
    program = """
import sys
sys.modules["opentelemetry.sdk"] = sys.modules["opentelemetry.exporter"] = None
import chain_orders.chores
from chain_orders import tracing
assert not tracing.installed()
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert (ended.returncode, ended.stderr) == (0, "")


def test_the_frameworks_own_telemetry_is_off_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    made = app.create_app(Settings(**settings_for("postgresql+asyncpg://nobody@127.0.0.1:1/none")), worker=False)

    assert made._telemetry["auto_configure"] is False
    assert not made._native_telemetry.enabled()


def test_a_collector_without_the_extra_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "installed", lambda: False)
    url = "postgresql+asyncpg://nobody@127.0.0.1:1/none"

    with pytest.raises(parts.Refused, match=r"chain-orders\[otel\]"):
        parts.assemble(Settings(**settings_for(url, otel_endpoint="http://collector.harbor.example:4318")))


async def test_a_collector_gets_the_traces_and_one_that_is_away_disturbs_nothing(
    database: Database, simulated: SimulatedSeller
) -> None:
    changes: dict[str, Any] = {"otel_endpoint": "http://127.0.0.1:1"}
    async with serving(database, Settings(**settings_for(database.url, **changes))) as marketplace:
        await marketplace.add_seller(simulated.url)
        placed = await marketplace.place()
        assert tracing.on()
        tracing.stop()

    assert placed["status"] == "placed"
    assert not tracing.on()


@pytest.mark.parametrize("endpoint", ["collector:4318", "ftp://collector.harbor.example", "http://key@a.example"])
def test_an_address_that_is_no_collectors_is_refused(endpoint: str) -> None:
    with pytest.raises(ValidationError, match="OTEL"):
        Settings(**settings_for("postgresql+asyncpg://nobody@127.0.0.1:1/none", otel_endpoint=endpoint))
