"""Placements that are settled together: what is one order's must not become another's."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import select, text

from chain_orders import tracing
from chain_orders.database import Bell, Database
from chain_orders.deliveries import queue
from chain_orders.deliveries.models import Delivery
from chain_orders.deliveries.queue import Claimed
from chain_orders.deliveries.retry import Delivered
from chain_orders.deliveries.settling import Ended, Settler
from chain_orders.orders import lookup
from chain_orders.orders.judging import Placed
from chain_orders.orders.models import ChainOrder
from chain_orders.orders.placing import Place
from chain_orders.orders.reads import Plan
from chain_orders.outcome import Answered
from chain_orders.settings import Settings
from chain_orders.vtex.messages import SellerOrder

from ..builders import Marketplace, SimulatedSeller, order, settings_for
from ..conftest import serving

LEASE = timedelta(seconds=60)


@pytest.fixture
async def idle(database: Database, simulated: SimulatedSeller) -> AsyncIterator[Marketplace]:
    """A service without a worker."""
    async with serving(database, Settings(**settings_for(database.url)), worker=False) as marketplace:
        await marketplace.add_seller(simulated.url)
        yield marketplace


async def _claim(database: Database) -> list[Claimed]:
    async with database.transaction() as session:
        await session.execute(text("update lanes set tokens = 100, ramp = null"))
        return await queue.claim(session, worker="w", slots=100, lease=LEASE)


async def _settle(database: Database, claimed: Sequence[Claimed], named: Sequence[str]) -> None:
    """All of them at once, each answered with one chain order of that name."""
    unused: Any = None
    place = Place(database, unused, unused, unused, LEASE, Plan(timedelta(minutes=10), [timedelta(seconds=1)]))
    settler = Settler(database, Bell(""), {"place": place}, lookup.lock_free, LEASE)

    async def one(claimed: Claimed, name: str) -> None:
        placed = Placed([SellerOrder.model_validate({"orderId": name, "value": 1300})])
        with tracing.span("place send", "client", claimed.traceparent):
            await settler.settle(Ended(claimed, Answered(placed), Delivered(), None, tracing.current()))

    await asyncio.gather(*(one(*each) for each in zip(claimed, named, strict=True)))


@pytest.mark.parametrize("second", ["MKP-SAME-01", "mkp-same-01"], ids=["same", "but-for-case"])
async def test_one_name_for_two_orders_is_believed_of_one_and_asks_a_person_of_the_other(
    idle: Marketplace, database: Database, second: str
) -> None:
    ids = [(await idle.post_order(order(group))).json()["id"] for group in ("SAME1", "SAME2", "OTHER")]

    await _settle(database, await _claim(database), ["MKP-SAME-01", second, "MKP-OTHER-01"])

    found = [await idle.get(id_) for id_ in ids]
    asked = [one["attention"] and one["attention"]["code"] for one in found]
    assert sorted(one["status"] for one in found) == ["accepted", "placed", "placed"]
    assert sorted(asked, key=str) == [None, None, "placement-conflict"]
    async with database.transaction() as session:
        assert len(list(await session.scalars(select(ChainOrder.key)))) == 2


@pytest.fixture
def _traced() -> Iterator[None]:
    tracing.start(SimpleSpanProcessor(InMemorySpanExporter()))
    yield
    tracing.stop()


async def test_what_follows_goes_on_with_its_own_orders_trace(
    _traced: None, idle: Marketplace, database: Database
) -> None:
    own = {}
    for n in range(3):
        trace = {"traceparent": f"00-{n + 1:032x}-b7ad6b7169203331-01"}
        taken = await idle.client.post("/v1/sellers/acme/orders", json=order(f"TRACE{n}"), headers=trace)
        await idle.authorize(taken.json()["id"])
        own[uuid.UUID(taken.json()["id"])] = f"{n + 1:032x}"

    await _settle(database, await _claim(database), [f"MKP-TRACE{n}-01" for n in range(3)])

    async with database.transaction() as session:
        owed = await session.execute(
            select(Delivery.order_id, Delivery.traceparent).where(Delivery.kind == "authorize")
        )
        assert {row.order_id: row.traceparent.split("-")[1] for row in owed} == own
