"""Calls that were given up, or may have arrived, when their order has come to its end otherwise."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from chain_orders.deliveries.upkeep import Upkeep

from ..builders import Marketplace, SimulatedSeller, order, until


@pytest.fixture
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    return getattr(request, "param", {})


async def _attention(marketplace: Marketplace, order_id: str) -> Any:
    return (await marketplace.get(order_id))["attention"]


async def _call(marketplace: Marketplace, order_id: str, kind: str) -> dict[str, Any]:
    """The order's latest call of a kind."""
    calls = (await marketplace.get(order_id, "/deliveries"))["items"]
    found: dict[str, Any] = [one for one in calls if one["kind"] == kind][-1]
    return found


@pytest.mark.parametrize("options", [{"retry_schedule": "0.05"}], indirect=True)
async def test_what_was_given_up_unsent_asks_nobody_once_it_is_cancelled(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    await simulated.behave(rejectCode="CHK0012")
    accepted = (await marketplace.post_order(order("ASKU"))).json()

    given_up = await until(lambda: _attention(marketplace, accepted["id"]))
    assert given_up["code"] == "retries-used-up"

    cancelled = (await marketplace.ask_to_cancel(accepted["id"])).json()

    assert (cancelled["status"], cancelled["attention"], cancelled["turn"]) == ("cancelled", None, "nobody")


@pytest.mark.parametrize("options", [{"retry_schedule": "1000000"}], indirect=True)
async def test_a_request_that_may_have_arrived_is_not_sent_again_once_all_is_invoiced(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("ASKV"))
    await simulated.behave(applyTo=["cancel"], resetBefore=1)
    await marketplace.ask_to_cancel(placed["id"])

    async def in_state(state: str) -> bool:
        return (await _call(marketplace, placed["id"], "cancel"))["state"] == state

    await until(lambda: in_state("retrying"))
    await simulated.behave(resetBefore=0)

    await simulated.invoice("MKP-ASKV-01")

    await until(lambda: in_state("withdrawn"))
    assert (await marketplace.get(placed["id"]))["status"] == "invoiced"
    assert (await simulated.calls())["cancel"] == 1


@pytest.mark.parametrize("options", [{"not_there_seconds": 0.001, "retry_schedule": "0.2,0.2,0.2"}], indirect=True)
@pytest.mark.parametrize("kind", ["authorize", "cancel"])
async def test_a_call_that_was_given_up_is_not_said_to_be_tried_on(
    marketplace: Marketplace, simulated: SimulatedSeller, kind: str
) -> None:
    placed = await marketplace.place(order(f"GIVEN{kind}"))
    await simulated.behave(applyTo=[kind], fail=1, failStatus=404)

    await {"authorize": marketplace.authorize, "cancel": marketplace.ask_to_cancel}[kind](placed["id"])

    async def dead() -> bool:
        return (await _call(marketplace, placed["id"], kind))["state"] == "dead"

    await until(dead)
    found = await marketplace.get(placed["id"])
    assert found["attention"]["code"] == found["lastError"]["code"] == "retries-used-up"
    assert await _asked_for(marketplace, placed["id"]) == ["not-there-yet", "retries-used-up"]


async def _asked_for(marketplace: Marketplace, order_id: str) -> list[str]:
    """For what a person was asked to look, one after the other."""
    told = (await marketplace.get(order_id, "/timeline"))["items"]
    return [event["data"]["code"] for event in told if event["type"] == "order.attention"]


@pytest.mark.parametrize("options", [{"not_there_seconds": 0.001, "retry_schedule": "1,1,1,1,1,1,1,1"}], indirect=True)
@pytest.mark.parametrize(("kind", "code"), [("authorize", "authorization-refused"), ("cancel", "cancellation-denied")])
async def test_a_call_that_was_refused_is_not_said_to_be_tried_on(
    marketplace: Marketplace, simulated: SimulatedSeller, kind: str, code: str
) -> None:
    placed = await marketplace.place(order(f"REFUSED{kind}"))
    await simulated.behave(applyTo=[kind], fail=1, failStatus=404)
    await {"authorize": marketplace.authorize, "cancel": marketplace.ask_to_cancel}[kind](placed["id"])
    assert (await until(lambda: _attention(marketplace, placed["id"])))["code"] == "not-there-yet"

    await simulated.behave(failStatus=400)

    async def refused() -> bool:
        return (await _call(marketplace, placed["id"], kind))["state"] == "rejected"

    await until(refused)
    assert (await _attention(marketplace, placed["id"]))["code"] == code


@pytest.mark.parametrize("options", [{"retry_schedule": "0.05"}], indirect=True)
async def test_a_placement_that_is_refused_after_all_is_not_said_to_be_given_up(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    await simulated.behave(rejectCode="CHK0012")
    accepted = (await marketplace.post_order(order("ENDED1"))).json()
    await until(lambda: _attention(marketplace, accepted["id"]))
    await simulated.behave(rejectCode="CHK0198")
    upkeep = Upkeep(marketplace.database, every=timedelta(seconds=9), replay_dead=timedelta(microseconds=1))

    await until(upkeep.step)

    assert (await marketplace.becomes(accepted["id"], "rejected"))["attention"] is None


@pytest.mark.parametrize("whose", ["seller", "operator"])
async def test_a_refused_authorization_asks_nobody_once_its_chain_order_is_cancelled(
    marketplace: Marketplace, simulated: SimulatedSeller, whose: str
) -> None:
    placed = await marketplace.place(order("ENDED2"))
    await simulated.behave(applyTo=["authorize"], fail=1, failStatus=400)
    await marketplace.authorize(placed["id"])
    assert (await until(lambda: _attention(marketplace, placed["id"])))["code"] == "authorization-refused"

    if whose == "seller":
        await simulated.cancel("MKP-ENDED2-01")
    else:
        await marketplace.ask_to_cancel(placed["id"])

    assert (await marketplace.becomes(placed["id"], "cancelled"))["attention"] is None


async def test_a_denied_request_asks_nobody_once_the_order_is_cancelled_after_all(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("ENDED3"))
    await marketplace.authorize(placed["id"])
    await marketplace.becomes(placed["id"], "authorized")
    await simulated.behave(cancellation="deny")
    await marketplace.ask_to_cancel(placed["id"])
    assert (await until(lambda: _attention(marketplace, placed["id"])))["code"] == "cancellation-denied"

    await simulated.cancel("MKP-ENDED3-01")

    assert (await marketplace.becomes(placed["id"], "cancelled"))["attention"] is None
