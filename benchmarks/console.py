"""The console's first pages in front of many orders: `make bench-console`, `ROWS=` for a short form.

Fills a durable PostgreSQL with invented orders, then opens each page as a browser does. What is judged is the
server's own time, from the request's first byte to the answer's last, and the size of the page.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import time
from typing import Any

import httpx
from sqlalchemy import select
from tests.builders import Marketplace, settings_for

from chain_orders.app import create_app
from chain_orders.console import charts
from chain_orders.database import Database
from chain_orders.operators import access
from chain_orders.orders.models import Order
from chain_orders.serving.server import spare_the_collector
from chain_orders.settings import Settings

from .common import machine, migrated, told, write
from .seeding import fill

_PAGES = (
    "/console", "/console/orders", "/console/orders?turn=operator", "/console/orders?status=invoiced&sort=total",
    "/console/orders?sort=-updatedAt", "/console/orders?seller=harbor-3&attention=yes", "/console/orders?q=SEED-",
    "/console/deliveries", "/console/deliveries?state=dead", "/console/notifications",
    "/console/notifications?state=all", "/console/sellers", "/console/sellers/harbor-1", "/console/keys",
    "/console/webhooks", "/console/alerts", "/console/audit", "/console/health",
)  # fmt: skip
_MOST_MILLISECONDS, _MOST_BYTES = 100.0, 100_000


async def opened(database: Database, rounds: int) -> dict[str, dict[str, Any]]:
    """Every page, after one look at each: templates are read and statements prepared once a process. The pictures are
    drawn anew each time."""
    async with database.transaction() as session:
        key = await access.create_key(session, f"bench-{secrets.token_hex(3)}", "admin")
        latest = await session.scalar(select(Order.id).order_by(Order.created_at.desc()).limit(1))
    pages = (*_PAGES, f"/console/orders/{latest}")
    times: dict[str, list[float]] = {page: [] for page in pages}
    sizes: dict[str, int] = {}
    charts.KEPT_SECONDS = 0.0
    app = create_app(Settings(**settings_for(database.url)), worker=False)
    spare_the_collector()  # as the service does
    async with browser(app, Accept="text/html") as client:
        await client.post("/console/sign-in", data={"key": key}, headers={"Sec-Fetch-Site": "same-origin"})
        for number in range(rounds + 1):
            for page in pages:
                started = time.perf_counter()
                answer = await client.get(page)
                took = (time.perf_counter() - started) * 1000
                if answer.status_code != 200:
                    raise SystemExit(f"{page}: {answer.status_code} {answer.text[:500]}")
                times[page] += [took] if number else []
                sizes[page] = len(answer.content)
    await app.state.database.close()
    return {page.replace(str(latest), "{id}"): {**told(times[page]), "bytes": sizes[page]} for page in pages}


def browser(app: Any, **headers: str) -> httpx.AsyncClient:
    """No network in between: what is measured is ours."""
    transport = httpx.ASGITransport(app)
    return httpx.AsyncClient(transport=transport, base_url="http://console.example", headers=headers)


async def measure(rows: int, rounds: int) -> dict[str, dict[str, Any]]:
    async with migrated() as (database, _):
        await add_seller(database)
        await fill(database, rows)
        return await opened(database, rounds)


async def add_seller(database: Database) -> None:
    app = create_app(Settings(**settings_for(database.url)), worker=False)
    async with database.transaction() as session:
        key = await access.create_key(session, "setup", "admin")
    async with browser(app, Authorization=f"Bearer {key}") as client:
        await Marketplace("", client, database).add_seller("https://acme.example")
    await app.state.database.close()


def _judged(found: dict[str, dict[str, Any]]) -> list[str]:
    """Which pages are too slow or too large."""
    return [
        f"{page}: {one['median']:.0f} ms, {one['bytes']} bytes"
        for page, one in found.items()
        if one["median"] >= _MOST_MILLISECONDS or one["bytes"] >= _MOST_BYTES
    ]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--rounds", type=int, default=7)
    asked = options.parse_args()
    before = machine()
    found = asyncio.run(measure(asked.rows, asked.rounds))
    for page, one in found.items():
        print(f"{page:<52} {one['median']:>8.1f} ms {one['most']:>8.1f} at most {one['bytes']:>8} bytes")
    write("console", {"before": before, "orders": asked.rows, "pageMs": found})
    if wrong := _judged(found):
        raise SystemExit("over 100 ms or 100 kB: " + "; ".join(wrong))


if __name__ == "__main__":
    main()
