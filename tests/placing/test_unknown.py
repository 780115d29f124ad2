"""Unclear outcomes: the seller is read before anything is sent again, and what is found must be ours."""

from __future__ import annotations

import asyncio
import base64
import socket
from itertools import count
from typing import Any

import pytest
from sqlalchemy import select

from chain_orders.database import Database
from chain_orders.deliveries.models import Lane
from chain_orders.settings import Settings

from ..builders import KEY_BYTES, KEYS, Marketplace, SimulatedSeller, order, settings_for, until
from ..conftest import serving

NEW_KEY = "k2:" + base64.urlsafe_b64encode(KEY_BYTES[::-1]).decode().rstrip("=")

DONE_BUT_UNHEARD: list[dict[str, Any]] = [
    {"loseAnswer": 1},
    {"failAfterCreating": 1},
    {"failAfterCreating": 1, "failStatus": 502},
    {"failAfterCreating": 1, "failStatus": 503, "retryAfter": "1"},
    {"garbage": 1},
]


@pytest.mark.parametrize("switches", DONE_BUT_UNHEARD, ids=lambda one: "-".join(map(str, one)))
async def test_an_order_whose_answer_was_lost_is_found_and_not_sent_again(
    marketplace: Marketplace, simulated: SimulatedSeller, switches: dict[str, Any]
) -> None:
    await simulated.behave(dedupe=False, **switches)

    accepted = (await marketplace.post_order(order("LOST1"))).json()

    await marketplace.becomes(accepted["id"], "placed")
    assert await simulated.puts() == {"LOST1": 1}
    told = {one["type"]: one["data"] for one in (await marketplace.get(accepted["id"], "/timeline"))["items"]}
    assert "order.placement-unknown" in told
    assert told["order.placed"]["verified"] is True


async def test_an_order_is_shown_as_unknown_meanwhile(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    await simulated.behave(loseAnswer=1, readLagSeconds=600)

    accepted = (await marketplace.post_order(order("LOST2"))).json()

    found = await marketplace.becomes(accepted["id"], "placement-unknown")
    assert found["turn"] == "us"


async def test_an_order_that_shows_late_is_not_sent_again(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    await simulated.behave(loseAnswer=1, dedupe=False, readLagSeconds=0.3)

    accepted = (await marketplace.post_order(order("LOST3"))).json()

    await marketplace.becomes(accepted["id"], "placed")
    assert await simulated.puts() == {"LOST3": 1}


@pytest.mark.parametrize("fault", ["fail", "resetBefore"])
async def test_an_order_that_is_nowhere_is_sent_again_after_two_reads(
    marketplace: Marketplace, simulated: SimulatedSeller, fault: str
) -> None:
    await simulated.behave(**{fault: 1})
    accepted = (await marketplace.post_order(order("LOST4"))).json()
    await marketplace.becomes(accepted["id"], "placement-unknown")
    await simulated.behave(**{fault: 0})

    await marketplace.becomes(accepted["id"], "placed")

    (delivery,) = (await marketplace.get(accepted["id"], "/deliveries"))["items"]
    told = [(one["phase"], one["outcome"]) for one in delivery["attempts"]]
    first_absences = told[1 : told.index(("send", "answered"))]
    assert told[0] == ("send", "ambiguous")
    assert first_absences.count(("verify", "absent")) >= 2
    assert len(await simulated.book("LOST4")) == 1
    arrived = await simulated.arrived("LOST4")
    assert (len(arrived), len(set(arrived))) == (told.count(("send", "ambiguous")) + 1, 1)


async def test_what_is_sent_again_is_what_was_sent_whatever_was_changed_meanwhile(
    database: Database, simulated: SimulatedSeller
) -> None:
    """The seller's settings, the key that makes callback bases, and the address of the service itself."""
    await simulated.behave(fail=1)
    async with serving(database, Settings(**settings_for(database.url))) as before:
        await before.add_seller(simulated.url)
        accepted = (await before.post_order(order("LOSTC"))).json()
        await before.becomes(accepted["id"], "placement-unknown")
        await before.client.post("/v1/sellers/acme/pause")
        await before.change_seller(salesChannel="2", affiliateId="NEW", callbackBase="https://elsewhere.example")
    await simulated.behave(fail=0)

    rotated = settings_for(database.url, callback_keys=f"{NEW_KEY},{KEYS}")
    async with serving(database, Settings(**rotated)) as after:
        await after.client.post("/v1/sellers/acme/resume")
        await after.becomes(accepted["id"], "placed")

    first, *again = await simulated.arrived("LOSTC")
    assert again
    assert set(again) == {first}


async def test_a_name_that_does_not_resolve_is_sent_nothing_and_tried_again(
    marketplace: Marketplace, simulated: SimulatedSeller, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve, asked = socket.getaddrinfo, count(1)

    def resolver(host: Any, *rest: Any, **options: Any) -> Any:
        if host == "moved.example":
            if next(asked) <= 2:
                raise socket.gaierror(socket.EAI_NONAME, "nobody knows it")
            host = "127.0.0.1"
        return resolve(host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    await marketplace.change_seller(baseUrl=simulated.url.replace("127.0.0.1", "moved.example"))

    accepted = (await marketplace.post_order(order("LOSTD"))).json()

    await marketplace.becomes(accepted["id"], "placed")
    (delivery,) = (await marketplace.get(accepted["id"], "/deliveries"))["items"]
    told = [(one["phase"], one["outcome"]) for one in delivery["attempts"]]
    assert told == [("send", "again"), ("send", "again"), ("send", "answered")]
    assert len(await simulated.arrived("LOSTD")) == 1


async def test_a_seller_that_says_it_is_already_there_is_read(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    """The seller knows the group from a placement whose answer we never had, and refuses the repeat with 409."""
    await simulated.behave(loseAnswer=1, readLagSeconds=600)
    accepted = (await marketplace.post_order(order("LOST5"))).json()

    async def repeated() -> bool:
        return (await simulated.puts()).get("LOST5", 0) > 1

    await until(repeated)
    await simulated.behave(readLagSeconds=0)

    await marketplace.becomes(accepted["id"], "placed")
    assert len(await simulated.book("LOST5")) == 1


async def test_a_strangers_order_under_the_group_is_not_adopted(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    order_id = await _held_by_a_stranger(marketplace, simulated, "LOST6")

    assert (await marketplace.get(order_id))["chainOrders"] == []


async def test_who_is_done_with_an_order_whose_group_is_a_strangers_cancels_it(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    order_id = await _held_by_a_stranger(marketplace, simulated, "LOSTF")

    await marketplace.ask_to_cancel(order_id)

    found = await marketplace.becomes(order_id, "cancelled")
    assert found["attention"]["code"] == "placement-conflict"
    assert found["attention"]["reason"].endswith("; it is cancelled here, and there perhaps not")
    (call,) = (await marketplace.get(order_id, "/deliveries"))["items"]
    assert (call["state"], await simulated.puts()) == ("withdrawn", {"LOSTF": 2})


async def _held_by_a_stranger(marketplace: Marketplace, simulated: SimulatedSeller, group: str) -> str:
    """An order whose placement has met another one of its group."""
    await _put_by_a_stranger(simulated, group, "MKP")
    accepted = (await marketplace.post_order(order(group))).json()

    async def noticed() -> Any:
        return (await marketplace.get(accepted["id"]))["attention"]

    assert (await until(noticed))["code"] == "placement-conflict"
    order_id: str = accepted["id"]
    return order_id


async def _put_by_a_stranger(simulated: SimulatedSeller, group: str, affiliate: str) -> None:
    stranger = {**order(group), "marketplaceServicesEndpoint": "https://stranger.example/callbacks"}
    headers = {"X-VTEX-API-AppKey": "simulated-key", "X-VTEX-API-AppToken": "simulated-token"}
    query = {"sc": "1", "affiliateId": affiliate}
    put = await simulated.client.put("/api/checkout/pvt/orders", json=stranger, params=query, headers=headers)
    assert put.status_code == 201


@pytest.mark.parametrize("fault", ["resetBefore", "loseAnswer"])
async def test_another_marketplaces_order_of_the_same_number_is_none_of_ours(
    marketplace: Marketplace, simulated: SimulatedSeller, fault: str
) -> None:
    await _put_by_a_stranger(simulated, "LOSTE", "OTH")
    await simulated.behave(**{fault: 1})

    accepted = (await marketplace.post_order(order("LOSTE"))).json()

    await marketplace.becomes(accepted["id"], "placement-unknown")
    await simulated.behave(**{fault: 0})
    placed = await marketplace.becomes(accepted["id"], "placed")
    assert [one["chainOrderId"] for one in placed["chainOrders"]] == ["MKP-LOSTE-01"]
    assert len(await simulated.book("MKP-LOSTE")) == 1


async def test_an_order_is_ours_whatever_base_new_ones_get(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    await simulated.behave(loseAnswer=1, readLagSeconds=0.3)
    accepted = (await marketplace.post_order(order("LOSTA"))).json()
    await marketplace.becomes(accepted["id"], "placement-unknown")

    await marketplace.change_seller(callbackBase="https://elsewhere.example")

    assert (await marketplace.becomes(accepted["id"], "placed"))["attention"] is None


async def test_a_seller_that_refuses_the_credentials_stops_its_lane_and_loses_nothing(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    await simulated.behave(credentials="revoked")
    accepted = (await marketplace.post_order(order("LOST7"))).json()

    async def denied() -> bool:
        (delivery,) = (await marketplace.get(accepted["id"], "/deliveries"))["items"]
        return bool(delivery["attempts"]) and delivery["attempts"][0]["outcome"] == "denied"

    await until(denied)
    await simulated.behave(credentials="ok")
    await marketplace.change_seller(appKey="simulated-key", appToken="simulated-token")

    await marketplace.becomes(accepted["id"], "placed")
    assert await simulated.puts() == {"LOST7": 1}


async def test_a_throttled_order_waits_as_long_as_the_seller_asks(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    await simulated.behave(throttle=1, retryAfter="1")
    accepted = (await marketplace.post_order(order("LOST8"))).json()
    await asyncio.sleep(0.5)
    await simulated.behave(throttle=0)

    await marketplace.becomes(accepted["id"], "placed")

    (delivery,) = (await marketplace.get(accepted["id"], "/deliveries"))["items"]
    assert [one["outcome"] for one in delivery["attempts"]] == ["throttled", "answered"]


async def test_a_503_has_everybody_wait_and_is_read(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    await simulated.behave(fail=1, failStatus=503, retryAfter="1")
    accepted = (await marketplace.post_order(order("LOSTB"))).json()
    await marketplace.becomes(accepted["id"], "placement-unknown")
    async with marketplace.database.transaction() as session:
        lane = (await session.execute(select(Lane.next_at, Lane.failures))).one()
    await simulated.behave(fail=0)

    await marketplace.becomes(accepted["id"], "placed")

    assert (lane.next_at is not None, lane.failures) == (True, 0)
    (delivery,) = (await marketplace.get(accepted["id"], "/deliveries"))["items"]
    assert [one["outcome"] for one in delivery["attempts"]] == ["ambiguous", "absent", "absent", "answered"]


async def test_a_paused_seller_gets_nothing_until_it_is_resumed(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    await marketplace.client.post("/v1/sellers/acme/pause")
    accepted = (await marketplace.post_order(order("LOST9"))).json()
    await asyncio.sleep(0.4)
    assert await simulated.puts() == {}

    await marketplace.client.post("/v1/sellers/acme/resume")

    await marketplace.becomes(accepted["id"], "placed")
