"""Finding orders among many beside finding them among few: `make bench-find`, `ROWS=` for a short form.

Two durable PostgreSQLs are filled with invented orders, 10,000 and 1,000,000; every kind of call is made on both by
turns, each time for another order. What is judged is the p99 among many, as a multiple of the p99 among few. Both
sides owe equally many calls, park equally many notifications and show equally many orders a page, so that only what is
stored differs: the numbers count what waits, one by one.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import secrets
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import httpx
from sqlalchemy import text
from tests.builders import settings_for

from chain_orders.app import create_app
from chain_orders.database import Database
from chain_orders.operators import access
from chain_orders.serving.server import spare_the_collector
from chain_orders.settings import Settings

from .common import machine, migrated, percentile, told, write
from .console import add_seller, browser
from .seeding import fill

FEW = 10_000
MOST_TIMES = 1.3
_KINDS = ("id", "order-group", "chain-order", "invoice", "tracking")
_SAMPLE = text("select kind, value, order_id from order_names where kind = :kind order by random() limit 500")


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two databases: how to call the API in front of it, and names that orders in it have."""

    client: httpx.AsyncClient
    names: dict[str, Sequence[str]]
    ids: Sequence[str]

    def calls(self) -> dict[str, str]:
        """Each kind of call, for an order drawn anew."""
        search = {f"search by {kind}": f"/v1/orders?q={random.choice(self.names[kind])}" for kind in _KINDS}  # noqa: S311
        return {
            "list": "/v1/orders?limit=50",
            "list of a status": "/v1/orders?status=authorized&limit=50",
            "list of what is done": "/v1/orders?status=invoiced&limit=50",
            "list of a seller": "/v1/orders?seller=harbor-3&limit=50",
            "list of attention": "/v1/orders?attention=true&limit=10",
            **search,
            "detail": f"/v1/orders/{random.choice(self.ids)}",  # noqa: S311
            "stats": "/v1/stats",
        }


async def _side(stack: AsyncExitStack, rows: int) -> Side:
    database, _ = await stack.enter_async_context(migrated())
    await add_seller(database)
    await fill(database, rows, owing=FEW)
    async with database.engine.connect() as connection:  # or the larger side would still be writing when it is measured
        await (await connection.execution_options(isolation_level="AUTOCOMMIT")).execute(text("checkpoint"))
    names = {kind: await _names(database, kind) for kind in _KINDS}
    async with database.transaction() as session:
        key = await access.create_key(session, f"bench-{secrets.token_hex(3)}", "viewer")
    app = create_app(Settings(**settings_for(database.url)), worker=False)
    stack.push_async_callback(app.state.database.close)
    client = await stack.enter_async_context(browser(app, Authorization=f"Bearer {key}"))
    return Side(client, names, names["id"])


async def _names(database: Database, kind: str) -> list[str]:
    async with database.transaction() as session:
        return [row.value for row in await session.execute(_SAMPLE, {"kind": kind})]


async def measure(many: int, rounds: int) -> dict[str, dict[str, list[float]]]:
    """The waits in ms of each kind of call, among few and among many."""
    async with AsyncExitStack() as stack:
        sides = {"few": await _side(stack, FEW), "many": await _side(stack, many)}
        spare_the_collector()  # as the service does
        waits: dict[str, dict[str, list[float]]] = {call: {"few": [], "many": []} for call in sides["few"].calls()}
        for nth in range(rounds + 5):
            for name, side in sides.items():
                for call, path in side.calls().items():
                    began = time.perf_counter()
                    answer = await side.client.get(path)
                    took = (time.perf_counter() - began) * 1000
                    if answer.status_code != 200:
                        raise SystemExit(f"{path}: {answer.status_code} {answer.text[:300]}")
                    waits[call][name] += [took] if nth >= 5 else []
        return waits


def _report(waits: dict[str, dict[str, list[float]]]) -> tuple[dict[str, Any], list[str]]:
    found, wrong = {}, []
    print(f"{'ms':<24} {'few p50':>9} {'few p99':>9} {'many p50':>9} {'many p99':>9}   p99 x few")
    for call, sides in waits.items():
        few, many = sides["few"], sides["many"]
        middle = [percentile(one, 0.5) for one in (few, many)]
        last = [percentile(one, 0.99) for one in (few, many)]
        times = last[1] / last[0]
        print(f"{call:<24} {middle[0]:>9.1f} {last[0]:>9.1f} {middle[1]:>9.1f} {last[1]:>9.1f}   {times:.2f}")
        found[call] = {"few": told(few), "many": told(many), "p99Ms": last, "p99Times": round(times, 2)}
        if times > MOST_TIMES:
            wrong.append(f"{call} {times:.2f}")
    return found, wrong


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--rounds", type=int, default=1000)
    asked = options.parse_args()
    before = machine()
    found, wrong = _report(asyncio.run(measure(asked.rows, asked.rounds)))
    write("find", {"before": before, "few": FEW, "many": asked.rows, "calls": found})
    if wrong:
        raise SystemExit(f"more than {MOST_TIMES} times as long among many: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
