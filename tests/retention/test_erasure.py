"""Erasure on request: the same as retention, at once, for an order that is final."""

from __future__ import annotations

from typing import Any

from ..builders import Marketplace, SimulatedSeller, cancellation, order
from .planted import PERSON, STREET, document, found_in, plant


async def erase(marketplace: Marketplace, order_id: str, **body: Any) -> Any:
    return await marketplace.client.post(f"/v1/orders/{order_id}/erasure", json={"reason": "request 17", **body})


async def test_erasure_does_the_same_at_once(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    sold = await plant(marketplace, simulated, "PLANT10")

    erased = await erase(marketplace, sold["id"])

    assert erased.status_code == 200, erased.text
    assert erased.json()["erased"]["placements"] == 2
    assert await found_in(marketplace.database) == set()
    assert (await marketplace.get(sold["id"]))["status"] == "invoiced"


async def test_what_a_seller_writes_where_an_id_belongs_is_told_to_nobody_and_goes(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("PLANT16"))
    base = await simulated.base("PLANT16")
    odd = f"{PERSON['firstName']} moved to {STREET}"
    changes = [{"requestId": odd, "incrementValue": cents, "discountValue": 0} for cents in (5, 6)]
    for path, body in [
        ("/pvt/orders/order-group/PLANT16/notifications", {**cancellation("MKP-PLANT16-01"), "id": odd}),
        *(("/pvt/orders/PLANT16/changes", change) for change in changes),
        ("/pvt/orders/order-group/PLANT16/notifications", cancellation("MKP-PLANT16-01")),
    ]:
        answer = await marketplace.notify(base + path, body)
        assert answer.status_code == 200, answer.text
    await marketplace.becomes(placed["id"], "cancelled")
    notes = (await marketplace.get(placed["id"], "/notifications"))["items"]
    told = [
        one for one in (await marketplace.get(placed["id"], "/timeline"))["items"] if one["type"] == "order.notified"
    ]

    before = await found_in(marketplace.database)
    await erase(marketplace, placed["id"])

    assert before == {"notifications.body", "changes.request_id", "receipts.answer"}
    assert [one["data"] for one in told] == [{"notificationId": min(note["id"] for note in notes)}]
    assert await found_in(marketplace.database) == set()
    again = await marketplace.notify(f"{base}/pvt/orders/PLANT16/changes", changes[0])
    assert again.json() == {"orderId": "PLANT16", "receipt": "[masked]"}


async def test_a_repeated_erasure_is_a_success(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    sold = await plant(marketplace, simulated, "PLANT11")
    await erase(marketplace, sold["id"])

    again = await erase(marketplace, sold["id"])

    assert again.status_code == 200
    assert again.json()["erased"] == {"placements": 0, "notifications": 0, "attempts": 0}
    assert (await marketplace.story(sold["id"])).count("order.sealed") == 1


async def test_an_erasure_that_names_itself_gets_its_first_answer_again(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    sold = await plant(marketplace, simulated, "PLANT14")
    address, named = f"/v1/orders/{sold['id']}/erasure", {"Idempotency-Key": "k"}

    first, again = [
        await marketplace.client.post(address, json={"reason": "request 17"}, headers=named) for _ in range(2)
    ]

    assert (first.status_code, first.json()["erased"]["placements"]) == (200, 2)
    assert again.json() == first.json()
    assert (again.headers["idempotency-replayed"], again.headers["etag"]) == ("true", first.headers["etag"])


async def test_an_open_order_is_not_erased(marketplace: Marketplace) -> None:
    placed = await marketplace.place(document("PLANT12"))

    refused = await erase(marketplace, placed["id"])

    assert (refused.status_code, refused.json()["code"]) == (409, "order-open")
    assert refused.json()["notBefore"] > "2026"
    assert "orders.placement_body" in await found_in(marketplace.database)


async def test_erasure_needs_a_reason(marketplace: Marketplace) -> None:
    placed = await marketplace.place()

    assert (await erase(marketplace, placed["id"], reason=" ")).status_code == 422


async def test_an_erased_order_is_not_corrected(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    await simulated.behave(rejectCode="CHK0198")
    order_id = (await marketplace.post_order(order("PLANT13"), wait=10)).json()["orderId"]
    await erase(marketplace, order_id)
    found = await marketplace.client.get(f"/v1/orders/{order_id}")

    refused = await marketplace.client.put(
        f"/v1/orders/{order_id}/placement", json=order("PLANT13"), headers={"If-Match": found.headers["etag"]}
    )

    assert (refused.status_code, refused.json()["code"]) == (409, "order-sealed")


async def test_the_same_document_is_still_the_same_order(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    placed = await marketplace.place(document("PLANT14"))
    await simulated.cancel("MKP-PLANT14-01")
    await marketplace.becomes(placed["id"], "cancelled")
    await erase(marketplace, placed["id"])

    again = await marketplace.post_order(document("PLANT14"))

    assert (again.status_code, again.json()["id"]) == (200, placed["id"])


async def test_a_repeated_notification_still_gets_its_first_answer(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("PLANT15"))
    path = f"{await simulated.base('PLANT15')}/pvt/orders/order-group/PLANT15/notifications"
    first = await marketplace.notify(path, cancellation("MKP-PLANT15-01"))
    await marketplace.becomes(placed["id"], "cancelled")
    await erase(marketplace, placed["id"])

    again = await marketplace.notify(path, cancellation("MKP-PLANT15-01"))

    assert (again.status_code, again.content) == (200, first.content)
