"""Hearing of changes of chain orders, under each of a seller's policies."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import text

from ..builders import Marketplace, SimulatedSeller, invoice, order, until


def change(request_id: str | None = "chg-1", **changes: Any) -> dict[str, Any]:
    named = {"requestId": request_id} if request_id else {}
    return {
        **named,
        "reason": "one unit damaged",
        "discountValue": 300,
        "incrementValue": 0,
        "itemsRemoved": [{"id": "8", "quantity": 1, "price": 300, "unitMultiplier": 1.0, "measurementUnit": "un"}],
        "itemsAdded": [],
        **changes,
    }


async def _placed(marketplace: Marketplace, simulated: SimulatedSeller, policy: str | None = None) -> tuple[str, str]:
    """A placed order's id, and the address of its changes."""
    if policy:
        await marketplace.change_seller(changePolicy=policy)
    placed = await marketplace.place(order("CHG1"))
    return placed["id"], f"{await simulated.base('CHG1')}/pvt/orders/CHG1/changes"


async def _told(marketplace: Marketplace, address: str, body: dict[str, Any]) -> None:
    """Send it until it is taken, as sellers do."""

    async def taken() -> bool:
        return bool((await marketplace.notify(address, body)).status_code == 200)

    await until(taken)


async def _attention(marketplace: Marketplace, order_id: str, code: str) -> dict[str, Any]:
    async def asked() -> dict[str, Any] | None:
        found: dict[str, Any] = await marketplace.get(order_id)
        return found if found["attention"] and found["attention"]["code"] == code else None

    found: dict[str, Any] = await until(asked)
    return found


async def test_a_recorded_change_leaves_the_value_and_asks_a_person(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    order_id, address = await _placed(marketplace, simulated)

    answer = await marketplace.notify(address, change())

    assert (answer.status_code, answer.json()) == (200, {"orderId": "CHG1", "receipt": "chg-1"})
    found = await _attention(marketplace, order_id, "change-received")
    assert "+0.00 and -3.00" in found["attention"]["reason"]
    assert found["money"]["total"] == 1300
    (told,) = found["chainOrders"][0]["changes"]
    assert (told["state"], told["discountValue"], told["requestId"]) == ("recorded", 300, "chg-1")
    assert told["receipt"] == answer.json()["receipt"]


async def test_an_accepted_change_moves_the_value(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    order_id, address = await _placed(marketplace, simulated, "accept")

    answer = await marketplace.notify(address, change(incrementValue="100"))

    assert answer.json()["receipt"] == "chg-1"
    await marketplace.notified(order_id, "applied")
    found = await marketplace.get(order_id)
    assert (found["money"]["total"], found["attention"]) == (1100, None)
    assert "chain-order.changed" in await marketplace.story(order_id)


async def test_a_value_is_never_below_nothing(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    order_id, address = await _placed(marketplace, simulated, "accept")

    await marketplace.notify(address, change(discountValue=5000))

    await marketplace.notified(order_id, "applied")
    assert (await marketplace.get(order_id))["money"]["total"] == 0


async def test_what_is_invoiced_may_be_all_of_it_after_a_change(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    order_id, address = await _placed(marketplace, simulated, "accept")
    await marketplace.notify(address.replace("/changes", "/invoice"), invoice(value=1000))
    await marketplace.becomes(order_id, "partially-invoiced")

    await marketplace.notify(address, change())

    await marketplace.becomes(order_id, "invoiced")


async def test_a_change_of_what_is_invoiced_asks_a_person(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    order_id, address = await _placed(marketplace, simulated, "accept")
    await marketplace.notify(address.replace("/changes", "/invoice"), invoice(value=1300))
    await marketplace.becomes(order_id, "invoiced")

    await marketplace.notify(address, change())

    found = await _attention(marketplace, order_id, "changed-after-invoice")
    assert (found["status"], found["money"]["total"], found["money"]["invoiced"]) == ("invoiced", 1000, 1300)
    assert "was invoiced with 13.00 and is worth 10.00 now" in found["attention"]["reason"]


async def test_a_change_of_what_was_cancelled_is_a_contradiction(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    order_id, address = await _placed(marketplace, simulated, "accept")
    await marketplace.notify(address.replace("/changes", "/cancel"), {})
    await marketplace.becomes(order_id, "cancelled")

    await marketplace.notify(address, change())

    found = await _attention(marketplace, order_id, "changed-after-cancellation")
    assert (found["status"], found["money"]["total"]) == ("cancelled", 1300)
    assert (await marketplace.get(order_id, "/notifications"))["items"][-1]["state"] == "conflict"


async def test_a_refused_change_is_answered_500_without_a_body_and_kept(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    order_id, address = await _placed(marketplace, simulated, "refuse")

    answers = [await marketplace.notify(address, change()) for _ in range(2)]

    assert [(answer.status_code, answer.content) for answer in answers] == [(500, b""), (500, b"")]
    await marketplace.notified(order_id, "applied")
    found = await marketplace.get(order_id)
    assert (found["money"]["total"], found["attention"]) == (1300, None)
    assert found["chainOrders"][0]["changes"][0]["state"] == "refused"


async def test_a_refused_change_is_taken_when_it_comes_again_under_another_policy(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    order_id, address = await _placed(marketplace, simulated, "refuse")
    assert (await marketplace.notify(address, change())).status_code == 500
    await marketplace.notified(order_id, "applied")
    await marketplace.change_seller(changePolicy="accept")

    answers = [await marketplace.notify(address, change()) for _ in range(2)]
    await marketplace.change_seller(changePolicy="refuse")
    answers.append(await marketplace.notify(address, change()))

    assert [(answer.status_code, answer.json()["receipt"]) for answer in answers] == [(200, "chg-1")] * 3
    assert len({answer.content for answer in answers}) == 1

    async def moved() -> bool:
        found = await marketplace.get(order_id)
        return (found["money"]["total"], found["chainOrders"][0]["changes"][0]["state"]) == (1000, "accepted")

    await until(moved)


async def test_a_repeat_with_a_request_id_gets_the_same_bytes_and_moves_nothing(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    order_id, address = await _placed(marketplace, simulated, "accept")

    answers = [await marketplace.notify(address, change()) for _ in range(3)]

    assert len({answer.content for answer in answers}) == 1
    await marketplace.notified(order_id, "applied")
    found = await marketplace.get(order_id)
    assert (found["money"]["total"], found["attention"]) == (1000, None)


@pytest.mark.parametrize("options", [{"commit_seconds": 2}])
async def test_a_change_is_not_stored_while_nobody_can_say_how_it_is_answered(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    order_id, address = await _placed(marketplace, simulated, "accept")

    async with marketplace.database.transaction() as session:
        await session.execute(text("lock table sellers in access exclusive mode"))
        refused = await marketplace.notify(address, change())

    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "2")
    assert (await marketplace.get(order_id, "/notifications"))["items"] == []
    await _told(marketplace, address, change())
    await marketplace.notified(order_id, "applied")


@pytest.mark.parametrize("spelled", ["/pvt/", "/pub/"])
async def test_a_repeat_without_a_request_id_asks_a_person(
    marketplace: Marketplace, simulated: SimulatedSeller, spelled: str
) -> None:
    order_id, address = await _placed(marketplace, simulated, "accept")
    first = await marketplace.notify(address, change(None))
    await marketplace.notified(order_id, "applied")

    again = await marketplace.notify(address.replace("/pvt/", spelled), change(None))

    assert again.status_code == 200
    assert len(first.json()["receipt"]) == 32
    assert (await _attention(marketplace, order_id, "change-repeated"))["money"]["total"] == 1000


async def test_a_repeat_that_came_before_the_order_was_placed_asks_a_person_too(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    await marketplace.change_seller(changePolicy="accept")
    await marketplace.client.post("/v1/sellers/acme/pause")
    order_id = (await marketplace.post_order(order("CHG1"))).json()["id"]
    async with marketplace.database.transaction() as session:
        body = await session.scalar(text("select placement_body from orders"))
    address = json.loads(body)["marketplaceServicesEndpoint"] + "/pvt/orders/CHG1/changes"
    for _ in range(2):
        assert (await marketplace.notify(address, change(None))).status_code == 200
        await marketplace.notified(order_id, "parked")
    await until(lambda: _looked_at(marketplace))

    await marketplace.client.post("/v1/sellers/acme/resume")

    assert (await _attention(marketplace, order_id, "change-repeated"))["money"]["total"] == 1000


async def _looked_at(marketplace: Marketplace) -> bool:
    """Whether every repeat has been looked at."""
    async with marketplace.database.transaction() as session:
        return not await session.scalar(text("select count(*) from repeats"))


async def test_other_content_under_a_request_id_is_a_conflict(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    order_id, address = await _placed(marketplace, simulated, "accept")
    await marketplace.notify(address, change())
    await marketplace.notified(order_id, "applied")

    await marketplace.notify(address, change(discountValue=400))

    await marketplace.notified(order_id, "conflict")
    assert (await _attention(marketplace, order_id, "change-differs"))["money"]["total"] == 1000


async def test_a_change_of_one_of_several_is_told_by_its_items(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    await simulated.behave(split="seller")
    await marketplace.change_seller(changePolicy="accept")
    items = [
        {"id": "8", "quantity": 1, "seller": "1", "price": 1200},
        {"id": "9", "quantity": 1, "seller": "2", "price": 100},
    ]
    placed = await marketplace.place(order("CHG1", items=items, marketplacePaymentValue=1400))
    base = (await simulated.book("CHG1"))[0]["marketplaceServicesEndpoint"]

    removed = [{"sellerItemId": "9", "quantity": 1, "price": 100}]
    await marketplace.notify(
        f"{base}/pvt/orders/CHG1/changes", change(discountValue=100, itemsRemoved=removed, itemsAdded=None)
    )

    await marketplace.notified(placed["id"], "applied")
    found = await marketplace.get(placed["id"])
    assert [chain["value"] for chain in found["chainOrders"]] == [1300, 0]


async def test_a_change_that_comes_again_is_said_of_the_chain_order_that_it_names(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    await simulated.behave(split="item")
    await marketplace.change_seller(changePolicy="accept")
    items = [{"id": id_, "quantity": 1, "seller": "1", "price": 600} for id_ in ("8", "9")]
    placed = await marketplace.place(order("CHG1", items=items))
    base = (await simulated.book("CHG1"))[0]["marketplaceServicesEndpoint"]
    for number in ("01", "02", "02"):
        await marketplace.notify(f"{base}/pvt/orders/CHG1-{number}/changes", change(None, itemsRemoved=[]))

    found = await _attention(marketplace, placed["id"], "change-repeated")

    assert "MKP-CHG1-02" in found["attention"]["reason"]


@pytest.mark.parametrize(
    "body", [{"discountValue": -1}, {"incrementValue": 1.5}, {"itemsRemoved": [{"quantity": 1}]}, {"itemsAdded": 7}]
)
async def test_a_change_that_cannot_be_meant_is_refused_and_kept(
    marketplace: Marketplace, simulated: SimulatedSeller, body: dict[str, Any]
) -> None:
    order_id, address = await _placed(marketplace, simulated)

    answer = await marketplace.notify(address, change(**body))

    assert answer.status_code == 400
    await marketplace.notified(order_id, "unreadable")
