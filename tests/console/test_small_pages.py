"""Pages do not grow with what there is: they show a part, and lead to the rest."""

from __future__ import annotations

import re

from sqlalchemy import text

from ..builders import Marketplace
from .visitor import LARGEST, Visitor, addresses

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


async def test_the_page_of_an_order_does_not_grow_with_its_invoices(marketplace: Marketplace, admin: Visitor) -> None:
    placed = await marketplace.place()
    async with marketplace.database.transaction() as session:
        await session.execute(text(_SPLIT))
        await session.execute(text(_INVOICES))

    page = await admin.page(f"/console/orders/{placed['id']}")

    assert len(page.encode()) < LARGEST
    assert page.count("The latest 3 of 30 invoices") == 9
