"""Every page: there, small, its own, escaped; and each act as an operator does it."""

from __future__ import annotations

import asyncio
import csv
import io
import re
from html import unescape
from typing import Any

import pytest
from sqlalchemy import select, text

from chain_orders.console import story
from chain_orders.operators.audit import Audit

from ..builders import Marketplace, SimulatedSeller, invoice, order
from .day import HOSTILE, conflict, dead, foreign, play, rejected, whole
from .visitor import Visitor, fields

LARGEST = 100_000
ACT = re.compile(r"<(script|style)\b(?![^>]*\bsrc=)|\sstyle=|\son[a-z]+=\"|javascript:[^\"<]*\"", re.IGNORECASE)


@pytest.fixture
def options() -> dict[str, Any]:
    return {"retry_schedule": "0.05"}


@pytest.fixture
async def day(marketplace: Marketplace, simulated: SimulatedSeller) -> dict[str, str]:
    return await play(marketplace, simulated)


def _addresses(html: str) -> set[str]:
    return {one.replace("&amp;", "&") for one in re.findall(r'href="(/console[^"#]*)', html) if "/static/" not in one}


async def _noted(marketplace: Marketplace) -> tuple[str, str | None]:
    """The latest act in the audit, with its reason."""
    async with marketplace.database.transaction() as session:
        noted = (await session.execute(select(Audit.action, Audit.reason).order_by(Audit.id.desc()).limit(1))).one()
    return noted.action, noted.reason


async def test_every_page_that_can_be_reached_is_there_and_small_and_safe(day: dict[str, str], admin: Visitor) -> None:
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
        assert answer.text.count("<h1>") == 1, path
        todo |= _addresses(answer.text) - seen
    for wanted in (*(f"/console/orders/{one}" for one in day.values()), "/console/keys", "/console/sellers/new"):
        assert wanted in seen


async def test_every_answer_carries_the_headers(marketplace: Marketplace, admin: Visitor) -> None:
    paths = ["/", "/console", "/console/nowhere", "/console/orders/nothing", "/console/sign-in", "/console/static/x"]
    answers = [await admin.get(path) for path in paths]
    answers.append(await admin.post("/console/sellers/acme/pause", csrf="wrong"))

    assert [answer.status_code for answer in answers] == [307, 200, 404, 404, 200, 404, 403]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert answer.headers["permissions-policy"]
        assert answer.headers["cache-control"] == "no-store"
        assert "strict-transport-security" not in answer.headers  # plain http


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
    (path,) = {one for one in _addresses(listed) if re.fullmatch(r"/console/notifications/\d+", one)}

    page = (await admin.send(f"{path}/whole", reason="to see why")).text

    assert "\\xff\\xfe&lt;script&gt;alert(1)&lt;/script&gt;\\u0000\\u0001" in page
    assert "ff fe 3c 73" in page
    without = await admin.send(f"{path}/replay", reason=" ")
    again = await admin.send(f"{path}/replay", reason="the seller sent it again", confirm="yes")
    assert without.status_code == 422
    assert "Say why" in without.text
    assert again.headers["location"] == f"{path}"
    assert "notification.replayed" in await marketplace.story(order_id)


async def test_a_number_or_its_beginning_leads_to_its_order(
    marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor
) -> None:
    order_id = await whole(marketplace, simulated)
    for named in ("HP123456789BR", "hp123456789br", "NF-7001", "HARBOR-1001"):
        answer = await admin.get("/console/orders", q=named)
        assert answer.headers["location"] == f"/console/orders/{order_id}"

    listed = await admin.page("/console/orders?q=HP1234")
    page = await admin.page(f"/console/orders/{order_id}")

    assert f"/console/orders/{order_id}" in listed
    assert "tracking number" in listed
    assert 'href="https://track.example/HP123456789BR" rel="noopener noreferrer nofollow"' in page


async def test_filters_live_in_the_address(day: dict[str, str], admin: Visitor) -> None:
    rejected = await admin.page("/console/orders?status=rejected")
    mine = await admin.page("/console/orders?turn=operator")
    nothing = await admin.page("/console/orders?q=no-such-order")

    assert re.findall(r'<a class="id nowrap" href="/console/orders/([^"]+)"', rejected) == [day["rejected"]]
    assert day["placed"] in mine
    assert day["cancel"] not in mine
    assert "No order is like that." in nothing


async def test_lists_go_on_over_pages(marketplace: Marketplace, admin: Visitor, monkeypatch: Any) -> None:
    monkeypatch.setattr("chain_orders.console.filters.PAGE", 2)
    ids = [(await marketplace.place())["id"] for _ in range(3)]

    first = await admin.page("/console/orders")
    (following,) = [one for one in _addresses(first) if "cursor=" in one]
    second = await admin.page(following)

    shown = [re.findall(r'class="id nowrap" href="/console/orders/([0-9a-f-]{36})"', page) for page in (first, second)]
    assert shown == [[ids[2], ids[1]], [ids[0]]]


async def test_csv_is_what_is_shown(marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor) -> None:
    await marketplace.change_seller(currency="BRL")
    await marketplace.place()
    order_id = await rejected(marketplace, simulated)
    answer = await admin.get("/console/orders.csv?status=rejected")

    (row,) = list(csv.DictReader(io.StringIO(answer.text)))
    assert (row["id"], row["status"], row["currency"], row["total"]) == (order_id, "rejected", "BRL", "13.00")


async def test_authorizing_sends_what_was_shown(
    marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor
) -> None:
    placed = await marketplace.place(order("SHOWN-1"))
    path = f"/console/orders/{placed['id']}/authorize"
    preview = await admin.page(path)
    untouched = (await marketplace.get(placed["id"]))["authorizationReceipt"]

    answer = await admin.post(path, **fields(preview), confirm="yes")

    assert answer.headers["location"] == f"/console/orders/{placed['id']}"
    authorized = await marketplace.becomes(placed["id"], "authorized")
    ((booked,)) = await simulated.book("SHOWN-1")
    sent = booked["authorizations"][0]["authorizationReceipt"]
    assert untouched is None
    assert sent == authorized["authorizationReceipt"]
    assert sent["receipt"] in preview
    assert "The authorization is given." in (await admin.page(answer.headers["location"]))


async def test_cancelling_needs_a_reason_and_shows_it_first(marketplace: Marketplace, admin: Visitor) -> None:
    placed = await marketplace.place()
    path = f"/console/orders/{placed['id']}/cancel"

    without = await admin.send(path, reason=" ")
    preview = await admin.send(path, reason="the shopper withdrew")
    untouched = (await marketplace.get(placed["id"]))["status"]
    done = await admin.post(path, **fields(preview.text), confirm="yes")

    assert without.status_code == 422
    assert "the shopper withdrew" in preview.text
    assert untouched == "placed"
    assert done.status_code == 303
    await marketplace.becomes(placed["id"], "cancelled")


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


async def test_deciding_shows_both_facts_and_records_the_reason(
    marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor
) -> None:
    order_id = await conflict(marketplace, simulated)
    path = f"/console/orders/{order_id}/resolve"
    page = await admin.page(path)
    shown = await admin.page(f"/console/orders/{order_id}")
    (choice,) = re.findall(r'value="(cancelled\|[^"]+)"', page)

    preview = await admin.send(path, decision=choice, reason="the seller called: it is cancelled")
    untouched = (await marketplace.get(order_id))["status"]
    done = await admin.post(path, **fields(preview.text), confirm="yes")

    assert "NF-7002" in page
    assert re.search(r"issued <time[^>]*>1 Nov 2026, 13:00 UTC</time>, heard <time", page)
    assert "Everything is invoiced. It waits until you have acted." in shown
    assert "Nothing is left to do" not in shown
    assert re.search("sellerOrderId&#34;: ?&#34;", page)
    assert untouched == "invoiced"
    assert done.headers["location"] == f"/console/orders/{order_id}"
    assert await _noted(marketplace) == ("order.resolve", "the seller called: it is cancelled")
    after = await marketplace.get(order_id)
    assert (after["status"], after["attention"]) == ("cancelled", None)
    assert "the seller called: it is cancelled" in await admin.page(f"/console/orders/{order_id}")


async def test_a_dead_call_is_tried_again(marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor) -> None:
    order_id = await dead(marketplace, simulated)
    page = await admin.page(f"/console/orders/{order_id}")
    (path,) = {one for one in _addresses(page) if one.endswith("/retry")}

    without = await admin.send(path, confirm="yes")
    answer = await admin.send(path, reason="its host is back", confirm="yes")

    assert without.status_code == 422
    assert 'aria-invalid="true"' in without.text
    assert answer.headers["location"] == f"/console/orders/{order_id}"
    assert await _noted(marketplace) == ("delivery.retry", "its host is back")
    await marketplace.becomes(order_id, "placed")


async def test_chosen_calls_are_tried_again_with_a_result_each(
    marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor
) -> None:
    await marketplace.place()
    await dead(marketplace, simulated)
    stuck = (await marketplace.client.get("/v1/deliveries", params={"state": "dead"})).json()["items"]
    done = (await marketplace.client.get("/v1/deliveries", params={"state": "delivered"})).json()["items"]

    form = {"csrf": await admin.secret(), "id": [str(stuck[0]["id"]), str(done[0]["id"])]}
    for led in ("/console/deliveries?seller=acme", "/console/keys", "https://elsewhere.example/console/deliveries"):
        form["back"] = led
        preview = await admin.post("/console/deliveries/retry", **form)
        wanted = led if led.startswith("/console/deliveries") else "/console/deliveries"
        assert f'href="{wanted}">Back, change nothing' in preview.text
    matching = await admin.post("/console/deliveries/retry", csrf=form["csrf"], all="yes", state="dead")
    without = await admin.post("/console/deliveries/retry", **form, confirm="yes")
    answer = await admin.post("/console/deliveries/retry", **form, confirm="yes", reason="its host is back")

    for page in (preview, matching):
        assert re.findall(r'name="id" value="(\d+)"', page.text) == [str(stuck[0]["id"])]
    assert without.status_code == 422
    assert "It is tried again now." in answer.text
    assert "It has ended (Delivered) and is not tried again." in answer.text


async def test_a_seller_is_added_changed_and_paused(marketplace: Marketplace, admin: Visitor) -> None:
    added = await admin.send(
        "/console/sellers/new", accountName="dockside", salesChannel="2", affiliateId="DCK", appKey="k", appToken="t",
        callbackTrust="base", changePolicy="record", authorizationGroup="group",
    )  # fmt: skip
    assert added.headers["location"] == "/console/sellers/dockside", added.text
    one = "/console/sellers/dockside"
    chosen = {"callbackTrust": "always-verify", "changePolicy": "record", "authorizationGroup": "group"}

    changed = await admin.send(one, currency="EUR", concurrency="3", **chosen)
    paused = await admin.send(f"{one}/pause", reason="stocktaking")
    assert await _noted(marketplace) == ("seller.pause", "stocktaking")

    stored = (await marketplace.client.get("/v1/sellers/dockside")).json()
    assert changed.headers["location"] == f"{one}", changed.text
    assert paused.headers["location"] == f"{one}"
    assert (stored["currency"], stored["concurrency"], stored["callbackTrust"], stored["paused"]) == (
        "EUR",
        3,
        "always-verify",
        True,
    )


async def test_a_seller_that_changed_meanwhile_is_compared_and_saved_all_the_same(
    marketplace: Marketplace, admin: Visitor
) -> None:
    chosen = {"callbackTrust": "base", "changePolicy": "record", "authorizationGroup": "group"}
    opened = fields(await admin.page("/console/sellers/acme"))
    await admin.send("/console/sellers/acme", **chosen, concurrency="7")

    late = await admin.post("/console/sellers/acme", **{**opened, **chosen, "currency": "EUR"})
    again = await admin.post("/console/sellers/acme", **{**fields(late.text), **chosen})

    assert late.status_code == 412
    assert re.search(r"Changed a seller</strong> · by <span[^>]*>a admin</span>", late.text)
    assert re.search(r"<dt>Calls at once</dt><dd[^>]*>10 → 7</dd>", late.text)
    assert re.search(r"Currency</th><td[^>]*>\W</td><td[^>]*>EUR</td>", late.text)
    assert re.search(r"Calls at once</th><td[^>]*>7</td><td[^>]*>10</td>", late.text)
    assert 'href="/console/sellers/acme">Begin again' in late.text
    assert again.status_code == 303, again.text
    stored = (await marketplace.client.get("/v1/sellers/acme")).json()
    assert (stored["currency"], stored["concurrency"]) == ("EUR", 10)


async def test_what_is_wrong_with_a_seller_is_said_beside_the_field(admin: Visitor) -> None:
    answer = await admin.send(
        "/console/sellers/new", accountName="Not An Account", salesChannel="2", affiliateId="DCK", appKey="secret-key",
        appToken="secret-token", callbackTrust="base", changePolicy="record", authorizationGroup="group",
    )  # fmt: skip

    assert answer.status_code == 422
    assert 'aria-describedby="w-accountName' in answer.text
    assert "Not An Account" in answer.text
    assert "secret-" not in answer.text


async def test_a_key_is_shown_once_and_can_be_revoked(marketplace: Marketplace, admin: Visitor) -> None:
    made = await admin.post("/console/keys", csrf=await admin.secret(), name="night shift", role="viewer")
    key = re.search(r"co_[\w-]{43}", made.text)
    assert key is not None
    listed = await admin.page("/console/keys")
    (path,) = re.findall(r'href="(/console/keys/revoke[^"]+)" aria-label="Revoke night shift"', listed)

    asked = await admin.page(path)
    await admin.post("/console/keys/revoke", **fields(asked), reason="she left")

    assert "night shift" in asked
    assert await _noted(marketplace) == ("key.revoke", "she left")

    assert key[0] not in listed
    answer = await marketplace.client.get("/v1/orders", headers={"Authorization": f"Bearer {key[0]}"})
    assert answer.status_code == 401


FORMS = (
    ("/console/sellers/acme/pause", "operator"),
    ("/console/sellers/acme", "admin"),
    ("/console/sellers/new", "admin"),
    ("/console/keys", "admin"),
    ("/console/keys/revoke", "admin"),
    ("/console/keys/rotate", "admin"),
    ("/console/webhooks/new", "admin"),
    ("/console/webhooks/{order}/secret", "admin"),
    ("/console/webhooks/{order}/again", "admin"),
    ("/console/sellers/acme/check", "operator"),
    ("/console/sellers/acme/token", "admin"),
    ("/console/webhooks/{order}/test", "admin"),
    ("/console/webhooks/{order}/enable", "admin"),
    ("/console/webhooks/{order}/disable", "admin"),
    ("/console/orders/many", "operator"),
    ("/console/orders/{order}/correct", "operator"),
    ("/console/deliveries/retry", "operator"),
    ("/console/deliveries/1/retry", "operator"),
    ("/console/orders/{order}/authorize", "operator"),
    ("/console/orders/{order}/cancel", "operator"),
    ("/console/orders/{order}/resolve", "operator"),
    ("/console/notifications/1/replay", "operator"),
    ("/console/notifications/1/whole", "admin"),
    ("/console/deliveries/1/whole", "admin"),
)


async def test_a_viewer_sees_everything_and_changes_nothing(marketplace: Marketplace, viewer: Visitor) -> None:
    placed = await marketplace.place()
    secret = await viewer.secret()
    for path, _least in FORMS:
        answer = await viewer.post(path.format(order=placed["id"]), csrf=secret, confirm="yes", reason="x")
        assert answer.status_code == 403, path
    page = await viewer.page(f"/console/orders/{placed['id']}")
    keys = await viewer.get("/console/keys")

    assert keys.status_code == 403
    assert "a viewer" not in re.sub(r'<header class="side">.*?</header>', "", keys.text, flags=re.DOTALL)
    assert "/console/keys" not in page
    assert "/authorize" not in page
    assert "This needs the role" in answer.text
    assert (await marketplace.get(placed["id"]))["status"] == "placed"


async def test_the_pictures_say_in_words_what_they_show(marketplace: Marketplace, admin: Visitor) -> None:
    await marketplace.place()
    page = await admin.page("/console")

    assert page.count('<svg viewBox="0 0 600 100"') + page.count("Nothing to draw yet") == 3
    assert re.search(
        r'role="img" aria-label="Orders a minute\. \d+ orders taken and \d+ placed in the last hour\."', page
    )


async def test_an_empty_console_says_what_to_do(admin: Visitor) -> None:
    assert "Nothing needs you." in await admin.page("/console")
    assert "There are no orders yet." in await admin.page("/console/orders")
    assert "Nothing is owed to any seller." in await admin.page("/console/deliveries")
    assert "Everything that sellers told us is applied." in await admin.page("/console/notifications")


async def test_a_page_of_a_long_story_stays_small(
    marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor
) -> None:
    placed = await marketplace.place(order("LONG-1"))
    base = await simulated.base("LONG-1")
    chain = placed["chainOrders"][0]["chainOrderId"]
    for number in range(40):
        told = invoice(f"R-{number}", 1, type="Output", courier=HOSTILE * 20)
        await marketplace.notify(f"{base}/pub/orders/{chain}/invoice", told)
    await marketplace.notified(placed["id"], "applied")

    page = await admin.page(f"/console/orders/{placed['id']}")
    (earlier,) = [one for one in _addresses(page) if "before=" in one]

    assert len(page.encode()) < LARGEST
    assert "Order taken" in await admin.page(earlier)


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


async def test_an_act_that_is_sent_twice_is_done_once_and_answered_alike(
    marketplace: Marketplace, admin: Visitor
) -> None:
    placed = await marketplace.place()
    path = f"/console/orders/{placed['id']}/authorize"
    hidden = fields(await admin.page(path))

    answers = await asyncio.gather(*[admin.post(path, **hidden, confirm="yes") for _ in range(2)])

    assert [one.status_code for one in answers] == [303, 303]
    assert answers[0].headers["location"] == answers[1].headers["location"]
    assert (await marketplace.story(placed["id"])).count("order.receipt-given") <= 1


async def test_lists_go_on_in_any_order(marketplace: Marketplace, admin: Visitor, monkeypatch: Any) -> None:
    monkeypatch.setattr("chain_orders.console.filters.PAGE", 1)
    ids = [(await marketplace.place())["id"] for _ in range(2)]

    for sort, direction in (("-total", "descending"), ("updatedAt", ""), ("status", "ascending")):
        first = await admin.page(f"/console/orders?sort={sort}")
        (following,) = [one for one in _addresses(first) if "cursor=" in one]
        pages = (first, await admin.page(following))
        shown = [one for page in pages for one in re.findall(r'class="id nowrap" href="/console/orders/([^"]+)"', page)]
        assert sorted(shown) == sorted(ids)
        assert f'aria-sort="{direction}"' in first or not direction
    assert (await admin.get("/console/orders?sort=total&cursor=bm9uZQ")).status_code == 400
