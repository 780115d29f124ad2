"""Pictures of every page for the documentation: `make screenshots` writes them to docs/images.

Plays the invented day against a service, a simulated seller and a PostgreSQL of their own. Every page is taken at 1280
pixels; those that people look at most also on a small screen and a large one, in light and in dark.
"""

from __future__ import annotations

import asyncio
import io
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from PIL import Image
from playwright.async_api import Browser, Page
from sqlalchemy import update

from chain_orders import logs, schema
from chain_orders.database import Database
from chain_orders.embedded import Cluster
from chain_orders.operators.models import ApiKey
from chain_orders.settings import Settings
from chain_orders.simulator.app import create_app as create_simulator
from chain_orders.simulator.server import running

from ..builders import Marketplace, SimulatedSeller, calling, settings_for
from ..conftest import serving
from .browsing import browser, sign_in, window
from .day import play
from .visitor import key_of

_FOLDER = Path(__file__).parents[2] / "docs" / "images"
_TALLEST = 1900
_COLOURS = 128
_USUAL = ((1280, "light"),)
_EVERY = (*_USUAL, (1280, "dark"), (360, "light"), (360, "dark"), (2560, "light"), (2560, "dark"))
_MOST_SEEN = ("overview", "order")

Step = Callable[[Page], Awaitable[object]]


def _take(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as data:
        cluster = Cluster(Path(data), durable=False)
        try:
            cluster.start()
            schema.migrate(cluster.database_url)
            asyncio.run(_stage(cluster.database_url, folder, names))
        finally:
            cluster.remove()


async def _stage(url: str, folder: Path, names: list[str]) -> None:
    database = Database(url)
    settings = Settings(**settings_for(url, retry_schedule="0.05"))
    async with (
        running(create_simulator()) as seller_url,
        calling(seller_url) as client,
        serving(database, settings) as marketplace,
        browser() as opened,
    ):
        simulated = SimulatedSeller(seller_url, client)
        async with database.transaction() as session:
            await session.execute(update(ApiKey).values(name="shop backend"))
        keys = {role: await key_of(marketplace, role, name) for role, name in _PEOPLE.items()}
        await _photograph(opened, marketplace, keys["admin"], names, folder, {"empty": _at("/console/orders")})
        await marketplace.add_seller(seller_url)
        await marketplace.add_seller("https://dockside.vtexcommercestable.com.br", "dockside", currency="EUR")
        day = await play(marketplace, simulated)
        await marketplace.client.post("/v1/webhooks", json=_WEBHOOK)
        seen = await _pages(marketplace, day)
        await _photograph(opened, marketplace, keys["viewer"], names, folder, {"viewer": seen["seller"]})
        await _photograph(opened, marketplace, keys["admin"], names, folder, seen | _forms(day))
    await database.close()


_PEOPLE = {"admin": "harbor desk", "viewer": "night shift"}
_WEBHOOK = {"url": "http://127.0.0.1:9/told", "events": ["order.*"], "description": "the warehouse"}


async def _photograph(
    opened: Browser, marketplace: Marketplace, key: str, names: list[str], folder: Path, steps: dict[str, Step]
) -> None:
    for width, scheme in _EVERY:
        chosen = {
            name: step
            for name, step in steps.items()
            if (not names or name in names) and ((width, scheme) in _USUAL or name in _MOST_SEEN)
        }
        size = {"width": width, "height": 900}
        async with window(opened, marketplace.url, viewport=size, color_scheme=scheme) as (page, _strayed):
            for name, step in chosen.items():
                if name != "sign-in" and not await page.context.cookies():
                    await sign_in(page, key)
                await step(page)
                await _shoot(page, folder / f"{name}-{width}-{scheme}.png", width)


async def _shoot(page: Page, path: Path, width: int) -> None:
    """The page from its top, as far as a reader of the documentation looks."""
    height = await page.evaluate("document.documentElement.scrollHeight")
    shown = {"x": 0, "y": 0, "width": width, "height": min(int(height), _TALLEST)}
    _keep(await page.screenshot(full_page=True, clip=shown), path)


def _keep(picture: bytes, path: Path) -> None:
    """With as many colours as a page has use for: a third of its size, and nobody sees the difference."""
    few = Image.open(io.BytesIO(picture)).convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
    few.save(path, "PNG", optimize=True)


def _at(path: str, *presses: str, reason: str = "") -> Step:
    """Go to a page, say why where it asks, and press these buttons one after the other."""

    async def step(page: Page) -> None:
        await page.goto(path)
        for name in presses:
            if reason and await page.locator("#reason:visible").count():
                await page.locator("#reason").fill(reason)
            await page.get_by_role("button", name=name).first.click()
            await page.wait_for_load_state()

    return step


async def _pages(marketplace: Marketplace, day: dict[str, str]) -> dict[str, Step]:
    dead = (await marketplace.client.get("/v1/deliveries", params={"state": "dead"})).json()["items"][0]["id"]
    bad = (await marketplace.client.get("/v1/notifications", params={"state": "unreadable"})).json()["items"][0]["id"]
    hook = (await marketplace.client.get("/v1/webhooks")).json()["items"][0]["id"]
    paths = {
        "sign-in": "/console/sign-in",
        "overview": "/console",
        "orders": "/console/orders",
        "order": f"/console/orders/{day['story']}",
        "rejected": f"/console/orders/{day['rejected']}",
        "authorize": f"/console/orders/{day['placed']}/authorize",
        "decide": f"/console/orders/{day['conflict']}/resolve",
        "correct": f"/console/orders/{day['rejected']}/correct",
        "deliveries": "/console/deliveries",
        "delivery": f"/console/deliveries/{dead}",
        "retry": f"/console/deliveries/{dead}/retry",
        "notifications": "/console/notifications",
        "notification": f"/console/notifications/{bad}",
        "alerts": "/console/alerts",
        "sellers": "/console/sellers",
        "seller": "/console/sellers/acme",
        "webhook": f"/console/webhooks/{hook}",
        "keys": "/console/keys",
        "audit": "/console/audit",
        "health": "/console/health",
        "error": "/console/nowhere",
    }
    return {name: _at(path) for name, path in paths.items()}


def _forms(day: dict[str, str]) -> dict[str, Step]:
    """Previews, findings and results."""
    return {
        "cancel": _at(f"/console/orders/{day['split']}/cancel", "Show what will be sent", reason="out of stock"),
        "check": _at("/console/sellers/acme/check", "Check now"),
        "bulk": _bulk,
        "results": _at(
            "/console/deliveries?state=dead", "Try all that match", "Try them again now", reason="its host is back"
        ),
    }


async def _bulk(page: Page) -> None:
    await page.goto("/console/orders?chosen=all")
    await page.locator("#what").select_option("cancel")
    await page.get_by_role("button", name="Show what would come of it").click()
    await page.wait_for_load_state()


if __name__ == "__main__":
    logs.configure("console")
    _take(_FOLDER, sys.argv[1:])
