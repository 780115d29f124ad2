"""Acts on many orders: each is shown first, and has a result of its own."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ..builders import Marketplace, SimulatedSeller, order
from .day import conflict, dead
from .visitor import Visitor, fields


@pytest.fixture
def options() -> dict[str, Any]:
    return {"retry_schedule": "0.05"}


async def test_many_orders_are_acted_upon_with_a_result_each(marketplace: Marketplace, admin: Visitor) -> None:
    one, other = await marketplace.place(order("MANY1")), await marketplace.place(order("MANY2"))
    ids = [one["id"], other["id"]]
    form = {"csrf": await admin.secret(), "what": "cancel"}

    came_from = {"Referer": f"{marketplace.url}/console/orders?status=placed&chosen=all"}
    preview = await admin.post("/console/orders/many", came_from, **form, order=ids)
    form["back"] = fields(preview.text)["back"]
    looked_at = re.findall(r'name="order" value="([^"]+)"', preview.text)
    untouched = [(await marketplace.get(one_id))["status"] for one_id in ids]
    without = await admin.post("/console/orders/many", **form, order=looked_at, confirm="yes")
    await marketplace.authorize(ids[1])
    done = await admin.post("/console/orders/many", **form, order=looked_at, confirm="yes", reason="the fair is off")

    assert [one_id for one_id in ids if one_id not in preview.text] == []
    assert "/cancel" in preview.text
    assert untouched == ["placed", "placed"]
    assert without.status_code == 422
    assert done.text.count(">done<") == 1
    assert 'href="/console/orders?status=placed">Back to the list' in done.text
    assert re.search("The order has changed since you looked.*? Status: Placed → Author", done.text)
    await marketplace.becomes(ids[0], "cancelled")


async def test_attention_is_cleared_and_dead_calls_are_tried_for_many(
    marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor
) -> None:
    contradicted, stuck = await conflict(marketplace, simulated), await dead(marketplace, simulated)
    for what, order_id in (("clear", contradicted), ("retry", stuck)):
        form = {"csrf": await admin.secret(), "what": what}
        preview = await admin.post("/console/orders/many", **form, order=[order_id])
        looked_at = re.findall(r'name="order" value="([^"]+)"', preview.text)
        assert looked_at, preview.text[preview.text.index("<h1") :]
        assert ("Stays: Invoiced. Cleared: Cancelled after it was invoiced." in preview.text) == (what == "clear")
        done = await admin.post("/console/orders/many", **form, order=looked_at, confirm="yes", reason="seen")
        assert ">done<" in done.text, done.text

    assert (await marketplace.get(contradicted))["attention"] is None
    await marketplace.becomes(stuck, "placed")


async def test_what_would_change_nothing_is_not_done_to_many(
    marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor
) -> None:
    await simulated.behave(cancellation="decide")
    ids = [(await marketplace.place())["id"] for _ in range(2)]
    await marketplace.ask_to_cancel(ids[0])
    form = {"csrf": await admin.secret(), "what": "cancel"}
    versions = [(await marketplace.get(one))["version"] for one in ids]

    preview = await admin.post("/console/orders/many", **form, order=ids)
    looked_at = re.findall(r'name="order" value="([^"]+)"', preview.text)
    both = [f"{one} {version}" for one, version in zip(ids, versions, strict=True)]
    done = await admin.post("/console/orders/many", **form, order=both, confirm="yes", reason="the fair is off")

    assert [one[: len(both[1])] for one in looked_at] == both[1:]
    assert "Nothing would change: its cancellation was asked for before" in preview.text
    assert (done.text.count(">done<"), done.text.count(">refused<")) == (1, 1)
    acts = (await marketplace.client.get("/v1/audit", params={"action": "order.cancel"})).json()["items"]
    assert [act["reason"] for act in acts] == ["the fair is off", "the shopper withdrew"]


async def test_many_that_are_read_first_say_so(
    marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor
) -> None:
    stuck = await dead(marketplace, simulated)
    form = {"csrf": await admin.secret(), "order": [stuck]}

    tried = await admin.post("/console/orders/many", **form, what="retry")
    cancelled = await admin.post("/console/orders/many", **form, what="cancel")

    assert "The seller is read first; what it does not show is sent again." in tried.text
    assert "The seller is read first, and asked if it has the order." in cancelled.text
