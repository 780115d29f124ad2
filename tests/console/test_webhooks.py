"""Webhooks at the console: added, tested, stopped, told again, and what was tried."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest

from chain_orders.events import types

from ..builders import Marketplace, until
from .visitor import Visitor, addresses, fields


@pytest.fixture
def options() -> dict[str, Any]:
    return {"retry_schedule": "0.05"}


async def test_webhooks_are_seen_tested_stopped_and_let_go_on(marketplace: Marketplace, admin: Visitor) -> None:
    body = {"url": "http://127.0.0.1:9/told", "events": ["order.*"], "description": "the warehouse"}
    made = (await marketplace.client.post("/v1/webhooks", json=body)).json()
    path = f"/console/webhooks/{made['id']}"

    listed = await admin.page("/console/webhooks")
    tested = await admin.post(f"{path}/test", csrf=await admin.secret())
    without = await admin.post(f"{path}/disable", csrf=await admin.secret())
    stopped = await admin.post(f"{path}/disable", csrf=await admin.secret(), reason="it moves")
    page = await admin.page(path)
    await admin.post(f"{path}/enable", csrf=await admin.secret())

    assert "the warehouse" in listed
    assert tested.headers["location"] == f"{path}"
    assert without.status_code == 422
    assert stopped.headers["location"] == f"{path}"
    assert "It is not called, and what it is owed waits." in page
    assert (await marketplace.client.get(f"/v1/webhooks/{made['id']}")).json()["enabled"] is True


async def test_a_webhook_is_added_given_a_new_secret_and_told_again(marketplace: Marketplace, admin: Visitor) -> None:
    await marketplace.place()
    form = {"url": "http://127.0.0.1:9/told", "events": "order.placed, order.cancelled", "description": "the warehouse"}

    refused = await admin.send("/console/webhooks/new", **{**form, "events": "order.*!"}, confirm="yes")
    added = await admin.send("/console/webhooks/new", **form, confirm="yes")
    (one,) = (await marketplace.client.get("/v1/webhooks")).json()["items"]
    path = f"/console/webhooks/{one['id']}"
    rotated = await admin.send(f"{path}/secret", overlap="3600", confirm="yes")
    ahead = await admin.send(f"{path}/again", after="999", reason="it lost some")
    again = await admin.send(f"{path}/again", after="0", reason="it lost some")

    assert refused.status_code == 422
    assert "must be a type such as order.placed" in refused.text
    for event in types.ALL:
        assert f'translate="no">{event}</dt>' in refused.text
    assert refused.text.count("(needed)") == 2
    assert one["events"] == ["order.placed", "order.cancelled"]
    secrets = [re.findall(r">(whsec_[^<]+)<", answer.text) for answer in (added, rotated)]
    assert [len(found) for found in secrets] == [1, 1]
    assert secrets[0] != secrets[1]
    assert ahead.status_code == 409
    assert again.headers["location"] == path
    assert "It is told again, in order." in await admin.page(path)
    acts = (
        await marketplace.client.get(
            "/v1/audit", params={"action": ["webhook.add", "webhook.rotate", "webhook.replay"]}
        )
    ).json()["items"]
    assert [act["action"] for act in acts] == ["webhook.replay", "webhook.rotate", "webhook.add"]


async def test_what_a_webhook_did_not_take_is_found_and_tried_again(marketplace: Marketplace, admin: Visitor) -> None:
    """Its page says which event each attempt carried, and leads to the dead ones; so does telling it again."""
    body = {"url": "http://127.0.0.1:9/told", "events": ["order.accepted"]}
    made = (await marketplace.client.post("/v1/webhooks", json=body)).json()
    path, calls = f"/console/webhooks/{made['id']}", f"/console/deliveries?webhook={made['id']}"
    placed = await marketplace.place()

    async def dead() -> bool:
        found = await marketplace.client.get("/v1/deliveries", params={"webhook": made["id"], "state": "dead"})
        return bool(found.json()["items"])

    await until(dead)
    page = await admin.page(path)
    (listed,) = [one for one in addresses(page) if one.endswith("state=dead")]
    rows = await admin.page(listed)
    matching = await admin.post("/console/deliveries/retry", **fields(rows), all="yes")
    without = await admin.post("/console/deliveries/retry", **fields(matching.text), confirm="yes", reason=" ")
    done = await admin.post("/console/deliveries/retry", **fields(matching.text), confirm="yes", reason="it is back")
    story = await admin.page(f"/console/orders/{placed['id']}")

    accepted = (await marketplace.client.get("/v1/events", params={"type": "order.accepted"})).json()["items"][0]
    place = f"position {accepted['id']} of the feed"
    assert (listed, "1 dead call" in page) == (f"{calls}&state=dead", True)
    assert re.search(rf'">Order taken</a><span class="second">event at {place} · <a href="/console/orders/', page)
    assert f"event at {place}" in rows
    assert "Tell a webhook" in rows
    assert without.status_code == 422
    assert fields(without.text)["id"] == fields(matching.text)["id"]
    assert "It is tried again now." in done.text
    assert re.search(rf'position in the feed <b translate="no">{accepted["id"]}</b>', story)
    assert "beside the events of an order's story" in unescape(await admin.page(f"{path}/again"))
