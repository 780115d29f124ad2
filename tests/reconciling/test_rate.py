"""Reads of sellers: within their rate, a few at a time of each, and none waits for another seller's."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import func, select, text, update

from chain_orders.database import Bell, Database
from chain_orders.deliveries import lanes
from chain_orders.deliveries.models import Delivery, Lane
from chain_orders.orders import reads
from chain_orders.orders.models import ChainOrder, Order, Read
from chain_orders.orders.reconciling import Reconciler
from chain_orders.outcome import Again
from chain_orders.sellers.models import Seller

from ..builders import Marketplace, SimulatedSeller, order
from ..silent import silent

LEASE = timedelta(seconds=60)


@pytest.fixture
def options() -> dict[str, Any]:
    return {"reconcile_seconds": 0.3, "exchange_seconds": 40.0, "lease_seconds": 60.0}


async def _seller(database: Database, seller_id: str = "acme", **limits: Any) -> str:
    async with database.transaction() as session:
        seller = Seller(
            id=seller_id,
            account_name=seller_id,
            base_url="https://acme.example",
            sales_channel="1",
            affiliate_id="MKP",
            sealed_app_key=b"",
            sealed_app_token=b"",
        )
        session.add(seller)
        await session.flush()
        await session.refresh(seller)
        await lanes.keep(session, seller)
        await session.execute(update(Lane).where(Lane.lane == seller.lane).values(ramp=None, **limits))
        return seller.lane


async def _due(database: Database, lane: str, *chain_orders: int) -> None:
    """Orders that are due to be read, with so many chain orders each."""
    async with database.transaction() as session:
        for many in chain_orders:
            name = uuid.uuid4().hex
            one = Order(
                id=uuid.uuid4(),
                seller_id=lane.removeprefix("seller:"),
                affiliate_id="MKP",
                sales_channel="1",
                order_group=name,
                ref=name,
                kid="k1",
                status="placed",
                items=[],
                total_cents=0,
                placement_digest=b"",
            )
            session.add(one)
            await session.flush()
            session.add(Read(order_id=one.id, lane=lane, next_at=one.created_at))
            for position in range(1, many + 1):
                named = f"MKP-{name}-{position:02d}"
                session.add(
                    ChainOrder(
                        order_id=one.id,
                        position=position,
                        chain_order_id=named,
                        status="placed",
                        value_cents=0,
                        items=[],
                    )
                )


async def _claim(database: Database, each: int = 8, **busy: int) -> list[str]:
    async with database.transaction() as session:
        under_way = {f"seller:{name}": many for name, many in busy.items()}
        return [one.lane for one in await reads.claim(session, slots=16, each=each, lease=LEASE, busy=under_way)]


_LATER = """
    with stored as (
        insert into orders (id, seller_id, affiliate_id, sales_channel, order_group, ref, kid, items, total_cents,
                            placement_digest)
        select gen_random_uuid(), 'acme', 'MKP', '1', 'L' || g, 'L' || g, 'k1', '[]', 0, ''
          from generate_series(1, 2000) g
        returning id
    )
    insert into reads (order_id, lane, next_at)
    select id, 'seller:acme', clock_timestamp() + interval '1 hour' from stored
"""


def _visited(node: dict[str, Any]) -> int:
    """Rows of `reads` that a plan read or passed over."""
    mine = 0
    if node.get("Relation Name") == "reads" and "Scan" in node["Node Type"]:
        mine = int((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"])
    return mine + sum(_visited(child) for child in node.get("Plans", []))


async def test_orders_that_are_read_later_are_not_visited(database: Database) -> None:
    lane = await _seller(database, rate_per_second=8, tokens=8)
    await _due(database, lane, 1, 1)
    async with database.transaction() as session:
        await session.execute(text(_LATER))
        await session.execute(text("analyze reads"))
        asked = {"slots": 16, "each": 8, "probes": 1, "busy": [], "reads": []}
        told = reads._CLAIM.text.replace(":lease", "interval '60 seconds'")
        (plan,) = (await session.execute(text(f"explain (analyze, format json) {told}"), asked)).scalar_one()

    assert _visited(plan["Plan"]) < 20


async def test_an_order_costs_a_token_for_each_of_its_chain_orders(database: Database) -> None:
    lane = await _seller(database, rate_per_second=8, tokens=8)
    await _due(database, lane, 3, 3, 3)

    assert len(await _claim(database)) == 2

    async with database.transaction() as session:
        assert await session.scalar(select(Lane.tokens)) == 2


async def test_a_lane_in_debt_is_not_read(database: Database) -> None:
    lane = await _seller(database, rate_per_second=0.001, tokens=1)
    await _due(database, lane, 5, 1)

    assert [len(await _claim(database)), len(await _claim(database))] == [1, 0]


async def test_a_clock_that_was_set_back_takes_no_tokens_away(database: Database) -> None:
    lane = await _seller(
        database, rate_per_second=50, tokens=50, refilled_at=text("clock_timestamp() + interval '1 hour'")
    )
    await _due(database, lane, 1)

    assert len(await _claim(database)) == 1


async def test_whom_this_process_cannot_reach_is_left_to_the_reads_of_others(database: Database) -> None:
    lane = await _seller(database, tokens=50)
    await _due(database, lane, 1)
    nothing: Any = None
    cut_off: Any = SimpleNamespace(beyond=frozenset({lane}))
    plan = reads.Plan(LEASE, [LEASE])
    reader = Reconciler(database, Bell(""), nothing, nothing, plan, cut_off, poll_seconds=1)

    assert await reader._round(asyncio.Event()) == 0
    assert await _claim(database) == [lane]


async def test_no_more_than_a_few_orders_of_each_seller_are_read_at_once(database: Database) -> None:
    for name in ("acme", "other"):
        lane = await _seller(database, name, tokens=50)
        await _due(database, lane, *([1] * 8))

    assert sorted(await _claim(database, each=4, other=3)) == ["seller:acme"] * 4 + ["seller:other"]


async def test_behind_an_open_breaker_one_read_is_the_probe_where_no_call_can_be(database: Database) -> None:
    lane = await _seller(database, breaker="open", failures=10, tokens=50)
    await _due(database, lane, 1, 1, 1)
    async with database.transaction() as session:
        owed = Delivery(lane=lane, sequence="1", kind="place", method="PUT", target="/")
        session.add(owed)
    assert await _claim(database) == []

    async with database.transaction() as session:
        await session.execute(update(Delivery).values(state="dead"))
        held = Delivery(lane=lane, sequence="1", kind="cancel", method="POST", target="/")
        session.add(held)
    assert [await _claim(database), await _claim(database)] == [[lane], []]

    async with database.transaction() as session:
        await lanes.let_go(session, lane)
        await lanes.note(session, lane, Again("no answer"), troubled=True)
        waits: Any = await session.scalar(select(Lane.next_at - func.clock_timestamp()))
    assert timedelta() < waits <= lanes.PROBE_AFTER
    assert await _claim(database) == []


async def test_few_sellers_are_tried_by_reads_at_once(database: Database) -> None:
    """They may all hang; a read of one that is well has room beside them."""
    for name in ("one", "two", "three"):
        lane = await _seller(database, name, breaker="open", failures=10, tokens=50)
        await _due(database, lane, 1)
    await _due(database, await _seller(database, tokens=50), 1)

    async with database.transaction() as session:
        claimed = await reads.claim(session, slots=16, each=4, lease=LEASE, probes=2)

    assert sorted(one.probe for one in claimed) == [False, True, True]


async def test_what_is_told_anew_has_its_whole_time_to_show(database: Database) -> None:
    lane = await _seller(database)
    await _due(database, lane, 1)
    async with database.transaction() as session:
        await session.execute(
            update(Read).values(asked_at=text("clock_timestamp() - interval '1 hour'"), asked_reads=3)
        )
        (row,) = await session.scalars(select(Read))

        await reads.confirm(session, row.order_id, lane, fresh=False)
        await session.refresh(row)
        assert row.asked_reads == 3

        await reads.confirm(session, row.order_id, lane)
        await session.refresh(row)
        assert row.asked_reads == 0
        assert row.asked_at is not None
        assert row.next_at - row.asked_at < timedelta(minutes=1)


async def test_a_seller_that_says_nothing_delays_no_read_of_another(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    await marketplace.add_seller(simulated.url, "mute")
    for n in range(6):
        answer = await marketplace.post_order(order(f"MUTE{n}"), wait=10, seller_id="mute")
        assert answer.status_code == 201
    async with silent() as nowhere:
        await marketplace.change_seller("mute", baseUrl=nowhere)
        async with marketplace.database.transaction() as session:
            await session.execute(text("update lanes set ramp = null"))
        placed = await marketplace.place(order("HEARD1"))
        await asyncio.sleep(1)  # by now the reads of the mute one wait

        await simulated.invoice("MKP-HEARD1-01", times=0)

        await marketplace.becomes(placed["id"], "invoiced", 30)
