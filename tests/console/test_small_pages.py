"""Pages do not grow with what there is: they show a part, and lead to the rest."""

from __future__ import annotations

import json
import re
from html import unescape

import pytest
from sqlalchemy import text

from chain_orders.console import rendering

from ..builders import Marketplace, SimulatedSeller, invoice, order
from .visitor import LARGEST, Visitor, addresses, fields

_MANY_SELLERS = (
    """
    insert into sellers (id, account_name, base_url, sales_channel, affiliate_id, sealed_app_key, sealed_app_token)
    select 'harbor-' || lpad(n::text, 3, '0'), account_name, 'https://' || repeat('harbor-', 20) || n || '.example',
           sales_channel, affiliate_id, sealed_app_key, sealed_app_token
      from sellers, generate_series(1, 400) n
    """,
    "insert into lanes (lane, paused) select 'seller:' || id, id = 'harbor-399' from sellers on conflict do nothing",
)
_SPLIT = """
    insert into chain_orders (order_id, seller_id, position, chain_order_id, value_cents)
    select order_id, seller_id, position + n, chain_order_id || n, 100 from chain_orders, generate_series(1, 8) n
"""
_INVOICES = """
    insert into invoices (chain_order_key, type, number, value_cents, url, courier, tracking_number, tracking_url)
    select key, 'Output', 'NF-' || n, 1, 'https://invoices.example/' || repeat('i', 80), 'Harbor Post',
           repeat('T', 60), 'https://track.example/' || repeat('t', 80)
      from chain_orders, generate_series(1, 30) n
"""


async def test_pages_do_not_grow_with_the_number_of_sellers(marketplace: Marketplace, admin: Visitor) -> None:
    async with marketplace.database.transaction() as session:
        for statement in _MANY_SELLERS:
            await session.execute(text(statement))

    pages = {}
    for path in ("", "/sellers", "/orders", "/deliveries", "/notifications"):
        pages[path] = await admin.page(f"/console{path}")
        assert len(pages[path].encode()) < LARGEST, (path, len(pages[path]))
    (following,) = [one for one in addresses(pages["/sellers"]) if "cursor=" in one]
    second = await admin.page(following)
    found = await admin.page("/console/sellers?id=harbor-39")

    assert "harbor-039" in pages["/sellers"]
    assert "harbor-040" not in pages["/sellers"]
    assert "harbor-040" in second
    assert len(re.findall(r'<th scope="row"><a href="/console/sellers/harbor-39', found)) == 10
    assert re.search(r'<input id="f-seller" name="seller"[^>]* list="sellers"', pages["/orders"])
    shown = re.findall(r'<th scope="row"><a href="/console/sellers/([^"]+)"', pages[""])
    assert (shown[0], len(shown)) == ("harbor-399", 12)


_MANY_ALERTS = """
    insert into alerts (code, subject, reason, recovered_at)
    select 'breaker-open', 'seller:harbor-' || lpad(n::text, 3, '0'), repeat('it answered 503 ', 30),
           case when n % 2 = 0 then now() end from generate_series(1, 400) n
"""
_MANY_WEBHOOKS = """
    insert into subscriptions (id, url, description, events, sealed_secret, position)
    select gen_random_uuid(), 'https://told-' || lpad(n::text, 3, '0') || '.example/' || repeat('events-', 20),
           repeat('the warehouse ', 10), array['order.*'], '', 0 from generate_series(1, 200) n
"""
_MANY_ACTS = """
    insert into audit (actor, action, object, after)
    select 'operator:harbor desk', 'seller.add', 'seller:harbor-' || lpad(n::text, 3, '0'),
           (select jsonb_object_agg('setting_number_' || i, repeat('v', 40)) from generate_series(1, 20) i)
      from generate_series(1, 200) n
"""


async def test_alerts_webhooks_and_acts_go_on_over_pages(marketplace: Marketplace, admin: Visitor) -> None:
    async with marketplace.database.transaction() as session:
        for statement in (_MANY_ALERTS, _MANY_WEBHOOKS, _MANY_ACTS):
            await session.execute(text(statement))

    for path, parameter, named, count in (
        ("alerts", "open", r'translate="no">(harbor-\d*[13579])<', 200),
        ("alerts", "cursor", r'translate="no">(harbor-\d*[02468])<', 200),
        ("webhooks", "cursor", r">https://(told-\d+)", 200),
        ("audit", "cursor", r">(harbor-\d+)<", 200),
    ):
        seen, following = list[str](), [f"/console/{path}"]
        while following:
            page = await admin.page(following[0])
            assert len(page.encode()) < LARGEST, (following, len(page))
            seen += re.findall(named, page)
            following = [one for one in addresses(page) if f"{parameter}=" in one]
        assert (path, parameter, len(seen), len(set(seen))) == (path, parameter, count, count)
    assert (await admin.get("/console/webhooks?cursor=bm9uZQ")).status_code == 400


async def test_the_page_of_an_order_does_not_grow_with_its_invoices(marketplace: Marketplace, admin: Visitor) -> None:
    placed = await marketplace.place()
    async with marketplace.database.transaction() as session:
        await session.execute(text(_SPLIT))
        await session.execute(text(_INVOICES))

    page = await admin.page(f"/console/orders/{placed['id']}")

    assert len(page.encode()) < LARGEST
    assert page.count("The latest 3 of 30 invoices") == 9


_DENSE = ["a"] * 20_000
"""JSON of which nearly every character takes five bytes of a page."""
_TRIED = """
    insert into attempts (delivery_id, number, phase, worker, status, outcome, error, response)
    select id, n, 'send', 'w', 500, 'again', repeat('"', 500),
           convert_to('{"items":[' || repeat('{"id":"8"},', 3000) || '{"id":"8"}]}', 'UTF8')
      from deliveries, generate_series(2, 31) n
"""
_TOLD = """
    insert into events (type, order_id, seller_id, order_group, actor, data)
    select 'order.resolved', id, seller_id, order_group, 'operator:' || repeat('"', 50),
           jsonb_build_object('reason', repeat('"', 500), 'decision', repeat('<', 200), 'courier', repeat('&', 200))
      from orders, generate_series(1, 60) n
"""


@pytest.mark.parametrize("raw", [b"plain", b'"' * 100, "\u00e9".encode() * 100, b"\xff" * 100, b"a" * 39 + b"<" * 9])
def test_a_text_is_cut_by_what_it_takes_of_the_page(raw: bytes) -> None:
    whole, cut = rendering.text_of(raw, 1000), rendering.text_of(raw, 40)

    assert "cut here" not in whole
    assert rendering.size(cut.partition("\n")[0]) <= 40
    assert rendering.size(rendering.within('"' * 9, 40)) == 40
    assert cut.endswith(f"there are {len(raw)} bytes of it") or cut == "plain"


async def test_a_call_of_many_tries_and_much_text_is_shown_in_parts(marketplace: Marketplace, admin: Visitor) -> None:
    placed = await marketplace.place(order(extra=_DENSE))
    (call,) = (await marketplace.get(placed["id"], "/deliveries"))["items"]
    path = f"/console/deliveries/{call['id']}"
    async with marketplace.database.transaction() as session:
        await session.execute(text(_TRIED))

    pages = [await admin.page(path), (await admin.send(f"{path}/whole", reason="a dispute")).text]
    (following,) = [one for one in addresses(pages[0]) if "cursor=" in one]
    pages += [await admin.page(following), await admin.page(f"/console/orders/{placed['id']}")]
    tries = [re.findall(r"<h3>(\d+)\. ", page) for page in (pages[0], pages[2])]

    assert [len(page.encode()) < LARGEST for page in pages] == [True] * 4
    assert [int(one) for one in tries[0] + tries[1]] == list(range(31, 0, -1))
    assert "… cut here: there are " in pages[1]
    assert "What was sent and answered is too long for this page." in pages[3]


async def test_a_story_of_long_facts_goes_on_over_pages(marketplace: Marketplace, admin: Visitor) -> None:
    placed = await marketplace.place()
    async with marketplace.database.transaction() as session:
        await session.execute(text(_TOLD))
        many = await session.scalar(text("select (select count(*) from events) + (select count(*) from attempts)"))

    seen, path = list[str](), f"/console/orders/{placed['id']}"
    while path:
        page = await admin.page(path)
        assert len(page.encode()) < LARGEST
        seen += re.findall(r'data-key="([^"]*)"', page)
        earlier = re.search(r'href="([^"#]*before=[^"#]*)', page)
        path = unescape(earlier[1]) if earlier else ""

    assert len(seen) == len(set(seen)) == many


async def test_a_document_is_corrected_here_as_long_as_it_fits_a_page(
    marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor
) -> None:
    await simulated.behave(rejectCode="ORD027")
    ids = []
    for number in (3000, 20_000):
        ids.append((await marketplace.post_order(order(f"DENSE-{number}", extra=_DENSE[:number]))).json()["id"])
        await marketplace.becomes(ids[-1], "rejected")
    await simulated.behave(rejectCode=None)
    paths = [f"/console/orders/{one}/correct" for one in ids]

    filled = [await admin.send(path, fill="yes", reason="to correct it") for path in paths]
    documents = [
        unescape(re.findall(r'<textarea[^>]*name="document"[^>]*>(.*?)</textarea>', one.text, re.DOTALL)[0])
        for one in filled
    ]
    corrected = json.dumps({**json.loads(documents[0]), "marketplacePaymentValue": 1300}, separators=(",", ":"))
    preview = await admin.send(paths[0], document=corrected)
    refused = await admin.send(paths[1], document=json.dumps(order("DENSE-20000", extra=_DENSE)))
    done = await admin.post(paths[0], **fields(preview.text), confirm="yes")

    assert [len(one.content) < LARGEST for one in (*filled, preview, refused)] == [True] * 4
    assert documents[1].strip() == ""
    for one in (filled[1], refused):
        assert "The document is too large for this page." in one.text
    assert refused.status_code == 413
    assert done.status_code == 303, done.text
    await marketplace.becomes(ids[0], "placed")


async def test_keys_go_on_over_pages(marketplace: Marketplace, admin: Visitor) -> None:
    async with marketplace.database.transaction() as session:
        await session.execute(text("insert into api_keys (id, name, role, digest) " + _KEYS))

    seen, path = list[str](), "/console/keys"
    while path:
        page = await admin.page(path)
        assert len(page.encode()) < LARGEST
        seen += re.findall(r">(till [0-9]+)<", page)
        following = [one for one in addresses(page) if "cursor=" in one]
        path = following[0] if following else ""

    assert len(seen) == len(set(seen)) == 100


_KEYS = "select gen_random_uuid(), 'till ' || n, 'viewer', sha256(n::text::bytea) from generate_series(1, 100) n"


async def test_nothing_grows_with_what_a_seller_sends(
    marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor
) -> None:
    placed = await marketplace.place(order("LONG1"))
    address = f"{await simulated.base('LONG1')}/pvt/orders/LONG1/invoice"
    bomb = b"[" + b",".join([b"1e131000"] * 100) + b"]"  # as numbers of a jsonb they would be 13 MB
    long = "x" * (4 * 1024 * 1024 - 1000)
    told = [bomb, invoice("NF-1", 1300, fiscalDocument=long), invoice("NF-1", 400, fiscalDocument=long)]
    assert [(await marketplace.notify(address, one)).status_code for one in told] == [400, 200, 200]
    await marketplace.notified(placed["id"], "conflict")
    listed = (await marketplace.client.get("/v1/notifications")).json()["items"]

    order_page = f"/console/orders/{placed['id']}"
    singles = [f"/console/notifications/{one['id']}" for one in listed]
    for path in ("/console/notifications?state=all", order_page, f"{order_page}/resolve", *singles):
        assert len((await admin.page(path)).encode()) < LARGEST, path
    for path in ("/v1/notifications", f"/v1/orders/{placed['id']}/notifications"):
        masked = await marketplace.client.get(path)
        whole = await marketplace.client.get(path, params={"whole": "true", "reason": "an audit"})
        assert (len(masked.content) < 10_000, len(whole.content) < 50_000) == (True, True), path
        cut = {one["bodyLength"] > 4_000_000: (one["truncated"], len(one["body"])) for one in whole.json()["items"]}
        assert cut == {False: (False, len(bomb)), True: (True, 16 * 1024)}
    one = await marketplace.client.get(
        f"/v1/notifications/{listed[0]['id']}", params={"whole": "true", "reason": "an audit"}
    )
    assert (one.json()["truncated"], long in one.json()["body"]) == (False, True)


async def test_a_story_says_how_often_the_seller_repeated_itself_and_what_was_found_by_reading(
    marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor
) -> None:
    placed = await marketplace.place(order("AGAIN1"))
    address = f"{await simulated.base('AGAIN1')}/pvt/orders/AGAIN1/invoice"
    for _ in range(3):
        await marketplace.notify(address, invoice())
    note = await marketplace.notified(placed["id"], "applied")

    told = await admin.page(f"/console/orders/{placed['id']}")
    async with marketplace.database.transaction() as session:
        await session.execute(text("update invoices set source = 'read'"))
    found = await admin.page(f"/console/orders/{placed['id']}")

    assert (told.count("2 times"), note["repeats"]) == (1, 2)
    assert "2 times" in await admin.page(f"/console/notifications/{note['id']}")
    read = "found by a read of the seller"
    assert (read in told, read in found) == (False, True)
