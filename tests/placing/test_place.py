"""Placing an order, from the operator's POST to the seller's book."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from ..builders import Marketplace, SimulatedSeller, order, seed_order, until


async def test_seed_order_is_placed_verbatim(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    answer = await marketplace.post_order(seed_order(), wait=5)

    assert answer.status_code == 201
    assert answer.headers["preference-applied"] == "wait=5"
    placed = answer.json()
    assert placed["status"] == "placed"
    assert [chain["chainOrderId"] for chain in placed["chainOrders"]] == ["MKP-externalMarketplace10-01"]
    (booked,) = await simulated.book()
    assert booked["items"] == seed_order()["items"]


async def test_seed_orders_warnings_are_told(marketplace: Marketplace) -> None:
    placed = await marketplace.place(seed_order())

    codes = {warning["code"] for warning in placed["warnings"]}
    assert {"amounts-differ", "endpoint-replaced"} <= codes


async def test_clean_order_has_no_warning(marketplace: Marketplace) -> None:
    placed = await marketplace.place(order())

    assert placed["warnings"] == []
    assert placed["money"] == {"total": 1300, "invoiced": 0, "returned": 0, "cancelled": 0, "remaining": 1300}


async def test_same_body_again_is_the_same_order(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    document = order()
    first = await marketplace.place(document)

    again = await marketplace.post_order(dict(reversed(document.items())), wait=5)

    assert again.status_code == 200
    assert again.json()["id"] == first["id"]
    assert await simulated.puts() == {document["marketplaceOrderGroup"]: 1}


async def test_another_body_under_a_taken_group_is_refused(marketplace: Marketplace) -> None:
    document = order()
    first = await marketplace.place(document)

    other = await marketplace.post_order({**document, "marketplacePaymentValue": 9})

    assert other.status_code == 409
    assert other.json()["code"] == "order-group-taken"
    assert other.json()["orderId"] == first["id"]


@pytest.mark.parametrize("split", ["seller", "item"])
async def test_an_order_that_the_seller_splits_has_several_chain_orders(
    marketplace: Marketplace, simulated: SimulatedSeller, split: str
) -> None:
    await simulated.behave(split=split)
    items = [
        {"id": "8", "quantity": 1, "seller": "1", "price": 1200},
        {"id": "9", "quantity": 1, "seller": "2", "price": 100},
    ]

    placed = await marketplace.place(order("SPLIT1", items=items, marketplacePaymentValue=1400))

    assert [chain["chainOrderId"] for chain in placed["chainOrders"]] == ["MKP-SPLIT1-01", "MKP-SPLIT1-02"]
    assert [chain["value"] for chain in placed["chainOrders"]] == [1300, 100]


COSTLY: dict[str, Any] = {
    "items": [
        {
            "id": "8", "quantity": 2, "seller": "1", "price": 1200,
            "bundleItems": [{"id": 1, "type": "Giftwrap", "name": "Wrapping", "price": 300}],
        }
    ],
    "shippingData": {
        **order()["shippingData"],
        "logisticsInfo": [
            {"itemIndex": 0, "selectedSla": "Normal", "price": 100, "lockTTL": "10d", "deliveryWindow": {"price": 50}}
        ],
    },
    "marketplacePaymentValue": 2850,
}  # fmt: skip


@pytest.mark.parametrize("heard", [True, False], ids=["answered", "found-by-reading"])
async def test_services_and_delivery_windows_count(
    marketplace: Marketplace, simulated: SimulatedSeller, heard: bool
) -> None:
    await simulated.behave(loseAnswer=0 if heard else 1)
    accepted = (await marketplace.post_order(order(**COSTLY))).json()

    placed = await marketplace.becomes(accepted["id"], "placed")

    assert (placed["money"]["total"], placed["warnings"], placed["attention"]) == (2850, [], None)


@pytest.mark.parametrize("heard", [True, False], ids=["answered", "found-by-reading"])
async def test_another_value_at_the_seller_asks_for_attention(
    marketplace: Marketplace, simulated: SimulatedSeller, heard: bool
) -> None:
    await marketplace.change_seller(currency="BRL")
    await simulated.behave(surcharge=7, loseAnswer=0 if heard else 1)
    accepted = (await marketplace.post_order(order())).json()

    placed = await marketplace.becomes(accepted["id"], "placed")

    assert placed["attention"]["code"] == "value-differs"
    assert placed["attention"]["reason"] == "the order at the seller is worth BRL 13.07, ours BRL 13.00"
    assert placed["money"]["total"] == 1307


async def test_an_answer_that_names_another_order_is_not_believed(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    await simulated.behave(placementAnswer="foreign")
    accepted = (await marketplace.post_order(order("MINE1"))).json()

    placed = await marketplace.becomes(accepted["id"], "placed")

    assert [chain["chainOrderId"] for chain in placed["chainOrders"]] == ["MKP-MINE1-01"]
    assert "order.placement-unknown" in await marketplace.story(accepted["id"])
    assert await simulated.puts() == {"MINE1": 1}


@pytest.mark.parametrize("answer", ["twice", "twice-differently"])
async def test_an_answer_that_names_an_order_twice_places_it_once(
    marketplace: Marketplace, simulated: SimulatedSeller, answer: str
) -> None:
    await simulated.behave(placementAnswer=answer)
    accepted = (await marketplace.post_order(order("TWICE1"))).json()

    placed = await marketplace.becomes(accepted["id"], "placed")

    assert [chain["chainOrderId"] for chain in placed["chainOrders"]] == ["MKP-TWICE1-01"]
    assert await simulated.puts() == {"TWICE1": 1}


async def test_a_part_without_items_is_left_out_and_named(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    await simulated.behave(placementAnswer="empty-part")

    placed = await marketplace.place(order("EMPTY1"))

    assert [chain["chainOrderId"] for chain in placed["chainOrders"]] == ["MKP-EMPTY1-01"]
    told = (await marketplace.get(placed["id"], "/timeline"))["items"]
    assert [one["data"]["withoutItems"] for one in told if one["type"] == "order.placed"] == [["MKP-EMPTY1-99"]]


async def test_an_order_of_the_sellers_belongs_to_one_order(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    """The seller's answer to the second names the first one's order beside its own group."""
    first = await marketplace.place(order("OWNER1"))
    async with marketplace.database.transaction() as session:
        await session.execute(text("update chain_orders set chain_order_id = 'MKP-OWNER2-01'"))
        await session.execute(text("update order_names set value = 'MKP-OWNER2-01' where kind = 'chain-order'"))

    second = (await marketplace.post_order(order("OWNER2"))).json()

    async def noticed() -> Any:
        return (await marketplace.get(second["id"]))["attention"]

    assert (await until(noticed))["code"] == "placement-conflict"
    assert (await marketplace.get(second["id"]))["chainOrders"] == []
    (delivery,) = (await marketplace.get(second["id"], "/deliveries"))["items"]
    assert (delivery["state"], delivery["attempts"][-1]["status"]) == ("dead", 201)
    assert (await marketplace.get(first["id"]))["attention"] is None


async def test_what_cannot_be_recorded_is_kept_and_not_tried_again(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    """The names do not tell: the unique key refuses, and the answer is in the delivery for a person."""
    await marketplace.place(order("OWNER3"))
    async with marketplace.database.transaction() as session:
        await session.execute(text("update chain_orders set chain_order_id = 'MKP-OWNER4-01'"))

    second = (await marketplace.post_order(order("OWNER4"))).json()

    async def noticed() -> Any:
        return (await marketplace.get(second["id"]))["attention"]

    assert (await until(noticed))["code"] == "not-recorded"
    (delivery,) = (await marketplace.get(second["id"], "/deliveries"))["items"]
    assert (delivery["state"], [one["outcome"] for one in delivery["attempts"]]) == ("dead", ["answered"])

    asked = await marketplace.ask_to_cancel(second["id"])

    assert asked.json()["status"] == "cancel-requested"  # the seller has it: it is not said to be cancelled unsent


async def test_refusal_names_field_and_rule(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    items = [{"id": "8", "quantity": 1, "seller": "1", "price": 1200, "isGift": True}]

    refused = await marketplace.post_order(order(items=items))

    assert refused.status_code == 422
    assert refused.headers["content-type"] == "application/problem+json"
    (fault,) = refused.json()["errors"]
    assert (fault["pointer"], fault["code"]) == ("/items/0/isGift", "gift-not-supported")
    assert await simulated.puts() == {}


async def test_the_sellers_refusal_is_shown_with_its_code(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    await simulated.behave(rejectCode="CHK0198")

    refused = await marketplace.post_order(order(), wait=5)

    assert refused.status_code == 422
    assert refused.json()["sellerCode"] == "CHK0198"
    rejected = await marketplace.get(refused.json()["orderId"])
    assert (rejected["status"], rejected["turn"]) == ("rejected", "operator")
    assert (rejected["money"]["cancelled"], rejected["money"]["remaining"]) == (0, 0)


async def test_without_waiting_the_order_is_accepted(marketplace: Marketplace) -> None:
    accepted = await marketplace.post_order(order())

    assert accepted.status_code == 202
    assert accepted.headers["location"] == f"/v1/orders/{accepted.json()['id']}"
    await marketplace.becomes(accepted.json()["id"], "placed")


async def test_receipt_given_with_the_order_is_sent_once_it_is_placed(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    receipt = {"date": "2026-11-01T10:00:00.000Z", "receipt": "r-1"}
    accepted = await marketplace.post_order({**order("EARLY1"), "authorizationReceipt": receipt})

    await marketplace.becomes(accepted.json()["id"], "authorized")

    (booked,) = await simulated.book("EARLY1")
    assert [given["authorizationReceipt"] for given in booked["authorizations"]] == [receipt]


@pytest.mark.parametrize("code", ["FMT0060", "CHK0086"])
async def test_a_group_that_the_seller_will_never_take_again_asks_a_person_for_another(
    marketplace: Marketplace, simulated: SimulatedSeller, code: str
) -> None:
    await simulated.behave(rejectCode=code)
    refused = (await marketplace.post_order(order("BURNT1"), wait=10)).json()
    await simulated.behave(rejectCode=None)
    address = f"/v1/orders/{refused['orderId']}"
    found = await marketplace.client.get(address)
    assert (found.json()["status"], found.json()["attention"]["code"]) == ("rejected", "order-group-burnt")

    seen = await marketplace.client.post(
        f"{address}/resolution",
        json={"decision": "dismiss", "reason": "it was ordered again"},
        headers={"If-Match": found.headers["etag"]},
    )
    corrected = await marketplace.client.put(
        f"{address}/placement",
        json=order("BURNT1", openTextField="corrected"),
        headers={"If-Match": seen.headers["etag"]},
    )

    assert (seen.status_code, seen.json()["attention"]) == (200, None)
    assert (corrected.status_code, corrected.json()["code"]) == (409, "order-group-burnt")
    assert await simulated.puts() == {"BURNT1": 1}


async def test_corrected_body_is_placed_under_the_same_group_with_the_receipt_beside_it(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    await simulated.behave(rejectCode="CHK0198")
    document = order("FIXED1")
    refused = (await marketplace.post_order(document, wait=5)).json()
    await simulated.behave(rejectCode=None)
    found = await marketplace.client.get(f"/v1/orders/{refused['orderId']}")

    corrected = await marketplace.client.put(
        f"/v1/orders/{refused['orderId']}/placement",
        json={**document, "openTextField": "corrected", "authorizationReceipt": {"receipt": "r-9"}},
        headers={"If-Match": found.headers["etag"]},
    )

    assert corrected.status_code == 202, corrected.text
    await marketplace.becomes(refused["orderId"], "authorized")
    assert "order.corrected" in await marketplace.story(refused["orderId"])
    (booked,) = await simulated.book("FIXED1")
    assert [given["authorizationReceipt"]["receipt"] for given in booked["authorizations"]] == ["r-9"]


async def test_why_a_body_was_refused_is_not_said_of_the_order_once_another_is_placed(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    await simulated.behave(rejectCode="CHK0198")
    refused = (await marketplace.post_order(order("FIXED2"), wait=5)).json()
    await simulated.behave(rejectCode=None)
    found = await marketplace.client.get(f"/v1/orders/{refused['orderId']}")
    assert found.json()["lastError"]["code"] == "CHK0198"

    await marketplace.client.put(
        f"/v1/orders/{refused['orderId']}/placement",
        json=order("FIXED2", openTextField="corrected"),
        headers={"If-Match": found.headers["etag"]},
    )

    assert (await marketplace.becomes(refused["orderId"], "placed"))["lastError"] is None
