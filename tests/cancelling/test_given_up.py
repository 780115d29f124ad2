"""Calls that were given up, or may have arrived, when their order has come to its end otherwise."""

from __future__ import annotations

from typing import Any

import pytest

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
