"""Placing an order, from the operator's POST to the seller's book."""

from __future__ import annotations

import pytest

from ..builders import Marketplace, SimulatedSeller, order, seed_order


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


async def test_corrected_body_is_placed_under_the_same_group(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    await simulated.behave(rejectCode="CHK0198")
    document = order("FIXED1")
    refused = (await marketplace.post_order(document, wait=5)).json()
    await simulated.behave(rejectCode=None)
    found = await marketplace.client.get(f"/v1/orders/{refused['orderId']}")

    corrected = await marketplace.client.put(
        f"/v1/orders/{refused['orderId']}/placement",
        json={**document, "openTextField": "corrected"},
        headers={"If-Match": found.headers["etag"]},
    )

    assert corrected.status_code == 202, corrected.text
    await marketplace.becomes(refused["orderId"], "placed")
    assert "order.corrected" in await marketplace.story(refused["orderId"])
