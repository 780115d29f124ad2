"""What hearing a notification costs: this service's receiver beside an echo that stores nothing, an ORM handler, one
bare insert a request, and pgbench with the same rows; then how long an answer takes at half the load, and what applying
costs. `make bench-hear`; needs wrk and pgbench. Ends with 1 when a ratio is not what is asked for.

Everything shares this machine, the load too: the ratios are the result, the figures are its circumstances.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import uvloop
from sqlalchemy import make_url, select, text
from tests.builders import KEYS, invoice
from tests.faults.overload import Load

from chain_orders.database import Database
from chain_orders.orders.models import Order
from chain_orders.sellers.models import Seller

from . import applying
from .common import machine, migrated, needed, percentile, process, table, told, write
from .handlers import make_tables
from .send import BASES, _enqueue, _sell
from .serving import served

ECHO, ORM, RAW = "(a) echo: FastAPI and pydantic, stores nothing", "(b) ORM session, three statements", "(c) raw insert"
OURS, APPLIED, PGBENCH = "(d) this service", "(d) this service, its applier on beside it", "(e) pgbench, the same rows"
CONNECTIONS, THREADS = 64, 2
WANTED = {
    "ratioToEcho": 0.8,
    "ratioToOrm": 12.0,
    "applyingRatioToOrm": 3.0,
    "p99AtHalfLoadToEcho": 5.0,
}
"""What is asked for: at least that much, and of the last at most."""
LUA = Path(__file__).parent / "notify.lua"
PGBENCH_SCRIPT = r"""
\set key random(1, 1000000000000)
begin;
insert into receipts (dedupe_key, receipt, answer)
values (sha256((:key || '-' || :client_id)::bytea), md5(:key::text), repeat('a', 120)::bytea);
insert into notifications (dedupe_key, receipt, kind, caller, path, headers, body, state)
values (sha256((:key || '-' || :client_id)::bytea), md5(:key::text), 'invoice', 'base',
        'pvt/orders/BENCH000000/invoice'::bytea, '{}'::bytea, repeat('b', 330)::bytea, 'ignored');
commit;
"""
APPLIED_ORDERS = 300
_runs = count(int(time.time()))


def _wrk(wrk: str, port: int, paths: Path, seconds: int) -> tuple[float, float, float]:
    """Requests a second, and the median and p99 in ms. Ends the run when an answer was not a 2xx."""
    ended = subprocess.run(  # noqa: S603
        [wrk, f"-t{THREADS}", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "--timeout", "10s", "-s", str(LUA),
         f"http://127.0.0.1:{port}", "--", str(paths), str(next(_runs))],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    if "Non-2xx" in ended.stdout:
        raise SystemExit(f"some requests failed:\n{ended.stdout}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", ended.stdout)
    middle, last = (re.search(rf"{share}%\s+([\d.]+)(us|ms|s)", ended.stdout) for share in (50, 99))
    if not (rate and middle and last):
        raise SystemExit(f"wrk said something else:\n{ended.stdout}{ended.stderr}")
    return float(rate[1]), _ms(middle), _ms(last)


def _ms(found: re.Match[str]) -> float:
    return float(found[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[found[2]]


def _pgbench(pgbench: str, url: str, script: Path, seconds: int) -> float:
    address = make_url(url)
    ended = subprocess.run(  # noqa: S603
        [pgbench, "-n", "-c", "16", "-j", "2", "-T", str(seconds), "-f", str(script), "-h", "127.0.0.1",
         "-p", str(address.port), "-U", str(address.username), str(address.database)],
        capture_output=True, text=True, env={"PGPASSWORD": str(address.password), "LC_ALL": "C"}, check=False,
    )  # fmt: skip
    rate = re.search(r"tps = ([\d.]+)", ended.stdout)
    if rate is None:
        raise SystemExit(f"pgbench said something else:\n{ended.stdout}{ended.stderr}")
    return float(rate[1])


async def _bases(database: Database, orders: int) -> list[str]:
    """Orders to be told about, and the paths where they hear of invoices."""
    await _sell(database, "acme", "http://127.0.0.1:1", paused=True)
    groups = [f"BENCH{n:06d}" for n in range(orders)]
    await _enqueue(database, groups)
    async with database.transaction() as session:
        seller = await session.get_one(Seller, "acme")
        rows = await session.execute(select(Order.kid, Order.ref, Order.order_group))
        return [
            f"{BASES.of(seller, row.kid, row.ref).partition('/cb/')[1]}"
            f"{BASES.of(seller, row.kid, row.ref).partition('/cb/')[2]}/pvt/orders/{row.order_group}/invoice"
            for row in rows
        ]


async def _empty(database: Database) -> None:
    """Every round begins alike: no table has grown by what was measured before."""
    async with database.transaction() as session:
        await session.execute(text("truncate receipts, notifications, bench_raw, bench_heard, bench_told"))


def _up(port: int, path: str) -> None:
    for _ in range(300):
        try:
            httpx.post(f"http://127.0.0.1:{port}{path}", json={}, trust_env=False)
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit(f"nothing answers on port {port}")


@contextmanager
def _targets(url: str, real: str) -> Iterator[dict[str, int]]:
    environment = {
        "BENCH_DATABASE_URL": url,
        "CHAIN_ORDERS_ENVIRONMENT": "development",
        "CHAIN_ORDERS_DATABASE_URL": url,
        "CHAIN_ORDERS_PUBLIC_URL": "http://127.0.0.1:1",
        "CHAIN_ORDERS_CALLBACK_KEYS": KEYS,
        "CHAIN_ORDERS_CREDENTIAL_KEYS": KEYS,
        "CHAIN_ORDERS_COMMIT_SECONDS": "10",
    }
    with ExitStack() as stack:
        names = {ECHO: "echo", ORM: "orm", RAW: "raw", OURS: "service"}
        ports = {row: stack.enter_context(served(name, environment)) for row, name in names.items()}
        for row, port in ports.items():
            _up(port, real if row == OURS else "/invoice")
        time.sleep(2)  # the second process of each
        yield ports


async def measure(rounds: int, seconds: int) -> dict[str, Any]:
    programs = needed("wrk", "pgbench")
    rows: dict[str, list[float]] = {name: [] for name in (ECHO, ORM, RAW, OURS, APPLIED, PGBENCH)}
    waits: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        async with migrated() as (database, _):
            await make_tables(database.url)
            real, plain, script = Path(folder) / "real", Path(folder) / "plain", Path(folder) / "pgbench.sql"
            real.write_text("\n".join(await _bases(database, 200)) + "\n")
            plain.write_text("/invoice\n")
            script.write_text(PGBENCH_SCRIPT)
            with _targets(database.url, real.read_text().splitlines()[0]) as ports:
                for row, port in ports.items():
                    await asyncio.to_thread(_wrk, programs["wrk"], port, real if row == OURS else plain, 1)
                memory = {"start": _resident()}
                for _ in range(rounds):
                    for row, port in ports.items():
                        await _empty(database)
                        paths = real if row == OURS else plain
                        rate, *wait = await asyncio.to_thread(_wrk, programs["wrk"], port, paths, seconds)
                        rows[row].append(rate)
                        waits.setdefault(row, []).append((wait[0], wait[1]))
                    await _empty(database)
                    rows[APPLIED].append(await _with_applier(database, programs["wrk"], ports[OURS], real, seconds))
                    await _empty(database)
                    rows[PGBENCH].append(
                        await asyncio.to_thread(_pgbench, programs["pgbench"], database.url, script, seconds)
                    )
                half = statistics.median(rows[OURS]) / 2
                calm = await _calm(ports, real.read_text().splitlines(), half, rounds, seconds)
                memory["end"] = _resident()
    async with migrated() as (database, _):
        applied = await applying.measure(database, rounds, APPLIED_ORDERS)
    found = _report(rows, waits, seconds) | _report_rest(calm, half, applied)
    return found | _memory(memory, sum(rows[OURS]) * seconds)


def _resident() -> float:
    """MiB of the larger of this service's two processes."""
    found = [0.0]
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (folder / "cmdline").read_bytes().endswith(b"\0service\0"):
                (line,) = [one for one in (folder / "status").read_text().splitlines() if one.startswith("VmRSS")]
                found.append(int(line.split()[1]) / 1024)
    return max(found)


def _memory(memory: dict[str, float], callbacks: float) -> dict[str, Any]:
    slope = (memory["end"] - memory["start"]) / (callbacks / 2 / 100_000)
    print(f"resident: {memory['end']:.0f} MiB after some {callbacks / 2:.0f} callbacks, {slope:.1f} MiB for 100,000")
    return {"residentMiB": {name: round(value, 1) for name, value in memory.items()}, "mibPer100000": round(slope, 1)}


async def _calm(
    ports: dict[str, int], paths: list[str], per_second: float, rounds: int, seconds: int
) -> dict[str, list[float]]:
    """p99 in ms of the echo and of this service, open loop, both at half of what this service sustains.

    What is not theirs is kept out: connections are made beforehand, and the load's own collector, whose pauses of some
    300 ms would count as theirs, rests.
    """
    waits: dict[str, list[float]] = {ECHO: [], OURS: []}
    gc.disable()
    for _ in range(rounds):
        for row, found in waits.items():
            load = Load(ports[row], _bodies(paths if row == OURS else ["/invoice"]))
            await load.offer(per_second, 1)
            phase = await load.offer(per_second, seconds)
            load.close()
            if phase.refused or phase.failed:
                raise SystemExit(f"some requests failed: {phase}")
            found.append(percentile(phase.stored, 0.99) * 1000)
    gc.enable()
    return waits


def _bodies(paths: list[str]) -> Callable[[int], bytes]:
    run = next(_runs)

    def request(nth: int) -> bytes:
        body = json.dumps(invoice(f"{run}-{nth}")).encode()
        return (
            f"POST {paths[nth % len(paths)]} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body

    return request


async def _with_applier(database: Database, wrk: str, port: int, paths: Path, seconds: int) -> float:
    environment = {
        "CHAIN_ORDERS_ENVIRONMENT": "development",
        "CHAIN_ORDERS_DATABASE_URL": database.url,
        "CHAIN_ORDERS_PUBLIC_URL": "http://127.0.0.1:1",
        "CHAIN_ORDERS_CALLBACK_KEYS": KEYS,
        "CHAIN_ORDERS_CREDENTIAL_KEYS": KEYS,
    }
    with process("-m", "chain_orders", "work", environment=environment):
        await asyncio.sleep(3)
        return (await asyncio.to_thread(_wrk, wrk, port, paths, seconds))[0]


def _report(rows: dict[str, list[float]], waits: dict[str, list[tuple[float, float]]], seconds: int) -> dict[str, Any]:
    table(rows, "notifications a second", ECHO)
    table(rows, "the same", ORM)
    latency = {
        row: {"p50": told([wait[0] for wait in pairs]), "p99": told([wait[1] for wait in pairs])}
        for row, pairs in waits.items()
    }
    for row, wait in latency.items():
        print(f"{row:<52} p50 {wait['p50']['median']:.0f} ms, p99 {wait['p99']['median']:.0f} ms")
    return {
        "notificationsPerSecond": {row: told(values) for row, values in rows.items()},
        "latencyMsAtFullLoad": latency,
        "ratioToEcho": told([one / other for one, other in zip(rows[OURS], rows[ECHO], strict=True)]),
        "ratioToOrm": told([one / other for one, other in zip(rows[OURS], rows[ORM], strict=True)]),
        "connections": CONNECTIONS,
        "secondsPerRound": seconds,
    }


def _report_rest(calm: dict[str, list[float]], rate: float, applied: dict[str, list[float]]) -> dict[str, Any]:
    table(calm, f"p99 in ms, open loop at {rate:.0f}/s", ECHO)
    table(applied, "notifications applied a second", applying.ORM)
    ratio = [one / other for one, other in zip(calm[OURS], calm[ECHO], strict=True)]
    quick = [one / other for one, other in zip(applied[applying.OURS], applied[applying.ORM], strict=True)]
    return {
        "p99MsAtHalfLoad": {"perSecond": round(rate), **{row: told(values) for row, values in calm.items()}},
        "p99AtHalfLoadToEcho": told(ratio),
        "appliedPerSecond": {row: told(values) for row, values in applied.items()},
        "applyingRatioToOrm": told(quick),
    }


def _judge(found: dict[str, Any]) -> list[str]:
    """The ratios that are not what is asked for."""
    missed = []
    for name, wanted in WANTED.items():
        median = found[name]["median"]
        good = median <= wanted if name.startswith("p99") else median >= wanted
        print(f"{name}: {median:.2f}, {'at most' if name.startswith('p99') else 'at least'} {wanted} is asked for")
        if not good:
            missed.append(name)
    return missed


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=int, default=6)
    asked = options.parse_args()
    before = machine()
    found = uvloop.run(measure(asked.rounds, asked.seconds))  # the open loop's own work must not be what is measured
    write("hear", {"before": before, **found})
    if missed := _judge(found):
        raise SystemExit(f"not reached: {', '.join(missed)}")


if __name__ == "__main__":
    main()
