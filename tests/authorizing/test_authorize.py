"""Authorizing an order: one receipt, one POST to each chain order, and clear refusals."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from chain_orders.deliveries.models import Lane

from ..builders import Marketplace, SimulatedSeller, cancellation, invoice, order, until

RECEIPT = {"date": "2026-11-01T10:00:00.000Z", "receipt": "r-1"}


@pytest.fixture
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    return getattr(request, "param", {})


async def _given(simulated: SimulatedSeller, group: str) -> list[dict[str, Any]]:
    return [body for booked in await simulated.book(group) for body in booked["authorizations"]]


async def test_receipt_group_and_items_reach_the_seller(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    placed = await marketplace.place(order("AUTH1"))

    answer = await marketplace.authorize(placed["id"], authorizationReceipt=RECEIPT)

    assert answer.status_code == 202
    await marketplace.becomes(placed["id"], "authorized")
    assert await _given(simulated, "AUTH1") == [
        {
            "marketplaceOrderGroup": "AUTH1",
            "authorizationReceipt": RECEIPT,
            "items": [{"id": "8", "quantity": 1, "seller": "1", "price": 1200}],
        }
    ]


async def test_without_a_body_the_receipt_is_minted(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    placed = await marketplace.place(order("AUTH2"))

    answer = await marketplace.client.post(f"/v1/orders/{placed['id']}/authorization")

    assert answer.status_code == 202
    minted = answer.json()["authorizationReceipt"]
    await marketplace.becomes(placed["id"], "authorized")
    assert [body["authorizationReceipt"] for body in await _given(simulated, "AUTH2")] == [minted]


async def test_a_date_that_is_none_is_refused_while_it_can_be_corrected(marketplace: Marketplace) -> None:
    placed = await marketplace.place(order("AUTH2D"))
    wrong = {"date": "yesterday"}

    answer = await marketplace.authorize(placed["id"], authorizationReceipt=wrong)
    beside = (await marketplace.post_order(order("AUTH2E", authorizationReceipt=wrong))).json()
    right = await marketplace.authorize(
        placed["id"], authorizationReceipt={"date": "2018-11-21T11:50:09.9994509-02:00"}
    )

    assert answer.status_code == 422
    assert (
        answer.json()["errors"]
        == beside["errors"]
        == [
            {
                "pointer": "/authorizationReceipt/date",
                "code": "malformed",
                "detail": "must be an ISO 8601 date or date and time",
            }
        ]
    )
    assert right.json()["authorizationReceipt"]["date"] == "2018-11-21T11:50:09.9994509-02:00"


async def test_a_seller_can_be_set_to_get_no_items(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    await marketplace.change_seller(omitAuthorizationItems=True)
    placed = await marketplace.place(order("AUTH3"))

    await marketplace.authorize(placed["id"], authorizationReceipt=RECEIPT)

    await marketplace.becomes(placed["id"], "authorized")
    (body,) = await _given(simulated, "AUTH3")
    assert "items" not in body


async def test_each_chain_order_gets_its_own_items(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    await simulated.behave(split="seller")
    items = [
        {"id": "8", "quantity": 1, "seller": "1", "price": 1200},
        {"id": "9", "quantity": 2, "seller": "2", "price": 50},
    ]
    placed = await marketplace.place(order("AUTH4", items=items, marketplacePaymentValue=1400))

    await marketplace.authorize(placed["id"], authorizationReceipt=RECEIPT)

    await marketplace.becomes(placed["id"], "authorized")
    assert [[item["id"] for item in body["items"]] for body in await _given(simulated, "AUTH4")] == [["8"], ["9"]]


async def test_before_it_is_placed_the_receipt_waits(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    await simulated.behave(slowSeconds=0.5)
    accepted = (await marketplace.post_order(order("AUTH5"))).json()

    answer = await marketplace.authorize(accepted["id"], authorizationReceipt=RECEIPT)

    assert answer.status_code == 202
    await marketplace.becomes(accepted["id"], "authorized")
    assert len(await _given(simulated, "AUTH5")) == 1


async def test_the_same_receipt_again_sends_nothing(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    placed = await marketplace.place(order("AUTH6"))
    await marketplace.authorize(placed["id"], authorizationReceipt=RECEIPT)
    await marketplace.becomes(placed["id"], "authorized")

    again = await marketplace.authorize(placed["id"], authorizationReceipt=RECEIPT)

    assert again.status_code == 200
    assert len((await marketplace.get(placed["id"], "/deliveries"))["items"]) == 2


async def test_another_receipt_is_refused(marketplace: Marketplace) -> None:
    placed = await marketplace.place()
    await marketplace.authorize(placed["id"], authorizationReceipt=RECEIPT)

    other = await marketplace.authorize(placed["id"], authorizationReceipt={**RECEIPT, "receipt": "r-2"})

    assert (other.status_code, other.json()["code"]) == (409, "receipt-differs")


async def test_items_are_compared_with_those_that_were_sent(marketplace: Marketplace) -> None:
    placed = await marketplace.place()
    await marketplace.authorize(placed["id"], authorizationReceipt=RECEIPT)
    item = {"id": "8", "quantity": 1, "seller": "1", "price": 1200}

    same = await marketplace.authorize(placed["id"], authorizationReceipt=RECEIPT, items=[item])
    other = await marketplace.authorize(placed["id"], authorizationReceipt=RECEIPT, items=[{**item, "price": 1}])

    assert same.status_code in {200, 202}
    assert (other.status_code, other.json()["code"]) == (409, "authorization-items-differ")
    assert [fault["pointer"] for fault in other.json()["errors"]] == ["/items"]


async def test_a_cancelled_order_cannot_be_authorized(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    placed = await marketplace.place(order("AUTH7"))
    base = await simulated.base("AUTH7")
    path = f"{base}/pvt/orders/order-group/AUTH7/notifications/seller-cancellation"
    await marketplace.notify(path, cancellation("MKP-AUTH7-01"))
    await marketplace.becomes(placed["id"], "cancelled")

    refused = await marketplace.authorize(placed["id"], authorizationReceipt=RECEIPT)

    assert (refused.status_code, refused.json()["code"]) == (409, "order-cancelled")
    assert await _given(simulated, "AUTH7") == []


async def test_a_refused_authorization_leads_back_and_asks_a_person_until_it_is_taken(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("AUTHR"))
    await simulated.behave(fail=1, failStatus=400, applyTo=["authorize"])
    await marketplace.authorize(placed["id"], authorizationReceipt=RECEIPT)

    async def refused() -> dict[str, Any] | None:
        found: dict[str, Any] = await marketplace.get(placed["id"])
        return found if found["attention"] else None

    found = await until(refused)
    assert (found["status"], found["attention"]["code"]) == ("placed", "authorization-refused")

    await simulated.behave(fail=0)
    again = await marketplace.authorize(placed["id"], authorizationReceipt=RECEIPT)

    assert again.status_code == 202
    assert (await marketplace.becomes(placed["id"], "authorized"))["attention"] is None
    assert [body["authorizationReceipt"] for body in await _given(simulated, "AUTHR")] == [RECEIPT]


async def test_one_that_is_refused_because_it_has_arrived_has_arrived(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    """The seller is past the authorization, and says of another one that its state does not allow it."""
    placed = await marketplace.place(order("AUTHP"))
    await simulated.invoice("MKP-AUTHP-01", times=0)

    await marketplace.authorize(placed["id"])

    await marketplace.becomes(placed["id"], "authorized")
    assert (await marketplace.get(placed["id"]))["attention"] is None
    (_, call) = (await marketplace.get(placed["id"], "/deliveries"))["items"]
    assert (call["state"], len(call["attempts"])) == ("delivered", 1)
    assert await _given(simulated, "AUTHP") == []


async def test_what_becomes_of_one_chain_order_settles_nothing_of_another(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    await simulated.behave(split="item", fail=1, failStatus=400, applyTo=["authorize"])
    items = [{"id": sku, "quantity": 1, "seller": "1", "price": 600} for sku in ("8", "9")]
    placed = await marketplace.place(order("AUTHS", items=items))
    first, second = (chain["chainOrderId"] for chain in placed["chainOrders"])
    await marketplace.authorize(placed["id"], authorizationReceipt=RECEIPT, chainOrderId=first)

    async def asked() -> bool:
        return (await marketplace.get(placed["id"]))["attention"] is not None

    await until(asked)
    await simulated.behave(fail=0)
    await marketplace.authorize(placed["id"], authorizationReceipt=RECEIPT, chainOrderId=second)

    async def statuses() -> list[str]:
        return [chain["status"] for chain in (await marketplace.get(placed["id"]))["chainOrders"]]

    async def authorized() -> bool:
        return await statuses() == ["placed", "authorized"]

    await until(authorized)
    assert (await marketplace.get(placed["id"]))["attention"]["code"] == "authorization-refused"


async def test_a_rejected_order_cannot_be_authorized(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    await simulated.behave(rejectCode="CHK0198")
    rejected = (await marketplace.post_order(order(), wait=5)).json()

    refused = await marketplace.authorize(rejected["orderId"], authorizationReceipt=RECEIPT)

    assert (refused.status_code, refused.json()["code"]) == (409, "order-rejected")


async def test_an_invoice_that_overtakes_the_authorization_stands(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    await simulated.behave(applyTo=["authorize"], slowSeconds=0.5)
    placed = await marketplace.place(order("AUTH8"))
    base = await simulated.base("AUTH8")
    await marketplace.authorize(placed["id"], authorizationReceipt=RECEIPT)

    await marketplace.notify(f"{base}/pvt/orders/AUTH8/invoice", invoice())

    await marketplace.becomes(placed["id"], "invoiced")

    async def delivered() -> bool:
        items = (await marketplace.get(placed["id"], "/deliveries"))["items"]
        return items[-1]["kind"] == "authorize" and items[-1]["state"] == "delivered"

    await until(delivered)
    assert (await marketplace.get(placed["id"]))["status"] == "invoiced"


async def _authorization(marketplace: Marketplace, order_id: str) -> dict[str, Any]:
    items = (await marketplace.get(order_id, "/deliveries"))["items"]
    found: dict[str, Any] = next(one for one in items if one["kind"] == "authorize")
    return found


async def test_a_pending_authorization_of_what_is_invoiced_is_read_and_not_sent(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("AUTHA"))
    await marketplace.client.post("/v1/sellers/acme/pause")
    await marketplace.authorize(placed["id"])
    await simulated.invoice("MKP-AUTHA-01")
    await marketplace.becomes(placed["id"], "invoiced")

    await marketplace.client.post("/v1/sellers/acme/resume")

    async def settled() -> bool:
        return (await _authorization(marketplace, placed["id"]))["state"] == "delivered"

    await until(settled)
    attempts = (await _authorization(marketplace, placed["id"]))["attempts"]
    assert [(one["phase"], one["outcome"]) for one in attempts] == [("verify", "answered")]


async def test_a_receipt_that_comes_after_the_invoice_is_read_for_once_and_not_sent(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("AUTHB"))
    await simulated.invoice("MKP-AUTHB-01")
    await marketplace.becomes(placed["id"], "invoiced")

    answers = [await marketplace.authorize(placed["id"], authorizationReceipt=RECEIPT) for _ in range(2)]

    async def settled() -> bool:
        return (await _authorization(marketplace, placed["id"]))["state"] == "delivered"

    await until(settled)
    deliveries = (await marketplace.get(placed["id"], "/deliveries"))["items"]
    owed = [one for one in deliveries if one["kind"] == "authorize"]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert [[(a["phase"], a["outcome"]) for a in one["attempts"]] for one in owed] == [[("verify", "answered")]]


async def test_a_receipt_that_comes_after_an_invoice_is_sent_to_a_seller_that_still_waits_for_it(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("AUTHC"))
    base = await simulated.base("AUTHC")
    await marketplace.notify(f"{base}/pvt/orders/AUTHC/invoice", invoice())
    await marketplace.becomes(placed["id"], "invoiced")

    await marketplace.authorize(placed["id"], authorizationReceipt=RECEIPT)

    await until(lambda: _given(simulated, "AUTHC"))
    assert (await marketplace.get(placed["id"]))["status"] == "invoiced"


async def test_an_authorization_in_flight_that_is_throttled_is_read_once_there_is_an_invoice(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("AUTHB"))
    await simulated.behave(applyTo=["authorize"], throttle=1, retryAfter="1", slowSeconds=1)
    await marketplace.authorize(placed["id"])

    async def in_flight() -> bool:
        return (await _authorization(marketplace, placed["id"]))["state"] == "sending"

    await until(in_flight)
    await simulated.invoice("MKP-AUTHB-01")
    await marketplace.becomes(placed["id"], "invoiced")
    await simulated.behave(throttle=0, slowSeconds=0)

    async def settled() -> bool:
        return (await _authorization(marketplace, placed["id"]))["state"] == "delivered"

    await until(settled)
    attempts = (await _authorization(marketplace, placed["id"]))["attempts"]
    assert [one["outcome"] for one in attempts] == ["throttled", "answered"]
    assert await _given(simulated, "AUTHB") == []


async def test_one_chain_order_is_authorized_while_another_is_being_cancelled(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    await simulated.behave(split="item", cancellation="decide")
    items = [{"id": sku, "quantity": 1, "seller": "1", "price": 600} for sku in "89"]
    placed = await marketplace.place(order("AUTHC", items=items))
    await marketplace.ask_to_cancel(placed["id"], chainOrderId="MKP-AUTHC-01")

    answer = await marketplace.authorize(placed["id"], chainOrderId="MKP-AUTHC-02")

    assert answer.status_code == 200, answer.text

    async def authorized() -> bool:
        found = await marketplace.get(placed["id"])
        return [chain["status"] for chain in found["chainOrders"]] == ["cancel-requested", "authorized"]

    await until(authorized)
    refused = await marketplace.authorize(placed["id"], chainOrderId="MKP-AUTHC-01")
    assert (refused.status_code, refused.json()["code"]) == (409, "order-cancel-requested")


async def test_items_that_are_given_go_to_the_chain_order_that_has_them(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    """One is authorized with items of its own, then the other with its own; then both at once say nothing new."""
    await simulated.behave(split="item")
    first, second = ({"id": sku, "quantity": 1, "seller": "1", "price": 600} for sku in "89")
    placed = await marketplace.place(order("AUTHI", items=[first, second]))

    answers = [
        await marketplace.authorize(placed["id"], chainOrderId="MKP-AUTHI-01", items=[{**first, "price": 590}]),
        await marketplace.authorize(placed["id"], chainOrderId="MKP-AUTHI-02", items=[{**second, "price": 610}]),
        await marketplace.authorize(placed["id"], items=[{**first, "price": 590}, {**second, "price": 610}]),
        await marketplace.authorize(placed["id"], items=[{**second, "price": 1}]),
    ]

    assert [answer.is_success for answer in answers] == [True, True, True, False], [one.text for one in answers]
    await marketplace.becomes(placed["id"], "authorized")
    sent = [given["items"] for one in await simulated.book("AUTHI") for given in one["authorizations"]]
    assert sent == [[{**first, "price": 590}], [{**second, "price": 610}]]


async def test_items_that_were_given_for_a_refused_body_are_not_sent_of_the_corrected_one(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    await simulated.behave(rejectCode="CHK0198", slowSeconds=0.5)
    first, second = ({"id": sku, "quantity": 1, "seller": "1", "price": 600} for sku in "89")
    accepted = (await marketplace.post_order(order("AUTHJ", items=[first, second]))).json()
    await marketplace.authorize(accepted["id"], items=[first, second])
    await marketplace.becomes(accepted["id"], "rejected")
    await simulated.behave(rejectCode=None, slowSeconds=0)
    found = await marketplace.client.get(f"/v1/orders/{accepted['id']}")

    await marketplace.client.put(
        f"/v1/orders/{accepted['id']}/placement",
        json=order("AUTHJ", items=[second], marketplacePaymentValue=700),
        headers={"If-Match": found.headers["etag"]},
    )

    await marketplace.becomes(accepted["id"], "authorized")
    assert [given["items"] for given in await _given(simulated, "AUTHJ")] == [[second]]


@pytest.mark.parametrize("options", [{"not_there_seconds": 0.2}], indirect=True)
async def test_a_seller_that_long_does_not_know_the_chain_order_asks_for_attention_and_keeps_its_lane(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("AUTHD"))
    await simulated.behave(applyTo=["authorize"], fail=1, failStatus=404)
    await marketplace.authorize(placed["id"])

    async def asked() -> Any:
        return (await marketplace.get(placed["id"]))["attention"]

    assert (await until(asked))["code"] == "not-there-yet"
    async with marketplace.database.transaction() as session:
        assert await session.scalar(select(Lane.failures)) == 0
    await simulated.behave(fail=0)
    assert (await marketplace.becomes(placed["id"], "authorized"))["attention"] is None


@pytest.mark.parametrize("fault", ["loseAnswer", "failAfterCreating", "garbage"])
async def test_an_unclear_authorization_is_read_and_never_sent_again(
    marketplace: Marketplace, simulated: SimulatedSeller, fault: str
) -> None:
    await simulated.behave(applyTo=["authorize"], **{fault: 1})
    placed = await marketplace.place(order("AUTH9"))

    await marketplace.authorize(placed["id"], authorizationReceipt=RECEIPT)

    await marketplace.becomes(placed["id"], "authorized")
    assert len(await _given(simulated, "AUTH9")) == 1


@pytest.mark.parametrize("fault", ["resetBefore", "garbageBefore"])
async def test_an_authorization_that_was_lost_is_sent_again_with_the_receipt_that_was_given(
    marketplace: Marketplace, simulated: SimulatedSeller, fault: str
) -> None:
    await simulated.behave(applyTo=["authorize"], **{fault: 1})
    placed = await marketplace.place(order("AUTHE"))
    given = (await marketplace.authorize(placed["id"])).json()["authorizationReceipt"]

    async def outcomes() -> list[str]:
        return [one["outcome"] for one in (await _authorization(marketplace, placed["id"]))["attempts"]]

    async def unclear() -> bool:
        return "ambiguous" in await outcomes()

    await until(unclear)
    await simulated.behave(**{fault: 0})

    await marketplace.becomes(placed["id"], "authorized")
    assert (await outcomes())[-3:] == ["absent", "absent", "answered"]
    assert [body["authorizationReceipt"] for body in await _given(simulated, "AUTHE")] == [given]


async def test_a_foreign_group_in_the_body_is_refused(marketplace: Marketplace) -> None:
    placed = await marketplace.place()

    refused = await marketplace.authorize(placed["id"], marketplaceOrderGroup="SOMEONE-ELSE")

    assert (refused.status_code, refused.json()["code"]) == (422, "order-group-differs")
