"""Lists of orders: found, filtered, sorted, page by page, and as CSV."""

from __future__ import annotations

import csv
import io
import re
from typing import Any

import pytest

from ..builders import Marketplace, SimulatedSeller
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
