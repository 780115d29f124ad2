"""The first page: what it counts, in which order, and the pictures in words."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from html import unescape
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text

from chain_orders.console import overview

from ..builders import Marketplace, SimulatedSeller
from .day import dead
from .visitor import Visitor


@pytest.fixture
def options() -> dict[str, Any]:
    return {"retry_schedule": "0.05"}


CHECKS = (
    "Database", "Commits are kept", "Workers", "Calls to sellers", "Calls to webhooks", "What sellers told us",
    "Events on their way to the feed", "Dead calls to sellers", "Dead calls to webhooks",
    "What cannot be applied",
)  # fmt: skip


def _figures(page: str) -> dict[str, str]:
    """The numbers at the top, by their labels."""
    found = re.findall(r'class="label">([^<]*)</span><span class="value">([^<]*)<', page)
    return {unescape(label): number for label, number in found}


def _rows(page: str, section: str) -> list[list[str]]:
    """The rows of a card's table, as texts."""
    begin = page.index(f'id="{section}"')
    body = page[page.index("<tbody>", begin) : page.index("</tbody>", begin)]
    rows = [re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL) for row in re.findall(r"<tr>.*?</tr>", body, re.DOTALL)]
    return [[" ".join(re.sub(r"<[^>]*>", " ", cell).split()) for cell in row] for row in rows]


async def _orders(marketplace: Marketplace, simulated: SimulatedSeller) -> list[str]:
    """One each that is placed, authorized, invoiced and cancelled."""
    ids = [(await marketplace.place())["id"] for _ in range(4)]
    for one in ids[1:3]:
        await marketplace.authorize(one)
        await marketplace.becomes(one, "authorized")
    await simulated.invoice((await marketplace.get(ids[2]))["chainOrders"][0]["chainOrderId"])
    await marketplace.becomes(ids[2], "invoiced")
    await marketplace.ask_to_cancel(ids[3])
    await marketplace.becomes(ids[3], "cancelled")
    return ids


async def test_orders_are_counted_by_state_and_by_turn(
    marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor
) -> None:
    await _orders(marketplace, simulated)
    page = await admin.page("/console")

    counted = {status: int(number) for status, _bar, number in _rows(page, "states")}
    figures = _figures(page)
    assert {status: number for status, number in counted.items() if number} == {
        "Placed": 1, "Authorized": 1, "Invoiced": 1, "Cancelled": 1,
    }  # fmt: skip
    assert len(counted) == 11
    shown = [figures[turn] for turn in ("Your turn", "Our turn", "Seller's turn", "Nobody's turn")]
    assert shown == ["1", "0", "1", "2"]


_ASKED = """
    update orders set attention_code = 'reverted', attention_reason = 'it came again',
                      attention_since = clock_timestamp() - make_interval(hours => :hours)
     where id = :id
"""
_STOPPED = "update lanes set breaker = 'open', next_at = clock_timestamp() + interval '1 hour'"


async def test_what_needs_attention_stands_with_the_oldest_first(marketplace: Marketplace, admin: Visitor) -> None:
    placed = [await marketplace.place() for _ in range(3)]
    async with marketplace.database.transaction() as session:
        for order, hours in zip(placed, (2, 5, 1), strict=True):
            await session.execute(text(_ASKED), {"hours": hours, "id": order["id"]})

    page = await admin.page("/console")

    listed = [row[0] for row in _rows(page, "attention")]
    assert listed == [placed[at]["orderGroup"] for at in (1, 0, 2)]
    assert _figures(page)["Need attention"] == "3"
    assert "oldest 5 h" in page


async def test_queues_are_shown_with_their_oldest_and_sellers_with_how_they_fare(
    marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor
) -> None:
    await dead(marketplace, simulated)
    async with marketplace.database.transaction() as session:
        await session.execute(text("update deliveries set created_at = created_at - interval '3 hours'"))
        await session.execute(text(_STOPPED))
    (lane,) = (await marketplace.client.get("/v1/stats")).json()["sellers"]

    page = await admin.page("/console")
    (acme,) = _rows(page, "sellers")

    assert [row for row in _rows(page, "queues") if row[0] == "Deliveries Dead"] == [["Deliveries Dead", "1", "3 h"]]
    assert _figures(page)["Dead calls"] == "1"
    assert lane["failedCalls"] > 0
    assert acme[0].startswith("acme")
    assert acme[1].startswith("Stopped")
    assert acme[4:] == [str(lane["calls"]), f"{100 * lane['failedCalls'] / lane['calls']:.1f}%", "50/s, 10 at once"]


async def test_the_pictures_say_in_words_what_they_show(marketplace: Marketplace, admin: Visitor) -> None:
    await marketplace.place()
    page = await admin.page("/console")

    assert page.count('<svg viewBox="0 0 600 100"') + page.count("Nothing to draw yet") == 3
    assert re.search(r'role="img" aria-label="Orders a minute\. In the last hour: taken \d+, placed \d+\."', page)


@pytest.mark.parametrize(("now", "begins"), [("2026-10-25T01:10:00", "01:11"), ("2026-03-29T01:10:00", "00:11")])
def test_the_picture_of_an_hour_is_right_when_the_clocks_have_been_changed(now: str, begins: str) -> None:
    """An hour before ten past one it was ten past one by summer time; before ten past two, ten past midnight."""
    at = datetime.fromisoformat(now).replace(tzinfo=UTC)

    picture = overview.picture_of_intake(at, ZoneInfo("Europe/London"), {}, {})

    assert picture.every[0] == begins


async def test_an_empty_console_says_what_to_do(admin: Visitor) -> None:
    assert "Nothing needs you." in await admin.page("/console")
    assert "There are no orders yet." in await admin.page("/console/orders")
    assert "Nothing is owed to any seller." in await admin.page("/console/deliveries")
    assert "Everything that sellers told us is applied." in await admin.page("/console/notifications")


async def test_an_empty_console_sends_nobody_where_only_admins_may_go(
    marketplace: Marketplace, admin: Visitor, viewer: Visitor
) -> None:
    async with marketplace.database.transaction() as session:
        await session.execute(text("delete from sellers"))
    pages = ("/console", "/console/orders", "/console/sellers")

    told = [[await who.page(page) for page in pages] for who in (admin, viewer)]

    for page in told[0]:
        assert "An admin" not in page
    for page in told[1]:
        assert "An admin adds" in page
        assert "give the shop a key" not in page


async def test_the_health_page_says_who_works_and_what_waits(
    marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor
) -> None:
    idle = dict(_checks(await admin.page("/console/health")))
    await dead(marketplace, simulated)
    busy = dict(_checks(await admin.page("/console/health")))
    async with marketplace.database.transaction() as session:
        await session.execute(text("update attempts set at = at - interval '1 hour'"))
        await session.execute(text(_OVERDUE))
    alone = dict(_checks(await admin.page("/console/health")))

    assert idle["Workers"].endswith("none needed")
    assert idle["Dead calls to sellers"] == "none"
    assert re.search(r"last call .* ago one seen lately", busy["Workers"])
    assert re.fullmatch(r"1 waits, for .* wait for you", busy["Dead calls to sellers"])
    assert alone["Workers"].endswith("none seen")
    assert alone["Calls to webhooks"] == "1 waits, for 1 h behind"


def _checks(page: str) -> list[tuple[str, str]]:
    """The findings of the health page: each name, and what is said of it."""
    found = []
    for about, badge in _rows(page, "checks"):
        (name,) = [one for one in CHECKS if about.startswith(one)]
        found.append((name, f"{about.removeprefix(name)} {badge}".strip()))
    return found


_OVERDUE = """
    with lane as (insert into lanes (lane, paused) values ('subscription:' || gen_random_uuid(), true) returning lane)
    insert into deliveries (lane, kind, method, target, body, created_at)
    select lane, 'webhook', 'POST', 'test_1', '{}', clock_timestamp() - interval '1 hour' from lane
"""
