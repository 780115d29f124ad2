"""Takes the pictures of `pictures` for the documentation: `make screenshots` writes them to docs/images.

Plays the invented day against a service, a simulated seller and a PostgreSQL of their own. Each page is opened once and
taken as wide and as narrow, in light and in dark, as `pictures` says: what an act came to is taken from all sides.
"""

from __future__ import annotations

import asyncio
import io
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from PIL import Image
from playwright.async_api import Browser, Page
from sqlalchemy import text, update

from chain_orders import logs, schema
from chain_orders.alerts.models import Alert
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
from .pictures import ALL, EMPTY, FOLDER, SCHEMES, VIEWERS, WIDE, Picture, file, widths
from .visitor import key_of

_WINDOW, _TALLEST = 900, 8000
_COLOURS = 128
_HERE = [str(FOLDER.parents[1]), str(Path.home()), tempfile.gettempdir()]
_PEOPLE = {"admin": "harbor desk", "viewer": "night shift"}
_HOURS = 5
"""How long the invented day seems to have lasted."""
_KEPT = ("console_sessions", "lanes")
_WEBHOOK = {"url": "http://127.0.0.1:9/told", "events": ["order.*"], "description": "the warehouse"}


def _take(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as data:
        cluster = Cluster(Path(data))
        try:
            cluster.start()
            schema.migrate(cluster.database_url)
            asyncio.run(_stage(cluster.database_url, names))
        finally:
            cluster.remove()


async def _stage(url: str, names: list[str]) -> None:
    database = Database(url)
    settings = Settings(**settings_for(url, retry_schedule="0.05"))
    async with (
        running(create_simulator()) as seller_url,
        calling(seller_url) as client,
        serving(database, settings) as marketplace,
        browser() as opened,
    ):
        wanted = {name: one for name, one in ALL.items() if not names or name in names}
        async with database.transaction() as session:
            await session.execute(update(ApiKey).values(name="shop backend"))
        admin, viewer = [await key_of(marketplace, role, name) for role, name in _PEOPLE.items()]
        await _photograph(opened, marketplace, admin, {name: one for name, one in wanted.items() if name in EMPTY})
        await marketplace.add_seller(seller_url)
        await marketplace.add_seller("https://dockside.example", "dockside", currency="EUR")
        found = await _happen(marketplace, SimulatedSeller(seller_url, client))
        wanted = {name: _of(one, found) for name, one in wanted.items() if name not in EMPTY}
        await _photograph(opened, marketplace, viewer, {name: one for name, one in wanted.items() if name in VIEWERS})
        await _photograph(opened, marketplace, admin, {n: one for n, one in wanted.items() if n not in VIEWERS})
    await database.close()


async def _happen(marketplace: Marketplace, simulated: SimulatedSeller) -> dict[str, str]:
    """The invented day; the ids that paths of pictures stand for."""
    day = await play(marketplace, simulated)
    await _spread(marketplace.database)
    await marketplace.client.post("/v1/webhooks", json=_WEBHOOK)
    async with marketplace.database.transaction() as session:
        session.add(Alert(code="dead-deliveries", subject="seller:acme", reason="1 call is dead"))
    return {
        **day,
        "call": await _first(marketplace, "deliveries", state="dead"),
        "unreadable": await _first(marketplace, "notifications", state="unreadable"),
        "parked": await _first(marketplace, "notifications", state="parked"),
        "webhook": await _first(marketplace, "webhooks"),
        "key": await _first(marketplace, "keys", at=-1),
    }


async def _spread(database: Database) -> None:
    """Let every moment lie further back, the earlier the more, so that a day of seconds is told as one of hours."""
    columns = text(
        """
        select table_name, column_name from information_schema.columns join information_schema.tables
          using (table_schema, table_name)
         where table_schema = 'public' and table_type = 'BASE TABLE' and data_type = 'timestamp with time zone'
           and is_generated = 'NEVER' and table_name <> all(:kept)
        """
    )
    async with database.transaction() as session:
        began = text("select extract(epoch from now() - min(created_at))::float8 from orders")
        lasted = {"lasted": await session.scalar(began)}
        await session.execute(text("set local session_replication_role = replica"))  # what is written once, as well
        for table, column in (await session.execute(columns, {"kept": list(_KEPT)})).all():
            moved = f"now() - interval '{_HOURS} hours' * power(extract(epoch from now() - {column}) / :lasted, 3)"
            today = f"{column} between now() - make_interval(secs => 2 * :lasted) and now()"
            await session.execute(text(f"update {table} set {column} = {moved} where {today}"), lasted)


async def _first(marketplace: Marketplace, kind: str, at: int = 0, **parameters: str) -> str:
    listed = await marketplace.client.get(f"/v1/{kind}", params=parameters)
    return str(listed.json()["items"][at]["id"])


def _of(one: Picture, found: dict[str, str]) -> Picture:
    return replace(one, path=one.path.format(**found))


async def _photograph(opened: Browser, marketplace: Marketplace, key: str, wanted: Mapping[str, Picture]) -> None:
    async with window(opened, marketplace.url) as (page, _strayed):
        for name, one in wanted.items():
            if name != "sign-in" and not await page.context.cookies():
                await sign_in(page, key)
            await _open(page, one)
            for width in widths(name):
                for scheme in SCHEMES:
                    await page.emulate_media(color_scheme=scheme)
                    await _shoot(page, FOLDER / file(name, width, scheme), width)


_AS_IT_WAS = """
(seen, told) => {
  seen.form.elements.version.value -= 1;
  seen.value = `${parseInt(seen.value) - 2} ${told}`;
}
"""
"""Make a form one that was opened before the latest two events."""


async def _open(page: Page, one: Picture) -> None:
    await page.set_viewport_size({"width": WIDE, "height": _WINDOW})
    await page.goto(one.path)
    if one.what:
        await page.locator("#what").select_option(one.what)
    for name in one.presses:
        if one.saw and name == one.presses[-1]:
            await page.locator("[name=seen]").evaluate(_AS_IT_WAS, one.saw)
        if one.reason and await page.locator("#reason:visible").count():
            await page.locator("#reason").fill(one.reason)
        await page.get_by_role("button", name=name).first.click()
        await page.wait_for_load_state()
    told = await page.content()
    if here := [path for path in _HERE if path in told]:
        raise SystemExit(f"{one.path} names a folder of this machine: {here}")


async def _shoot(page: Page, path: Path, width: int) -> None:
    """The whole page."""
    await page.set_viewport_size({"width": width, "height": _WINDOW})
    height = await page.evaluate("document.documentElement.scrollHeight")
    await page.set_viewport_size({"width": width, "height": min(int(height), _TALLEST)})
    _keep(await page.screenshot(), path)


def _keep(picture: bytes, path: Path) -> None:
    """With as many colours as a page has use for, also rare ones: a third of its size, and nobody sees it."""
    whole, few = Image.open(io.BytesIO(picture)).convert("RGB"), Image.Quantize.MAXCOVERAGE
    reduced = whole.quantize(_COLOURS, method=few, kmeans=2, dither=Image.Dither.NONE)
    reduced.save(path, "PNG", optimize=True)


if __name__ == "__main__":
    logs.configure("console")
    _take(sys.argv[1:])
