"""The callback doctor, and a price before placing."""

from __future__ import annotations

from typing import Any

import pytest

from chain_orders.capability import Keyring

from ..builders import KEY_BYTES, Marketplace, SimulatedSeller, calling


async def _checks(marketplace: Marketplace) -> dict[str, dict[str, Any]]:
    answer = await marketplace.client.post("/v1/sellers/acme/check")
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["ok"] == all(one["ok"] for one in found["checks"])
    return {one["check"]: one for one in found["checks"]}


async def test_a_seller_that_is_set_up_well_passes(marketplace: Marketplace) -> None:
    found = await _checks(marketplace)

    assert {name: one["ok"] for name, one in found.items()} == {"callbacks": True, "credentials": True, "trade": True}


@pytest.mark.parametrize(
    ("behaviour", "check", "code", "words"),
    [
        ({"credentials": "revoked"}, "credentials", "credentials-refused", "AppKey"),
        ({"affiliates": ["XYZ"]}, "trade", "CHK0120", "affiliate"),
        ({"salesChannels": ["9"]}, "trade", "CHK0161", "sales channel"),
        ({"throttle": 1, "applyTo": ["read"]}, "credentials", "credentials-unclear", "429"),
    ],
)
async def test_what_the_seller_refuses_is_said_in_words(
    marketplace: Marketplace, simulated: SimulatedSeller, behaviour: dict[str, Any], check: str, code: str, words: str
) -> None:
    await simulated.behave(**behaviour)

    found = (await _checks(marketplace))[check]

    assert (found["ok"], found["code"]) == (None if code.endswith("unclear") else False, code)
    assert words in found["detail"]


async def test_a_callback_base_that_leads_elsewhere_is_noticed(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    await marketplace.change_seller(callbackBase=simulated.url)
    elsewhere = (await _checks(marketplace))["callbacks"]
    await marketplace.change_seller(callbackBase="http://127.0.0.1:9")
    nowhere = (await _checks(marketplace))["callbacks"]

    assert (elsewhere["code"], nowhere["code"]) == ("callback-not-ours", "callback-unreachable")
    assert "callbackBase" in elsewhere["detail"]


async def test_only_a_base_of_ours_says_that_it_is_ours(marketplace: Marketplace) -> None:
    good = Keyring({"k1": KEY_BYTES})
    async with calling() as stranger:
        ours = await stranger.get(good.base(marketplace.url, "k1", good.new_ref()) + "/check")
        other = Keyring({"k1": bytes(32)})
        theirs = await stranger.get(other.base(marketplace.url, "k1", other.new_ref()) + "/check")
        nothing = await stranger.get(f"{marketplace.url}/cb/nothing")

    assert (ours.status_code, theirs.status_code) == (200, 404)
    assert theirs.content == nothing.content


async def test_a_simulation_tells_price_and_what_cannot_be_sold(marketplace: Marketplace) -> None:
    body = {"items": [{"id": "8", "quantity": 2}, {"id": "OUT1", "quantity": 1}], "postalCode": "1", "country": "BRA"}

    answer = (await marketplace.client.post("/v1/sellers/acme/simulation", json=body)).json()

    assert (answer["value"], answer["unavailable"]) == (2500, ["OUT1"])
    assert answer["simulation"]["logisticsInfo"][0]["slas"][0]["id"] == "Normal"


async def test_a_simulation_that_the_seller_refuses_or_cannot_answer_says_so(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    body = {"items": [{"id": "8", "quantity": 1}]}
    await simulated.behave(affiliates=["XYZ"])
    refused = await marketplace.client.post("/v1/sellers/acme/simulation", json=body)
    await simulated.behave(garbage=1, applyTo=["simulate"], affiliates=None)
    garbage = await marketplace.client.post("/v1/sellers/acme/simulation", json=body)
    await simulated.behave(resetBefore=1)
    silent = await marketplace.client.post("/v1/sellers/acme/simulation", json=body)
    wrong = await marketplace.client.post("/v1/sellers/acme/simulation", json={"items": []})

    assert (refused.status_code, refused.json()["sellerCode"]) == (422, "CHK0120")
    assert (garbage.status_code, silent.status_code, wrong.status_code) == (503, 503, 422)
    assert (await marketplace.client.get("/v1/orders")).json()["items"] == []
