"""What an operator does at the console, in a real browser. `make test-browser` runs these."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from ..builders import Marketplace, SimulatedSeller, order
from . import browsing
from .day import conflict, dead, foreign, whole
from .visitor import key_of

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::ResourceWarning")]


_TOO_WIDE = """
document.documentElement.scrollWidth <= innerWidth ? [] : [...document.querySelectorAll("main *")]
  .filter((one) => one.getBoundingClientRect().right > innerWidth).slice(0, 5).map((one) => one.outerHTML.slice(0, 200))
"""


@pytest.fixture
def options() -> dict[str, Any]:
    return {"retry_schedule": "0.05"}


async def test_signing_in_finding_and_trying_again(
    marketplace: Marketplace, simulated: SimulatedSeller, chromium: Browser
) -> None:
    tracked, stuck = await whole(marketplace, simulated), await dead(marketplace, simulated)
    async with browsing.window(chromium, marketplace.url) as (page, strayed):
        await browsing.sign_in(page, await key_of(marketplace, "operator"))
        await page.get_by_label("Find an order").fill("HP123456789BR")
        await page.get_by_role("button", name="Find").click()
        await page.wait_for_url(f"**/console/orders/{tracked}")
        await expect(page.get_by_role("heading", level=1)).to_have_text("HARBOR-1001")

        await page.goto(f"/console/orders/{stuck}")
        await page.get_by_role("link", name="Try again: place the order").click()
        await page.get_by_role("button", name="Try again now").click()
        await expect(page.get_by_role("status")).to_have_text("The call is tried again now.")
        # Nobody reloads: the page's script does.
        await expect(page.locator(".stand")).to_contain_text("Placed", timeout=20_000)
        assert strayed == []


async def test_a_conflict_is_decided_and_a_seller_configured(
    marketplace: Marketplace, simulated: SimulatedSeller, chromium: Browser
) -> None:
    order_id = await conflict(marketplace, simulated)
    async with browsing.window(chromium, marketplace.url, color_scheme="dark") as (page, strayed):
        await browsing.sign_in(page, await key_of(marketplace, "admin"))
        await page.goto(f"/console/orders/{order_id}")
        await page.get_by_role("link", name="Decide").click()
        await page.get_by_label(re.compile("is cancelled")).check()
        await page.get_by_label("Reason").fill("the seller called")
        await page.get_by_role("button", name="Show what it does").click()
        await page.get_by_role("button", name="Put it on record").click()
        await expect(page.get_by_role("status")).to_have_text("Your decision is on record.")

        await page.get_by_role("link", name="Sellers", exact=True).click()
        await page.get_by_role("link", name="Add a seller").click()
        for label, text in (("VTEX account name", "dockside"), ("Sales channel", "2"), ("Affiliate id", "DCK")):
            await page.get_by_label(label).fill(text)
        await page.get_by_label("App key").fill("key")
        await page.get_by_label("App token").fill("token")
        await page.get_by_role("button", name="Add the seller").click()
        await expect(page.get_by_role("status")).to_contain_text("The seller is on record.")
        assert strayed == []


async def test_an_order_is_authorized_by_keyboard_alone(marketplace: Marketplace, chromium: Browser) -> None:
    placed = await marketplace.place(order("KEYS-1"))
    async with browsing.window(chromium, marketplace.url) as (page, _strayed):
        await page.goto("/console")
        await _tab_to(page, "#key")
        await page.keyboard.type(await key_of(marketplace, "operator"))
        await page.keyboard.press("Enter")
        await page.get_by_role("heading", name="Overview", level=1).wait_for()
        await page.keyboard.press("Tab")
        await expect(page.locator(".skip")).to_be_focused()
        await _tab_to(page, "#find")
        await page.keyboard.type("KEYS-1")
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"**/console/orders/{placed['id']}")
        await _tab_to(page, "a[href$='/authorize']")
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/authorize")
        await _tab_to(page, "button[name=confirm]")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status")).to_contain_text("The authorization is given.")
    await marketplace.becomes(placed["id"], "authorized")


async def test_everything_works_without_script(
    marketplace: Marketplace, simulated: SimulatedSeller, chromium: Browser
) -> None:
    stuck = await dead(marketplace, simulated)
    async with browsing.window(chromium, marketplace.url, java_script_enabled=False) as (page, _strayed):
        await browsing.sign_in(page, await key_of(marketplace, "operator"))
        await page.get_by_role("link", name="Dead calls").click()
        await page.get_by_role("checkbox", name="Choose delivery").check()
        await page.get_by_role("button", name="Try the chosen ones again").click()
        await expect(page.get_by_role("cell", name="tried again")).to_be_visible()
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    await marketplace.becomes(stuck, "placed")


async def test_what_a_seller_wrote_runs_nowhere(
    marketplace: Marketplace, simulated: SimulatedSeller, chromium: Browser
) -> None:
    order_id = await foreign(marketplace, simulated)
    async with browsing.window(chromium, marketplace.url) as (page, strayed):
        await browsing.sign_in(page, await key_of(marketplace, "viewer"))
        for path in (f"/console/orders/{order_id}", "/console/notifications?state=all", "/console"):
            await page.goto(path)
            assert await page.locator("img, iframe, object, script:not([src])").count() == 0
        assert strayed == []


@pytest.mark.parametrize("width", [360, 1000, 1280, 2560])
async def test_no_page_is_wider_than_its_window(
    marketplace: Marketplace, simulated: SimulatedSeller, chromium: Browser, width: int
) -> None:
    order_id = await foreign(marketplace, simulated)
    paths = [
        "/console", "/console/orders", f"/console/orders/{order_id}", f"/console/orders/{order_id}/cancel",
        f"/console/orders/{order_id}/resolve", "/console/deliveries", "/console/notifications", "/console/sellers",
        "/console/sellers/acme", "/console/sellers/new", "/console/keys", "/console/health",
    ]  # fmt: skip
    async with browsing.window(chromium, marketplace.url, viewport={"width": width, "height": 800}) as (page, _strayed):
        await browsing.sign_in(page, await key_of(marketplace, "admin"))
        for path in paths:
            await page.goto(path)
            assert await page.evaluate(_TOO_WIDE) == [], path


async def _tab_to(page: Page, selector: str) -> None:
    """Press Tab until this has the focus, and see that the focus can be seen."""
    for _ in range(60):
        await page.keyboard.press("Tab")
        if await page.locator(selector).first.evaluate("one => one === document.activeElement"):
            outline = await page.locator(selector).first.evaluate("one => getComputedStyle(one).outlineWidth")
            assert outline == "3px"
            return
    raise AssertionError(f"the keyboard does not reach {selector}")
