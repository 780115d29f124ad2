"""A dry run changes nothing, whatever it is of; and a change that came too late is told what happened meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import select, text

from chain_orders.database import Base, Database
from chain_orders.deliveries.models import Delivery
from chain_orders.notifications.models import Notification
from chain_orders.orders.models import Order
from chain_orders.settings import Settings

from ..builders import Marketplace, SimulatedSeller, order, settings_for
from ..conftest import serving

SELLER = {
    "accountName": "other",
    "baseUrl": "http://127.0.0.1:9",
    "salesChannel": "1",
    "affiliateId": "MKP",
    "appKey": "k",
    "appToken": "t",
}
REASON = {"reason": "the shopper withdrew"}
ACTS: list[tuple[str, str, Any, int]] = [
    ("POST", "/v1/sellers", SELLER, 200),
    ("PATCH", "/v1/sellers/acme", {"concurrency": 3}, 200),
    ("POST", "/v1/sellers/acme/pause", {}, 200),
    ("POST", "/v1/sellers/acme/resume", {}, 200),
    ("POST", "/v1/sellers/acme/orders", order("NEW"), 200),
    ("POST", "/v1/orders/{taken}/authorization", {}, 200),
    ("POST", "/v1/orders/{taken}/cancellation", REASON, 200),
    ("POST", "/v1/orders/{taken}/resolution", {"decision": "dismiss", **REASON}, 200),
    ("PUT", "/v1/orders/{refused}/placement", order("REFUSED", marketplacePaymentValue=1299), 200),
    ("POST", "/v1/deliveries/{dead}/retry", {"reason": "r"}, 200),
    ("POST", "/v1/deliveries/retry", {"reason": "r"}, 200),
    ("POST", "/v1/notifications/{odd}/replay", {"reason": "r"}, 200),
    ("POST", "/v1/keys", {"name": "another", "role": "viewer"}, 200),
    ("PATCH", "/v1/webhooks/{told}", {"enabled": False}, 200),
    ("POST", "/v1/webhooks/{told}/replay", {"after": 0}, 200),
    ("POST", "/v1/orders/{over}/erasure", REASON, 200),
    ("POST", "/v1/notifications/{odd}/dismissal", REASON, 200),
    ("POST", "/v1/sellers/acme/callback-token", None, 422),
    ("POST", "/v1/webhooks", {"url": "http://127.0.0.1:9", "events": ["*"]}, 422),
]


@pytest.fixture
async def still(database: Database, simulated: SimulatedSeller) -> AsyncIterator[Marketplace]:
    """A service that sends and applies nothing by itself."""
    async with serving(database, Settings(**settings_for(database.url)), worker=False) as marketplace:
        await marketplace.add_seller(simulated.url)
        yield marketplace


async def _prepared(still: Marketplace) -> dict[str, str]:
    """The ids of an order that was taken, one that was refused, a dead delivery and a notification that waits."""
    taken = (await still.post_order(order("TAKEN"))).json()["id"]
    over = (await still.post_order(order("OVER"))).json()["id"]
    await still.client.post(f"/v1/orders/{over}/cancellation", json=REASON)
    told = (await still.client.post("/v1/webhooks", json={"url": "http://127.0.0.1:9", "events": ["*"]})).json()["id"]
    refused = (await still.post_order(order("REFUSED"))).json()["id"]
    await still.post_order(order("DEAD"))
    async with still.database.transaction() as session:
        await session.execute(text("update orders set status = 'rejected' where order_group = 'REFUSED'"))
        await session.execute(
            text("update orders set attention_code = 'odd', attention_reason = 'odd' where order_group = 'TAKEN'")
        )
        await session.execute(text("update deliveries set state = 'rejected' where order_id = :id"), {"id": refused})
        dead = await session.scalar(
            select(Delivery.id).join(Order, Order.id == Delivery.order_id).where(Order.order_group == "DEAD")
        )
        await session.execute(text("update deliveries set state = 'dead' where id = :id"), {"id": dead})
        note = Notification(
            dedupe_key=b"1", receipt="r", kind="invoice", caller="base", order_id=taken, path=b"pvt/orders/x/invoice",
            headers=b"{}", body=b"{}", state="parked",
        )  # fmt: skip
        session.add(note)
        await session.flush()
        return {"taken": taken, "refused": refused, "dead": str(dead), "odd": str(note.id), "over": over, "told": told}


async def _stored(database: Database) -> dict[str, list[str]]:
    """Every row of every table as text; when a key was used last is no matter."""
    async with database.transaction() as session:
        return {
            table.name: sorted(
                await session.scalars(text(f"select (to_jsonb(t) - 'last_used_at')::text from {table.name} t"))
            )
            for table in Base.metadata.sorted_tables
        }


async def test_a_dry_run_says_what_would_come_of_it_and_changes_nothing(still: Marketplace) -> None:
    ids = await _prepared(still)
    before = await _stored(still.database)

    answers = []
    for method, path, body, _ in ACTS:
        headers = {"If-Match": "*", "Idempotency-Key": f"{method} {path}".replace(" ", ":")}
        address = f"{path.format(**ids)}?dryRun=true"
        answers.append(await still.client.request(method, address, json=body, headers=headers))
        assert await _stored(still.database) == before, path

    assert [(path, answer.status_code) for (_, path, _, _), answer in zip(ACTS, answers, strict=True)] == [
        (path, status) for _, path, _, status in ACTS
    ]
    views = [answer.json() for answer in answers if answer.status_code == 200]
    assert all(view["dryRun"] is True for view in views)
    assert views[1]["concurrency"] == 3
    assert views[2]["paused"] is True
    assert views[8]["status"] == "accepted"
    assert views[13]["enabled"] is False
    assert views[15]["erased"]["placements"] == 1
    assert views[10]["items"] == [{"id": int(ids["dead"]), "result": "retried"}]


async def test_whoever_changes_a_seller_too_late_hears_who_changed_what(still: Marketplace) -> None:
    await still.change_seller(concurrency=3, appToken="another-token")
    await still.change_seller(currency="BRL")

    answer = await still.client.patch("/v1/sellers/acme", json={"concurrency": 4}, headers={"If-Match": '"1"'})

    assert (answer.status_code, answer.json()["version"]) == (412, 3)
    latest = answer.json()["latest"]
    assert [(one["type"], one["changed"]) for one in latest] == [
        ("seller.change", ["currency"]),
        ("seller.change", ["concurrency"]),
        ("seller.add", []),
    ]
    assert all(one["actor"].startswith("operator:test-") and one["at"] for one in latest)


async def test_whoever_decides_too_late_hears_what_happened_meanwhile(still: Marketplace) -> None:
    taken = (await still.post_order(order("LATE"))).json()
    await still.authorize(taken["id"])

    answer = await still.client.post(
        f"/v1/orders/{taken['id']}/resolution",
        json={"decision": "dismiss", **REASON},
        headers={"If-Match": f'"{taken["version"]}"'},
    )

    assert answer.status_code == 412
    assert answer.json()["latest"][0]["type"] == "order.authorization-given"
