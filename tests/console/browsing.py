"""Chromium, told what to do: headless, quiet, and unable to leave this machine without being caught."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from typing import Any

from playwright.async_api import Browser, BrowserContext, Page, Request, async_playwright

QUIET = (
    "--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--no-first-run", "--disable-gpu", "--hide-scrollbars",
)  # fmt: skip
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


def executable() -> str | None:
    """The machine's Chromium: the one that `CHROMIUM` names, or Debian's."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


@contextlib.asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        opened = await playwright.chromium.launch(executable_path=executable(), args=list(QUIET))
        try:
            yield opened
        finally:
            await opened.close()


@contextlib.asynccontextmanager
async def window(browser: Browser, url: str, **options: Any) -> AsyncIterator[tuple[Page, list[str]]]:
    """A fresh window at the console, and the requests that it made to anywhere else."""
    context: BrowserContext = await browser.new_context(
        base_url=url, locale="en-GB", **{"viewport": WIDE, "timezone_id": "UTC", **options}
    )
    strayed: list[str] = []

    def watch(request: Request) -> None:
        if not request.url.startswith(url):
            strayed.append(request.url)

    context.on("request", watch)
    page = await context.new_page()
    page.on("pageerror", lambda error: strayed.append(f"script failed: {error}"))
    page.on("console", lambda said: strayed.append(f"console: {said.text}") if "Policy" in said.text else None)
    try:
        yield page, strayed
    finally:
        await context.close()


async def sign_in(page: Page, key: str, path: str = "/console") -> None:
    await page.goto(path)
    await page.get_by_label("API key").fill(key)
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_role("heading", name="Overview", level=1).wait_for()
