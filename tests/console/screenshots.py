"""Pictures of every page for the documentation: `make screenshots` writes them to docs/images.

Plays the invented day against a service, a simulated seller and a PostgreSQL of their own.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

import httpx
from playwright.async_api import Browser, Page
from sqlalchemy import update

from chain_orders import logs, schema
from chain_orders.database import Database
from chain_orders.embedded import Cluster
from chain_orders.operators.models import ApiKey
from chain_orders.settings import Settings
from chain_orders.simulator.app import create_app as create_simulator
from chain_orders.simulator.server import running

from ..builders import Marketplace, SimulatedSeller, settings_for
from ..conftest import serving
from .browsing import NARROW, WIDE, browser, sign_in, window
from .day import play
from .visitor import key_of

_FOLDER = Path(__file__).parents[2] / "docs" / "images"
_TALLEST = 1900


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
        httpx.AsyncClient(base_url=seller_url, trust_env=False) as client,
        serving(database, settings) as marketplace,
        browser() as opened,
    ):
        simulated = SimulatedSeller(seller_url, client)
        async with database.transaction() as session:
            await session.execute(update(ApiKey).values(name="shop backend"))
        await marketplace.add_seller(seller_url)
        await marketplace.add_seller("https://dockside.vtexcommercestable.com.br", "dockside", currency="EUR")
        day = await play(marketplace, simulated)
        key = await key_of(marketplace, "admin", "harbor desk")
        for scheme in ("light", "dark"):
            for width, size in (("wide", WIDE), ("narrow", NARROW)):
                await _photograph(opened, marketplace, key, day, folder, names, (scheme, width, size))
    await database.close()


async def _photograph(
    opened: Browser, marketplace: Marketplace, key: str, day: dict[str, str], folder: Path, names: list[str],
    look: tuple[str, str, dict[str, int]],
) -> None:  # fmt: skip
    scheme, width, size = look
    async with window(opened, marketplace.url, viewport=size, color_scheme=scheme) as (page, _strayed):
        await page.goto("/console/sign-in")
        for name, path in {"sign-in": "/console/sign-in", **await _pages(marketplace, day)}.items():
            if names and name not in names:
                continue
            if name != "sign-in":
                if not await page.context.cookies():
                    await sign_in(page, key)
                await page.goto(path)
            await _shoot(page, folder / f"{name}-{width}-{scheme}.png", size["width"])


async def _shoot(page: Page, path: Path, width: int) -> None:
    """The page from its top, as far as a reader of the documentation looks."""
    height = await page.evaluate("document.documentElement.scrollHeight")
    shown = {"x": 0, "y": 0, "width": width, "height": min(int(height), _TALLEST)}
    await page.screenshot(path=path, full_page=True, clip=shown)


async def _pages(marketplace: Marketplace, day: dict[str, str]) -> dict[str, str]:
    dead = (await marketplace.client.get("/v1/deliveries", params={"state": "dead"})).json()["items"][0]["id"]
    bad = (await marketplace.client.get("/v1/notifications", params={"state": "unreadable"})).json()["items"][0]["id"]
    return {
        "overview": "/console",
        "orders": "/console/orders",
        "order": f"/console/orders/{day['story']}",
        "authorize": f"/console/orders/{day['placed']}/authorize",
        "cancel": f"/console/orders/{day['placed']}/cancel",
        "decide": f"/console/orders/{day['conflict']}/resolve",
        "deliveries": "/console/deliveries",
        "delivery": f"/console/deliveries/{dead}",
        "retry": f"/console/deliveries/{dead}/retry",
        "notifications": "/console/notifications",
        "notification": f"/console/notifications/{bad}",
        "sellers": "/console/sellers",
        "seller": "/console/sellers/acme",
        "seller-new": "/console/sellers/new",
        "keys": "/console/keys",
        "health": "/console/health",
    }


if __name__ == "__main__":
    logs.configure("console")
    _take(_FOLDER, sys.argv[1:])
