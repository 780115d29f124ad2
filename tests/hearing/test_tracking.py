"""Hearing of tracking under an invoice's number, and of cancellations in the form of sellers of one level."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import text

from ..builders import Marketplace, SimulatedSeller, invoice, order, until

TRACKING = {"courier": "Invented Couriers", "trackingNumber": "TR-1", "trackingUrl": "https://track.example/TR-1"}


@pytest.fixture
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    return getattr(request, "param", {})


async def _placed(marketplace: Marketplace, simulated: SimulatedSeller, group: str, *numbers: str) -> tuple[str, str]:
    """A placed order with invoices; its id and callback base."""
    placed = await marketplace.place(order(group))
    base = await simulated.base(group)
    for number in numbers:
        await marketplace.notify(f"{base}/pvt/orders/{group}/invoice", invoice(number, 100))
        await marketplace.notified(placed["id"], "applied")
    return placed["id"], base


async def _invoice(marketplace: Marketplace, order_id: str, number: str) -> dict[str, Any]:
    (chain,) = (await marketplace.get(order_id))["chainOrders"]
    (found,) = [one for one in chain["invoices"] if one["invoiceNumber"] == number]
    return dict(found)


@pytest.mark.parametrize("number", ["NF-1", "NF 8/1 #2"])
@pytest.mark.parametrize(
    ("method", "below"), [("POST", ""), ("PATCH", ""), ("POST", "/tracking"), ("PUT", "/tracking")]
)
async def test_each_address_takes_tracking(
    marketplace: Marketplace, simulated: SimulatedSeller, number: str, method: str, below: str
) -> None:
    order_id, base = await _placed(marketplace, simulated, "TRA1", number)

    answer = await marketplace.notify(
        f"{base}/pub/orders/TRA1/invoice/{quote(number, safe='')}{below}", TRACKING, method
    )

    assert answer.status_code == 200
    assert set(answer.json()) == {"date", "orderId", "receipt"}
    await marketplace.notified(order_id, "applied")
    assert (await _invoice(marketplace, order_id, number))["trackingNumber"] == "TR-1"
    assert "chain-order.tracked" in await marketplace.story(order_id)


async def test_a_number_with_a_slash_may_be_written_as_it_is(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    order_id, base = await _placed(marketplace, simulated, "TRA2", "NF/1/A")

    await marketplace.notify(f"{base}/pvt/orders/order-group/TRA2/invoice/NF/1/A/tracking", TRACKING)

    await marketplace.notified(order_id, "applied")
    assert (await _invoice(marketplace, order_id, "NF/1/A"))["courier"] == "Invented Couriers"


async def test_a_method_that_tracking_does_not_have_is_kept_and_not_found(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    order_id, base = await _placed(marketplace, simulated, "TRA3", "NF-1")

    answer = await marketplace.notify(f"{base}/pvt/orders/TRA3/invoice/NF-1", TRACKING, "PUT")

    assert answer.status_code == 404
    await marketplace.notified(order_id, "unreadable")


async def test_tracking_before_its_invoice_waits_for_it(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    order_id, base = await _placed(marketplace, simulated, "TRA4")
    await marketplace.notify(f"{base}/pvt/orders/TRA4/invoice/NF-9", TRACKING)
    assert (await marketplace.notified(order_id, "parked"))["reason"] == "invoice-unknown"

    await marketplace.notify(f"{base}/pvt/orders/TRA4/invoice", invoice("NF-9"))

    async def tracked() -> bool:
        chain = (await marketplace.becomes(order_id, "invoiced"))["chainOrders"][0]
        return bool(chain["invoices"][0]["trackingNumber"] == "TR-1")

    await until(tracked)
    assert (await marketplace.get(order_id))["attention"] is None


@pytest.mark.parametrize("options", [{"sweep_seconds": 0.05}], indirect=True)
async def test_tracking_whose_invoice_never_comes_is_told_in_the_end_and_no_longer_once_it_has_come(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    order_id, base = await _placed(marketplace, simulated, "TRA5")

    async def shown(code: str | None) -> None:
        async def asked() -> bool:
            found = (await marketplace.get(order_id))["attention"]
            return bool((found and found["code"]) == code)

        await until(asked, 30)

    for number in ("NF-8", "NF-9"):
        await marketplace.notify(f"{base}/pvt/orders/TRA5/invoice/{number}", TRACKING)
        await marketplace.notified(order_id, "parked")
    async with marketplace.database.transaction() as session:  # as if it had waited for a quarter of an hour
        await session.execute(text("update notifications set tries = 5, next_at = clock_timestamp()"))
    await shown("invoice-unknown")

    await marketplace.notify(f"{base}/pvt/orders/TRA5/invoice", invoice("NF-9", 300))

    async def only_one_waits() -> bool:
        notes = (await marketplace.get(order_id, "/notifications"))["items"]
        return [note["state"] for note in notes] == ["parked", "applied", "applied"]

    await until(only_one_waits)
    await shown("invoice-unknown")  # the other one waits yet
    await marketplace.notify(f"{base}/pvt/orders/TRA5/invoice", invoice("NF-8", 1000))

    await shown(None)
    assert "order.attention-cleared" in await marketplace.story(order_id)


async def test_an_empty_tracking_erases_nothing(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    order_id, base = await _placed(marketplace, simulated, "TRA6", "NF-1")
    await marketplace.notify(f"{base}/pvt/orders/TRA6/invoice/NF-1", TRACKING)
    await marketplace.notified(order_id, "applied")

    await marketplace.notify(f"{base}/pvt/orders/TRA6/invoice/NF-1", {"courier": "", "trackingNumber": None})

    await marketplace.notified(order_id, "ignored")
    assert (await _invoice(marketplace, order_id, "NF-1"))["trackingNumber"] == "TR-1"


async def test_a_delivery_is_dated_once(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    order_id, base = await _placed(marketplace, simulated, "TRA7", "NF-1")
    told = {"isDelivered": True, "deliveredDate": "2026-11-05 10:30", "events": [{"city": "Exampleville"}]}

    await marketplace.notify(f"{base}/pvt/orders/TRA7/invoice/NF-1/tracking", told, "PUT")

    await marketplace.notified(order_id, "applied")
    assert (await _invoice(marketplace, order_id, "NF-1"))["deliveredAt"] == "2026-11-05T10:30:00.000000Z"
    await marketplace.notify(f"{base}/pvt/orders/TRA7/invoice/NF-1/tracking", {"isDelivered": "true"}, "PUT")
    await marketplace.notified(order_id, "ignored")
    assert (await marketplace.story(order_id)).count("chain-order.delivered") == 1


async def test_an_earlier_tracking_that_comes_again_after_a_later_one_is_shown(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    order_id, base = await _placed(marketplace, simulated, "TRA8", "NF-1")
    address = f"{base}/pvt/orders/TRA8/invoice/NF-1"
    first = await marketplace.notify(address, TRACKING)
    await marketplace.notified(order_id, "applied")
    await marketplace.notify(address, {**TRACKING, "trackingNumber": "TR-2"})
    await marketplace.notified(order_id, "applied")

    again = await marketplace.notify(address, TRACKING)

    assert again.content == first.content

    async def reverted() -> bool:
        found = await marketplace.get(order_id)
        return found["attention"] is not None and found["attention"]["code"] == "reverted"

    await until(reverted)
    assert (await _invoice(marketplace, order_id, "NF-1"))["trackingNumber"] == "TR-2"


async def test_a_tracking_that_comes_again_is_not_held_against_a_return_of_the_same_number(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    order_id, base = await _placed(marketplace, simulated, "TRA7", "NF-1")
    await marketplace.notify(f"{base}/pvt/orders/TRA7/invoice", invoice("NF-1", 100, type="Input"))
    await marketplace.notify(f"{base}/pvt/orders/TRA7/invoice/NF-1", TRACKING)
    await marketplace.notified(order_id, "applied")

    await marketplace.notify(f"{base}/pvt/orders/TRA7/invoice/NF-1", TRACKING)

    await until(lambda: _looked_at(marketplace))
    assert (await marketplace.get(order_id))["attention"] is None


async def _looked_at(marketplace: Marketplace) -> bool:
    """Whether something came again, and that has been looked at."""
    async with marketplace.database.transaction() as session:
        repeated = await session.scalar(text("select sum(repeats) from receipts"))
        return bool(repeated) and not await session.scalar(text("select count(*) from repeats"))


@pytest.mark.parametrize("told", [(1, 2, 1), (1, 1, 2)])
async def test_what_came_again_while_it_waited_is_judged_by_what_had_come_before_it(
    marketplace: Marketplace, simulated: SimulatedSeller, told: tuple[int, ...]
) -> None:
    order_id, base = await _placed(marketplace, simulated, "TRB1")
    for number in told:
        tracking = {"trackingNumber": f"TR-{number}"}
        await marketplace.notify(f"{base}/pvt/orders/TRB1/invoice/NF-1", tracking)
    await until(lambda: _waits(marketplace))

    await marketplace.notify(f"{base}/pvt/orders/TRB1/invoice", invoice("NF-1", 100))

    async def tracked() -> bool:
        notes = (await marketplace.get(order_id, "/notifications"))["items"]
        return {note["state"] for note in notes} == {"applied"}

    await until(tracked)
    found = await marketplace.get(order_id)
    assert (found["attention"] or {}).get("code") == ("reverted" if told == (1, 2, 1) else None)
    assert (await _invoice(marketplace, order_id, "NF-1"))["trackingNumber"] == "TR-2"


async def _waits(marketplace: Marketplace) -> bool:
    """Whether both are parked, and the repeat has been looked at."""
    async with marketplace.database.transaction() as session:
        parked = await session.scalar(text("select count(*) from notifications where state = 'parked'"))
        return parked == 2 and not await session.scalar(text("select count(*) from repeats"))


async def test_a_bare_invoice_that_comes_again_after_its_tracking_is_no_news(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    """Sellers send the invoice first and its tracking later; a late repeat of the first takes nothing back."""
    order_id, base = await _placed(marketplace, simulated, "TRA9", "NF-1")
    await marketplace.notify(f"{base}/pvt/orders/TRA9/invoice/NF-1", TRACKING)
    await marketplace.notified(order_id, "applied")

    await marketplace.notify(f"{base}/pvt/orders/TRA9/invoice", invoice("NF-1", 100))

    await asyncio.sleep(0.5)
    assert (await marketplace.get(order_id))["attention"] is None


CANCELLATIONS = [b"", b"{}", b'{"reason": "out of stock", "requestedByUser": false}', b'{"cancellationRequestId": 7}']


@pytest.mark.parametrize("body", CANCELLATIONS)
@pytest.mark.parametrize("named", ["/pvt/orders/TRAA/cancel", "/pub/orders/MKP-TRAA-01/cancel"])
async def test_a_cancellation_of_one_level_needs_no_body(
    marketplace: Marketplace, simulated: SimulatedSeller, named: str, body: bytes
) -> None:
    order_id, base = await _placed(marketplace, simulated, "TRAA")

    answer = await marketplace.notify(base + named, body)

    assert answer.status_code == 200
    assert set(answer.json()) == {"date", "orderId", "receipt"}
    await marketplace.becomes(order_id, "cancelled")
