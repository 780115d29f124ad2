"""Asking a seller to cancel: asked is not cancelled."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from chain_orders.deliveries.upkeep import Upkeep

from ..builders import Marketplace, SimulatedSeller, invoice, order, until


@pytest.fixture
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    return getattr(request, "param", {})


async def test_a_seller_that_agrees_is_seen_to_have_cancelled(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("ASK1"))

    answer = await marketplace.ask_to_cancel(placed["id"])

    assert (answer.status_code, answer.json()["status"]) == (202, "cancel-requested")
    await marketplace.becomes(placed["id"], "cancelled")
    assert await marketplace.story(placed["id"]) == [
        "order.accepted",
        "order.placed",
        "chain-order.cancellation-asked",
        "chain-order.cancellation-requested",
        "chain-order.cancelled",
    ]


async def test_until_it_is_decided_it_stays_requested(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    await simulated.behave(cancellation="decide")
    placed = await marketplace.place(order("ASK2"))

    await marketplace.ask_to_cancel(placed["id"])
    await asyncio.sleep(1)

    assert (await marketplace.get(placed["id"]))["status"] == "cancel-requested"
    await simulated.cancel("MKP-ASK2-01")
    await marketplace.becomes(placed["id"], "cancelled")


@pytest.mark.parametrize("how", ["deny", "refuse"])
async def test_a_denied_cancellation_leads_back(marketplace: Marketplace, simulated: SimulatedSeller, how: str) -> None:
    placed = await marketplace.place(order("ASK3"))
    await marketplace.authorize(placed["id"])
    await marketplace.becomes(placed["id"], "authorized")
    await simulated.behave(cancellation=how)

    await marketplace.ask_to_cancel(placed["id"])

    found = await marketplace.becomes(placed["id"], "authorized")
    assert found["attention"]["code"] == "cancellation-denied"


async def test_an_order_that_was_never_sent_is_cancelled_at_once(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    await marketplace.client.post("/v1/sellers/acme/pause")
    accepted = (await marketplace.post_order(order("ASK4"))).json()

    answer = await marketplace.ask_to_cancel(accepted["id"])

    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    await marketplace.client.post("/v1/sellers/acme/resume")
    await asyncio.sleep(0.5)
    assert await simulated.puts() == {}


async def test_an_order_that_is_being_placed_is_cancelled_once_it_is_there(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    await simulated.behave(slowSeconds=0.5)
    accepted = (await marketplace.post_order(order("ASK5"))).json()
    await until(lambda: _is_placing(marketplace, accepted["id"]))

    answer = await marketplace.ask_to_cancel(accepted["id"])

    assert answer.json()["status"] == "cancel-requested"
    await marketplace.becomes(accepted["id"], "cancelled")
    (booked,) = await simulated.book("ASK5")
    assert booked["status"] == "canceled"


async def _is_placing(marketplace: Marketplace, order_id: str) -> bool:
    found: bool = (await marketplace.get(order_id))["status"] == "placing"
    return found


async def test_an_unknown_order_that_is_not_there_is_never_sent_again(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    await simulated.behave(resetBefore=1)
    accepted = (await marketplace.post_order(order("ASK6"))).json()
    await marketplace.becomes(accepted["id"], "placement-unknown")

    await marketplace.ask_to_cancel(accepted["id"])
    await simulated.behave(resetBefore=0)

    await marketplace.becomes(accepted["id"], "cancelled")
    assert await simulated.book("ASK6") == []


async def test_an_order_that_is_refused_after_all_is_told_to_be_cancelled(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    await simulated.behave(slowSeconds=1, rejectCode="CHK0198")
    accepted = (await marketplace.post_order(order("ASKH"))).json()
    await until(lambda: _is_placing(marketplace, accepted["id"]))

    await marketplace.ask_to_cancel(accepted["id"])

    await marketplace.becomes(accepted["id"], "cancelled")
    assert (await marketplace.story(accepted["id"]))[-2:] == ["order.rejected", "order.cancelled"]


async def test_what_is_invoiced_is_not_cancelled(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    placed = await marketplace.place(order("ASK7"))
    await simulated.invoice("MKP-ASK7-01")
    await marketplace.becomes(placed["id"], "invoiced")

    refused = await marketplace.ask_to_cancel(placed["id"])

    assert (refused.status_code, refused.json()["code"]) == (409, "order-invoiced")


async def test_an_invoice_that_comes_meanwhile_ends_the_request(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    await simulated.behave(cancellation="decide")
    placed = await marketplace.place(order("ASK8"))
    base = await simulated.base("ASK8")
    await marketplace.ask_to_cancel(placed["id"])

    await marketplace.notify(f"{base}/pvt/orders/ASK8/invoice", invoice())

    await marketplace.becomes(placed["id"], "invoiced")


async def test_asking_twice_asks_once(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    await simulated.behave(cancellation="decide")
    placed = await marketplace.place(order("ASK9"))

    for _ in range(2):
        await marketplace.ask_to_cancel(placed["id"])

    kinds = [one["kind"] for one in (await marketplace.get(placed["id"], "/deliveries"))["items"]]
    assert kinds.count("cancel") == 1


@pytest.mark.parametrize("switches", [{"loseAnswer": 1}, {"garbage": 1}], ids=["lost", "garbage"])
async def test_an_unclear_request_is_read(
    marketplace: Marketplace, simulated: SimulatedSeller, switches: dict[str, Any]
) -> None:
    await simulated.behave(applyTo=["cancel"], **switches)
    placed = await marketplace.place(order("ASKA"))

    await marketplace.ask_to_cancel(placed["id"])

    await marketplace.becomes(placed["id"], "cancelled")


async def test_a_waiting_authorization_is_withdrawn(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    placed = await marketplace.place(order("ASKB"))
    await marketplace.client.post("/v1/sellers/acme/pause")
    await marketplace.authorize(placed["id"])

    await marketplace.ask_to_cancel(placed["id"])

    states = {one["kind"]: one["state"] for one in (await marketplace.get(placed["id"], "/deliveries"))["items"]}
    assert states == {"place": "delivered", "authorize": "withdrawn", "cancel": "ready"}


async def test_a_request_that_waits_is_withdrawn_once_the_seller_has_cancelled(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("ASKW"))
    await marketplace.client.post("/v1/sellers/acme/pause")
    await marketplace.ask_to_cancel(placed["id"])

    await marketplace.notify(f"{await simulated.base('ASKW')}/pvt/orders/ASKW/cancel", {})

    await marketplace.becomes(placed["id"], "cancelled")
    assert (await _deliveries(marketplace, placed["id"]))["cancel"]["state"] == "withdrawn"


async def test_a_request_that_waits_is_withdrawn_once_all_is_invoiced(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("ASKI"))
    await marketplace.client.post("/v1/sellers/acme/pause")
    await marketplace.ask_to_cancel(placed["id"])

    await marketplace.notify(f"{await simulated.base('ASKI')}/pvt/orders/ASKI/invoice", invoice())

    await marketplace.becomes(placed["id"], "invoiced")
    assert (await _deliveries(marketplace, placed["id"]))["cancel"]["state"] == "withdrawn"


async def test_a_request_under_way_that_is_turned_away_is_not_sent_again_once_all_is_invoiced(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("ASKJ"))
    await simulated.behave(applyTo=["cancel"], slowSeconds=1, throttle=1)
    await marketplace.ask_to_cancel(placed["id"])

    async def asked() -> bool:
        return "cancel" in await simulated.calls()

    await until(asked)
    await marketplace.notify(f"{await simulated.base('ASKJ')}/pvt/orders/ASKJ/invoice", invoice())
    await marketplace.becomes(placed["id"], "invoiced")

    async def ended() -> bool:
        return (await _deliveries(marketplace, placed["id"]))["cancel"]["state"] == "withdrawn"

    await until(ended)


async def test_a_refusal_of_what_is_being_cancelled_is_no_denial(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("ASKK"))
    await simulated.cancel("MKP-ASKK-01", times=0)
    await simulated.behave(applyTo=["cancel"], fail=1, failStatus=400)

    await marketplace.ask_to_cancel(placed["id"])

    assert (await marketplace.becomes(placed["id"], "cancelled"))["attention"] is None
    assert "chain-order.cancellation-denied" not in await marketplace.story(placed["id"])


async def test_an_earlier_denial_is_no_answer_to_a_request_that_was_lost(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("ASKM"))
    await simulated.behave(cancellation="deny")
    await marketplace.ask_to_cancel(placed["id"])
    await marketplace.becomes(placed["id"], "placed")
    await simulated.behave(cancellation="accept", applyTo=["cancel"], resetBefore=1)

    await marketplace.ask_to_cancel(placed["id"])

    async def lost() -> bool:
        call = (await _deliveries(marketplace, placed["id"]))["cancel"]
        return any(one["outcome"] == "ambiguous" for one in call["attempts"])

    await until(lost)
    await simulated.behave(resetBefore=0)
    await marketplace.becomes(placed["id"], "cancelled")


@pytest.mark.parametrize("options", [{"retry_schedule": "0.05"}], indirect=True)
async def test_a_late_success_of_a_dead_request_asks_nobody_any_more(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("ASKL"))
    await simulated.behave(cancellation="decide", applyTo=["cancel"], resetBefore=1)
    await marketplace.ask_to_cancel(placed["id"])

    async def dead() -> bool:
        return (await _deliveries(marketplace, placed["id"]))["cancel"]["state"] == "dead"

    await until(dead)
    assert (await marketplace.get(placed["id"]))["attention"]["code"] == "retries-used-up"
    await simulated.behave(resetBefore=0)
    upkeep = Upkeep(marketplace.database, every=timedelta(seconds=9), replay_dead=timedelta(microseconds=1))

    await until(upkeep.step)

    async def cleared() -> bool:
        return (await marketplace.get(placed["id"]))["attention"] is None

    await until(cleared)
    assert (await marketplace.get(placed["id"]))["status"] == "cancel-requested"


async def _deliveries(marketplace: Marketplace, order_id: str) -> dict[str, dict[str, Any]]:
    """An order's deliveries, by kind."""
    return {one["kind"]: one for one in (await marketplace.get(order_id, "/deliveries"))["items"]}


async def _attempted(marketplace: Marketplace, order_id: str, outcome: str) -> None:
    """Wait until an attempt to authorize has come to this."""

    async def come() -> bool:
        attempts = (await _deliveries(marketplace, order_id))["authorize"]["attempts"]
        return any(one["outcome"] == outcome for one in attempts)

    await until(come)


async def test_an_authorization_that_was_unclear_is_not_sent_after_the_cancellation(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("ASKC"))
    await simulated.behave(applyTo=["authorize"], resetBefore=1)
    await marketplace.authorize(placed["id"])
    await _attempted(marketplace, placed["id"], "ambiguous")

    await marketplace.ask_to_cancel(placed["id"])

    await simulated.behave(resetBefore=0)
    await marketplace.becomes(placed["id"], "cancelled")
    (booked,) = await simulated.book("ASKC")
    assert booked["authorizations"] == []
    assert (await _deliveries(marketplace, placed["id"]))["authorize"]["state"] == "withdrawn"


async def test_an_authorization_in_flight_that_is_throttled_is_not_sent_after_the_cancellation(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("ASKD"))
    await simulated.behave(applyTo=["authorize"], throttle=1, retryAfter="1", slowSeconds=1)
    await marketplace.authorize(placed["id"])

    async def in_flight() -> bool:
        return (await _deliveries(marketplace, placed["id"]))["authorize"]["state"] == "sending"

    await until(in_flight)
    await marketplace.ask_to_cancel(placed["id"])
    await _attempted(marketplace, placed["id"], "throttled")
    await simulated.behave(throttle=0, slowSeconds=0)

    await marketplace.becomes(placed["id"], "cancelled")
    (booked,) = await simulated.book("ASKD")
    assert booked["authorizations"] == []


@pytest.mark.parametrize("options", [{"retry_schedule": "0.1"}], indirect=True)
@pytest.mark.parametrize("fault", ["resetBefore", "loseAnswer"])
async def test_a_dead_authorization_does_not_hold_its_cancellation(
    marketplace: Marketplace, simulated: SimulatedSeller, fault: str
) -> None:
    """Whether it had arrived or not: it is read first, and never sent again."""
    placed = await marketplace.place(order("ASKE"))
    await simulated.behave(applyTo=["authorize", "read"], **{fault: 1})
    await marketplace.authorize(placed["id"])
    await _attempted(marketplace, placed["id"], "ambiguous")
    async with marketplace.database.transaction() as session:
        await session.execute(text("update deliveries set state = 'dead', lease_until = null where kind = 'authorize'"))
    await simulated.behave(**{fault: 0})

    await marketplace.ask_to_cancel(placed["id"])

    await marketplace.becomes(placed["id"], "cancelled")
    (booked,) = await simulated.book("ASKE")
    done = {"resetBefore": (0, "withdrawn"), "loseAnswer": (1, "delivered")}[fault]
    told = await _deliveries(marketplace, placed["id"])
    assert (len(booked["authorizations"]), told["authorize"]["state"]) == done
    assert told["cancel"]["state"] == "delivered"


@pytest.mark.parametrize("options", [{"retry_schedule": "1000000"}], indirect=True)
@pytest.mark.parametrize("kind", ["place", "authorize"])
async def test_what_is_not_there_after_all_does_not_wait_to_be_sent_before_it_is_cancelled(
    marketplace: Marketplace, simulated: SimulatedSeller, kind: str
) -> None:
    await simulated.behave(applyTo=[kind], resetBefore=1)
    accepted = (await marketplace.post_order(order("ASKI"))).json()
    if kind == "authorize":
        await marketplace.becomes(accepted["id"], "placed")
        await marketplace.authorize(accepted["id"])

    async def waits() -> bool:
        return (await _deliveries(marketplace, accepted["id"]))[kind]["state"] == "retrying"

    await until(waits)
    await simulated.behave(resetBefore=0)

    await marketplace.ask_to_cancel(accepted["id"])

    await marketplace.becomes(accepted["id"], "cancelled")
    assert (await _deliveries(marketplace, accepted["id"]))[kind]["state"] == "withdrawn"


async def test_a_denied_cancellation_leads_back_to_before_a_withdrawn_authorization(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("ASKF"))
    await simulated.behave(cancellation="deny")
    await marketplace.client.post("/v1/sellers/acme/pause")
    await marketplace.authorize(placed["id"])
    await marketplace.ask_to_cancel(placed["id"])
    await marketplace.client.post("/v1/sellers/acme/resume")
    await marketplace.becomes(placed["id"], "placed")

    await marketplace.authorize(placed["id"])

    await marketplace.becomes(placed["id"], "authorized")


@pytest.mark.parametrize("options", [{"retry_schedule": "0.1"}], indirect=True)
async def test_an_order_that_the_seller_said_to_have_already_is_not_cancelled_unasked(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    await simulated.behave(rejectCode="CHK0085")
    accepted = (await marketplace.post_order(order("ASKG"))).json()

    async def dead() -> bool:
        return (await _deliveries(marketplace, accepted["id"]))["place"]["state"] == "dead"

    await until(dead)

    answer = await marketplace.ask_to_cancel(accepted["id"])

    assert (answer.status_code, answer.json()["status"]) == (202, "cancel-requested")
    found = await marketplace.becomes(accepted["id"], "cancelled")
    attempts = (await _deliveries(marketplace, accepted["id"]))["place"]["attempts"]
    assert [one["outcome"] for one in attempts[-2:]] == ["absent", "absent"]
    assert found["attention"]["code"] == "said-to-be-there"  # no read proves the contrary of what it said
    (cancelled,) = [
        event
        for event in (await marketplace.get(accepted["id"], "/timeline"))["items"]
        if event["type"] == "order.cancelled"
    ]
    assert "sent" not in cancelled["data"]


async def test_a_reason_is_needed(marketplace: Marketplace) -> None:
    placed = await marketplace.place()

    refused = await marketplace.ask_to_cancel(placed["id"], " ")

    assert refused.status_code == 422
    assert [fault["pointer"] for fault in refused.json()["errors"]] == ["/reason"]


@pytest.mark.parametrize("options", [{"not_there_seconds": 0.2}], indirect=True)
async def test_a_seller_that_does_not_know_the_chain_order_yet_is_asked_again(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("ASK404"))
    await simulated.behave(applyTo=["cancel"], fail=1, failStatus=404)
    await marketplace.ask_to_cancel(placed["id"])

    async def asked() -> Any:
        return (await marketplace.get(placed["id"]))["attention"]

    assert (await until(asked))["code"] == "not-there-yet"
    await simulated.behave(fail=0)
    assert (await marketplace.becomes(placed["id"], "cancelled"))["attention"] is None
