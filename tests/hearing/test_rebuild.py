"""Applying everything again: nothing differs after whatever happened, and what was spoiled is found and repaired."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import subprocess
import sys
from typing import Any

import pytest
from sqlalchemy import text

from chain_orders.notifications import rebuild

from ..builders import Marketplace, SimulatedSeller, cancellation, invoice, order
from ..faults import nursery
from .test_changes import change
from .test_resolution import resolve


async def _report(marketplace: Marketplace, *, repairing: bool = False) -> rebuild.Report:
    *_, report = [one async for one in rebuild.run(marketplace.database, None, repairing=repairing)]
    return report


async def _lived(marketplace: Marketplace, simulated: SimulatedSeller) -> list[dict[str, Any]]:
    """Orders that went through about everything."""
    await marketplace.change_seller(changePolicy="accept")
    orders = [await marketplace.place(order(f"REB{n}")) for n in range(6)]
    bases = [await simulated.base(f"REB{n}") for n in range(6)]
    # Authorized, partly invoiced, tracked, changed, and thereby invoiced.
    await marketplace.authorize(orders[0]["id"])
    await marketplace.becomes(orders[0]["id"], "authorized")
    await marketplace.notify(f"{bases[0]}/pvt/orders/REB0/invoice/NF-1/tracking", {"isDelivered": True}, "PUT")
    await marketplace.notify(f"{bases[0]}/pvt/orders/REB0/invoice", invoice(value=1000))
    await marketplace.becomes(orders[0]["id"], "partially-invoiced")
    await marketplace.notify(f"{bases[0]}/pvt/orders/REB0/invoice/NF-1", {"trackingNumber": "TR-1"}, "PATCH")
    await marketplace.notify(f"{bases[0]}/pvt/orders/REB0/changes", change())
    await marketplace.becomes(orders[0]["id"], "invoiced")
    # Invoiced, then cancelled, and a person decided.
    await simulated.invoice("MKP-REB1-01")
    await marketplace.becomes(orders[1]["id"], "invoiced")
    await simulated.cancel("MKP-REB1-01")
    await marketplace.notified(orders[1]["id"], "conflict")
    found = await marketplace.get(orders[1]["id"])
    decided = await marketplace.client.post(
        f"/v1/orders/{found['id']}/resolution",
        json={"decision": "cancelled", "reason": "so the seller says"},
        headers={"If-Match": f'"{found["version"]}"'},
    )
    assert decided.status_code == 200
    # Cancelled, then invoiced.
    await simulated.cancel("MKP-REB2-01")
    await marketplace.becomes(orders[2]["id"], "cancelled")
    await marketplace.notify(f"{bases[2]}/pvt/orders/REB2/invoice", invoice())
    await marketplace.notified(orders[2]["id"], "conflict")
    # Asked to be cancelled before its authorization left, and denied.
    await simulated.behave(cancellation="deny")
    await marketplace.client.post("/v1/sellers/acme/pause")
    await marketplace.authorize(orders[3]["id"])
    await marketplace.ask_to_cancel(orders[3]["id"])
    await marketplace.client.post("/v1/sellers/acme/resume")
    await marketplace.becomes(orders[3]["id"], "placed")
    # Invoiced where nobody told us: only a read shows it. A return beside it.
    await simulated.invoice("MKP-REB4-01", times=0)
    await marketplace.notify(f"{bases[4]}/pvt/orders/REB4/invoice", invoice("DEV-1", 100, type="Input"))
    await marketplace.becomes(orders[4]["id"], "invoiced")
    # Something unreadable, something foreign, something of another type.
    await marketplace.notify(f"{bases[5]}/pvt/orders/REB5/invoice", b"{")
    await marketplace.notify(f"{bases[5]}/pvt/orders/OTHER/invoice", invoice())
    await marketplace.notify(f"{bases[5]}/pvt/orders/order-group/REB5/notifications", cancellation("x") | {"id": "x"})
    await marketplace.notified(orders[5]["id"], "ignored")
    return orders


async def test_whatever_happened_applied_again_it_is_the_same(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    orders = await _lived(marketplace, simulated)

    report = await _report(marketplace)

    assert report.differences == {}
    assert report.orders == len(orders)


async def _holds(marketplace: Marketplace) -> None:
    """Applied again, and again after a repair that had nothing to do, it is the same."""
    for _ in range(2):
        assert (await _report(marketplace, repairing=True)).differences == {}


async def test_after_every_act_it_is_the_same(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    placed = await marketplace.place(order("ACT1"))
    base = f"{await simulated.base('ACT1')}/pvt/orders/ACT1"

    async def tell(below: str, body: dict[str, Any]) -> None:
        await marketplace.notify(base + below, body)
        await marketplace.notified(placed["id"], "applied")
        await _holds(marketplace)

    async def decide(decision: str) -> None:
        decided = await resolve(marketplace, await marketplace.get(placed["id"]), decision)
        assert decided.status_code == 200, decided.text
        await _holds(marketplace)

    await _holds(marketplace)
    await tell("/changes", change("a", incrementValue=100, discountValue=0))
    await decide("dismiss")
    await tell("/changes", change("b", incrementValue=50, discountValue=0))
    await decide("accept-change")
    await tell("/invoice", invoice("A", 1000, trackingNumber="TR-1"))
    await marketplace.change_seller(changePolicy="refuse")
    await tell("/changes", change("c", discountValue=10))
    await marketplace.change_seller(changePolicy="accept")
    await tell("/changes", change("d", discountValue=50))
    await tell("/invoice", invoice("B", 300))

    found = await marketplace.get(placed["id"])
    assert (found["status"], found["money"]["total"]) == ("invoiced", 1300)
    assert [one["state"] for one in found["chainOrders"][0]["changes"]] == [
        "dismissed", "accepted", "refused", "accepted",
    ]  # fmt: skip


async def test_a_value_that_the_seller_did_not_answer_does_not_grow(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("ACT2"))
    async with marketplace.database.transaction() as session:
        without = "convert_to(replace(convert_from(response, 'utf8'), :told, ''), 'utf8')"
        await session.execute(text(f"update attempts set response = {without}"), {"told": '"value":1300,'})
    base = await simulated.base("ACT2")
    await marketplace.notify(f"{base}/pvt/orders/ACT2/changes", change(incrementValue=100, discountValue=0))
    await marketplace.notified(placed["id"], "applied")

    await resolve(marketplace, await marketplace.get(placed["id"]), "accept-change")

    await _holds(marketplace)
    assert (await marketplace.get(placed["id"]))["money"]["total"] == 1400


async def test_a_clock_that_went_back_changes_nothing(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    placed = await marketplace.place(order("ACT3"))
    base = f"{await simulated.base('ACT3')}/pvt/orders"
    await marketplace.notify(f"{base}/ACT3/invoice", invoice())
    await marketplace.becomes(placed["id"], "invoiced")
    await marketplace.notify(f"{base}/order-group/ACT3/notifications", cancellation("MKP-ACT3-01"))
    await marketplace.notified(placed["id"], "conflict")
    await resolve(marketplace, await marketplace.get(placed["id"]), "cancelled")

    async with marketplace.database.transaction() as session:
        await session.execute(text("update notifications set applied_at = applied_at - interval '1 hour' * id"))

    await _holds(marketplace)


async def test_an_authorization_that_is_given_again_is_later_than_its_refusal(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    """What had waited before was given a number too, and moved nothing."""
    placed = await marketplace.place(order("ACT4"))
    await simulated.behave(fail=1, failStatus=400, applyTo=["authorize"])
    await marketplace.notify(f"{await simulated.base('ACT4')}/pvt/orders/ACT4/invoice/NF-1", {"courier": "Invented"})
    await marketplace.notified(placed["id"], "parked")
    await marketplace.authorize(placed["id"])
    await marketplace.becomes(placed["id"], "placed")
    await marketplace.client.post("/v1/sellers/acme/pause")

    await marketplace.authorize(placed["id"])

    await _holds(marketplace)
    assert (await marketplace.get(placed["id"]))["status"] == "authorizing"


SPOILED = {
    "status is cancelled": "update chain_orders set status = 'cancelled'",
    "value is 0.01, should be 13.00": "update chain_orders set value_cents = 1",
    "is missing": "delete from invoices",
    "another value": "update invoices set value_cents = 7",
    "another tracking number": "update invoices set tracking_number = 'TR-9'",
    "state is accepted": "update changes set state = 'accepted'",
    "discount is 0.07, should be 3.00": "update changes set discount_cents = 7",
    "a change of +0.00 and -3.00 is missing": "delete from changes",
    "was never told": "insert into invoices (chain_order_key, type, number, value_cents) "
    "select key, 'Output', 'NF-0', 1 from chain_orders",
}


@pytest.mark.parametrize("told", SPOILED)
async def test_what_was_spoiled_is_found_and_repaired(
    marketplace: Marketplace, simulated: SimulatedSeller, told: str
) -> None:
    placed = await marketplace.place(order("REBX"))
    base = await simulated.base("REBX")
    await marketplace.notify(f"{base}/pvt/orders/REBX/invoice", invoice(trackingNumber="TR-1"))
    await marketplace.becomes(placed["id"], "invoiced")
    await marketplace.notify(f"{base}/pvt/orders/REBX/changes", change())
    await marketplace.notified(placed["id"], "applied")
    before = await marketplace.get(placed["id"])
    async with marketplace.database.transaction() as session:
        await session.execute(text(SPOILED[told]))

    report = await _report(marketplace)
    assert [line for lines in report.differences.values() for line in lines if told in line], report.differences
    await _report(marketplace, repairing=True)

    assert (await _report(marketplace)).differences == {}
    after = await marketplace.get(placed["id"])
    assert after["chainOrders"] == before["chainOrders"]
    assert (after["status"], after["money"]) == (before["status"], before["money"])
    assert "order.rebuilt" in await marketplace.story(placed["id"])


async def test_the_command_says_what_differs_by_its_exit_code(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("REBY"))
    await simulated.invoice("MKP-REBY-01")
    await marketplace.becomes(placed["id"], "invoiced")

    async def rebuilt(*argv: str) -> nursery.Ended:
        address = {"CHAIN_ORDERS_DATABASE_URL": marketplace.database.url}
        return await asyncio.to_thread(nursery.run, "rebuild", *argv, **address)

    assert (await rebuilt()).code == 0
    async with marketplace.database.transaction() as session:
        await session.execute(text("delete from invoices"))
    differing = await rebuilt("--order", placed["id"])
    assert (differing.code, "is missing" in differing.out) == (4, True), differing.complaint
    assert (await rebuilt("--order", placed["id"], "--repair")).code == 0
    acts = (await marketplace.client.get("/v1/audit", params={"actor": "command:rebuild"})).json()["items"]
    assert [(act["action"], act["object"]) for act in acts] == [("order.repair", f"order:{placed['id']}")]
    assert (await rebuilt("--order", placed["id"])).code == 0
    assert (await rebuilt("--order", "01a20b59-09d3-7275-80c3-c4690870cce9")).code == 1


async def test_the_command_shows_how_far_it_is(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    for group in ("REBP1", "REBP2"):
        await marketplace.place(order(group))
    ours, theirs = pty.openpty()

    command = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "chain_orders", "rebuild", stdout=subprocess.DEVNULL, stderr=theirs,
        env={**os.environ, "CHAIN_ORDERS_DATABASE_URL": marketplace.database.url, "TERM": "xterm", "COLUMNS": "120"},
    )  # fmt: skip

    os.close(theirs)
    shown = await asyncio.to_thread(_all_that_is_shown, ours)
    assert await command.wait() == 0
    assert "applied again" in shown
    assert "2/2" in shown


def _all_that_is_shown(terminal: int) -> str:
    """What is written to it until nobody holds its other end, which some systems tell by an error."""
    parts = []
    with open(terminal, "rb", buffering=0) as reader, contextlib.suppress(OSError):
        while part := reader.read(4096):
            parts.append(part)
    return b"".join(parts).decode()
