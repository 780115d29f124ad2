"""Lists of orders: found, filtered, sorted, page by page, and as CSV."""

from __future__ import annotations

import csv
import io
import re
from gettext import NullTranslations
from html import unescape
from typing import Any

import pytest
from sqlalchemy import select, text

from chain_orders.console import texts, words
from chain_orders.orders.models import OrderName

from ..builders import Marketplace, SimulatedSeller, order
from .day import rejected, whole
from .visitor import Visitor, addresses


@pytest.fixture
def options() -> dict[str, Any]:
    return {"retry_schedule": "0.05"}


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
    backwards = await admin.page("/console/orders?since=2026-11-02&until=2026-11-01")
    assert "The days end before they begin." in backwards


async def test_lists_go_on_over_pages(marketplace: Marketplace, admin: Visitor, monkeypatch: Any) -> None:
    monkeypatch.setattr("chain_orders.console.filters.PAGE", 2)
    ids = [(await marketplace.place())["id"] for _ in range(3)]

    first = await admin.page("/console/orders")
    (following,) = [one for one in addresses(first) if "cursor=" in one]
    second = await admin.page(following)

    shown = [re.findall(r'class="id nowrap" href="/console/orders/([0-9a-f-]{36})"', page) for page in (first, second)]
    assert shown == [[ids[2], ids[1]], [ids[0]]]


async def test_lists_go_on_in_any_order(marketplace: Marketplace, admin: Visitor, monkeypatch: Any) -> None:
    monkeypatch.setattr("chain_orders.console.filters.PAGE", 1)
    ids = [(await marketplace.place())["id"] for _ in range(2)]

    for sort, direction in (("-total", "descending"), ("updatedAt", ""), ("status", "ascending")):
        first = await admin.page(f"/console/orders?sort={sort}")
        (following,) = [one for one in addresses(first) if "cursor=" in one]
        pages = (first, await admin.page(following))
        shown = [one for page in pages for one in re.findall(r'class="id nowrap" href="/console/orders/([^"]+)"', page)]
        assert sorted(shown) == sorted(ids)
        assert f'aria-sort="{direction}"' in first or not direction
    assert (await admin.get("/console/orders?sort=total&cursor=bm9uZQ")).status_code == 400


async def test_csv_is_what_is_shown(marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor) -> None:
    await marketplace.change_seller(currency="BRL")
    await marketplace.place()
    order_id = await rejected(marketplace, simulated)
    answer = await admin.get("/console/orders.csv?status=rejected")

    (row,) = list(csv.DictReader(io.StringIO(answer.text)))
    assert (row["id"], row["status"], row["currency"], row["total"]) == (order_id, "rejected", "BRL", "13.00")


async def test_csv_holds_the_same_amounts_in_every_language(
    marketplace: Marketplace, admin: Visitor, monkeypatch: Any
) -> None:
    """Portuguese writes 1.234,50 what a spreadsheet is to add up."""
    monkeypatch.setitem(texts.CATALOGUES, "pt-BR", NullTranslations())
    items = [{"id": "8", "quantity": 1, "seller": "1", "price": 123_350}]
    await marketplace.place(order(items=items, marketplacePaymentValue=123_450))
    admin.client.headers["Accept-Language"] = "pt-BR"

    listed = await admin.page("/console/orders")
    (row,) = list(csv.DictReader(io.StringIO((await admin.get("/console/orders.csv")).text)))

    assert "1.234,50" in listed
    assert (row["total"], row["remaining"]) == ("1234.50", "1234.50")


@pytest.mark.parametrize("sort", ["-total", "updatedAt", "status", ""])
async def test_csv_is_exactly_what_the_pages_show(
    marketplace: Marketplace, admin: Visitor, monkeypatch: Any, sort: str
) -> None:
    """Filtered by everything at once, in the same order, over every page."""
    monkeypatch.setattr("chain_orders.console.filters.PAGE", 2)
    async with marketplace.database.transaction() as session:
        await session.execute(text(_MANY))
    zone = await admin.send("/console/zone", zone="Asia/Tokyo")
    assert zone.status_code == 303
    asked = (
        "q=same&status=placed&seller=acme&attention=yes&since=2026-11-02&until=2026-11-03&turn=operator&sort=" + sort
    )

    shown, path = list[tuple[str, str, str]](), f"/console/orders?{asked}"
    while path:
        page = await admin.page(path)
        shown += re.findall(_ROW, page, re.DOTALL)
        following = re.search(r'href="([^"]*)" rel="next"', page)
        path = unescape(following[1]) if following else ""
    (link,) = [one for one in addresses(page) if one.startswith("/console/orders.csv")]
    rows = list(csv.DictReader(io.StringIO((await admin.get(link)).text)))

    assert len(shown) == 5
    assert shown == [(row["id"], row["orderGroup"], row["total"]) for row in rows]


_ROW = r'<a class="id nowrap" href="/console/orders/([^"]+)"[^>]*>([^<]*)<.*?data-label="Total" class="number">([^<]*)<'
# Five of the 2nd and 3rd of November in Tokyo; the others differ by one filter each. Ids begin with the time.
_MANY = """
    with due as (
      select n, case n when 8 then '2026-11-01T14:59:00Z'::timestamptz when 9 then '2026-11-03T15:00:00Z'
                       else '2026-11-01T15:00:00Z'::timestamptz + n * interval '7 hours' end as at
        from generate_series(1, 9) n),
    made as (
      insert into orders (id, seller_id, affiliate_id, sales_channel, order_group, ref, kid, status, items, total_cents,
                          placement_digest, attention_code, attention_reason, attention_since, created_at, updated_at)
      select (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || lpad(n::text, 20, '0'))::uuid,
             'acme', 'MKP', '1', 'SAME-' || n, 'ref' || n, 'k1', case n when 6 then 'authorized' else 'placed' end,
             '[]', (n * 7 % 5) * 100 + 50, sha256(''), case n when 7 then null else 'reverted' end,
             case n when 7 then null else 'it came again' end, case n when 7 then null else now() end, at,
             '2026-11-05T00:00:00Z'::timestamptz - n * interval '1 hour'
        from due
      returning id, order_group)
    insert into order_names (order_id, kind, value) select id, 'order-group', order_group from made
"""


async def test_a_list_says_in_words_by_what_an_order_was_found(
    day: dict[str, str], marketplace: Marketplace, admin: Visitor
) -> None:
    async with marketplace.database.transaction() as session:
        kinds = set(await session.scalars(select(OrderName.kind).distinct()))

    assert kinds <= set(words.NAMES), kinds
    found = await admin.page("/console/orders?q=9&sort=total")
    assert re.search(r'<span class="second">SKU <span[^>]*>9</span>', found)


async def test_an_order_is_found_by_every_id_of_its_own_and_of_its_sellers(
    marketplace: Marketplace, admin: Visitor
) -> None:
    placed = await marketplace.place()
    (chain,) = placed["chainOrders"]

    for named in (placed["id"], chain["chainOrderId"], chain["sellerOrderId"], placed["orderGroup"]):
        for text_of in (named, named.lower()):
            answer = await admin.get("/console/orders", q=text_of)
            assert answer.headers.get("location") == f"/console/orders/{placed['id']}", text_of
        page = await admin.page(f"/console/orders?q={named[:-1]}")
        assert f'href="/console/orders/{placed["id"]}"' in page
