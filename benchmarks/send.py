"""Placements per second through one worker process, beside a bare loop of the same calls and beside a handler that
calls the seller inside the request; and what one silent seller among fifty costs the others.

`make bench-send`. The seller is the simulated one, a process of its own; all of it shares this machine. The bare loop
calls through the same client, on the same event loop: fresh connections, addresses looked at, a cap on bodies, one
deadline. It fails when the medians are not what is asked for.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import operator
import random
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import uvloop
from sqlalchemy import text
from tests.builders import KEY_BYTES, KEYS, order
from tests.faults.notifying import Line
from tests.faults.process import free_port

from chain_orders.capability import Keyring
from chain_orders.database import Database
from chain_orders.deliveries import lanes
from chain_orders.orders.placing import Bases
from chain_orders.orders.taking import take
from chain_orders.outbound import Wire
from chain_orders.sellers import directory
from chain_orders.sellers.models import Seller
from chain_orders.sellers.vault import Vault

from .common import machine, migrated, percentile, process, table, told, write
from .handlers import make_tables
from .serving import served

CONCURRENCY = 128
BASES = Bases("http://127.0.0.1:1", Keyring({"k1": KEY_BYTES}))
HEADERS = {"X-VTEX-API-AppKey": "simulated-key", "X-VTEX-API-AppToken": "simulated-token"}
SILENT_CAP, HELD, SILENT_SECONDS = 10, 60, 10
"""What may be in flight at one seller by default, what waits for the silent one from the start, and how long each call
to it hangs: until it is given up, so that calls hang for all of the time that is measured."""
WANTED = {"placements, to the bare loop": (">=", 0.5), "calls per order": ("==", 1.0), "p99 of the others": ("<=", 1.2)}
OURS, BARE, INSIDE = "one worker process", "a bare loop", "a handler that calls inside the request"


@asynccontextmanager
async def _selling() -> AsyncIterator[httpx.AsyncClient]:
    port = free_port()
    with process("-m", "chain_orders", "simulate", "--port", str(port)):
        url = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as client:
            await _up(client, "/control/behaviour")
            await client.put("/control/behaviour", json={"dedupe": False})
            yield client


async def _up(client: httpx.AsyncClient, path: str) -> None:
    for _ in range(600):
        try:
            if (await client.get(path)).status_code < 500:
                return
        except httpx.TransportError:
            await asyncio.sleep(0.1)
    raise SystemExit(f"{client.base_url} does not answer")


async def _sell(database: Database, seller_id: str, url: str, **limits: Any) -> None:
    vault = Vault({"k1": KEY_BYTES})
    async with database.transaction() as session:
        sealed = directory.seal(vault, seller_id, app_key="simulated-key", app_token="simulated-token")  # noqa: S106
        seller = Seller(
            id=seller_id,
            account_name=seller_id,
            base_url=url,
            sales_channel="1",
            affiliate_id="MKP",
            **sealed,
            **limits,
        )
        await lanes.keep(session, await directory.add(session, seller))


def _environment(url: str, **settings: str) -> dict[str, str]:
    return {
        "CHAIN_ORDERS_ENVIRONMENT": "development",
        "CHAIN_ORDERS_DATABASE_URL": url,
        "CHAIN_ORDERS_PUBLIC_URL": "http://127.0.0.1:1",
        "CHAIN_ORDERS_CALLBACK_KEYS": KEYS,
        "CHAIN_ORDERS_CREDENTIAL_KEYS": KEYS,
        **settings,
    }


async def _enqueue(database: Database, groups: list[str], seller_id: str = "acme") -> None:
    for start in range(0, len(groups), 50):
        async with database.transaction() as session:
            seller = await session.get_one(Seller, seller_id)
            for group in groups[start : start + 50]:
                await take(session, seller, order(group), None, BASES, "operator:bench")


async def _pause(database: Database, *, paused: bool) -> None:
    async with database.transaction() as session:
        await session.execute(text("update lanes set paused = :paused"), {"paused": paused})


async def _worker_round(database: Database, groups: list[str]) -> float:
    """Orders a second from the first claim to the last settlement, both by the database's clock."""
    await _pause(database, paused=True)
    await _enqueue(database, groups)
    async with database.transaction() as session:
        await session.execute(text("analyze deliveries"))
    await _pause(database, paused=False)
    while True:
        await asyncio.sleep(0.1)
        async with database.transaction() as session:
            row = (await session.execute(_ROUND, {"groups": groups})).one()
        if row.n == len(groups):
            return float(row.n / row.seconds)


_ROUND = text(
    """
    select count(*) filter (where d.state = 'delivered') as n,
           extract(epoch from max(d.settled_at) - min(a.at))::float8 as seconds
      from deliveries d join orders o on o.id = d.order_id join attempts a on a.delivery_id = d.id
     where o.order_group = any(:groups)
    """
)


async def _bare_round(wire: Wire, seller: httpx.AsyncClient, groups: list[str]) -> float:
    bodies = iter([json.dumps({**order(group), "marketplaceServicesEndpoint": "http://127.0.0.1:1/cb"}).encode()
                   for group in groups])  # fmt: skip
    headers = {**HEADERS, "Content-Type": "application/json"}
    url = f"{seller.base_url}/api/checkout/pvt/orders?sc=1&affiliateId=MKP"

    async def lane() -> None:
        for body in bodies:
            exchange = await wire.exchange("PUT", url, headers=headers, content=body)
            if exchange.status != 201:
                raise SystemExit(f"the bare loop was answered {exchange.status} ({exchange.error})")
            json.loads(exchange.body)

    started = time.monotonic()
    await asyncio.gather(*(lane() for _ in range(CONCURRENCY)))
    return len(groups) / (time.monotonic() - started)


async def _inside_round(port: int, groups: list[str]) -> float:
    waiting = iter(groups)

    async def lane() -> None:
        line = Line(port)
        for group in waiting:
            body = json.dumps({**order(group), "marketplaceServicesEndpoint": "http://127.0.0.1:1/cb"}).encode()
            head = (
                f"POST /orders HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
            )
            if await line.post(f"{head}\r\n\r\n".encode() + body) is None:
                raise SystemExit("the handler that calls inside the request failed")
        line.close()

    started = time.monotonic()
    await asyncio.gather(*(lane() for _ in range(CONCURRENCY)))
    return len(groups) / (time.monotonic() - started)


async def _throughput(rounds: int, orders: int) -> dict[str, Any]:
    rows: dict[str, list[float]] = {OURS: [], BARE: [], INSIDE: []}
    async with migrated() as (database, _), _selling() as seller:
        await make_tables(database.url)
        await _sell(database, "acme", str(seller.base_url), concurrency=CONCURRENCY, rate_per_second=10_000.0)
        environment = _environment(
            database.url,
            BENCH_DATABASE_URL=database.url,
            BENCH_SELLER=f"{seller.base_url}/api/checkout/pvt/orders?sc=1&affiliateId=MKP",
            CHAIN_ORDERS_WORKER_SLOTS=str(CONCURRENCY),
        )
        wire = Wire(deadline=35, connect=5, allow_private=True, concurrency=CONCURRENCY)
        with process("-m", "chain_orders", "work", environment=environment), served("place", environment, 1) as port:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as inside:
                await _up(inside, "/orders")
            await _worker_round(database, [f"WARM{n:06d}" for n in range(50)])
            for nth in range(rounds):
                named = [f"{nth:02d}{n:06d}" for n in range(orders)]
                rows[OURS].append(await _worker_round(database, [f"OURS{name}" for name in named]))
                rows[BARE].append(await _bare_round(wire, seller, [f"BARE{name}" for name in named]))
                rows[INSIDE].append(await _inside_round(port, [f"INSIDE{name}" for name in named]))
        await wire.close()
        calls = (await seller.get("/control/calls")).json()["puts"]
        ours = [times for group, times in calls.items() if group.startswith("OURS")]
    table(rows, "placements a second", BARE)
    print(f"calls per order: {sum(ours) / len(ours):.3f} over {len(ours)} orders")
    ratios = [one / other for one, other in zip(rows[OURS], rows[BARE], strict=True)]
    return {
        "placementsPerSecond": {name: told(values) for name, values in rows.items()},
        "ratioToBareLoop": told(ratios),
        "callsPerOrder": sum(ours) / len(ours),
        "ordersPerRound": orders,
        "concurrency": CONCURRENCY,
    }


async def _fairness(rounds: int, seconds: float, per_second: float) -> dict[str, Any]:
    """p99 from taken to placed at 49 sellers, while the fiftieth answers and while it is silent."""
    without, beside = [], []
    for nth in range(rounds):
        for silent, into in ((False, without), (True, beside)):
            into.append(await _fifty(random.Random(nth), seconds, per_second, silent=silent))  # noqa: S311
    ratios = [one / other for one, other in zip(beside, without, strict=True)]
    print(
        f"p99 of 49 sellers: {statistics.median(without):.0f} ms; beside a silent one "
        f"{statistics.median(beside):.0f} ms; ratio {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f})"
    )
    return {"p99MsWithout": told(without), "p99MsBesideSilent": told(beside), "p99Ratio": told(ratios)}


async def _fifty(chance: random.Random, seconds: float, per_second: float, *, silent: bool) -> float:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    mute = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with migrated() as (database, _), _selling() as seller, mute:
        nowhere = f"http://127.0.0.1:{mute.sockets[0].getsockname()[1]}"
        for n in range(50):
            await _sell(database, f"s{n:02d}", nowhere if silent and n == 0 else str(seller.base_url))
        async with database.transaction() as session:  # all has gone well so far, with every seller
            await session.execute(text("update lanes set ramp = null"))
        settings = {
            "CHAIN_ORDERS_EXCHANGE_SECONDS": str(SILENT_SECONDS),
            "CHAIN_ORDERS_LEASE_SECONDS": str(2 * SILENT_SECONDS),
            "CHAIN_ORDERS_POLL_SECONDS": "0.05",  # what is enqueued here rings for nobody
        }
        with process("-m", "chain_orders", "work", environment=_environment(database.url, **settings)):
            await _enqueue_each(database, "WARM")  # a process that has just started is slow, whoever is silent
            await asyncio.sleep(3)
            await _enqueue(database, [f"HELD{n:04d}" for n in range(HELD)], "s00")
            await asyncio.sleep(1)
            started = time.monotonic()
            for n in range(int(seconds * per_second)):
                await asyncio.sleep(max(0.0, started + n / per_second - time.monotonic()))
                await _enqueue(database, [f"FAIR{n:06d}"], f"s{chance.randrange(50):02d}")
            await asyncio.sleep(3)
        async with database.transaction() as session:
            waits = list(await session.scalars(_WAITS))
            if silent and (await session.scalar(_AT_ONCE, {"hangs": SILENT_SECONDS}) or 0) < SILENT_CAP:
                raise SystemExit("the silent seller never had as many calls in flight as it may have")
    return percentile(waits, 0.99)


async def _enqueue_each(database: Database, named: str) -> None:
    """One order for each of the 49."""
    for n in range(1, 50):
        await _enqueue(database, [f"{named}{n:04d}"], f"s{n:02d}")


# How many calls to the silent seller had begun before the first of them could end.
_AT_ONCE = text(
    """
    select count(*)
      from (select a.at, min(a.at) over () as first
              from attempts a join deliveries d on d.id = a.delivery_id where d.lane = 'seller:s00') held
     where at < first + make_interval(secs => :hangs)
    """
)


_WAITS = text(
    """
    select (extract(epoch from coalesce(d.settled_at, clock_timestamp()) - d.created_at) * 1000)::float8
      from deliveries d join orders o on o.id = d.order_id
     where o.order_group like 'FAIR%' and d.lane <> 'seller:s00'
    """
)


def _judge(found: dict[str, float]) -> list[str]:
    """What is not as it is asked for."""
    holds = {">=": operator.ge, "==": operator.eq, "<=": operator.le}
    missed = []
    for name, value in found.items():
        how, wanted = WANTED[name]
        print(f"{name}: {value:.3f}, {how} {wanted} is asked for")
        if not holds[how](value, wanted):
            missed.append(name)
    return missed


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--orders", type=int, default=500)
    options.add_argument("--fair-rounds", type=int, default=5)
    options.add_argument("--fair-seconds", type=float, default=20)
    asked = options.parse_args()
    before = machine()
    results = uvloop.run(_throughput(asked.rounds, asked.orders))
    found = {
        "placements, to the bare loop": results["ratioToBareLoop"]["median"],
        "calls per order": results["callsPerOrder"],
    }
    if asked.fair_rounds:
        results["silentSeller"] = uvloop.run(_fairness(asked.fair_rounds, asked.fair_seconds, 30))
        found["p99 of the others"] = results["silentSeller"]["p99Ratio"]["median"]
    write("send", {"before": before, **results})
    if missed := _judge(found):
        raise SystemExit(f"not reached: {', '.join(missed)}")


if __name__ == "__main__":
    main()
