"""Webhooks at the console: added, tested, stopped, told again, and what was tried."""

from __future__ import annotations

import re

from chain_orders.events import types

from ..builders import Marketplace
from .visitor import Visitor


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
