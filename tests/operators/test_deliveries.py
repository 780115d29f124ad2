"""Finding calls that are stuck, and trying them again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from chain_orders.deliveries.upkeep import Upkeep

from ..builders import Marketplace, SimulatedSeller, invoice, order, until


@pytest.fixture
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {"retry_schedule": "0.05", **getattr(request, "param", {})}


async def _dead(
    marketplace: Marketplace, simulated: SimulatedSeller, group: str, fault: str = "fail"
) -> dict[str, Any]:
    """A placement whose retries are used up: its delivery."""
    await simulated.behave(**{fault: 1}, failStatus=500)
    accepted = (await marketplace.post_order(order(group))).json()

    async def found() -> dict[str, Any] | None:
        (delivery,) = (await marketplace.get(accepted["id"], "/deliveries"))["items"]
        return delivery if delivery["state"] == "dead" else None

    dead: dict[str, Any] = await until(found)
    await simulated.behave(**{fault: 0})
    return dead


async def test_a_dead_delivery_asks_for_attention_and_is_listed(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    dead = await _dead(marketplace, simulated, "DEAD1")

    listed = (await marketplace.client.get("/v1/deliveries", params={"state": "dead", "kind": "place"})).json()

    assert [one["id"] for one in listed["items"]] == [dead["id"]]
    assert (await marketplace.get(dead["orderId"]))["attention"]["code"] == "retries-used-up"


async def test_a_retry_reads_first_and_then_places(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    dead = await _dead(marketplace, simulated, "DEAD2")

    answer = await marketplace.client.post(f"/v1/deliveries/{dead['id']}/retry", json={"reason": "the seller is back"})

    assert answer.status_code == 202
    assert (await marketplace.becomes(dead["orderId"], "placed"))["attention"] is None
    (delivery,) = (await marketplace.get(dead["orderId"], "/deliveries"))["items"]
    since = [one["phase"] for one in delivery["attempts"][len(dead["attempts"]) :]]
    assert since[0] == "verify"
    assert since[-1] == "send"


@pytest.mark.parametrize("options", [{"retry_schedule": ""}], indirect=True)
async def test_a_retry_of_what_the_seller_has_already_sends_nothing(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    await simulated.behave(dedupe=False, readLagSeconds=600)
    dead = await _dead(marketplace, simulated, "DEAD8", fault="failAfterCreating")
    await simulated.behave(readLagSeconds=0)

    await marketplace.client.post(f"/v1/deliveries/{dead['id']}/retry", json={"reason": "it is there"})

    assert (await marketplace.becomes(dead["orderId"], "placed"))["attention"] is None
    assert len(await simulated.arrived("DEAD8")) == len(await simulated.book("DEAD8")) == 1


async def test_a_contradiction_behind_a_dead_call_stands_once_the_call_is_tried_again(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("BEHIND"))
    await marketplace.change_seller(baseUrl="http://127.0.0.1:1")
    await marketplace.authorize(placed["id"])
    await until(lambda: _attention(marketplace, placed["id"], "retries-used-up"))
    base = await simulated.base("BEHIND")
    for value in (100, 200):
        await marketplace.notify(f"{base}/pvt/orders/MKP-BEHIND-01/invoice", invoice("NF-1", value))
    await marketplace.notified(placed["id"], "conflict")
    assert await _attention(marketplace, placed["id"], "retries-used-up")
    await marketplace.change_seller(baseUrl=simulated.url)
    _, authorize = (await marketplace.get(placed["id"], "/deliveries"))["items"]

    await marketplace.client.post(f"/v1/deliveries/{authorize['id']}/retry", json={"reason": "the seller is back"})

    found = await until(lambda: _attention(marketplace, placed["id"], "invoice-changed"))
    assert found["reason"].startswith("invoice NF-1")
    assert [await marketplace.notified(placed["id"], "conflict")]


async def _attention(marketplace: Marketplace, order_id: str, code: str) -> dict[str, Any] | None:
    found: dict[str, Any] | None = (await marketplace.get(order_id))["attention"]
    return found if found is not None and found["code"] == code else None


async def test_a_retry_of_one_call_settles_nothing_of_another_that_is_dead(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    await simulated.behave(split="item")
    items = [{"id": sku, "quantity": 1, "seller": "1", "price": 600} for sku in "89"]
    placed = await marketplace.place(order("DEADB", items=items))
    await marketplace.change_seller(baseUrl="http://127.0.0.1:1")
    await marketplace.authorize(placed["id"])

    async def both() -> list[dict[str, Any]] | None:
        calls = [one for one in (await marketplace.get(placed["id"], "/deliveries"))["items"] if one["state"] == "dead"]
        return calls if len(calls) == 2 else None

    first, second = await until(both)
    await marketplace.change_seller(baseUrl=simulated.url)

    await marketplace.client.post(f"/v1/deliveries/{first['id']}/retry", json={"reason": "the seller is back"})
    assert await _attention(marketplace, placed["id"], "retries-used-up")

    await marketplace.client.post(f"/v1/deliveries/{second['id']}/retry", json={"reason": "the seller is back"})
    assert (await marketplace.get(placed["id"]))["attention"] is None


async def test_a_retry_says_why(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    dead = await _dead(marketplace, simulated, "DEAD7")
    for path in (f"/v1/deliveries/{dead['id']}/retry", "/v1/deliveries/retry"):
        for body in ({}, {"reason": " "}):
            refused = await marketplace.client.post(path, json=body)
            assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/reason")

    await marketplace.client.post(f"/v1/deliveries/{dead['id']}/retry", json={"reason": "the seller is back"})

    acts = (await marketplace.client.get("/v1/audit", params={"object": f"delivery:{dead['id']}"})).json()["items"]
    assert [(act["action"], act["reason"]) for act in acts] == [("delivery.retry", "the seller is back")]


async def test_all_that_match_are_tried_with_a_result_each(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    dead = [await _dead(marketplace, simulated, f"DEAD{n}") for n in (3, 4)]

    answer = await marketplace.client.post(
        "/v1/deliveries/retry", json={"sellerId": "acme", "kind": "place", "reason": "it is back"}
    )

    assert answer.json() == {"items": [{"id": one["id"], "result": "retried"} for one in dead], "next": None}
    for one in dead:
        await marketplace.becomes(one["orderId"], "placed")


async def test_of_more_that_match_than_were_asked_for_the_answer_says_how_to_go_on(marketplace: Marketplace) -> None:
    await marketplace.client.post("/v1/sellers/acme/pause")
    for _ in range(3):
        await marketplace.post_order(order())
    asked = {"state": "ready", "limit": 2, "reason": "it is back"}

    first = (await marketplace.client.post("/v1/deliveries/retry", json=asked)).json()
    rest = (await marketplace.client.post("/v1/deliveries/retry", json={**asked, "cursor": first["next"]})).json()

    ids = [one["id"] for answer in (first, rest) for one in answer["items"]]
    assert (len(first["items"]), len(rest["items"]), rest["next"]) == (2, 1, None)
    assert ids == sorted(set(ids))


async def test_calls_to_a_seller_that_is_not_on_record_are_not_tried_in_silence(marketplace: Marketplace) -> None:
    answer = await marketplace.client.post("/v1/deliveries/retry", json={"sellerId": "amce", "reason": "it is back"})

    assert (answer.status_code, answer.json()["code"]) == (404, "seller-unknown")


async def test_what_has_ended_is_not_tried_again(marketplace: Marketplace) -> None:
    placed = await marketplace.place()
    (delivery,) = (await marketplace.get(placed["id"], "/deliveries"))["items"]

    refused = await marketplace.client.post(
        f"/v1/deliveries/{delivery['id']}/retry", json={"reason": "the seller is back"}
    )

    assert (refused.status_code, refused.json()["code"]) == (409, "delivery-ended")
    assert refused.json()["state"] == "delivered"


async def test_lists_show_little_of_a_long_answer(marketplace: Marketplace) -> None:
    placed = await marketplace.place()
    long = '{"note":"' + "x" * 20_000 + '"}'
    async with marketplace.database.transaction() as session:
        await session.execute(text("update attempts set response = convert_to(:long, 'utf8')"), {"long": long})

    async def shown(path: str, **params: str) -> tuple[str | None, int, bool]:
        found = (await marketplace.client.get(path, params=params)).json()
        (attempt,) = (found["items"][0] if "items" in found else found)["attempts"]
        return attempt["response"], attempt["responseLength"], attempt["truncated"]

    whole = {"whole": "true", "reason": "dispute 12"}
    for path in ("/v1/deliveries", f"/v1/orders/{placed['id']}/deliveries"):
        assert await shown(path) == (None, len(long), True)
        assert await shown(path, **whole) == (long[: 16 * 1024], len(long), True)
    one = f"/v1/deliveries/{(await marketplace.get(placed['id'], '/deliveries'))['items'][0]['id']}"
    assert await shown(one) == ('{"note":"[masked]"}', len(long), False)
    assert await shown(one, **whole) == (long, len(long), False)


async def test_deliveries_page(marketplace: Marketplace) -> None:
    for _ in range(3):
        await marketplace.place()
    first = await marketplace.client.get("/v1/deliveries", params={"limit": 2})

    rest = await marketplace.client.get(first.links["next"]["url"])

    ids = [one["id"] for page in (first, rest) for one in page.json()["items"]]
    assert ids == sorted(ids, reverse=True)
    assert len(ids) == 3


async def test_stats_tell_what_waits_and_how_sellers_fare(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    await _dead(marketplace, simulated, "DEAD5")
    await marketplace.place()

    stats = (await marketplace.client.get("/v1/stats")).json()

    assert stats["orders"]["placed"] == 1
    assert stats["attention"]["count"] == 1
    assert stats["deliveries"]["dead"]["count"] == 1
    (seller,) = stats["sellers"]
    assert (seller["sellerId"], seller["calls"] > 1, seller["failedCalls"] > 0) == ("acme", True, True)


async def test_metrics_speak_prometheus(marketplace: Marketplace) -> None:
    await marketplace.place()

    answer = await marketplace.client.get("/metrics")

    assert answer.headers["content-type"].startswith("text/plain")
    assert 'chain_orders_open_orders{status="placed"} 1.0' in answer.text.splitlines()


async def test_metrics_tell_of_each_seller_what_the_stats_tell(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    await _dead(marketplace, simulated, "DEAD9")
    await marketplace.client.post("/v1/sellers/acme/pause")
    await marketplace.post_order(order("WAITS"))

    (seller,) = (await marketplace.client.get("/v1/stats")).json()["sellers"]
    told = (await marketplace.client.get("/metrics")).text.splitlines()

    shown = {name: float(value) for name, value in (line.rsplit(" ", 1) for line in told if line[0] != "#")}
    numbers = {"waiting": "waiting", "paused": "paused", "calls": "calls", "failed_calls": "failedCalls"}
    for gauge, number in numbers.items():
        assert shown[f'chain_orders_seller_{gauge}{{seller="acme"}}'] == float(seller[number]) > 0
    assert shown['chain_orders_seller_oldest_seconds{seller="acme"}'] >= seller["oldestSeconds"] > 0
    assert shown["chain_orders_attention_oldest_seconds"] > 0


async def test_dead_ones_are_tried_again_by_themselves_where_that_is_asked_for(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    dead = await _dead(marketplace, simulated, "DEAD6")
    upkeep = Upkeep(marketplace.database, every=timedelta(seconds=9), replay_dead=timedelta(microseconds=1))

    assert await until(upkeep.step) == 1  # the service's own may be at it just now, and finds nothing

    await marketplace.becomes(dead["orderId"], "placed")


async def test_periodic_work_is_done_by_one_replica_at_a_time(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    dead = await _dead(marketplace, simulated, "DEAD7")
    replica = Upkeep(marketplace.database, every=timedelta(seconds=9), replay_dead=timedelta(microseconds=1))

    async with marketplace.database.transaction() as another:
        await another.execute(text("select pg_advisory_xact_lock(hashtextextended('chain-orders upkeep', 0))"))
        assert await replica.step() == 0
    assert await until(replica.step) == 1
    await marketplace.becomes(dead["orderId"], "placed")
