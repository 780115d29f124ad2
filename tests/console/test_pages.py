"""Every page: there, small, its own, escaped."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from sqlalchemy import text

from chain_orders.console import story

from ..builders import Marketplace, SimulatedSeller, invoice, order
from .day import HOSTILE, foreign
from .visitor import LARGEST, Visitor, addresses, fields

ACT = re.compile(r"<(script|style)\b(?![^>]*\bsrc=)|\sstyle=|\son[a-z]+=\"|javascript:[^\"<]*\"", re.IGNORECASE)


@pytest.fixture
def options() -> dict[str, Any]:
    return {"retry_schedule": "0.05"}


async def test_every_page_that_can_be_reached_is_there_and_small_and_safe(
    day: dict[str, str], simulated: SimulatedSeller, admin: Visitor
) -> None:
    macs = {one["marketplaceServicesEndpoint"].rpartition("/")[2] for one in await simulated.book()}
    todo, seen = {"/console"}, set[str]()
    while todo:
        path = todo.pop()
        seen.add(path)
        answer = await admin.get(path)
        assert answer.status_code == 200, (path, answer.text[:3000])
        assert len(answer.content) < LARGEST, (path, len(answer.content))
        if not answer.headers["content-type"].startswith("text/html"):
            continue
        assert not ACT.search(answer.text), (path, ACT.search(answer.text))
        assert "<img src=x" not in answer.text
        assert "\u202e" not in answer.text
        assert not any(mac in answer.text for mac in macs), path
        assert answer.text.count("<h1>") == 1, path
        todo |= addresses(answer.text) - seen
    for wanted in (*(f"/console/orders/{one}" for one in day.values()), "/console/keys", "/console/sellers/new"):
        assert wanted in seen


async def test_what_a_seller_wrote_is_shown_as_text(
    marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor
) -> None:
    page = await admin.page(f"/console/orders/{await foreign(marketplace, simulated)}")

    assert "&lt;img src=x onerror=alert(1)&gt;\\u202e" in page
    assert 'href="javascript' not in page
    assert 'href="data:' not in page
    assert "javascript:alert(1)" in page  # as text


async def test_unreadable_bytes_are_shown_safely_and_can_be_applied_again(
    marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor
) -> None:
    order_id = await foreign(marketplace, simulated)
    listed = await admin.page("/console/notifications?state=unreadable")
    (path,) = {one for one in addresses(listed) if re.fullmatch(r"/console/notifications/\d+", one)}

    page = (await admin.send(f"{path}/whole", reason="to see why")).text

    assert "\\xff\\xfe&lt;script&gt;alert(1)&lt;/script&gt;\\u0000\\u0001" in page
    assert "ff fe 3c 73" in page
    without = await admin.send(f"{path}/replay", reason=" ")
    again = await admin.send(f"{path}/replay", reason="the seller sent it again", confirm="yes")
    assert without.status_code == 422
    assert "Say why" in without.text
    assert again.headers["location"] == f"{path}"
    assert "notification.replayed" in await marketplace.story(order_id)


async def test_what_can_never_be_applied_is_dismissed_by_a_form_without_script(
    marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor, viewer: Visitor
) -> None:
    order_id = await foreign(marketplace, simulated)
    listed = await admin.page("/console/notifications?state=parked")
    (path,) = {one for one in addresses(listed) if re.fullmatch(r"/console/notifications/\d+", one)}
    form, why = f"{path}/dismiss", "the seller meant another marketplace's order"

    offered = [form in addresses(await somebody.page(path)) for somebody in (admin, viewer)]
    asked, unreasoned = await admin.page(form), await admin.send(form, reason=" ")
    sent = {**fields(asked), "reason": why}
    done = [await admin.post(form, **sent) for _ in range(2)]

    assert offered == [True, False]
    assert "It is not tried again and moves nothing" in asked
    assert (unreasoned.status_code, "Say why" in unreasoned.text) == (422, True)
    assert [one.headers["location"] for one in done] == [path, path]
    page, story = await admin.page(path), await admin.page(f"/console/orders/{order_id}")
    assert "It was dismissed. Before that: It came to this order&#39;s address and names another order." in page
    assert (form in addresses(page), f"{path}/replay" in addresses(page)) == (False, True)
    assert "A notification was dismissed" in story
    assert why in unescape(story)
    assert (await marketplace.story(order_id)).count("notification.dismissed") == 1
    refused = await admin.get(form)
    assert (refused.status_code, "Nothing waits for it" in refused.text) == (409, True)
    await admin.send(f"{path}/replay", reason="it was meant after all")
    assert "notification.replayed" in await marketplace.story(order_id)


async def test_what_is_parked_does_not_say_when_it_was_applied(
    marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor
) -> None:
    placed = await marketplace.place(order("PARKED-1"))
    base = await simulated.base("PARKED-1")
    await marketplace.notify(f"{base}/pub/orders/ANOTHER-1/invoice", invoice("NF-1"))
    note = await marketplace.notified(placed["id"], "parked")

    page = await admin.page(f"/console/notifications/{note['id']}")

    assert note["appliedAt"] is None
    assert "It cannot be applied yet" in page
    assert "<dt>Applied</dt>" not in page


async def test_a_page_of_a_long_story_stays_small(
    marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor
) -> None:
    placed = await marketplace.place(order("LONG-1"))
    base = await simulated.base("LONG-1")
    chain = placed["chainOrders"][0]["chainOrderId"]
    for number in range(40):
        told = invoice(f"R-{number}", 1, type="Output", courier=(HOSTILE * 20)[:500])
        await marketplace.notify(f"{base}/pub/orders/{chain}/invoice", told)
    await marketplace.notified(placed["id"], "applied")

    page = await admin.page(f"/console/orders/{placed['id']}")
    (earlier,) = [one for one in addresses(page) if "before=" in one]

    assert len(page.encode()) < LARGEST
    assert "Order taken" in await admin.page(earlier)


async def test_what_a_read_of_the_seller_asked_for_is_shown(
    marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor
) -> None:
    await simulated.behave(loseAnswer=1)
    taken = (await marketplace.post_order(order("READ-1"))).json()
    await marketplace.becomes(taken["id"], "placed")
    (call,) = (await marketplace.get(taken["id"], "/deliveries"))["items"]

    for path in (f"/console/orders/{taken['id']}", f"/console/deliveries/{call['id']}"):
        page = await admin.page(path)
        for asked in ("MKP-READ-1-01", "order-group/MKP-READ-1", "order-group/READ-1"):
            assert f">GET /api/oms/pvt/orders/{asked}<" in page
        assert ">PUT /api/checkout/pvt/orders?sc=1&amp;affiliateId=MKP<" in page


async def test_a_story_of_one_moment_is_told_whole(marketplace: Marketplace, admin: Visitor, monkeypatch: Any) -> None:
    """Entries of the same moment are not lost between two pages."""
    monkeypatch.setattr(story, "PAGE", 3)
    placed = await marketplace.place()
    async with marketplace.database.transaction() as session:
        for table, column in (("events", "at"), ("attempts", "at")):
            await session.execute(text(f"update {table} set {column} = '2026-11-01T10:00:00Z'"))
        many = await session.scalar(text("select (select count(*) from events) + (select count(*) from attempts)"))

    seen, path = list[str](), f"/console/orders/{placed['id']}"
    while path:
        page = await admin.page(path)
        seen += re.findall(r'data-key="([^"]*)"', page)
        earlier = re.search(r'href="([^"#]*before=[^"#]*)', page)
        path = unescape(earlier[1]) if earlier else ""

    assert len(seen) == len(set(seen)) == many
