"""How a seller with a long queue is treated: one that lets nobody in, one that asks to wait, one that reads slowly."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, text

from chain_orders.alerts.alarm import Alarm
from chain_orders.alerts.models import Alert
from chain_orders.database import Bell, Database
from chain_orders.deliveries.lanes import BURST

from ..builders import Marketplace, SimulatedSeller, order, until
from ..faults.process import free_port
from ..silent import silent

QUEUED = 5_000
PLACED = int(os.environ.get("SEEN_PLACED", "100"))
"""How many of them are seen to be placed: all that differs is how long it takes. `make faults-key` sees them all."""


@pytest.fixture
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {"poll_seconds": 0.05, **getattr(request, "param", {})}


# Orders like the one that was handed over, which waits for its turn behind a paused lane.
_QUEUE = text(
    """
    with copies as (
        insert into orders (id, seller_id, order_group, affiliate_id, sales_channel, kid, ref, status,
                            placement_body, placement_digest, total_cents, items)
        select gen_random_uuid(), o.seller_id, o.order_group || '-' || n, o.affiliate_id, o.sales_channel, o.kid,
               o.ref || n, o.status,
               convert_to(replace(convert_from(o.placement_body, 'UTF8'), o.order_group, o.order_group || '-' || n),
                          'UTF8'),
               o.placement_digest, o.total_cents, o.items
          from orders o, generate_series(2, :many) n where o.order_group = :group and o.seller_id = :seller
        returning id
    )
    insert into deliveries (lane, sequence, kind, order_id, method, target)
    select d.lane, 'order:' || c.id, d.kind, c.id, d.method, d.target
      from deliveries d, copies c where d.lane = 'seller:' || :seller
    """
)


async def _queue(marketplace: Marketplace, many: int, seller_id: str = "acme") -> None:
    """Orders that wait behind a paused lane, and then may go."""
    await marketplace.client.post(f"/v1/sellers/{seller_id}/pause")
    assert (await marketplace.post_order(order("MANY"), seller_id=seller_id)).status_code == 202
    async with marketplace.database.transaction() as session:
        await session.execute(_QUEUE, {"many": many, "seller": seller_id, "group": "MANY"})
    if many == QUEUED:
        async with marketplace.database.transaction() as session:
            await session.execute(text("analyze"))


async def _count(database: Database, what: str) -> int:
    async with database.transaction() as session:
        found: int = await session.scalar(text(f"select count(*) from {what}")) or 0
    return found


async def test_a_revoked_key_costs_a_call_a_minute_whatever_is_queued(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    database = marketplace.database
    await simulated.behave(credentials="revoked")
    await _queue(marketplace, QUEUED)
    await marketplace.client.post("/v1/sellers/acme/resume")
    for minute in range(3):

        async def denied(calls: int = minute + 1) -> bool:
            return await _count(database, "attempts where outcome = 'denied'") >= calls

        await until(denied, 60)
        if minute < 2:
            async with database.transaction() as session:  # a minute passes
                await session.execute(text("update lanes set next_at = clock_timestamp()"))
    assert await _count(database, "attempts") == 3
    assert await _count(database, "deliveries") == QUEUED

    await simulated.behave(credentials="ok")
    await marketplace.change_seller(appKey="simulated-key", appToken="simulated-token")

    async def placed() -> bool:
        return await _count(database, "orders where status = 'placed'") >= PLACED

    await until(placed, 120 + PLACED / 5)
    assert set((await simulated.puts()).values()) == {1}


async def test_calls_that_are_under_way_when_a_key_is_revoked_burn_nothing_and_are_one_alert(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    database = marketplace.database
    await simulated.behave(credentials="revoked", slowSeconds=0.3)
    await _queue(marketplace, 40)
    async with database.transaction() as session:
        await session.execute(text("update lanes set ramp = null"))  # all has gone well so far
    await marketplace.client.post("/v1/sellers/acme/resume")

    async def denied() -> bool:
        return await _count(database, "attempts where outcome = 'denied'") >= 10

    await until(denied)
    alarm = Alarm(database, Bell(""), None, every=timedelta(milliseconds=1), patience=timedelta(minutes=15))
    for _ in range(2):
        await alarm.step()
    assert await _count(database, "attempts") == 10
    assert await _count(database, "deliveries where failures > 0") == 0
    async with database.transaction() as session:
        alerts = (await session.execute(select(Alert.code, Alert.subject))).all()
    assert [tuple(one) for one in alerts] == [("breaker-open", "seller:acme")]


async def test_orders_that_the_seller_refuses_cost_a_call_each_and_stop_no_other(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    """More in a row than the failures that open the breaker: a refusal is an answer, and no failure."""
    database = marketplace.database
    await simulated.behave(rejectCode="CHK0198", rejectGroups="POISON")
    await marketplace.client.post("/v1/sellers/acme/pause")
    groups = []
    for kind in ("POISON", "HEALTHY"):
        named = [f"{kind}{n}" for n in range(BURST + 2)]
        taken = await asyncio.gather(*(marketplace.post_order(order(group)) for group in named))
        assert {answer.status_code for answer in taken} == {202}
        groups += named
    await marketplace.client.post("/v1/sellers/acme/resume")

    async def settled() -> bool:
        assert await _count(database, "lanes where breaker = 'closed' and failures = 0 and next_at is null") == 1
        return await _count(database, "deliveries where state in ('rejected', 'delivered')") == len(groups)

    await until(settled, 60)
    assert await simulated.puts() == dict.fromkeys(groups, 1)
    assert await _count(database, "attempts") == len(groups)
    for kind, status in (("POISON", "rejected"), ("HEALTHY", "placed")):
        assert await _count(database, f"orders where order_group ~ '{kind}' and status = '{status}'") == BURST + 2


async def test_nothing_is_sent_while_the_seller_asks_to_wait(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    await simulated.behave(throttle=1, retryAfter="2")
    await _queue(marketplace, 40)
    async with marketplace.database.transaction() as session:
        await session.execute(text("update lanes set ramp = null"))  # all has gone well so far
    await marketplace.client.post("/v1/sellers/acme/resume")

    async def throttled() -> bool:
        return await _count(marketplace.database, "attempts where outcome = 'throttled'") >= 12

    await until(throttled, 60)
    assert await _count(marketplace.database, _INSIDE_A_PAUSE) == 0


async def test_each_attempt_is_one_call_however_it_ends(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    """Nothing below the schedule repeats a call: layers that each repeat multiply."""
    faults = {"loseAnswer": 0.2, "resetBefore": 0.2, "failAfterCreating": 0.1}
    await simulated.behave(**faults)
    many = 16
    await asyncio.gather(*(marketplace.post_order(order(f"WIRE{n}")) for n in range(many)))

    async def placed() -> bool:
        return await _count(marketplace.database, "orders where status = 'placed'") == many

    await until(placed, 60)
    attempts = await _count(marketplace.database, "attempts where phase = 'send'")
    assert (await simulated.calls())["place"] == attempts > many


async def test_a_seller_that_is_away_is_called_no_oftener_however_much_is_queued(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    """What was in flight when it went away, and one burst: then one call each quarter of a minute."""
    database = marketplace.database
    await marketplace.change_seller(baseUrl=f"http://127.0.0.1:{free_port()}")
    await _queue(marketplace, 200)
    async with database.transaction() as session:
        await session.execute(text("update lanes set ramp = null"))  # all has gone well so far
    await marketplace.client.post("/v1/sellers/acme/resume")

    async def stopped() -> bool:
        return await _count(database, "lanes where breaker = 'open'") == 1

    await until(stopped)
    await asyncio.sleep(1)  # ten times the longest wait of the schedule
    assert await _count(database, "attempts") <= BURST + 10


_INSIDE_A_PAUSE = """
    attempts asked join attempts sent on sent.at > asked.at + asked.duration_ms * interval '1 ms'
     and sent.at < asked.at + asked.duration_ms * interval '1 ms' + interval '2 seconds'
     where asked.outcome = 'throttled'
"""


@pytest.mark.parametrize("options", [{"exchange_seconds": 40.0, "lease_seconds": 60.0}], indirect=True)
@pytest.mark.parametrize(("sellers", "concurrency"), [(1, 1000), (8, 10)], ids=["one-of-many-calls", "many-sellers"])
async def test_sellers_that_hang_keep_no_other_waiting(
    marketplace: Marketplace, simulated: SimulatedSeller, sellers: int, concurrency: int
) -> None:
    database = marketplace.database
    async with silent() as nowhere:
        for n in range(sellers):
            await marketplace.add_seller(nowhere, f"mute{n}", concurrency=concurrency, ratePerSecond=1000)
            await _queue(marketplace, 80 // sellers, f"mute{n}")
        async with database.transaction() as session:  # all has gone well so far
            await session.execute(text("update lanes set ramp = null, tokens = 1000, paused = false"))

        async def all_hang() -> bool:
            return await _count(database, _UNDER_WAY) >= 64

        await until(all_hang)
        for n in range(10):
            assert (await marketplace.post_order(order(f"HEALTHY{n}"))).status_code == 202

        async def placed() -> bool:
            return await _count(database, "orders where status = 'placed'") == 10

        await until(placed)
        assert await _count(database, _UNDER_WAY) >= 64


_UNDER_WAY = "deliveries where state = 'sending' and lane like 'seller:mute%'"


@pytest.mark.parametrize("options", [{"exchange_seconds": 2.5, "lease_seconds": 4.0}], indirect=True)
async def test_reads_that_take_too_long_together_are_settled_as_such(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    await simulated.behave(loseAnswer=1, readLagSeconds=600)  # no read finds it, however early it is
    accepted = (await marketplace.post_order(order())).json()
    await marketplace.becomes(accepted["id"], "placement-unknown")
    await simulated.behave(loseAnswer=0, applyTo=["read"], slowSeconds=2.2)

    async def settled() -> bool:
        (delivery,) = (await marketplace.get(accepted["id"], "/deliveries"))["items"]
        return any((one["phase"], one["outcome"]) == ("verify", "again") for one in delivery["attempts"])

    await until(settled, 90)
