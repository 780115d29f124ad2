"""Every page, and what forms answer, before axe-core: nothing that it knows of keeps anybody out, in light or dark."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.async_api import Browser, Page

from ..builders import Marketplace, SimulatedSeller, order
from . import browsing
from .day import play
from .visitor import key_of

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::ResourceWarning")]

_DOUBTS = frozenset({"color-contrast"})
"""What axe-core cannot decide where pictures or nothing at all stand behind a text."""
_ONCE = re.compile(r"/console/(?:orders|deliveries|notifications|sellers)/[^/?]+$|[?&]")


@pytest.fixture
def options() -> dict[str, Any]:
    return {"retry_schedule": "0.05"}


_ALL: dict[str, Any] = {
    "resultTypes": ["violations", "incomplete"],
    "rules": {"target-size": {"enabled": True}},  # of WCAG 2.2, and off unless it is asked for
}
_COLOURS = {"runOnly": ["color-contrast"]}
_RUN = """
async (options) => {
  const told = (found) => found.map((one) => [one.id, `${one.id}: ${one.nodes[0].html.slice(0, 200)}`]);
  const found = await axe.run(options);
  return [told(found.violations), told(found.incomplete)];
}
"""


async def _wrong(page: Page) -> list[str]:
    """What axe-core finds on the page as it is. In the dark only the colours differ."""
    await page.emulate_media(color_scheme="light")
    await page.evaluate(AXE_SCRIPT)
    violations, doubts = await page.evaluate(_RUN, _ALL)
    await page.emulate_media(color_scheme="dark")
    dark, _doubts = await page.evaluate(_RUN, _COLOURS)
    return [told for _id, told in (*violations, *dark)] + [told for id_, told in doubts if id_ not in _DOUBTS]


async def _addresses(page: Page) -> set[str]:
    found = await page.evaluate("[...document.querySelectorAll('a[href]')].map((one) => one.getAttribute('href'))")
    return {one.partition("#")[0] for one in found if one.startswith("/console") and ".csv" not in one}


def _kind(path: str) -> str:
    """The address without ids."""
    return re.sub(r"/([0-9a-f-]{36}|\d+)(?=/|$)", "/*", path)


async def _crawl(page: Page, more: set[str], never: str = r"/evidence") -> dict[str, list[str]]:
    """What is wrong with every page that can be reached, one of each kind; others, and lists with filters, only where
    `more` names them."""
    todo, kinds, wrong = {"/console", *more}, {"/console"}, dict[str, list[str]]()

    async def go(tab: Page) -> None:
        while todo:
            path = todo.pop()
            await tab.goto(path)
            if found := await _wrong(tab):
                wrong[path] = found
            for one in await _addresses(tab):
                if _kind(one) not in kinds and not _ONCE.search(one) and not re.search(never, one):
                    kinds.add(_kind(one))
                    todo.add(one)

    others = [await page.context.new_page() for _ in range(2)]
    await asyncio.gather(go(page), *[go(other) for other in others])
    for other in others:
        await other.close()
    return wrong


async def test_no_empty_page_and_none_of_a_viewers_keeps_anybody_out(
    marketplace: Marketplace, chromium: Browser
) -> None:
    wrong = {}
    async with browsing.window(chromium, marketplace.url) as (page, _strayed):
        await browsing.sign_in(page, await key_of(marketplace, "admin"))
        for name in ("", "/orders", "/deliveries", "/notifications", "/alerts", "/webhooks", "/audit"):
            await page.goto(f"/console{name}")
            wrong[f"empty {name}"] = await _wrong(page)
        placed = await marketplace.place()
        await browsing.sign_in(page, await key_of(marketplace, "viewer"), "/console/sign-in")
        for name in ("/orders", f"/orders/{placed['id']}", "/deliveries", "/deliveries/1", "/sellers/acme", "/keys",
                     "/sellers", "/audit"):  # fmt: skip
            await page.goto(f"/console{name}")
            wrong[f"a viewer's {name}"] = await _wrong(page)
    assert {name: found for name, found in wrong.items() if found} == {}


async def test_no_page_keeps_anybody_out(
    marketplace: Marketplace, simulated: SimulatedSeller, chromium: Browser
) -> None:
    day = await play(marketplace, simulated)
    bad = (await marketplace.client.get("/v1/notifications", params={"state": "unreadable"})).json()["items"][0]["id"]
    dead = (await marketplace.client.get("/v1/deliveries", params={"state": "dead"})).json()["items"][0]["id"]
    paths = {f"/console/orders/{one}" for one in day.values()}
    paths |= {
        f"/console/notifications/{bad}", f"/console/deliveries/{dead}", "/console/sellers/acme", "/console/nowhere",
        "/console/orders?q=nothing-like-it", "/console/notifications?state=ignored",
    }  # fmt: skip
    key, webhook = await _key(marketplace), await _webhook(marketplace)
    paths |= {f"/console/webhooks/{webhook}{more}" for more in ("", "/secret", "/again")}
    paths |= {f"/console/keys/{act}?id={key}" for act in ("rotate", "revoke")}
    async with browsing.window(chromium, marketplace.url) as (page, strayed):
        await page.goto("/console/sign-in")
        assert await _wrong(page) == []
        await page.get_by_label("API key").fill("co_none")
        await page.get_by_role("button", name="Sign in").click()
        assert await _wrong(page) == []
        await browsing.sign_in(page, await key_of(marketplace, "admin"))
        assert await _crawl(page, paths) == {}
        assert await _forms(page, day) == {}
        assert await _shown_once(page, bad, dead) == {}
        assert strayed == []


async def _key(marketplace: Marketplace) -> str:
    await key_of(marketplace, "viewer", "night shift")
    keys = (await marketplace.client.get("/v1/keys")).json()["items"]
    return str(next(one["id"] for one in keys if one["name"] == "night shift"))


async def _webhook(marketplace: Marketplace) -> str:
    wanted = {"url": "https://told.example/events", "events": ["order.placed"], "description": "the warehouse"}
    return str((await marketplace.client.post("/v1/webhooks", json=wanted)).json()["id"])


async def _shown_once(page: Page, bad: int, dead: int) -> dict[str, list[str]]:
    """Secrets and whole bodies, and the menu of a small screen."""
    wrong = {}
    for path, press, typed in (
        (f"/console/notifications/{bad}/whole", "Show it whole", {"reason": "asked"}),
        (f"/console/deliveries/{dead}/whole", "Show it whole", {"reason": "asked"}),
        ("/console/sellers/acme/token", "Show the token", {}),
        ("/console/keys", "Make a key", {"k-name": "day shift"}),
        ("/console/webhooks/new", "Add the webhook", {"h-url": "https://two.example/", "h-events": "order.*"}),
    ):
        await page.goto(path)
        for name, text in typed.items():
            await page.locator(f"#{name}").fill(text)
        await page.get_by_role("button", name=press).click()
        await page.wait_for_load_state()
        if found := await _wrong(page):
            wrong[path] = found
    await page.set_viewport_size({"width": 360, "height": 740})
    for path in ("/console/orders", "/console/audit"):
        await page.goto(path)
        wrong[f"a small {path}"] = await _wrong(page)
    await page.get_by_role("button", name="Menu").click()
    wrong["the menu"] = await _wrong(page)
    return {name: found for name, found in wrong.items() if found}


async def _forms(page: Page, day: dict[str, str]) -> dict[str, list[str]]:
    """Previews, results, and forms that were refused."""
    wrong = {}

    async def look(name: str) -> None:
        if found := await _wrong(page):
            wrong[name] = found

    await page.goto(f"/console/orders/{day['split']}/cancel")
    await page.locator("#reason").fill("out of stock")
    await page.get_by_role("button", name="Show what will be sent").click()
    await page.get_by_role("button", name="Ask the seller to cancel").wait_for()
    await look("preview of a cancellation")
    await page.goto(f"/console/orders/{day['conflict']}/resolve")
    await page.locator("#reason").fill("seen")
    await page.get_by_role("button", name="Show what it does").click()
    await page.get_by_role("button", name="Put it on record").wait_for()
    await look("preview of a decision")
    other = await page.context.new_page()
    await other.goto(f"/console/orders/{day['conflict']}/resolve")
    await other.locator("#reason").fill("seen")
    await other.get_by_role("button", name="Show what it does").click()
    await other.get_by_role("button", name="Put it on record").click()
    await other.get_by_role("status").wait_for()
    await other.close()
    await page.get_by_role("button", name="Put it on record").click()
    await page.get_by_role("heading", name="What changed meanwhile").wait_for()
    await look("an order that has changed")
    await page.goto(f"/console/orders/{day['rejected']}/correct")
    await look("a correction that is not filled in")
    await page.locator("#document").fill(json.dumps(order("HARBOR-1007")))
    await page.get_by_role("button", name="Show what will be sent").click()
    await page.get_by_role("button", name="Send it again").wait_for()
    await look("preview of a correction")
    await page.goto("/console/orders?chosen=all")
    await page.locator("#what").select_option("cancel")
    await page.get_by_role("button", name="Show what would come of it").click()
    await page.get_by_role("heading", name="Ask to cancel", level=1).wait_for()
    await look("preview of many cancellations")
    await page.goto("/console/deliveries")
    await page.get_by_role("button", name="Try all that match").click()
    await page.locator("#reason").fill("seen")
    await look("preview of many calls")
    await page.get_by_role("button", name="Try them again now").click()
    await page.get_by_role("cell", name="done", exact=True).first.wait_for()
    await look("results")
    await page.goto("/console/sellers/acme/check")
    await page.get_by_role("button", name="Check now").click()
    await page.get_by_role("heading", name="What was found").wait_for()
    await look("findings")
    await page.goto("/console/sellers/new")
    for label in ("VTEX account name", "Sales channel", "Affiliate id", "App key", "App token"):
        await page.get_by_label(label).fill("?")
    await page.get_by_role("button", name="Add the seller").click()
    await page.get_by_role("alert").wait_for()
    await look("a seller that was refused")
    return wrong
