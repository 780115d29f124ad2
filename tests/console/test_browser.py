"""What an operator does at the console, in a real browser. `make test-browser` runs these."""

from __future__ import annotations

import re
from gettext import NullTranslations
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from chain_orders.console import texts

from ..builders import Marketplace, SimulatedSeller, order
from . import browsing
from .day import conflict, dead, foreign, rejected, whole
from .visitor import key_of

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::ResourceWarning")]


_TOO_WIDE = """
() => {
  const right = (one) => one.getBoundingClientRect().right;
  const wide = document.documentElement.scrollWidth <= innerWidth ? [] : [...document.querySelectorAll("main *")]
    .filter((one) => right(one) > innerWidth);
  const out = [...document.querySelectorAll("main .card > table")].filter((one) => right(one) > right(one.parentNode));
  const acts = [...document.querySelectorAll("main .card .acts > *")]
    .filter((one) => right(one) > right(one.closest(".card")));
  const squeezed = [...document.querySelectorAll("main dd, main td:not(.bare)")]
    .filter((one) => one.textContent.trim().length > 8 && one.clientWidth && one.clientWidth < 64);
  const beside = (node, left) => {
    const range = document.createRange();
    range.selectNodeContents(node);
    return node.textContent.trim() && range.getBoundingClientRect().left < left;
  };
  const astray = [...document.querySelectorAll("main table.cards td:not(.bare)")]
    .filter((one) => getComputedStyle(one).display === "grid")
    .filter((one) => [...one.childNodes].some((node) => beside(node, right(one) - one.clientWidth * .75)));
  return [...wide, ...out, ...acts, ...squeezed, ...astray].slice(0, 5).map((one) => one.outerHTML.slice(0, 200));
}
"""


_CLICKED_TWICE = """
() => {
  const held = [];
  addEventListener("submit", (event) => { held.push(event.defaultPrevented); event.preventDefault(); });
  const button = document.querySelector("form[action='/console/keys'] button");
  button.click();
  button.click();
  return held;
}
"""
"""Whether each of two clicks was held back."""
_STOPPED = """
() => {
  window.held = [];
  addEventListener("submit", (event) => { held.push(event.defaultPrevented); event.preventDefault(); });
}
"""
"""Let no form leave the page, and keep whether the page held it back itself."""


@pytest.fixture
def options() -> dict[str, Any]:
    return {"retry_schedule": "0.05"}


async def test_a_day_by_keyboard_alone(marketplace: Marketplace, simulated: SimulatedSeller, chromium: Browser) -> None:
    tracked, stuck = await whole(marketplace, simulated), await dead(marketplace, simulated)
    told = await conflict(marketplace, simulated)
    async with browsing.window(chromium, marketplace.url) as (page, strayed):
        await page.goto("/console")
        await _write(page, "#key", await key_of(marketplace, "admin"))
        await page.keyboard.press("Enter")
        await page.get_by_role("heading", name="Overview", level=1).wait_for()
        await page.keyboard.press("Tab")
        await expect(page.locator(".skip")).to_be_focused()

        await _write(page, "#find", "HP123456789BR")
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"**/console/orders/{tracked}")

        await page.goto(f"/console/orders/{stuck}")
        await _press(page, "a[href$='/retry']")
        await _write(page, "#reason", "its host is back")
        await _press(page, "button[name=confirm]")
        await expect(page.get_by_role("status")).to_have_text("The call is tried again now.")
        # Nobody reloads: the page's script follows the placement.
        await expect(page.locator(".stand")).to_contain_text("Placed", timeout=30_000)

        await page.goto(f"/console/orders/{told}")
        await _press(page, "a[href$='/resolve']")
        await _tab_to(page, "input[name=decision]:checked")
        await page.keyboard.press("ArrowDown")
        await _write(page, "#reason", "the seller called")
        await _press(page, "button.primary")
        await _press(page, "button[name=confirm]")
        await expect(page.get_by_role("status")).to_have_text("Your decision is on record.")

        await _press(page, "nav a[href='/console/sellers']")
        await _press(page, "a[href='/console/sellers/new']")
        for name, text in _SELLER.items():
            await _write(page, f"#s-{name}", text)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status")).to_contain_text("The seller is on record.")
        assert strayed == []
    assert (await marketplace.get(told))["status"] == "cancelled"


_SELLER = {"accountName": "dockside", "salesChannel": "2", "affiliateId": "DCK", "appKey": "key", "appToken": "token"}


async def test_a_day_without_script(marketplace: Marketplace, simulated: SimulatedSeller, chromium: Browser) -> None:
    tracked, stuck = await whole(marketplace, simulated), await dead(marketplace, simulated)
    told = await conflict(marketplace, simulated)
    options: dict[str, Any] = {"java_script_enabled": False, "color_scheme": "dark"}
    async with browsing.window(chromium, marketplace.url, **options) as (page, strayed):
        await browsing.sign_in(page, await key_of(marketplace, "admin"))
        await page.get_by_label("Find an order").fill("HP123456789BR")
        await page.get_by_role("button", name="Find").click()
        await page.wait_for_url(f"**/console/orders/{tracked}")

        await page.goto("/console")
        await page.get_by_role("link", name="Dead calls").click()
        await page.get_by_role("checkbox", name="Choose delivery").check()
        await page.get_by_role("button", name="Try the chosen ones again").click()
        await page.get_by_label("Reason").fill("its host is back")
        await page.get_by_role("button", name="Try them again now").click()
        await expect(page.get_by_role("cell", name="done", exact=True)).to_be_visible()
        await marketplace.becomes(stuck, "placed")
        await page.goto(f"/console/orders/{stuck}")
        await expect(page.locator(".stand")).to_contain_text("Placed")

        await page.goto(f"/console/orders/{told}")
        await page.get_by_role("link", name="Decide").click()
        await page.get_by_label(re.compile("is cancelled")).check()
        await page.get_by_label("Reason").fill("the seller called")
        await page.get_by_role("button", name="Show what it does").click()
        await page.get_by_role("button", name="Put it on record").click()
        await expect(page.get_by_role("status")).to_have_text("Your decision is on record.")

        await page.get_by_role("link", name="Sellers", exact=True).click()
        await page.get_by_role("link", name="Add a seller").click()
        for name, text in _SELLER.items():
            await page.locator(f"#s-{name}").fill(text)
        await page.get_by_role("button", name="Add the seller").click()
        await expect(page.get_by_role("status")).to_contain_text("The seller is on record.")
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
        assert strayed == []


async def test_the_menu_opens_on_a_small_screen(marketplace: Marketplace, chromium: Browser) -> None:
    async with browsing.window(chromium, marketplace.url, viewport={"width": 360, "height": 740}) as (page, _strayed):
        await browsing.sign_in(page, await key_of(marketplace, "viewer"))
        top = await page.locator("h1").evaluate("one => one.getBoundingClientRect().top")
        assert top < 260
        await expect(page.get_by_role("link", name="Sellers", exact=True)).to_be_hidden()
        await page.get_by_role("button", name="Menu").click()
        await page.get_by_role("navigation").get_by_role("link", name="Sellers", exact=True).click()
        await page.get_by_role("heading", name="Sellers", level=1).wait_for()


async def test_a_printed_page_is_its_content_in_its_whole_width(marketplace: Marketplace, chromium: Browser) -> None:
    async with browsing.window(chromium, marketplace.url) as (page, _strayed):
        await browsing.sign_in(page, await key_of(marketplace, "viewer"))
        await page.emulate_media(media="print")
        await expect(page.get_by_role("navigation")).to_be_hidden()
        assert await page.locator("main").evaluate("one => one.clientWidth > innerWidth * .9")


@pytest.mark.parametrize("script", [True, False])
async def test_filters_are_folded_where_there_is_little_room(
    marketplace: Marketplace, chromium: Browser, script: bool
) -> None:
    await marketplace.place()
    options: dict[str, Any] = {"java_script_enabled": script, "viewport": {"width": 360, "height": 740}}
    async with browsing.window(chromium, marketplace.url, **options) as (page, _strayed):
        await browsing.sign_in(page, await key_of(marketplace, "operator"))
        await page.goto("/console/orders")
        await expect(page.get_by_label("Taken from")).to_be_hidden()
        await expect(page.locator("table.cards tbody tr").first).to_be_in_viewport()
        await page.get_by_text("Filters", exact=True).click()
        await expect(page.get_by_label("Taken from")).to_be_visible()
        await page.goto("/console/orders?status=rejected")
        await expect(page.get_by_label("Taken from")).to_be_visible()

        await page.set_viewport_size({"width": 1280, "height": 800})
        await page.goto("/console/orders")
        await expect(page.get_by_label("Taken from")).to_be_visible()
        await expect(page.get_by_text("Filters", exact=True)).to_be_hidden()


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


class _Longer(NullTranslations):
    """Another language, whose words are half as long again."""

    def gettext(self, message: str) -> str:
        return re.sub(r"(?<![%(])\b[A-Za-z]{4,}\b", lambda word: word[0] + word[0][: len(word[0]) // 2], message)

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        return self.gettext(msgid1 if n == 1 else msgid2)


async def _too_wide(page: Page) -> dict[int, list[str]]:
    """What does not fit, by the width of the window."""
    wrong = {}
    for width in (320, 360, 900, 1024, 1280, 2560):
        await page.set_viewport_size({"width": width, "height": 800})
        wrong[width] = await page.evaluate(_TOO_WIDE)
    return {width: found for width, found in wrong.items() if found}


async def test_no_page_is_wider_than_its_window_and_no_value_is_squeezed(
    marketplace: Marketplace, simulated: SimulatedSeller, chromium: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a language of longer words, which asks for more room than English does."""
    monkeypatch.setitem(texts.CATALOGUES, "qps", _Longer())
    told_of, refused = await foreign(marketplace, simulated), await rejected(marketplace, simulated)
    await marketplace.place(order("L" * 100))
    stuck = (await marketplace.get(await dead(marketplace, simulated), "/deliveries"))["items"][0]["id"]
    note = (await marketplace.client.get("/v1/notifications")).json()["items"][0]["id"]
    told = {"url": "https://told.example/events/of/orders", "events": ["order.*"]}
    webhook = (await marketplace.client.post("/v1/webhooks", json=told)).json()["id"]
    pages = [
        "", "/orders", f"/orders/{told_of}", f"/orders/{told_of}/cancel", f"/orders/{told_of}/resolve", "/deliveries",
        f"/orders/{told_of}/authorize", f"/orders/{refused}", f"/orders/{refused}/correct", f"/deliveries/{stuck}",
        f"/deliveries/{stuck}/retry", "/notifications", f"/notifications/{note}", "/sellers", "/sellers/acme",
        "/sellers/new", "/sellers/acme/check", "/sellers/acme/token", "/keys", "/health", "/alerts", "/webhooks",
        f"/webhooks/{webhook}", "/webhooks/new", "/audit", "/zone", "/orders?status=rejected", "/nowhere",
    ]  # fmt: skip
    acts = {
        "/orders?chosen=all": [".chosen button"],
        "/deliveries?state=dead": [".chosen [name=all]", "[name=confirm]"],
    }
    looks: dict[tuple[str, str], dict[str, tuple[str, ...]]] = {
        ("viewer", "en"): {"/sellers/acme": ()},
        ("admin", "qps"): {**dict.fromkeys(pages, ()), **acts},
    }
    wrong = {}
    for (role, language), seen in looks.items():
        spoken = {"Accept-Language": language}
        async with browsing.window(chromium, marketplace.url, extra_http_headers=spoken) as (page, _strayed):
            await page.goto("/console")
            await page.locator("#key").fill(await key_of(marketplace, role))
            await page.keyboard.press("Enter")
            await page.locator("nav").first.wait_for(state="attached")
            for path, presses in seen.items():
                await page.goto(f"/console{path}")
                wrong[language, role, path] = await _too_wide(page)
                for press in presses:
                    if await page.locator("#reason").count():
                        await page.locator("#reason").fill("seen")
                    await page.locator(press).first.click()
                    await page.wait_for_load_state()
                    wrong[language, role, press] = await _too_wide(page)
    assert {where: found for where, found in wrong.items() if found} == {}


async def test_a_second_click_leaves_the_first_answer_to_be_shown(marketplace: Marketplace, chromium: Browser) -> None:
    """The key is in that answer alone."""
    async with browsing.window(chromium, marketplace.url) as (page, _):
        await browsing.sign_in(page, await key_of(marketplace, "admin"))
        await page.goto("/console/keys")
        await page.fill("#k-name", "the shop")

        assert await page.evaluate(_CLICKED_TWICE) == [False, True]


async def test_a_form_whose_page_was_stopped_can_be_sent_again(marketplace: Marketplace, chromium: Browser) -> None:
    async with browsing.window(chromium, marketplace.url) as (page, _):
        await page.clock.install()
        await browsing.sign_in(page, await key_of(marketplace, "admin"))
        await page.goto("/console/keys")
        await page.fill("#k-name", "the shop")
        await page.evaluate(_STOPPED)
        await page.get_by_role("button", name="Make a key").click()
        await page.clock.fast_forward(11_000)
        await page.get_by_role("button", name="Make a key").click()

        assert await page.evaluate("held") == [False, False]


async def _tab_to(page: Page, selector: str) -> None:
    """Press Tab until this has the focus, and see that the focus can be seen."""
    for _ in range(60):
        await page.keyboard.press("Tab")
        if await page.locator(selector).first.evaluate("one => one === document.activeElement"):
            outline = await page.locator(selector).first.evaluate("one => getComputedStyle(one).outlineWidth")
            assert outline == "3px"
            return
    raise AssertionError(f"the keyboard does not reach {selector}")


async def _press(page: Page, selector: str) -> None:
    await _tab_to(page, selector)
    await page.keyboard.press("Enter")
    await page.wait_for_load_state()


async def _write(page: Page, selector: str, text: str) -> None:
    await _tab_to(page, selector)
    await page.keyboard.type(text)
