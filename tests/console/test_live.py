"""Pages that keep themselves current: told by the server, and never in the way of whoever works on them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Browser, expect
from sqlalchemy import func, text, update

from chain_orders.console import live
from chain_orders.console.models import ConsoleSession

from ..builders import Marketplace, SimulatedSeller, order
from . import browsing
from .day import dead
from .visitor import Visitor, key_of


@pytest.fixture
def options() -> dict[str, Any]:
    return {"retry_schedule": "0.05"}


async def _lines(visitor: Visitor, path: str, ready: asyncio.Event) -> AsyncIterator[str]:
    async with visitor.client.stream("GET", path, timeout=30) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        async for line in answer.aiter_lines():
            if line == ": here":
                ready.set()
            yield line


async def _hears(visitor: Visitor, path: str, wanted: str, ready: asyncio.Event) -> list[str]:
    heard = []
    async for line in _lines(visitor, path, ready):
        heard.append(line)
        if line == wanted:
            return heard
    raise AssertionError(f"the stream ended: {heard}")


async def test_the_stream_tells_that_an_order_moved(marketplace: Marketplace, admin: Visitor) -> None:
    first, ready = await marketplace.place(), asyncio.Event()
    task = asyncio.create_task(_hears(admin, f"/console/live?order={first['id']}", "event: changed", ready))
    await ready.wait()

    await marketplace.authorize(first["id"])

    await asyncio.wait_for(task, 20)


async def test_what_an_act_leads_to_is_kept_current(marketplace: Marketplace, admin: Visitor) -> None:
    """What is promised to stand there in a moment comes without reloading, and what is over is not offered any more."""
    placed = await marketplace.place()
    note = await marketplace.client.post("/v1/webhooks", json={"url": "http://127.0.0.1:9/", "events": ["order.*"]})
    call = (await marketplace.get(placed["id"], "/deliveries"))["items"][0]["id"]

    webhook, delivery = [
        await admin.page(f"/console/{one}") for one in (f"webhooks/{note.json()['id']}", f"deliveries/{call}")
    ]

    assert 'aria-labelledby="attempts" data-live="attempts"' in webhook
    assert '<span data-live="acts"></span>' in delivery


async def test_the_stream_is_for_whoever_is_signed_in(marketplace: Marketplace, admin: Visitor) -> None:
    secret = await admin.secret()
    await admin.post("/console/sign-out", csrf=secret)

    answer = await admin.get("/console/live")

    assert (answer.status_code, answer.content) == (401, b"")


async def test_the_stream_ends_with_its_session(marketplace: Marketplace, admin: Visitor, monkeypatch: Any) -> None:
    monkeypatch.setattr(live, "_SILENCE_SECONDS", 0.1)
    ready = asyncio.Event()
    task = asyncio.create_task(_hears(admin, "/console/live", "event: ended", ready))
    await ready.wait()

    async with marketplace.database.transaction() as session:
        await session.execute(update(ConsoleSession).values(expires_at=func.clock_timestamp()))

    await asyncio.wait_for(task, 20)


async def test_following_does_not_keep_a_session_alive(marketplace: Marketplace, admin: Visitor) -> None:
    async with marketplace.database.transaction() as session:
        await session.execute(text("update console_sessions set seen_at = clock_timestamp() - interval '5 minutes'"))
    ready = asyncio.Event()
    task = asyncio.create_task(_hears(admin, "/console/live", ": here", ready))

    await asyncio.wait_for(task, 20)

    async with marketplace.database.transaction() as session:
        assert await session.scalar(
            text("select seen_at < clock_timestamp() - interval '4 minutes' from console_sessions")
        )


_NO_POLLING = "const later = setTimeout; window.setTimeout = (act, wait) => wait < 5000 ? later(act, wait) : 0;"

browser_test = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::ResourceWarning")]


class TestInABrowser:
    pytestmark = browser_test

    async def test_ticks_outlive_what_arrives(
        self, marketplace: Marketplace, simulated: SimulatedSeller, chromium: Browser
    ) -> None:
        (stuck,) = (await marketplace.get(await dead(marketplace, simulated), "/deliveries"))["items"]
        async with browsing.window(chromium, marketplace.url) as (page, strayed):
            await browsing.sign_in(page, await key_of(marketplace, "operator"))
            await page.goto("/console/deliveries")
            ticked = page.get_by_role("checkbox", name=f"Choose delivery {stuck['id']}", exact=True)
            await ticked.check()
            await ticked.focus()

            await marketplace.place(order("ARRIVED-1"))

            await expect(page.get_by_role("link", name="ARRIVED-1")).to_be_visible(timeout=20_000)
            await expect(ticked).to_be_checked()
            await expect(ticked).to_be_focused()
            assert strayed == []

    async def test_what_arrives_is_not_chosen_with_what_was(self, marketplace: Marketplace, chromium: Browser) -> None:
        """All of a page were chosen before it came."""
        await marketplace.place(order("CHOSEN-1"))
        async with browsing.window(chromium, marketplace.url) as (page, _strayed):
            await browsing.sign_in(page, await key_of(marketplace, "operator"))
            await page.goto("/console/orders?chosen=all")

            await marketplace.place(order("ARRIVED-2"))

            await expect(page.get_by_role("link", name="ARRIVED-2")).to_be_visible(timeout=20_000)
            await expect(page.get_by_role("checkbox", name="Choose ARRIVED-2")).not_to_be_checked()
            await expect(page.get_by_role("checkbox", name="Choose CHOSEN-1")).to_be_checked()

    async def test_an_open_fold_stays_open_and_the_page_goes_on(
        self, marketplace: Marketplace, chromium: Browser
    ) -> None:
        placed = await marketplace.place(order("FOLD-1"))
        async with browsing.window(chromium, marketplace.url) as (page, _strayed):
            await browsing.sign_in(page, await key_of(marketplace, "operator"))
            await page.goto(f"/console/orders/{placed['id']}")
            fold = page.locator("details.fold").filter(has_text="Answer to attempt 1")
            await fold.locator("summary").click()
            opened = await fold.locator("pre").inner_text()

            await marketplace.authorize(placed["id"])

            await expect(page.locator(".stand")).to_contain_text("Authorized", timeout=20_000)
            assert await page.locator("details[open] pre").all_inner_texts() == [opened]
            await expect(page.locator("[data-told]")).to_contain_text("The page has changed at")
            await expect(page.locator("[data-told]")).to_have_attribute("aria-live", "polite")

    async def test_a_paused_page_stands_still(self, marketplace: Marketplace, chromium: Browser) -> None:
        async with browsing.window(chromium, marketplace.url) as (page, _strayed):
            await browsing.sign_in(page, await key_of(marketplace, "viewer"))
            await page.goto("/console/orders")
            await page.get_by_role("button", name="Pause").click()
            go_on = page.get_by_role("button", name="Go on")
            await expect(go_on).to_be_visible()
            asked = list[str]()
            page.on("request", lambda request: asked.append(request.url))

            await marketplace.place(order("STILL-1"))
            await page.wait_for_timeout(2500)
            still = list(asked)
            await go_on.click()

            await expect(page.get_by_role("link", name="STILL-1")).to_be_visible(timeout=20_000)
            assert still == []

    async def test_the_server_tells_when_to_look(self, marketplace: Marketplace, chromium: Browser) -> None:
        async with browsing.window(chromium, marketplace.url) as (page, _strayed):
            await page.add_init_script(_NO_POLLING)
            await browsing.sign_in(page, await key_of(marketplace, "viewer"))
            async with page.expect_response("**/console/live*"):
                await page.goto("/console/orders")

            await marketplace.place(order("TOLD-1"))

            await expect(page.get_by_role("link", name="TOLD-1")).to_be_visible(timeout=20_000)

    async def test_without_the_stream_the_page_looks_by_itself(
        self, marketplace: Marketplace, chromium: Browser
    ) -> None:
        async with browsing.window(chromium, marketplace.url) as (page, _strayed):
            await page.clock.install()
            await page.route("**/console/live*", lambda route: route.abort())
            await browsing.sign_in(page, await key_of(marketplace, "viewer"))
            await page.goto("/console/orders")

            await marketplace.place(order("POLLED-1"))
            await page.clock.fast_forward("00:06")

            await expect(page.get_by_role("link", name="POLLED-1")).to_be_visible(timeout=30_000)

    async def test_what_was_done_goes_once_the_page_moved_on(
        self, marketplace: Marketplace, simulated: SimulatedSeller, chromium: Browser
    ) -> None:
        stuck = await dead(marketplace, simulated)
        async with browsing.window(chromium, marketplace.url) as (page, _strayed):
            await page.clock.install()
            await browsing.sign_in(page, await key_of(marketplace, "operator"))
            await page.goto(f"/console/orders/{stuck}")
            await page.get_by_role("link", name="Try again: place the order").click()
            await page.get_by_label("Reason").fill("its host is back")
            await page.get_by_role("button", name="Try again now").click()
            await expect(page.get_by_role("status")).to_have_text("The call is tried again now.")

            await expect(page.locator(".stand")).to_contain_text("Placed", timeout=20_000)
            await page.clock.fast_forward("00:09")
            await expect(page.get_by_role("status")).to_have_count(0, timeout=20_000)

    async def test_a_session_has_the_browsers_zone_and_ends_with_a_warning(
        self, marketplace: Marketplace, chromium: Browser
    ) -> None:
        async with browsing.window(chromium, marketplace.url, timezone_id="Asia/Tokyo") as (page, _strayed):
            await page.clock.install()
            await browsing.sign_in(page, await key_of(marketplace, "viewer"))
            await expect(page.get_by_role("link", name="Asia/Tokyo")).to_be_visible()

            here = page.get_by_role("button", name="I am here")
            await expect(here).to_be_hidden()
            await page.clock.fast_forward("25:01")
            await here.click()
            await expect(here).to_be_hidden()
