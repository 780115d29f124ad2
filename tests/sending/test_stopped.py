"""A seller that asks to wait while several calls are made under one claim: none of the others follows."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select, text

from chain_orders.orders.models import Read

from ..builders import Marketplace, SimulatedSeller, invoice, order, until


@pytest.fixture
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    return getattr(request, "param", {})


async def _now(marketplace: Marketplace, change: str) -> None:
    async with marketplace.database.transaction() as session:
        await session.execute(text(f"update {change}"))


async def _stop_calls(marketplace: Marketplace) -> None:
    """What an answer of 429 to another call does."""
    await _now(marketplace, "lanes set next_at = clock_timestamp() + interval '1 hour'")


async def _call(marketplace: Marketplace, order_id: str, kind: str) -> dict[str, Any]:
    calls = (await marketplace.get(order_id, "/deliveries"))["items"]
    found: dict[str, Any] = next(one for one in calls if one["kind"] == kind)
    return found


async def _begun(marketplace: Marketplace, order_id: str, kind: str) -> None:
    async def under_way() -> bool:
        return (await _call(marketplace, order_id, kind))["state"] == "sending"

    await until(under_way)


async def _ended(marketplace: Marketplace, order_id: str, kind: str, outcome: str) -> None:
    async def reached() -> bool:
        return (await _call(marketplace, order_id, kind))["attempts"][-1]["outcome"] == outcome

    await until(reached)


@pytest.mark.parametrize("options", [{"verify_at": "60,61,62"}], indirect=True)
@pytest.mark.parametrize("turned_away", [False, True], ids=["another-call", "this-one"])
async def test_a_verification_reads_no_further(
    marketplace: Marketplace, simulated: SimulatedSeller, turned_away: bool
) -> None:
    await simulated.behave(loseAnswer=1)
    accepted = (await marketplace.post_order(order())).json()
    await marketplace.becomes(accepted["id"], "placement-unknown")
    await simulated.behave(loseAnswer=0, applyTo=["read"], slowSeconds=1, throttle=float(turned_away))
    await _now(marketplace, "deliveries set next_at = clock_timestamp()")
    await _begun(marketplace, accepted["id"], "place")
    if not turned_away:
        await _stop_calls(marketplace)

    await _ended(marketplace, accepted["id"], "place", "throttled" if turned_away else "given-back")

    assert (await simulated.calls())["read"] == 1
    (call,) = (await marketplace.get(accepted["id"], "/deliveries"))["items"]
    assert call["state"] == "unknown"


@pytest.mark.parametrize("turned_away", [False, True], ids=["another-call", "this-one"])
async def test_an_open_order_is_read_no_further(
    marketplace: Marketplace, simulated: SimulatedSeller, turned_away: bool
) -> None:
    await simulated.behave(split="item")
    await marketplace.place(order(items=[{"id": sku, "quantity": 1, "seller": "1", "price": 400} for sku in "123"]))
    await simulated.behave(applyTo=["read"], slowSeconds=1, throttle=float(turned_away))
    await _now(marketplace, "reads set next_at = clock_timestamp()")

    async def reading() -> bool:
        return (await simulated.calls()).get("read", 0) > 0

    await until(reading)
    if not turned_away:
        await _stop_calls(marketplace)

    async def ended() -> Any:
        async with marketplace.database.transaction() as session:
            return await session.scalar(select(Read.last_error))

    told = await until(ended)
    assert ("429" in told) is turned_away
    assert (await simulated.calls())["read"] == 1


async def test_an_authorization_that_looks_first_is_not_sent_then(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("LOOK1"))
    base = await simulated.base("LOOK1")
    await marketplace.notify(f"{base}/pvt/orders/LOOK1/invoice", invoice())
    await marketplace.becomes(placed["id"], "invoiced")
    await simulated.behave(applyTo=["read"], slowSeconds=1)
    await marketplace.client.post("/v1/sellers/acme/pause")
    await marketplace.authorize(placed["id"])
    await _now(marketplace, "deliveries set state = 'retrying', phase = 'send' where kind = 'authorize'")
    await marketplace.client.post("/v1/sellers/acme/resume")
    await _begun(marketplace, placed["id"], "authorize")
    await _stop_calls(marketplace)

    await _ended(marketplace, placed["id"], "authorize", "given-back")

    assert "authorize" not in await simulated.calls()
