"""Hearing of cancellations."""

from __future__ import annotations

import pytest

from ..builders import Marketplace, SimulatedSeller, cancellation, invoice, order, sample

ADDRESSES = [
    "/pvt/orders/order-group/{group}/notifications/seller-cancellation",
    "/pub/orders/order-group/{group}/notifications/seller-cancellation",
    "/api/oms/pvt/orders/order-group/{group}/notifications/seller-cancellation",
    "/pvt/orders/order-group/{group}/notifications",
    "/pvt/orders/order-group/MKP-{group}/notifications/seller-cancellation",
]


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("named", ["MKP-CAN1-01", "00-MKP-CAN1-01", "CAN1-01", "7908010136043"])
async def test_each_address_takes_a_cancellation(
    marketplace: Marketplace, simulated: SimulatedSeller, address: str, named: str
) -> None:
    placed = await marketplace.place(order("CAN1"))
    base = await simulated.base("CAN1")

    answer = await marketplace.notify(base + address.format(group="CAN1"), cancellation(named))

    assert answer.status_code == 200
    assert set(answer.json()) == {"date", "orderId", "receipt"}
    assert (await marketplace.becomes(placed["id"], "cancelled"))["turn"] == "nobody"


async def test_the_simulated_sellers_cancellation_arrives(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    placed = await marketplace.place(order("CAN2"))

    told = await simulated.cancel("MKP-CAN2-01", times=5)

    assert [answer["status"] for answer in told["answers"]] == [200] * 5
    assert len({answer["body"] for answer in told["answers"]}) == 1
    await marketplace.becomes(placed["id"], "cancelled")
    assert (await marketplace.story(placed["id"])).count("chain-order.cancelled") == 1


async def test_an_authorization_that_waits_is_withdrawn(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    placed = await marketplace.place(order("CAN3"))
    await marketplace.client.post("/v1/sellers/acme/pause")
    await marketplace.authorize(placed["id"])

    await simulated.cancel("MKP-CAN3-01")

    await marketplace.becomes(placed["id"], "cancelled")
    states = {one["kind"]: one["state"] for one in (await marketplace.get(placed["id"], "/deliveries"))["items"]}
    assert states["authorize"] == "withdrawn"


async def test_one_of_several_chain_orders_is_cancelled_alone(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    await simulated.behave(split="seller")
    items = [
        {"id": "8", "quantity": 1, "seller": "1", "price": 1200},
        {"id": "9", "quantity": 1, "seller": "2", "price": 100},
    ]
    placed = await marketplace.place(order("CAN4", items=items, marketplacePaymentValue=1400))

    await simulated.cancel("MKP-CAN4-02")

    await marketplace.notified(placed["id"], "applied")
    found = await marketplace.get(placed["id"])
    assert [chain["status"] for chain in found["chainOrders"]] == ["placed", "cancelled"]
    assert found["status"] == "placed"
    assert found["version"] > placed["version"]  # whoever looked at it before has not seen this


async def test_a_cancellation_after_an_invoice_is_a_conflict(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("CAN5"))
    await simulated.invoice("MKP-CAN5-01")
    await marketplace.becomes(placed["id"], "invoiced")

    await simulated.cancel("MKP-CAN5-01")

    await marketplace.notified(placed["id"], "conflict")
    found = await marketplace.get(placed["id"])
    assert (found["status"], found["attention"]["code"]) == ("invoiced", "cancelled-after-invoice")


async def test_an_invoice_after_the_cancellation_is_a_conflict(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("CAN6"))
    base = await simulated.base("CAN6")
    await simulated.cancel("MKP-CAN6-01")
    await marketplace.becomes(placed["id"], "cancelled")

    await marketplace.notify(f"{base}/pvt/orders/CAN6/invoice", invoice())

    await marketplace.notified(placed["id"], "conflict")
    assert (await marketplace.get(placed["id"]))["attention"]["code"] == "invoiced-after-cancellation"


async def test_another_type_of_notification_is_kept_and_changes_nothing(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("CAN7"))
    base = await simulated.base("CAN7")

    answer = await marketplace.notify(
        f"{base}/pvt/orders/order-group/CAN7/notifications", {"id": "somethingElse", "sellerOrderId": "MKP-CAN7-01"}
    )

    assert answer.status_code == 200
    await marketplace.notified(placed["id"], "ignored")
    assert (await marketplace.get(placed["id"]))["status"] == "placed"


async def test_the_seeds_sample_is_understood(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    placed = await marketplace.place(order("CAN8"))
    base = await simulated.base("CAN8")

    await marketplace.notify(
        f"{base}/pvt/orders/order-group/CAN8/notifications/seller-cancellation", sample("seed/cancellation.json")
    )

    await marketplace.becomes(placed["id"], "cancelled")
