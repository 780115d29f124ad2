"""Deciding contradictions, and applying again what could not be applied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from chain_orders.notifications import rebuild

from ..builders import Marketplace, SimulatedSeller, cancellation, invoice, order, until
from .test_changes import change


async def _cancelled_after_invoice(marketplace: Marketplace, simulated: SimulatedSeller) -> dict[str, Any]:
    placed = await marketplace.place(order("RES1"))
    await simulated.invoice("MKP-RES1-01")
    await marketplace.becomes(placed["id"], "invoiced")
    await simulated.cancel("MKP-RES1-01")
    await marketplace.notified(placed["id"], "conflict")
    found: dict[str, Any] = await marketplace.get(placed["id"])
    return found


async def resolve(
    marketplace: Marketplace, found: dict[str, Any], decision: str, *, match: str | None = None, **body: Any
) -> httpx.Response:
    match = match or f'"{found["version"]}"'
    body = {"decision": decision, "reason": "the seller says so on the telephone", **body}
    return await marketplace.client.post(
        f"/v1/orders/{found['id']}/resolution", json=body, headers={"If-Match": match} if match != "none" else {}
    )


@pytest.mark.parametrize(("decision", "status"), [("cancelled", "cancelled"), ("invoiced", "invoiced")])
async def test_a_person_decides_which_fact_holds(
    marketplace: Marketplace, simulated: SimulatedSeller, decision: str, status: str
) -> None:
    found = await _cancelled_after_invoice(marketplace, simulated)

    answer = await resolve(marketplace, found, decision, chainOrderId="MKP-RES1-01")

    assert answer.status_code == 200, answer.text
    assert (answer.json()["status"], answer.json()["attention"]) == (status, None)
    assert answer.json()["turn"] == "nobody"
    (event,) = [
        one for one in (await marketplace.get(found["id"], "/timeline"))["items"] if one["type"] == "order.resolved"
    ]
    assert event["actor"].startswith("operator:")
    assert event["data"]["reason"] == "the seller says so on the telephone"
    listed = await marketplace.client.get("/v1/notifications", params={"state": "conflict"})
    assert listed.json()["items"] == []


async def test_what_was_cancelled_may_be_decided_to_be_invoiced(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("RES1"))
    base = await simulated.base("RES1")
    await simulated.cancel("MKP-RES1-01")
    await marketplace.becomes(placed["id"], "cancelled")
    await marketplace.notify(f"{base}/pvt/orders/RES1/invoice", invoice())
    await marketplace.notified(placed["id"], "conflict")

    answer = await resolve(marketplace, await marketplace.get(placed["id"]), "invoiced")

    assert answer.json()["status"] == "invoiced"
    assert answer.json()["money"]["remaining"] == 0


async def _two_contradictions(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> tuple[dict[str, Any], Sequence[str]]:
    """An order of two chain orders that were invoiced, and cancelled then; its chain orders' ids."""
    await simulated.behave(split="seller")
    items = [
        {"id": "8", "quantity": 1, "seller": "1", "price": 1200},
        {"id": "9", "quantity": 1, "seller": "2", "price": 100},
    ]
    placed = await marketplace.place(order("RES2", items=items, marketplacePaymentValue=1400))
    base = (await simulated.book("RES2"))[0]["marketplaceServicesEndpoint"]
    ids = [chain["chainOrderId"] for chain in placed["chainOrders"]]
    for chain in placed["chainOrders"]:
        told = invoice("NF-1", chain["value"], items=[])
        await marketplace.notify(f"{base}/pvt/orders/{chain['chainOrderId']}/invoice", told)
    await marketplace.becomes(placed["id"], "invoiced")
    for chain in ids:
        path = "pvt/orders/order-group/RES2/notifications/seller-cancellation"
        await marketplace.notify(f"{base}/{path}", cancellation(chain))
        await marketplace.notified(placed["id"], "conflict")
    return await marketplace.get(placed["id"]), ids


async def _heard(marketplace: Marketplace, order_id: str, kind: str) -> list[str]:
    """The states of what was told of this kind, in its order."""
    notes = (await marketplace.get(order_id, "/notifications"))["items"]
    return [note["state"] for note in sorted(notes, key=lambda note: note["id"]) if note["kind"] == kind]


async def test_a_decision_about_one_chain_order_leaves_the_other_ones_contradiction(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    found, (first, second) = await _two_contradictions(marketplace, simulated)

    answer = await resolve(marketplace, found, "cancelled", chainOrderId=first)

    assert [chain["status"] for chain in answer.json()["chainOrders"]] == ["cancelled", "invoiced"]
    assert answer.json()["attention"]["code"] == "cancelled-after-invoice"
    assert second in answer.json()["attention"]["reason"]
    assert await _heard(marketplace, found["id"], "cancellation") == ["applied", "conflict"]

    decided = await resolve(marketplace, answer.json(), "invoiced", chainOrderId=second)

    assert decided.json()["attention"] is None
    assert await _heard(marketplace, found["id"], "cancellation") == ["applied", "ignored"]


async def test_a_decision_about_the_later_chain_order_leaves_the_first_reason(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    found, (first, second) = await _two_contradictions(marketplace, simulated)

    answer = await resolve(marketplace, found, "cancelled", chainOrderId=second)

    assert first in answer.json()["attention"]["reason"]
    assert await _heard(marketplace, found["id"], "cancellation") == ["conflict", "applied"]
    dismissed = await resolve(marketplace, answer.json(), "dismiss")
    assert dismissed.json()["attention"] is None
    assert await _heard(marketplace, found["id"], "cancellation") == ["ignored", "applied"]


async def test_an_accepted_change_leaves_a_contradiction_open(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    found = await _cancelled_after_invoice(marketplace, simulated)
    base = await simulated.base("RES1")
    await marketplace.notify(f"{base}/pvt/orders/RES1/changes", change(discountValue=0))
    await until(lambda: _changed(marketplace, found["id"]))

    answer = await resolve(marketplace, await marketplace.get(found["id"]), "accept-change")

    assert answer.status_code == 200, answer.text
    assert answer.json()["attention"]["code"] == "cancelled-after-invoice"
    assert await _heard(marketplace, found["id"], "cancellation") == ["conflict"]
    decided = await resolve(marketplace, answer.json(), "invoiced")
    assert decided.json()["attention"] is None


async def test_a_decided_contradiction_leaves_the_change_that_waits_behind_it(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    found = await _cancelled_after_invoice(marketplace, simulated)
    base = await simulated.base("RES1")
    await marketplace.notify(f"{base}/pvt/orders/RES1/changes", change())
    await until(lambda: _changed(marketplace, found["id"]))

    answer = await resolve(marketplace, await marketplace.get(found["id"]), "invoiced")

    assert answer.json()["attention"]["code"] == "change-received"


async def _changed(marketplace: Marketplace, order_id: str) -> Any:
    return (await marketplace.get(order_id))["chainOrders"][0]["changes"]


async def test_what_contradicts_is_not_applied_again(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    """It would lose its place before the tracking that followed it, and be taken for a repeat of itself."""
    placed = await marketplace.place(order("RES1"))
    base = f"{await simulated.base('RES1')}/pvt/orders/RES1"
    await simulated.cancel("MKP-RES1-01")
    await marketplace.becomes(placed["id"], "cancelled")
    await marketplace.notify(f"{base}/invoice", invoice(trackingNumber="OLD"))
    note = await marketplace.notified(placed["id"], "conflict")
    told = {"trackingNumber": "TR-1", "isDelivered": True}
    await marketplace.notify(f"{base}/invoice/NF-1/tracking", told, "PUT")
    await until(lambda: _delivered(marketplace, placed["id"]))

    answer = await marketplace.client.post(f"/v1/notifications/{note['id']}/replay", json={"reason": "once more"})

    assert (answer.status_code, answer.json()["code"]) == (409, "notification-contradicts")
    assert await _heard(marketplace, placed["id"], "invoice") == ["conflict"]
    *_, report = [one async for one in rebuild.run(marketplace.database, None, repairing=False)]
    assert report.differences == {}
    await resolve(marketplace, await marketplace.get(placed["id"]), "invoiced")
    assert await _heard(marketplace, placed["id"], "invoice") == ["applied"]


async def _delivered(marketplace: Marketplace, order_id: str) -> Any:
    return (await marketplace.get(order_id))["chainOrders"][0]["invoices"][0]["deliveredAt"]


async def test_attention_is_dismissed_with_a_reason(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    found = await _cancelled_after_invoice(marketplace, simulated)

    answer = await resolve(marketplace, found, "dismiss")

    assert (answer.json()["status"], answer.json()["attention"]) == ("invoiced", None)
    again = await resolve(marketplace, answer.json(), "dismiss")
    assert (again.status_code, again.json()["code"]) == (409, "nothing-to-resolve")


@pytest.mark.parametrize(
    ("decision", "total", "state"), [("accept-change", 1000, "accepted"), ("dismiss", 1300, "dismissed")]
)
async def test_a_recorded_change_is_decided(
    marketplace: Marketplace, simulated: SimulatedSeller, decision: str, total: int, state: str
) -> None:
    placed = await marketplace.place(order("RES1"))
    await marketplace.notify(f"{await simulated.base('RES1')}/pvt/orders/RES1/changes", change())
    await marketplace.notified(placed["id"], "applied")

    answer = await resolve(marketplace, await marketplace.get(placed["id"]), decision)

    assert answer.status_code == 200, answer.text
    assert (answer.json()["money"]["total"], answer.json()["attention"]) == (total, None)
    assert answer.json()["chainOrders"][0]["changes"][0]["state"] == state


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"decision": "invoiced", "chainOrderId": "SOMEBODY-ELSES"}, 404, "chain-order-unknown"),
        ({"decision": "accept-change"}, 409, "no-change"),
        ({"decision": "perhaps"}, 422, "unknown-value"),
        ({"decision": "dismiss", "reason": " "}, 422, "blank"),
        ({"decision": "dismiss", "match": '"999"'}, 412, "version-differs"),
        ({"decision": "dismiss", "match": "none"}, 428, "if-match-missing"),
    ],
)
async def test_what_cannot_be_decided_is_refused(
    marketplace: Marketplace, body: dict[str, Any], status: int, code: str
) -> None:
    placed = await marketplace.place(order("RES1"))

    answer = await resolve(marketplace, placed, **body)

    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_one_of_several_must_be_named(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    await simulated.behave(split="seller")
    items = [
        {"id": "8", "quantity": 1, "seller": "1", "price": 1200},
        {"id": "9", "quantity": 1, "seller": "2", "price": 100},
    ]
    placed = await marketplace.place(order("RES1", items=items, marketplacePaymentValue=1400))

    refused = await resolve(marketplace, placed, "cancelled")
    decided = await resolve(marketplace, placed, "cancelled", chainOrderId="MKP-RES1-02")

    assert (refused.status_code, refused.json()["code"]) == (422, "chain-order-needed")
    assert [chain["status"] for chain in decided.json()["chainOrders"]] == ["placed", "cancelled"]


async def test_notifications_are_listed_and_replayed(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    placed = await marketplace.place(order("RES1"))
    base = await simulated.base("RES1")
    await marketplace.notify(f"{base}/pvt/orders/SOMEONE-ELSES/invoice", invoice())
    await marketplace.notified(placed["id"], "parked")
    await marketplace.notify(f"{base}/pvt/orders/RES1/invoice", b"not json")
    await marketplace.notified(placed["id"], "unreadable")
    await until(lambda: _unswept(marketplace))

    async def listed(**wanted: str) -> list[dict[str, Any]]:
        answer = await marketplace.client.get("/v1/notifications", params=wanted)
        assert answer.status_code == 200, answer.text
        items: list[dict[str, Any]] = answer.json()["items"]
        return items

    assert [note["state"] for note in await listed()] == ["unreadable", "parked"]
    assert [note["kind"] for note in await listed(state="parked", seller="acme", kind="invoice")] == ["invoice"]
    assert await listed(seller="nobody") == []
    first = await marketplace.client.get("/v1/notifications", params={"limit": 1})
    assert [note["state"] for note in await listed(limit="1", cursor=first.json()["next"])] == ["parked"]
    for note in await listed():
        answer = await marketplace.client.post(
            f"/v1/notifications/{note['id']}/replay", json={"reason": "it is known now"}
        )
        assert (answer.status_code, answer.json()["state"]) == (202, "received")
    await marketplace.notified(placed["id"], "unreadable")
    assert (await marketplace.story(placed["id"])).count("notification.replayed") == 2


async def _unswept(marketplace: Marketplace) -> bool:
    """Leave what is parked to the test: no sweep takes it up for an hour."""
    later = text("update notifications set next_at = now() + interval '1 hour' where state = 'parked' returning id")
    async with marketplace.database.transaction() as session:
        return bool((await session.execute(later)).all())


async def test_what_was_parked_for_a_wrong_id_is_applied_once_the_id_is_known(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    """As after a correction of our own: the stored row is what counts."""
    placed = await marketplace.place(order("RES1"))
    base = await simulated.base("RES1")
    await marketplace.notify(f"{base}/pvt/orders/SOMEONE-ELSES/invoice", invoice())
    note = await marketplace.notified(placed["id"], "parked")
    async with marketplace.database.transaction() as session:
        await session.execute(text("update notifications set path = 'pvt/orders/RES1/invoice'"))
    unreasoned = await marketplace.client.post(f"/v1/notifications/{note['id']}/replay")
    assert (unreasoned.status_code, unreasoned.json()["errors"][0]["pointer"]) == (422, "/reason")

    await marketplace.client.post(f"/v1/notifications/{note['id']}/replay", json={"reason": "it is known now"})

    await marketplace.becomes(placed["id"], "invoiced")


@pytest.mark.parametrize(("notification", "status"), [("999999999", 404), (str(2**70), 422), ("x", 404)])
async def test_what_is_not_there_is_not_replayed(marketplace: Marketplace, notification: str, status: int) -> None:
    assert (
        await marketplace.client.post(f"/v1/notifications/{notification}/replay", json={"reason": "it is known now"})
    ).status_code == status


async def test_what_is_applied_is_not_applied_again(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    placed = await marketplace.place(order("RES1"))
    await simulated.invoice("MKP-RES1-01")
    note = await marketplace.notified(placed["id"], "applied")

    answer = await marketplace.client.post(f"/v1/notifications/{note['id']}/replay", json={"reason": "it is known now"})

    assert (answer.status_code, answer.json()["code"]) == (409, "notification-settled")
