"""Authorizing what its seller cancels meanwhile: not sent once that is known, and told where it was under way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ..builders import Marketplace, SimulatedSeller, cancellation, order, until


@pytest.fixture
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    return getattr(request, "param", {})


async def _authorization(marketplace: Marketplace, order_id: str) -> dict[str, Any]:
    items = (await marketplace.get(order_id, "/deliveries"))["items"]
    found: dict[str, Any] = next((one for one in items if one["kind"] == "authorize"), {"state": None, "attempts": []})
    return found


async def _comes_to(marketplace: Marketplace, order_id: str, *states: str) -> None:
    async def reached() -> bool:
        return (await _authorization(marketplace, order_id))["state"] in states

    await until(reached)


async def _attention(marketplace: Marketplace, order_id: str) -> dict[str, Any]:
    async def asked() -> Any:
        return (await marketplace.get(order_id))["attention"]

    found: dict[str, Any] = await until(asked)
    return found


async def _in_flight(marketplace: Marketplace, simulated: SimulatedSeller, group: str) -> str:
    """An order whose authorization is under way for a second."""
    placed = await marketplace.place(order(group))
    await simulated.behave(applyTo=["authorize"], slowSeconds=1)
    await marketplace.authorize(placed["id"])
    await _comes_to(marketplace, placed["id"], "sending")
    order_id: str = placed["id"]
    return order_id


@pytest.mark.parametrize("options", [{"confirm_at": "30,60"}], indirect=True)
async def test_one_that_is_taken_after_the_cancellation_is_told_and_asks_a_person(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    order_id = await _in_flight(marketplace, simulated, "MEAN1")
    path = f"{await simulated.base('MEAN1')}/pvt/orders/order-group/MEAN1/notifications/seller-cancellation"
    await marketplace.notify(path, cancellation("MKP-MEAN1-01"))
    await marketplace.becomes(order_id, "cancelled")

    assert (await _attention(marketplace, order_id))["code"] == "authorized-after-cancellation"

    story = await marketplace.story(order_id)
    assert story[-3:] == ["chain-order.cancelled", "chain-order.authorized-after-cancellation", "order.attention"]
    assert (await marketplace.get(order_id))["status"] == "cancelled"


async def test_one_that_is_refused_after_the_cancellation_is_told_and_asks_nobody(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    order_id = await _in_flight(marketplace, simulated, "MEAN2")
    await simulated.cancel("MKP-MEAN2-01")
    await marketplace.becomes(order_id, "cancelled")

    await _comes_to(marketplace, order_id, "rejected")

    assert (await marketplace.story(order_id))[-1] == "chain-order.authorization-refused"
    found = await marketplace.get(order_id)
    assert (found["status"], found["attention"]) == ("cancelled", None)


async def test_one_that_arrived_before_the_cancellation_is_told_once_it_is_read(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("MEAN3"))
    await simulated.behave(applyTo=["authorize", "read"], loseAnswer=1)
    await marketplace.authorize(placed["id"])
    await _comes_to(marketplace, placed["id"], "unknown")
    await simulated.cancel("MKP-MEAN3-01")
    await marketplace.becomes(placed["id"], "cancelled")

    await simulated.behave(loseAnswer=0)

    await _comes_to(marketplace, placed["id"], "delivered")
    assert "chain-order.authorized-after-cancellation" in await marketplace.story(placed["id"])
    assert (await marketplace.get(placed["id"]))["attention"] is None


async def test_an_unclear_one_of_what_the_seller_cancelled_in_silence_asks_a_person(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("MEAN4"))
    await simulated.behave(applyTo=["authorize", "read"], resetBefore=1)
    await marketplace.authorize(placed["id"])
    await _comes_to(marketplace, placed["id"], "unknown")
    await simulated.cancel("MKP-MEAN4-01", times=0)

    await simulated.behave(resetBefore=0)

    assert (await _attention(marketplace, placed["id"]))["code"] == "cancelled-at-seller"
    found = await marketplace.becomes(placed["id"], "cancelled")  # as the read showed it
    assert found["attention"]["code"] == "cancelled-at-seller"
    (booked,) = await simulated.book("MEAN4")
    assert booked["authorizations"] == []


async def test_whatever_came_first_none_is_sent_once_the_cancellation_is_known_and_none_goes_untold(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    """Authorizations and the seller's cancellations of the same orders, at the same time."""
    groups = [f"MEANR{n}" for n in range(8)]
    placed = await asyncio.gather(*(marketplace.place(order(group)) for group in groups))
    await marketplace.client.post("/v1/sellers/acme/pause")
    await asyncio.gather(*(marketplace.authorize(one["id"]) for one in placed))
    await asyncio.gather(*(simulated.cancel(f"MKP-{group}-01") for group in groups[:2]))
    for one in placed[:2]:
        await marketplace.becomes(one["id"], "cancelled")

    await marketplace.client.post("/v1/sellers/acme/resume")
    await asyncio.gather(*(simulated.cancel(f"MKP-{group}-01") for group in groups[2:]))
    for one in placed:
        await marketplace.becomes(one["id"], "cancelled")
        await _comes_to(marketplace, one["id"], "withdrawn", "delivered", "rejected")

    for one in placed[:2]:
        assert (await _authorization(marketplace, one["id"]))["attempts"] == []
    for one in placed:
        attempts = (await _authorization(marketplace, one["id"]))["attempts"]
        told = {type_.partition(".")[2] for type_ in await marketplace.story(one["id"])} & _TOLD
        sent = [attempt for attempt in attempts if attempt["phase"] == "send" and attempt["status"] is not None]
        assert len(told) == len(sent) <= 1


_TOLD = {"authorized", "authorized-after-cancellation", "authorization-refused"}
