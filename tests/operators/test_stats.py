"""The numbers are true at any moment, and cost no look at every order."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import pytest
from benchmarks import seeding
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chain_orders.console import charts
from chain_orders.database import Database
from chain_orders.operators import stats
from chain_orders.orders import counting
from chain_orders.orders.counting import OrderCount

from ..builders import Marketplace, SimulatedSeller, order, until

_TRUTH = text("select status, attention_code is not null, receipt is not null, count(*) from orders group by 1, 2, 3")


async def _counted(session: AsyncSession) -> list[tuple[Any, ...]]:
    found = (await counting.standing(session)).counts
    return sorted((str(one.status), one.attention, one.has_receipt, one.number) for one in found)


async def _true(session: AsyncSession) -> list[tuple[Any, ...]]:
    return sorted(tuple(row) for row in await session.execute(_TRUTH))


async def test_orders_are_counted_wherever_they_go(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    for number in range(3):
        placed = await marketplace.place(order(f"COUNT-{number}"))
        await marketplace.authorize(placed["id"])
        await marketplace.becomes(placed["id"], "authorized")
    await simulated.behave(rejectCode="ORD027")
    refused = (await marketplace.post_order(order())).json()
    await marketplace.becomes(refused["id"], "rejected")

    async with marketplace.database.transaction() as session:
        counted, true = await _counted(session), await _true(session)
        await session.execute(text("update orders set status = 'cancelled' where status = 'authorized'"))
        moved, moved_true = await _counted(session), await _true(session)
        await counting.fold(session, many=0)
        folded = await _counted(session)
        await session.rollback()
    async with marketplace.database.transaction() as session:
        undone = await _counted(session)

    assert counted == true == undone
    assert ("authorized", False, True, 3) in counted
    assert moved == moved_true == folded


async def test_many_counts_become_few(marketplace: Marketplace, database: Database, monkeypatch: Any) -> None:
    """The upkeep folds them."""
    for _ in range(3):
        await marketplace.place()
    async with database.transaction() as session:
        before = await _counted(session)
        session.add_all(
            OrderCount(status="placed", attention=False, has_receipt=False, number=one) for one in (1, -1) * 60
        )

    async def few() -> bool:
        async with database.transaction() as session:
            return bool(await session.scalar(text("select count(*) < 40 from order_counts")))

    await until(few)
    async with database.transaction() as session:
        assert await _counted(session) == before


async def test_reading_that_a_seller_has_nothing_is_no_failure(database: Database) -> None:
    outcomes = ("answered", "absent", "already-there", "ambiguous", "refused", "given-back")
    async with database.transaction() as session:
        await session.execute(text("insert into lanes (lane) values ('seller:acme')"))
        for outcome in outcomes:
            await session.execute(
                text(
                    "with d as (insert into deliveries (lane, kind, method, target, state) values"
                    " ('seller:acme', 'place', 'PUT', '/', 'delivered') returning id)"
                    " insert into attempts (delivery_id, number, phase, worker, outcome)"
                    " select id, 1, 'send', 'w', :outcome from d"
                ),
                {"outcome": outcome},
            )
        (lane,) = await stats.lanes(session)

    assert (lane["calls"], lane["failedCalls"]) == (5, 2)


QUERIES = {
    "orders_attention_idx": (stats._ATTENTION_SINCE, {}),
    "Index Only Scan using deliveries_open_idx": (stats._DELIVERIES, {"kinds": ["place"]}),
    "notifications_received_idx": (stats._NOTIFICATIONS, {}),
    "notifications_troubled_idx": (stats._NOTIFICATIONS, {}),
}


@pytest.mark.parametrize("index", QUERIES)
async def test_an_index_serves_every_number(marketplace: Marketplace, database: Database, index: str) -> None:
    await seeding.fill(database, 3000, quiet=True)
    query, values = QUERIES[index]
    async with database.transaction() as session:
        await session.execute(text("set local enable_seqscan = off"))
        plan = "\n".join(await session.scalars(text(f"explain {query.text}"), values))

    assert index in plan
    assert "Seq Scan on orders" not in plan


async def test_seeded_orders_are_counted_and_found(marketplace: Marketplace, database: Database) -> None:
    await seeding.fill(database, 500, batch=200, quiet=True, owing=200)

    async with database.transaction() as session:
        assert await _counted(session) == await _true(session)
    found = await marketplace.client.get("/v1/orders", params={"q": "SEED-*", "limit": 200})
    assert len(found.json()["items"]) == 200
    told = (await marketplace.client.get("/v1/stats")).json()
    assert told["orders"]["authorized"] == 20
    assert {state: one["count"] for state, one in told["deliveries"].items()} == {"dead": 2, "ready": 2}


async def test_an_hour_that_is_over_is_counted_once() -> None:
    asked, calls = list[int](), Counter({"good": 1})

    async def count(since: int) -> defaultdict[int, Counter[str]]:
        asked.append(since)
        return defaultdict(Counter, dict.fromkeys(range(since, 14), calls))

    hours = charts.Hours()
    first, again, later = [await hours.get(range(last - 4, last), count) for last in (12, 12, 14)]

    assert asked == [8, 10, 10]
    assert first == again == {8: calls, 9: calls, 10: calls, 11: calls}
    assert later == {10: calls, 11: calls, 12: calls, 13: calls}
