"""Hearing of invoices: every address, every spelling of a value, repeats, and contradictions."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from chain_orders.database import Base

from ..builders import Marketplace, SimulatedSeller, invoice, order, sample, until

ADDRESSES = [
    "/api/oms/pvt/orders/{group}/invoice",
    "/api/oms/pub/orders/{group}/invoice",
    "/pvt/orders/{group}/invoice",
    "/pub/orders/{group}/invoice",
    "/pvt/orders/order-group/{group}/invoice",
    "/pub/orders/order-group/{group}/invoice",
    "/api/oms/pvt/orders/MKP-{group}-01/invoice",
    "/api/oms/pvt/orders/{group}-01/invoice",
    "/api/oms/pvt/orders/00-MKP-{group}-01/invoice",
    "//api/oms//pvt/orders/{group}/invoice/",
]


async def _placed(marketplace: Marketplace, simulated: SimulatedSeller, group: str) -> tuple[str, str]:
    """A placed order's id and callback base."""
    placed = await marketplace.place(order(group))
    return placed["id"], await simulated.base(group)


@pytest.mark.parametrize("address", ADDRESSES)
async def test_each_address_takes_an_invoice(
    marketplace: Marketplace, simulated: SimulatedSeller, address: str
) -> None:
    order_id, base = await _placed(marketplace, simulated, "INV1")

    answer = await marketplace.notify(base + address.format(group="INV1"), invoice())

    assert answer.status_code == 200
    assert set(answer.json()) == {"date", "orderId", "receipt"}
    assert (await marketplace.becomes(order_id, "invoiced"))["money"]["invoiced"] == 1300


async def test_a_repeat_gets_the_same_bytes(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    order_id, base = await _placed(marketplace, simulated, "INV2")
    first = await marketplace.notify(f"{base}/pvt/orders/INV2/invoice", invoice())

    again = [await marketplace.notify(f"{base}/pvt/orders/INV2/invoice", invoice()) for _ in range(3)]

    assert {answer.content for answer in again} == {first.content}
    note = await marketplace.notified(order_id, "applied")
    assert note["repeats"] == 3
    assert len((await marketplace.get(order_id))["chainOrders"][0]["invoices"]) == 1


async def test_the_same_content_spelled_otherwise_is_a_repeat(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    _, base = await _placed(marketplace, simulated, "INV3")
    first = await marketplace.notify(f"{base}/pvt/orders/INV3/invoice", invoice(value=1300))

    again = await marketplace.notify(f"{base}/pvt/orders/INV3/invoice", dict(reversed(invoice(value="1300").items())))

    assert again.content == first.content


async def test_a_changed_mac_is_not_found(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    order_id, base = await _placed(marketplace, simulated, "INV4")
    changed = base[:-1] + ("a" if base[-1] != "a" else "b")

    answer = await marketplace.notify(f"{changed}/pvt/orders/INV4/invoice", invoice())

    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
    assert base.rsplit("/", 1)[1] not in answer.text
    assert (await marketplace.get(order_id, "/notifications"))["items"] == []


async def test_a_stranger_is_told_so_without_the_database(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    _, base = await _placed(marketplace, simulated, "INV4")
    changed = base[:-1] + ("a" if base[-1] != "a" else "b")

    async with marketplace.database.transaction() as session:
        await session.execute(text(f"lock table {', '.join(Base.metadata.tables)} in access exclusive mode"))
        answer = await marketplace.notify(f"{changed}/pvt/orders/INV4/changes", {})

    assert answer.status_code == 404


async def test_partial_invoices_add_up(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    order_id, base = await _placed(marketplace, simulated, "INV5")
    await marketplace.notify(f"{base}/pvt/orders/INV5/invoice", invoice("NF-1", 300))
    assert (await marketplace.becomes(order_id, "partially-invoiced"))["money"]["remaining"] == 1000

    await marketplace.notify(f"{base}/pvt/orders/INV5/invoice", invoice("NF-2", 1000))

    assert (await marketplace.becomes(order_id, "invoiced"))["money"]["remaining"] == 0


async def test_a_return_counts_apart(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    order_id, base = await _placed(marketplace, simulated, "INV6")
    await marketplace.notify(f"{base}/pvt/orders/INV6/invoice", invoice())
    await marketplace.becomes(order_id, "invoiced")

    await marketplace.notify(f"{base}/pvt/orders/INV6/invoice", invoice("DEV-1", 300, type="Input"))

    await marketplace.notified(order_id, "applied")
    found = await marketplace.get(order_id)
    assert (found["status"], found["money"]["invoiced"]) == ("invoiced", 1300)


@pytest.mark.parametrize(
    ("told", "code", "why", "status"),
    [
        (invoice(value=1301), "over-invoiced", "13.01 exceed the chain order's value of 13.00", "invoiced"),
        (invoice(value=1300, type="Input"), "over-returned", "exceed what was invoiced", "placed"),
        (invoice("NF 1/2"), "invoice-number-odd", "lose tracking", "invoiced"),
    ],
)
async def test_what_does_not_add_up_is_applied_and_asks_a_person(
    marketplace: Marketplace, simulated: SimulatedSeller, told: dict[str, Any], code: str, why: str, status: str
) -> None:
    order_id, base = await _placed(marketplace, simulated, "ODD1")

    await marketplace.notify(f"{base}/pvt/orders/ODD1/invoice", told)

    await marketplace.notified(order_id, "applied")
    found = await marketplace.get(order_id)
    assert (found["attention"]["code"], found["status"]) == (code, status)
    assert why in found["attention"]["reason"]
    assert found["money"]["invoiced"] + found["money"]["returned"] == told["invoiceValue"]


async def test_amounts_that_add_up_after_all_ask_nobody(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    order_id, base = await _placed(marketplace, simulated, "INVD")
    await marketplace.change_seller(changePolicy="accept")

    async def asked(below: str, told: dict[str, Any]) -> list[str]:
        """What asks for attention, or does no more, once this is applied too."""
        await marketplace.notify(f"{base}/pvt/orders/INVD/{below}", told)
        await marketplace.notified(order_id, "applied")
        events = (await marketplace.get(order_id, "/timeline"))["items"]
        return [event["type"].partition(".")[2] for event in events if "over-" in event["data"].get("code", "")]

    too_high, over = "attention", "attention-cleared"
    assert await asked("invoice", invoice("DEV-1", 300, type="Input")) == [too_high]
    assert await asked("invoice", invoice("NF-1", 1400)) == [too_high, too_high, over]
    assert await asked("changes", {"requestId": "c", "incrementValue": 100}) == [too_high, too_high, over, over]


async def test_another_value_under_a_known_number_is_a_conflict(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    order_id, base = await _placed(marketplace, simulated, "INV7")
    await marketplace.notify(f"{base}/pvt/orders/INV7/invoice", invoice("NF-1", 300))
    await marketplace.becomes(order_id, "partially-invoiced")

    await marketplace.notify(f"{base}/pvt/orders/INV7/invoice", invoice("NF-1", 400))

    await marketplace.notified(order_id, "conflict")
    found = await marketplace.get(order_id)
    assert (found["money"]["invoiced"], found["attention"]["code"]) == (300, "invoice-changed")
    assert "the value 4.00 instead of 3.00" in found["attention"]["reason"]


async def test_tracking_that_comes_later_is_merged(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    order_id, base = await _placed(marketplace, simulated, "INV8")
    await marketplace.notify(f"{base}/pvt/orders/INV8/invoice", invoice())
    tracked = invoice(courier="Invented Couriers", trackingNumber="TR-1", trackingUrl="https://track.example/TR-1")

    await marketplace.notify(f"{base}/pvt/orders/INV8/invoice", tracked)

    await marketplace.notified(order_id, "applied")

    (found,) = (await marketplace.becomes(order_id, "invoiced"))["chainOrders"][0]["invoices"]
    assert found["trackingNumber"] == "TR-1"


async def test_an_invoice_before_the_placement_is_answered_is_applied_after_it(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    await simulated.behave(invoiceBeforeAnswer=True)

    accepted = (await marketplace.post_order(order("INV9"))).json()

    await marketplace.becomes(accepted["id"], "invoiced")


CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"invoiceValue": 13.5}, "/invoiceValue"),
    ({"invoiceValue": -1}, "/invoiceValue"),
    ({"invoiceNumber": " "}, "/invoiceNumber"),
    ({"issuanceDate": "yesterday"}, "/issuanceDate"),
    ({"type": "Gift"}, "/type"),
]


@pytest.mark.parametrize(
    ("changes", "pointer"), CHANGES, ids=[pointer + str(n) for n, (_, pointer) in enumerate(CHANGES)]
)
async def test_what_cannot_be_meant_is_refused_with_its_field_and_kept(
    marketplace: Marketplace, simulated: SimulatedSeller, changes: dict[str, Any], pointer: str
) -> None:
    order_id, base = await _placed(marketplace, simulated, "INVA")

    answer = await marketplace.notify(f"{base}/pvt/orders/INVA/invoice", invoice(**changes))

    assert answer.status_code == 400
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]
    await marketplace.notified(order_id, "unreadable")
    assert (await marketplace.get(order_id))["attention"]["code"] == "notification-unreadable"


@pytest.mark.parametrize("date", ["0001-01-01T00:00:00", "9999-12-31T23:59:59.9999999Z"])
async def test_the_ends_of_the_calendar_are_no_dates_and_the_order_is_shown(
    marketplace: Marketplace, simulated: SimulatedSeller, date: str
) -> None:
    order_id, base = await _placed(marketplace, simulated, "INVC")
    await marketplace.notify(f"{base}/pvt/orders/INVC/invoice", invoice(issuanceDate=date))
    await marketplace.notify(
        f"{base}/pvt/orders/INVC/invoice/NF-1/tracking", {"isDelivered": True, "deliveredDate": date}
    )

    async def delivered() -> bool:
        return "chain-order.delivered" in await marketplace.story(order_id)

    await until(delivered)
    (shown,) = (await marketplace.client.get("/v1/orders")).json()["items"]
    (known,) = shown["chainOrders"][0]["invoices"]
    assert (known["issuanceDate"], known["deliveredAt"][:2]) == (None, "20")  # delivered when it was told


async def test_the_seeds_broken_sample_is_explained_and_repaired_it_works(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    order_id, base = await _placed(marketplace, simulated, "INVB")
    broken = sample("seed/invoice-broken.json")

    refused = await marketplace.notify(f"{base}/api/oms/pvt/orders/INVB/invoice", broken)

    assert refused.status_code == 400
    assert "a text must start with a quotation mark" in refused.json()["detail"]
    opened, _, _ = broken.replace(b'"invoiceUrl":http', b'"invoiceUrl":"http').rpartition(b"[")
    repaired = opened + b"]}"
    answer = await marketplace.notify(f"{base}/api/oms/pvt/orders/INVB/invoice", repaired)
    assert answer.status_code == 200, answer.text
    await marketplace.notified(order_id, "applied")


async def test_a_foreign_id_below_an_orders_base_waits_for_a_person(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    order_id, base = await _placed(marketplace, simulated, "INVC")

    answer = await marketplace.notify(f"{base}/pvt/orders/SOMEONE-ELSES/invoice", invoice())

    assert answer.status_code == 200
    await marketplace.notified(order_id, "parked")
    found = await marketplace.get(order_id)
    assert (found["status"], found["attention"]["code"]) == ("placed", "foreign-id")


async def test_a_compressed_body_is_refused(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    _, base = await _placed(marketplace, simulated, "INVD")
    headers = {"Content-Encoding": "gzip"}

    answer = await marketplace.client.post(f"{base}/pvt/orders/INVD/invoice", content=b"x", headers=headers)

    assert answer.status_code == 415


async def test_a_body_over_the_limit_is_refused(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    _, base = await _placed(marketplace, simulated, "INVE")

    answer = await marketplace.notify(f"{base}/pvt/orders/INVE/invoice", b" " * (4 * 1024 * 1024 + 1))

    assert answer.status_code == 413
