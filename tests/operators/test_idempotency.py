"""A request that names itself is done once; a dry run is not done at all."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from chain_orders.operators import idempotency

from ..builders import Marketplace, SimulatedSeller, order

PLACE = "/v1/sellers/acme/orders"


def named(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


async def test_a_hundred_parallel_posts_with_one_key_are_one_order(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    async def post(n: int) -> httpx.Response:
        while True:
            answer = await marketplace.client.post(PLACE, json=order("ONCE"), headers=named("one-click"))
            if answer.status_code not in {409, 503}:  # 503: too many wait for a connection
                return answer
            if answer.status_code == 409:
                busy.append(answer)
            await asyncio.sleep(0.01 * n)

    busy: list[httpx.Response] = []
    answers = await asyncio.gather(*(post(n % 7) for n in range(100)))

    assert {answer.json()["id"] for answer in answers} == {answers[0].json()["id"]}
    assert Counter("idempotency-replayed" in answer.headers for answer in answers) == {False: 1, True: 99}
    assert {(answer.json()["code"], answer.headers["retry-after"]) for answer in busy} <= {
        ("idempotency-key-busy", "1")
    }
    await marketplace.becomes(answers[0].json()["id"], "placed")
    assert await simulated.puts() == {"ONCE": 1}


async def test_a_repeated_placement_shows_the_order_as_it_is_now(marketplace: Marketplace) -> None:
    first = await marketplace.client.post(PLACE, json=order("NOW"), headers=named("k"))
    await marketplace.becomes(first.json()["id"], "placed")

    again = await marketplace.client.post(PLACE, json=order("NOW"), headers=named("k"))

    assert (first.status_code, again.status_code) == (202, 201)
    assert again.json()["status"] == "placed"
    assert again.headers["location"] == first.headers["location"]


async def test_the_same_key_with_another_body_is_refused(marketplace: Marketplace) -> None:
    await marketplace.client.post(PLACE, json=order("FIRST"), headers=named("k"))

    answer = await marketplace.client.post(PLACE, json=order("SECOND"), headers=named("k"))

    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency-key-reused")


async def test_a_refused_request_leaves_its_key_free(marketplace: Marketplace) -> None:
    refused = await marketplace.client.post(PLACE, json=order("R", items=[]), headers=named("k"))
    right = await marketplace.client.post(PLACE, json=order("R"), headers=named("k"))

    assert (refused.status_code, right.status_code) == (422, 202)


async def test_a_repeated_act_gets_its_first_answer_though_the_version_has_moved(marketplace: Marketplace) -> None:
    placed = await marketplace.place()
    path = f"/v1/orders/{placed['id']}/authorization"
    headers = {**named("k"), "If-Match": f'"{placed["version"]}"'}
    first = await marketplace.client.post(path, json={}, headers=headers)
    await marketplace.becomes(placed["id"], "authorized")

    again = await marketplace.client.post(path, json={}, headers=headers)

    assert again.content == first.content
    assert (again.status_code, again.headers["etag"]) == (202, first.headers["etag"])
    assert (await marketplace.story(placed["id"])).count("order.authorization-given") == 1


async def test_keys_of_two_operators_and_two_routes_do_not_meet(marketplace: Marketplace) -> None:
    one, two = await marketplace.place(), await marketplace.place()
    answers = [
        await marketplace.client.post(
            f"/v1/orders/{placed['id']}/cancellation", json={"reason": "r"}, headers=named("k")
        )
        for placed in (one, two)
    ]

    assert [answer.json()["id"] for answer in answers] == [one["id"], two["id"]]


@pytest.mark.parametrize("key", ["", "x" * 256, "a b"])
async def test_a_key_that_is_none_is_refused(marketplace: Marketplace, key: str) -> None:
    answer = await marketplace.client.post(PLACE, json=order(), headers=named(key))

    assert (answer.status_code, answer.json()["code"]) == (400, "idempotency-key-invalid")


@pytest.mark.parametrize(
    ("path", "body", "status", "secret", "done"),
    [
        ("/v1/webhooks", {"url": "https://b.harbor.example/", "events": ["*"]}, 201, "secret", "webhook.add"),
        ("/v1/webhooks/{id}/secret", {"overlapSeconds": 60}, 200, "secret", "webhook.rotate"),
        ("/v1/webhooks/{id}/test", None, 202, None, "webhook.test"),
        ("/v1/webhooks/{id}/replay", {"after": 0}, 202, None, "webhook.replay"),
        ("/v1/sellers/acme/callback-token", None, 200, "token", "seller.callback-token"),
    ],
)
async def test_a_repeated_act_is_done_once_and_shows_no_secret_again(
    marketplace: Marketplace, path: str, body: Any, status: int, secret: str | None, done: str
) -> None:
    webhook = {"url": "https://a.harbor.example/", "events": ["*"]}
    made = (await marketplace.client.post("/v1/webhooks", json=webhook, headers=named("made"))).json()
    address = path.format(id=made["id"])

    first = await marketplace.client.post(address, json=body, headers=named("k"))
    again = await marketplace.client.post(address, json=body, headers=named("k"))

    hidden = {secret: None} if secret else {}
    assert (first.status_code, again.status_code) == (status, status), first.text
    assert again.json() == {**first.json(), **hidden}
    assert again.headers["idempotency-replayed"] == "true"
    acts = (await marketplace.client.get("/v1/audit")).json()["items"]
    assert [act["action"] for act in acts].count(done) == (2 if done == "webhook.add" else 1)


async def test_answers_are_forgotten_after_a_week(marketplace: Marketplace) -> None:
    for key in ("old", "new"):
        await marketplace.client.post("/v1/sellers/acme/pause", headers=named(key))
    async with marketplace.database.transaction() as session:
        await session.execute(
            text(
                "update idempotency_keys set created_at = created_at - interval '8 days'"
                " where created_at = (select min(created_at) from idempotency_keys)"
            )
        )
        await idempotency.purge(session)
        left = await session.scalar(text("select count(*) from idempotency_keys"))

    assert left == 1


async def test_a_dry_run_says_what_would_come_of_it_and_leaves_nothing(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    dry = {"dryRun": "true"}
    taken = await marketplace.client.post(PLACE, json=order("DRY", marketplacePaymentValue=5), params=dry)
    placed = await marketplace.place(order("REAL"))
    path = f"/v1/orders/{placed['id']}"
    authorized = await marketplace.client.post(f"{path}/authorization", json={}, params=dry)
    cancelled = await marketplace.client.post(f"{path}/cancellation", json={"reason": "r"}, params=dry)
    refused = await marketplace.client.post(PLACE, json=order("DRY", items=[]), params=dry)

    assert [answer.status_code for answer in (taken, authorized, cancelled, refused)] == [200, 200, 200, 422]
    assert (taken.json()["id"], taken.json()["dryRun"]) == (None, True)
    assert [warning["code"] for warning in taken.json()["warnings"]] == ["amounts-differ"]
    assert authorized.json()["status"] == "authorizing"
    assert cancelled.json()["status"] == "cancel-requested"
    assert await simulated.puts() == {"REAL": 1}
    assert await marketplace.get(placed["id"]) == placed
    assert [one["orderGroup"] for one in (await marketplace.client.get("/v1/orders")).json()["items"]] == ["REAL"]


async def test_the_second_of_two_editors_is_told_what_changed(marketplace: Marketplace) -> None:
    placed = await marketplace.place()
    match = {"If-Match": f'"{placed["version"]}"'}
    path = f"/v1/orders/{placed['id']}"
    await marketplace.client.post(f"{path}/authorization", json={}, headers=match)

    answer = await marketplace.client.post(f"{path}/cancellation", json={"reason": "r"}, headers=match)

    assert (answer.status_code, answer.json()["code"]) == (412, "version-differs")
    assert answer.json()["version"] > placed["version"]
    given = [one for one in answer.json()["latest"] if one["type"] == "order.authorization-given"]
    assert given[0]["actor"].startswith("operator:test-")
