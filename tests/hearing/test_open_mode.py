"""The seed page's addresses at the root, without any secret: development only."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import text

from chain_orders.notifications.models import Notification

from ..builders import Marketplace, SimulatedSeller, cancellation, invoice, order, until

CANCELLATION = "/pvt/orders/order-group/OPEN1/notifications/seller-cancellation"
INVOICE = "/api/oms/pvt/orders/OPEN1/invoice"


@pytest.fixture
def options() -> dict[str, Any]:
    return {"open_callbacks": True}


async def test_the_seeds_invoice_address_works_at_the_root(marketplace: Marketplace) -> None:
    placed = await marketplace.place(order("OPEN1"))

    answers = [await marketplace.notify(marketplace.url + INVOICE, invoice()) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].content == answers[1].content
    assert set(answers[0].json()) == {"date", "orderId", "receipt"}
    await marketplace.becomes(placed["id"], "invoiced")


async def test_the_seeds_cancellation_address_works_at_the_root(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("OPEN1"))

    await simulated.cancel("MKP-OPEN1-01", times=0)

    answer = await marketplace.notify(marketplace.url + CANCELLATION, cancellation("MKP-OPEN1-01"))

    assert answer.status_code == 200
    await marketplace.becomes(placed["id"], "cancelled")


async def test_a_strangers_cancellation_that_the_seller_does_not_show_is_not_believed(marketplace: Marketplace) -> None:
    placed = await marketplace.place(order("OPEN1"))

    await marketplace.notify(marketplace.url + CANCELLATION, cancellation("MKP-OPEN1-01"))

    await marketplace.notified(placed["id"], "conflict")
    found = await marketplace.get(placed["id"])
    assert (found["status"], found["attention"]["code"]) == ("placed", "not-at-seller")


async def test_what_comes_before_its_order_is_applied_once_the_order_is_known(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    answer = await marketplace.notify(marketplace.url + INVOICE, invoice())
    assert answer.status_code == 200
    await asyncio.sleep(0.3)

    placed = await marketplace.place(order("OPEN1"))

    await marketplace.becomes(placed["id"], "invoiced")


async def test_one_that_cannot_be_looked_up_holds_up_no_other(marketplace: Marketplace) -> None:
    placed = await marketplace.place(order("OPEN1"))
    poison = Notification(
        dedupe_key=b"poison", receipt="r", kind="invoice", caller="open", path=b"pvt/orders/%00/invoice",
        headers=b"{}", body=b"{}",
    )  # fmt: skip
    async with marketplace.database.transaction() as session:
        session.add(poison)

    await marketplace.notify(marketplace.url + INVOICE, invoice())

    await marketplace.becomes(placed["id"], "invoiced")


class TestPatient:
    """The seller is given time, as it is by default."""

    @pytest.fixture
    def options(self) -> dict[str, Any]:
        return {"open_callbacks": True, "confirm_at": "0.1,600"}

    async def test_what_waits_for_a_read_has_the_seller_read_as_often_as_planned_and_no_more(
        self, marketplace: Marketplace
    ) -> None:
        await marketplace.place(order("OPEN1"))

        await marketplace.notify(marketplace.url + CANCELLATION, cancellation("MKP-OPEN1-01"))

        async def asked(question: str) -> Any:
            async with marketplace.database.transaction() as session:
                return await session.scalar(text(question))

        parked = "exists (select 1 from notifications where state = 'parked')"
        await until(lambda: asked(f"select {parked} and (select sum(times) from seen) >= 2"))
        assert await asked("select next_at > clock_timestamp() + interval '300 s' from reads") is True


class TestClosed:
    """The default."""

    @pytest.fixture
    def options(self) -> dict[str, Any]:
        return {}

    @pytest.mark.parametrize("path", [CANCELLATION, INVOICE])
    async def test_without_open_mode_the_root_is_not_found(self, marketplace: Marketplace, path: str) -> None:
        await marketplace.place(order("OPEN1"))

        answer = await marketplace.notify(marketplace.url + path, invoice())

        assert answer.status_code == 404
