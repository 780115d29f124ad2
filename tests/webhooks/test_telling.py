"""Telling subscribers: signed, at least once, in order of position, and never dropped."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import func, select, text, update
from standardwebhooks import Webhook, WebhookVerificationError

from chain_orders.database import Bell, Database
from chain_orders.deliveries.models import Delivery, Lane
from chain_orders.outbound import Wire
from chain_orders.settings import Settings
from chain_orders.webhooks import signing
from chain_orders.webhooks.fanout import Fanout
from chain_orders.webhooks.models import Subscription
from chain_orders.webhooks.sending import read

from ..builders import Marketplace, SimulatedSeller, settings_for, until
from ..conftest import serving
from .receiver import Receiver, change, feed, owed, receiving, subscribe


async def placed(marketplace: Marketplace, orders: int = 1) -> list[dict[str, Any]]:
    """Place orders; the whole feed once it tells of them all."""
    made = [await marketplace.place() for _ in range(orders)]

    async def all_told() -> list[dict[str, Any]]:
        found = await feed(marketplace)
        told = Counter(one["orderId"] for one in found if one["type"] == "order.placed")
        return found if all(one["id"] in told for one in made) else []

    found: list[dict[str, Any]] = await until(all_told)
    return found


async def test_every_event_is_told_as_the_feed_shows_it_and_signed(
    marketplace: Marketplace, receiver: Receiver
) -> None:
    made = await subscribe(marketplace, receiver.url)

    shown = await placed(marketplace)
    heard = await receiver.hears(len(shown))

    by_id = {one.id: one.proven(made["secret"]) for one in heard}
    assert by_id == {f"evt_{one['id']}": one for one in shown}
    assert all(one.headers["content-type"] == "application/json" for one in heard)
    assert all(abs(int(one.headers["webhook-timestamp"]) - time.time()) < 60 for one in heard)


async def test_a_process_whose_clock_is_wrong_signs_by_the_databases(
    marketplace: Marketplace, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, right = await subscribe(marketplace, receiver.url), time.time
    monkeypatch.setattr(time, "time", lambda: right() + 600)

    await marketplace.client.post(f"/v1/webhooks/{made['id']}/test")

    (heard,) = await receiver.hears(1)
    heard.proven(made["secret"])  # refuses what is older, or newer, than five minutes


async def test_a_changed_byte_or_another_secret_proves_nothing(marketplace: Marketplace, receiver: Receiver) -> None:
    made, other = await subscribe(marketplace, receiver.url), await subscribe(marketplace, "https://a.harbor.example/")
    await marketplace.client.post(f"/v1/webhooks/{made['id']}/test")
    (heard,) = await receiver.hears(1)

    with pytest.raises(WebhookVerificationError):
        heard.proven(other["secret"])
    with pytest.raises(WebhookVerificationError):
        Webhook(made["secret"]).verify(heard.body.replace(b"test", b"tost"), heard.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(made["secret"]).verify(heard.body, {**heard.headers, "webhook-id": "test_2"})


def test_signatures_are_the_librarys() -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    made = signing.headers("msg_1", 1614265330, b'{"test": 2432232314}', [secret])

    at = datetime.fromtimestamp(1614265330, UTC)
    assert made["webhook-signature"] == Webhook(secret).sign("msg_1", at, '{"test": 2432232314}')


async def test_only_what_was_asked_for_is_told(marketplace: Marketplace, receiver: Receiver) -> None:
    made = await subscribe(marketplace, receiver.url, events=["order.placed"])
    await marketplace.add_seller("http://127.0.0.1:1", "somebody-else")
    other = await subscribe(marketplace, receiver.url + "?other", events=["order.*"], sellers=["somebody-else"])

    await placed(marketplace, 2)
    for webhook in (made, other):  # what comes last, so that nothing comes unseen
        await _catches_up(marketplace, webhook["id"])
        await marketplace.client.post(f"/v1/webhooks/{webhook['id']}/test")
    heard = await receiver.hears(4)

    assert sorted(json.loads(one.body)["type"] for one in heard) == ["order.placed"] * 2 + ["webhook.test"] * 2
    assert len(receiver.all) == 4


async def _catches_up(marketplace: Marketplace, webhook_id: str) -> None:
    """Wait until everything in the feed was passed: what is owed of it is owed by then."""

    async def passed() -> bool:
        return bool((await marketplace.client.get(f"/v1/webhooks/{webhook_id}")).json()["behind"] == 0)

    await until(passed)


async def test_a_failure_is_tried_again_under_its_id_with_every_attempt_visible(
    marketplace: Marketplace, receiver: Receiver
) -> None:
    receiver.status = 500
    made = await subscribe(marketplace, receiver.url)
    await marketplace.client.post(f"/v1/webhooks/{made['id']}/test")
    await until(lambda: _tried(receiver, 3))
    receiver.status = 204
    await receiver.hears(1)

    assert len({one.id for one in receiver.all}) == 1
    assert len({one.body for one in receiver.all}) == 1
    delivery = await until(lambda: _ended(marketplace, made["id"]))
    assert (delivery["kind"], delivery["state"]) == ("webhook", "delivered")
    told = [attempt["status"] for attempt in delivery["attempts"]]
    assert told == [500] * (len(told) - 1) + [204]


async def _tried(receiver: Receiver, times: int) -> bool:
    return len(receiver.all) >= times


async def _ended(marketplace: Marketplace, webhook_id: str) -> dict[str, Any] | None:
    (delivery,) = await owed(marketplace, webhook_id)
    return delivery if delivery["settledAt"] else None


async def test_gone_disables_and_enabled_again_nothing_is_missing_and_all_is_in_order(
    marketplace: Marketplace, receiver: Receiver
) -> None:
    made = await subscribe(marketplace, receiver.url, concurrency=1)
    before = len(await placed(marketplace))
    await receiver.hears(before)
    receiver.status = 410
    await placed(marketplace)

    async def disabled() -> bool:
        found = (await marketplace.client.get(f"/v1/webhooks/{made['id']}")).json()
        return not found["enabled"] and "410" in found["disabledReason"]

    await until(disabled)
    refused = len(receiver.all)
    async with receiving() as witness:
        await subscribe(marketplace, witness.url)
        shown = await placed(marketplace, 3)
        await until(lambda: _heard(witness, shown[-1]))
    assert len(receiver.all) == refused, "it was called while it was disabled"

    receiver.status = 204
    enabled = await change(marketplace, made["id"], enabled=True)
    heard = await receiver.hears(len(shown))

    assert (enabled["enabled"], enabled["disabledReason"]) == (True, None)
    assert [one.proven(made["secret"])["id"] for one in heard] == [one["id"] for one in shown]
    assert {one["state"] for one in await owed(marketplace, made["id"])} <= {"delivered", "sending"}


async def _heard(receiver: Receiver, event: dict[str, Any]) -> bool:
    return f"evt_{event['id']}" in {one.id for one in receiver.accepted}


async def test_while_secrets_rotate_both_sign_and_then_the_new_one_alone(
    marketplace: Marketplace, receiver: Receiver, database: Database
) -> None:
    made = await subscribe(marketplace, receiver.url)
    address = f"/v1/webhooks/{made['id']}"
    rotated = (await marketplace.client.post(f"{address}/secret", json={"overlapSeconds": 3600})).json()
    assert rotated["secret"] != made["secret"]

    await marketplace.client.post(f"{address}/test")
    (both,) = await receiver.hears(1)

    assert len(both.headers["webhook-signature"].split(" ")) == 2
    assert both.proven(made["secret"]) == both.proven(rotated["secret"])

    async with database.transaction() as session:
        await session.execute(update(Subscription).values(before_until=Subscription.created_at))
    await marketplace.client.post(f"{address}/test")
    alone = (await receiver.hears(2))[1]

    assert alone.proven(rotated["secret"])
    with pytest.raises(WebhookVerificationError):
        alone.proven(made["secret"])


async def test_a_leaked_secret_is_cut_off_at_once(marketplace: Marketplace, receiver: Receiver) -> None:
    made = await subscribe(marketplace, receiver.url)
    address = f"/v1/webhooks/{made['id']}"
    rotated = (await marketplace.client.post(f"{address}/secret", json={"overlapSeconds": 0})).json()

    await marketplace.client.post(f"{address}/test")
    (heard,) = await receiver.hears(1)

    assert heard.proven(rotated["secret"])["type"] == "webhook.test"
    with pytest.raises(WebhookVerificationError):
        heard.proven(made["secret"])


async def test_a_replay_tells_everything_again_in_order_under_the_same_ids(
    marketplace: Marketplace, receiver: Receiver
) -> None:
    made = await subscribe(marketplace, receiver.url, concurrency=1)
    shown = await placed(marketplace, 2)
    await receiver.hears(len(shown))

    after = shown[0]["id"]
    answer = await marketplace.client.post(f"/v1/webhooks/{made['id']}/replay", json={"after": after})
    heard = await receiver.hears(2 * len(shown) - 1)

    assert answer.status_code == 202
    assert [one.id for one in heard[len(shown) :]] == [f"evt_{one['id']}" for one in shown[1:]]
    assert [one.body for one in heard[len(shown) :]] == [one.body for one in heard[1 : len(shown)]]


async def test_a_replay_withdraws_what_still_waits_of_it_and_skips_nothing(
    marketplace: Marketplace, receiver: Receiver
) -> None:
    made = await subscribe(marketplace, receiver.url, concurrency=1)
    receiver.status = 410
    shown = await placed(marketplace)
    address = f"/v1/webhooks/{made['id']}"
    await until(lambda: _tried(receiver, 1))
    await until(lambda: _is_disabled(marketplace, made["id"]))

    beyond = await marketplace.client.post(f"{address}/replay", json={"after": shown[-1]["id"] + 1000})
    await marketplace.client.post(f"{address}/replay", json={"after": 0})
    receiver.status = 204
    await change(marketplace, made["id"], enabled=True)
    await receiver.hears(len(shown))
    await marketplace.client.post(f"{address}/test")
    *heard, last = await receiver.hears(len(shown) + 1)

    assert (beyond.status_code, beyond.json()["code"]) == (409, "position-not-reached")
    assert [one.id for one in heard] == [f"evt_{e['id']}" for e in shown]
    assert last.id.startswith("test_")


async def _is_disabled(marketplace: Marketplace, webhook_id: str) -> bool:
    return not (await marketplace.client.get(f"/v1/webhooks/{webhook_id}")).json()["enabled"]


async def test_a_new_webhook_may_start_at_a_position_of_the_past(marketplace: Marketplace, receiver: Receiver) -> None:
    shown = await placed(marketplace, 2)

    await subscribe(marketplace, receiver.url, after=0, concurrency=1)

    assert [one.id for one in await receiver.hears(len(shown))] == [f"evt_{one['id']}" for one in shown]


async def test_many_at_once_owe_every_event_once(marketplace: Marketplace, database: Database) -> None:
    made = await subscribe(marketplace, "https://hooks.harbor.example/")
    await change(marketplace, made["id"], enabled=False)
    shown = await placed(marketplace, 3)
    fanouts = [Fanout(database, Bell(""), poll_seconds=1) for _ in range(6)]
    async with database.transaction() as session:
        await session.execute(update(Subscription).values(enabled=True, disabled_reason=None))

    await asyncio.gather(*(fanout.step() for fanout in fanouts for _ in range(3)))

    async def owed() -> dict[str, int]:
        async with database.transaction() as session:
            rows = await session.execute(
                select(Delivery.target, func.count()).where(Delivery.kind == "webhook").group_by(Delivery.target)
            )
            return {row.target: row[1] for row in rows}

    await until(owed)  # the service's own may be at it too, and the others leave the row to it
    assert await owed() == {f"evt_{one['id']}": 1 for one in shown}


async def test_one_webhook_that_fails_holds_up_no_other(
    marketplace: Marketplace, receiver: Receiver, database: Database
) -> None:
    first = await subscribe(marketplace, "https://hooks.harbor.example/")
    await subscribe(marketplace, receiver.url)
    async with database.transaction() as session:
        await session.execute(text("delete from lanes where lane = 'subscription:' || :id"), {"id": first["id"]})

    shown = await placed(marketplace)

    assert len(await receiver.hears(len(shown))) == len(shown)


async def test_a_redirect_is_not_followed_and_a_wait_that_is_asked_for_costs_no_attempt(
    marketplace: Marketplace, receiver: Receiver
) -> None:
    receiver.status, receiver.headers = 307, {"Location": receiver.url + "?elsewhere"}
    made = await subscribe(marketplace, receiver.url)
    await marketplace.client.post(f"/v1/webhooks/{made['id']}/test")
    await until(lambda: _tried(receiver, 2))
    receiver.status, receiver.headers = 429, {"Retry-After": "1"}
    await until(lambda: _throttled(marketplace, made["id"]))
    receiver.status, receiver.headers = 200, {}
    await receiver.hears(1)

    assert {one.status for one in receiver.all} == {307, 429, 200}
    delivery = await until(lambda: _ended(marketplace, made["id"]))
    outcomes = [attempt["outcome"] for attempt in delivery["attempts"]]
    assert set(outcomes[:2]) == {"again"}
    assert outcomes[-2:] == ["throttled", "answered"]


async def _throttled(marketplace: Marketplace, webhook_id: str) -> bool:
    (delivery,) = await owed(marketplace, webhook_id)
    return any(attempt["outcome"] == "throttled" for attempt in delivery["attempts"])


async def test_a_private_address_is_not_called_outside_development(receiver: Receiver) -> None:
    wire = Wire(deadline=5, connect=2, allow_private=False)
    named = receiver.url.replace("127.0.0.1", "localhost")
    try:
        for url in (receiver.url, named):
            exchange = await wire.exchange("POST", url, headers={}, content=b"{}")
            assert (exchange.status, exchange.sent) == (None, False)
            assert read(exchange).__class__.__name__ == "Again"
    finally:
        await wire.close()

    assert receiver.all == []


async def test_a_receiver_that_is_down_disturbs_no_seller(
    marketplace: Marketplace, simulated: SimulatedSeller, receiver: Receiver
) -> None:
    made = await subscribe(marketplace, "http://127.0.0.1:1/hooks")

    await placed(marketplace, 3)

    stats = (await marketplace.client.get("/v1/stats")).json()
    assert [lane["sellerId"] for lane in stats["sellers"]] == ["acme"]
    assert [lane["webhookId"] for lane in stats["webhooks"]] == [made["id"]]
    assert stats["webhooks"][0]["waiting"] > 0
    calls = (await marketplace.client.get("/v1/deliveries")).json()["items"]
    assert {call["kind"] for call in calls} == {"place"}


async def test_a_slow_receiver_holds_its_share_and_orders_are_placed_meanwhile(
    database: Database, simulated: SimulatedSeller, receiver: Receiver
) -> None:
    receiver.gate.clear()
    patient = settings_for(database.url, worker_slots=4, exchange_seconds=60.0, lease_seconds=90.0)
    async with serving(database, Settings(**patient)) as marketplace:
        await marketplace.add_seller(simulated.url)
        made = await subscribe(marketplace, receiver.url, concurrency=100)
        async with database.transaction() as session:  # it is known to be well: nothing holds it at one call
            await session.execute(update(Lane).where(Lane.lane == f"subscription:{made['id']}").values(ramp=None))
        for _ in range(8):
            await marketplace.client.post(f"/v1/webhooks/{made['id']}/test")
        await until(lambda: _inside(receiver, 2))

        for _ in range(6):
            await marketplace.place()

        assert (receiver.inside, receiver.most, receiver.all) == (2, 2, [])
        receiver.gate.set()
        await receiver.hears(8)


async def _inside(receiver: Receiver, many: int) -> bool:
    return receiver.inside >= many


async def test_a_dead_one_is_retried_by_hand(marketplace: Marketplace, receiver: Receiver, database: Database) -> None:
    made = await subscribe(marketplace, receiver.url)
    await change(marketplace, made["id"], enabled=False)
    await marketplace.client.post(f"/v1/webhooks/{made['id']}/test")
    async with database.transaction() as session:
        await session.execute(update(Delivery).values(state="dead", failures=14))
    await change(marketplace, made["id"], enabled=True)

    bulk = (await marketplace.client.post("/v1/deliveries/retry", json={"reason": "r"})).json()["items"]
    retried = (await marketplace.client.post("/v1/deliveries/retry", json={"kind": "webhook", "reason": "r"})).json()[
        "items"
    ]

    assert bulk == []
    assert [one["result"] for one in retried] == ["retried"]
    assert len(await receiver.hears(1)) == 1
