"""Subscribing: what is shown once, what is refused, and what is stored how."""

from __future__ import annotations

import ast
import base64
import re
import uuid
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

import chain_orders
from chain_orders.database import Database
from chain_orders.deliveries.models import Lane
from chain_orders.errors import Invalid
from chain_orders.events import types
from chain_orders.operators import access
from chain_orders.orders.states import Status
from chain_orders.sellers.vault import Unsealable, Vault
from chain_orders.webhooks import directory
from chain_orders.webhooks.models import Subscription

from ..builders import KEY_BYTES, Marketplace
from .receiver import change, subscribe

URL = "https://hooks.harbor.example/orders"
VAULT = Vault({"k1": KEY_BYTES})


async def stored(database: Database, webhook_id: str) -> Subscription:
    async with database.transaction() as session:
        return await session.get_one(Subscription, uuid.UUID(webhook_id))


async def test_the_secret_is_shown_once_and_never_again(marketplace: Marketplace) -> None:
    made = await subscribe(marketplace, URL)

    assert made["secret"].startswith("whsec_")
    assert len(base64.b64decode(made["secret"].removeprefix("whsec_"))) == 32
    one = await marketplace.client.get(f"/v1/webhooks/{made['id']}")
    listed = await marketplace.client.get("/v1/webhooks")
    assert "secret" not in one.json()
    assert made["secret"] not in one.text + listed.text


async def test_the_secret_is_sealed_and_bound_to_its_row(marketplace: Marketplace, database: Database) -> None:
    made, other = await subscribe(marketplace, URL), await subscribe(marketplace, URL)
    subscription = await stored(database, made["id"])

    assert made["secret"].encode() not in subscription.sealed_secret
    opened = VAULT.open(subscription.sealed_secret, row=made["id"], column="sealed_secret", table=directory.TABLE)
    assert opened == made["secret"]
    with pytest.raises(Unsealable):
        VAULT.open(subscription.sealed_secret, row=other["id"], column="sealed_secret", table=directory.TABLE)
    with pytest.raises(Unsealable):
        VAULT.open(subscription.sealed_secret, row=made["id"], column="sealed_secret")


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.harbor.example/",
        "https://127.0.0.1/",
        "https://10.1.2.3/",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://localhost/",
        "https://db.internal/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://user@hooks.harbor.example/",
        "https://hooks.harbor.example/#part",
        "https://hooks.harbor.example:port/",
        "ftp://hooks.harbor.example/",
        "hooks.harbor.example",
        "https://",
    ],
)
def test_a_url_that_may_not_be_called_is_refused_outside_development(url: str) -> None:
    with pytest.raises(Invalid) as refused:
        directory.check_url(url, development=False)

    assert refused.value.code == "webhook-url-refused"


@pytest.mark.parametrize("url", [URL, "https://hooks.harbor.example:8443/a?b=c", "https://192.0.2.1.harbor.example/"])
def test_a_public_https_url_is_taken(url: str) -> None:
    assert directory.check_url(url, development=False) == url


@pytest.mark.parametrize(
    "body",
    [
        {"url": URL},
        {"url": URL, "events": []},
        {"url": URL, "events": ["Order.placed"]},
        {"url": URL, "events": ["order.*.x"]},
        {"url": URL, "events": ["order.placed"], "sellers": []},
        {"url": URL, "events": ["order.placed"], "secret": "whsec_chosen"},
        {"url": URL, "events": ["order.placed"], "after": 10_000_000},
        {"url": "nowhere", "events": ["order.placed"]},
    ],
)
async def test_what_breaks_a_rule_is_refused(marketplace: Marketplace, body: dict[str, Any]) -> None:
    answer = await marketplace.client.post("/v1/webhooks", json=body)

    assert answer.status_code == 422, answer.text


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"url": "http://a b/"}, "/url"),
        ({"url": "http://a\tb.example/"}, "/url"),
        ({"url": "http://a%20b.example/"}, "/url"),
        ({"url": "http://hooks..example/"}, "/url"),
        ({"events": ["order.*", "order.place"]}, "/events/1"),
        ({"events": ["shipment.*"]}, "/events/0"),
        ({"sellers": ["acme", "nobody"]}, "/sellers/1"),
        ({"ratePerSecond": 1e-300}, "/ratePerSecond"),
    ],
)
async def test_what_would_never_be_told_is_refused_by_its_field(
    marketplace: Marketplace, wrong: dict[str, Any], where: str
) -> None:
    made = await subscribe(marketplace, URL)
    match = {"If-Match": f'"{made["version"]}"'}

    added = await marketplace.client.post("/v1/webhooks", json={"url": URL, "events": ["*"], **wrong})
    changed = await marketplace.client.patch(f"/v1/webhooks/{made['id']}", json=wrong, headers=match)

    for answer in (added, changed):
        assert (answer.status_code, [one["pointer"] for one in answer.json()["errors"]]) == (422, [where])


def test_what_may_be_asked_for_is_what_is_told_and_what_the_page_says() -> None:
    told = set()
    for file in Path(chain_orders.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "tell":
                told |= {str(one.value) for one in node.args[:1] if isinstance(one, ast.Constant)}
    page = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text()
    listed = page[page.index("Types of events:") : page.index("## What comes")]
    shown, part = set(), ""
    for name in re.findall(r"`([a-z.-]+)`", listed):
        part = name if name.endswith(".") else part
        shown |= {part + name} - {part * 2}

    assert types.OF_ORDERS - told == {f"chain-order.{Status.PARTIALLY_INVOICED}"}, "that one is composed"
    assert told <= types.OF_ORDERS
    assert shown == types.ALL - {types.TEST}


async def test_what_a_disabled_webhook_is_owed_is_shown(marketplace: Marketplace) -> None:
    made = await subscribe(marketplace, URL)
    await change(marketplace, made["id"], enabled=False)
    await marketplace.client.post(f"/v1/webhooks/{made['id']}/test")

    found = (await marketplace.client.get(f"/v1/webhooks/{made['id']}")).json()

    assert (found["behind"], found["waiting"]) == (0, 1)


async def test_a_removed_webhook_that_was_owed_nothing_leaves_no_lane(
    marketplace: Marketplace, database: Database
) -> None:
    made = await subscribe(marketplace, URL)

    await marketplace.client.delete(f"/v1/webhooks/{made['id']}")

    async with database.transaction() as session:
        assert list(await session.scalars(select(Lane.lane))) == ["seller:acme"]


async def test_only_an_admin_sees_and_makes_webhooks(marketplace: Marketplace, database: Database) -> None:
    async with database.transaction() as session:
        key = await access.create_key(session, "watcher", "operator")
    headers = {"Authorization": f"Bearer {key}"}

    listed = await marketplace.client.get("/v1/webhooks", headers=headers)
    made = await marketplace.client.post("/v1/webhooks", json={"url": URL, "events": ["*"]}, headers=headers)

    assert (listed.status_code, made.status_code) == (403, 403)


async def test_a_change_needs_the_version_that_was_read(marketplace: Marketplace) -> None:
    made = await subscribe(marketplace, URL)
    address = f"/v1/webhooks/{made['id']}"

    without = await marketplace.client.patch(address, json={"enabled": False})
    stale = await marketplace.client.patch(address, json={"enabled": False}, headers={"If-Match": '"99"'})
    changed = await change(marketplace, made["id"], enabled=False, events=["order.placed"], sellers=["acme"])

    assert (without.status_code, stale.status_code) == (428, 412)
    assert (changed["enabled"], changed["disabledReason"]) == (False, "an operator disabled it")
    assert (changed["events"], changed["sellers"], changed["version"]) == (["order.placed"], ["acme"], 2)


@pytest.mark.parametrize("path", ["", "/secret", "/test"])
async def test_an_unknown_webhook_is_told(marketplace: Marketplace, path: str) -> None:
    for webhook_id in (str(uuid.uuid4()), "no-uuid"):
        address = f"/v1/webhooks/{webhook_id}{path}"
        answer = await (marketplace.client.post(address) if path else marketplace.client.get(address))
        assert (answer.status_code, answer.json()["code"]) == (404, "webhook-unknown")


async def test_a_removed_webhook_is_owed_nothing_and_its_past_stays_visible(
    marketplace: Marketplace, database: Database
) -> None:
    made = await subscribe(marketplace, URL)
    await change(marketplace, made["id"], enabled=False)
    await marketplace.client.post(f"/v1/webhooks/{made['id']}/test")

    gone = await marketplace.client.delete(f"/v1/webhooks/{made['id']}")

    assert gone.status_code == 204
    assert (await marketplace.client.get(f"/v1/webhooks/{made['id']}")).status_code == 404
    found = (await marketplace.client.get("/v1/deliveries", params={"webhook": made["id"]})).json()["items"]
    assert [(one["state"], one["webhookId"], one["sellerId"]) for one in found] == [("withdrawn", made["id"], None)]
    async with database.transaction() as session:
        assert (await session.scalars(select(Subscription))).all() == []
