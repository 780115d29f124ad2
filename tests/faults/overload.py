"""Ten times as many notifications as can be stored: most are refused at once, and as many as ever are stored.

`make faults-overload` runs it for half a minute, `tests/faults/test_overload.py` briefly. The store is slowed down by a
failpoint to 40 a second, so that any machine can offer ten times that. Open loop: each call is timed from the moment
it was due, whether or not the ones before it have been answered.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from chain_orders.database import Database

from .notifying import Line, notification, placed_orders
from .own_server import own_server
from .process import ServiceProcess, free_port

SUSTAINABLE = 40.0
"""What the slowed store takes in a second, at most."""
USEFUL = 5.0
"""Seconds after which a seller no longer waits for an answer."""


@dataclass(slots=True)
class Phase:
    """What came of the calls of one phase. Waits are in seconds, from when a call was due."""

    offered: float
    seconds: float
    stored: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    failed: int = 0

    @property
    def goodput(self) -> float:
        return sum(wait < USEFUL for wait in self.stored) / self.seconds

    def __str__(self) -> str:
        told = [f"{self.offered:.0f}/s offered for {self.seconds:.0f} s: {self.goodput:.0f}/s stored in time"]
        for name, waits in (("stored", self.stored), ("refused", self.refused)):
            if waits:
                middle, last = (sorted(waits)[int(len(waits) * share)] * 1000 for share in (0.5, 0.99))
                told.append(f"{len(waits)} {name} (p50 {middle:.0f} ms, p99 {last:.0f} ms)")
        return ", ".join([*told, f"{self.failed} without an answer"])


@dataclass(slots=True)
class Told:
    """A run: at the sustainable rate, at ten times that, and again as before."""

    before: Phase
    over: Phase
    after: Phase
    grown_mib: float
    normal_after: float | None
    """Seconds until calls were answered again as before; None when they were not within ten."""

    def __str__(self) -> str:
        return (
            f"before: {self.before}\nover: {self.over}\nafter: {self.after}\nmemory grew by {self.grown_mib:.0f} MiB; "
            f"normal again after {'more than 10' if self.normal_after is None else f'{self.normal_after:.1f}'} s"
        )

    def hold(self) -> None:
        """Raise AssertionError unless the overload cost nobody more than it had to."""
        assert self.over.refused, f"void: nothing was refused\n{self}"
        quick, slow = statistics.median(self.over.refused), statistics.median(self.over.stored)
        assert quick < slow / 4, f"refusals took as long as storing\n{self}"
        assert self.over.failed == self.before.failed == 0, f"calls without an answer\n{self}"
        assert self.over.goodput >= 0.9 * self.before.goodput, f"less was stored than at the sustainable rate\n{self}"
        assert self.grown_mib < 96, f"memory is not bounded\n{self}"
        assert self.normal_after is not None, f"the overload outlived its cause\n{self}"


async def run(database: Database, *, seconds: float, sabotage: str | None = None) -> Told:
    paths = await placed_orders(database, [f"OVER{n:04d}" for n in range(50)])
    build = "slow-store" + (f",{sabotage}" if sabotage else "")
    service = ServiceProcess(database.url, free_port(), build, options=["--no-worker"])
    try:
        await service.start()
        orders = list(paths.items())

        def nth_request(nth: int) -> bytes:
            group, path = orders[nth % len(orders)]
            return notification(path, group, nth)

        load = Load(service.port, nth_request)
        await load.offer(SUSTAINABLE, 1)  # connections, caches
        before = await load.offer(SUSTAINABLE, seconds)
        resident = _resident_mib(service.pid)
        over = await load.offer(10 * SUSTAINABLE, seconds)
        grown = _resident_mib(service.pid) - resident
        normal_after = await load.normal(2 * statistics.median(before.stored))
        after = await load.offer(SUSTAINABLE, seconds)
        load.close()
        return Told(before, over, after, grown, normal_after)
    finally:
        service.kill()
        service.forget()


class Load:
    """Calls at a steady rate, each on a connection that is free."""

    def __init__(self, port: int, nth_request: Callable[[int], bytes]) -> None:
        self._port, self._nth_request, self._sent = port, nth_request, 0
        self._free: list[Line] = []

    async def offer(self, per_second: float, seconds: float) -> Phase:
        phase, started = Phase(per_second, seconds), time.monotonic()
        async with asyncio.TaskGroup() as calls:
            for nth in range(int(per_second * seconds)):
                due = started + nth / per_second
                if (early := due - time.monotonic()) > 0:
                    await asyncio.sleep(early)
                elif nth % 20 == 0:
                    await asyncio.sleep(0)
                calls.create_task(self._call(phase, due))
        return phase

    async def normal(self, seconds: float) -> float | None:
        """How long it takes until a call is stored within `seconds`; None when that is more than ten."""
        began = time.monotonic()
        while time.monotonic() - began < 10:
            probe = Phase(1, 1)
            await self._call(probe, time.monotonic())
            if probe.stored and probe.stored[0] < seconds:
                return time.monotonic() - began
        return None

    async def _call(self, phase: Phase, due: float) -> None:
        self._sent += 1
        line = self._free.pop() if self._free else Line(self._port)
        status, _ = await line.exchange(self._nth_request(self._sent))
        wait = time.monotonic() - due
        self._free.append(line)
        if status == 200:
            phase.stored.append(wait)
        elif status == 503:
            phase.refused.append(wait)
        else:
            phase.failed += 1

    def close(self) -> None:
        for line in self._free:
            line.close()


def _resident_mib(pid: int) -> float:
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


async def _on_own_server(seconds: float, sabotage: str | None) -> Told:
    async with own_server() as (database, _, _):
        return await run(database, seconds=seconds, sabotage=sabotage)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=10.0, help="of each of the three phases")
    options.add_argument("--sabotage", default=None)
    asked = options.parse_args()
    told = asyncio.run(_on_own_server(asked.seconds, asked.sabotage))
    print(told, flush=True)
    told.hold()


if __name__ == "__main__":
    main()
