"""A replica that is asked to stop under load, behind a balancer: no request fails. Without the drain, some do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from chain_orders.database import Database

from ..faults.balancer import Balancer
from ..faults.hearing import Line, _placed, _request
from ..faults.process import ServiceProcess, free_port

LANES = 16
PER_SECOND = 200.0


@contextlib.asynccontextmanager
async def _replicas(database: Database, sabotage: str | None) -> AsyncIterator[tuple[list[ServiceProcess], int]]:
    settings = {"CHAIN_ORDERS_DRAIN_SECONDS": "1.5"}
    replicas = [ServiceProcess(database.url, free_port(), sabotage, settings) for _ in range(2)]
    try:
        await asyncio.gather(*(replica.start() for replica in replicas))
        async with Balancer([replica.port for replica in replicas], look_every=0.1).running() as front:
            yield replicas, front
    finally:
        for replica in replicas:
            replica.kill()
            replica.forget()


async def _failures(database: Database, sabotage: str | None) -> tuple[int, int]:
    """Requests that were answered, and that were not, while both replicas were restarted one after the other."""
    bases = await _placed(database, [f"DRAIN{n:04d}" for n in range(LANES)])
    done, counts = asyncio.Event(), {"answered": 0, "failed": 0}

    async def lane(group: str, path: str, front: int) -> None:
        line, nth = Line(front), 0
        while not done.is_set():
            nth += 1
            answer = await line.post(_request(path, group, nth))
            counts["failed" if answer is None else "answered"] += 1
            await asyncio.sleep(LANES / PER_SECOND)
        line.close()

    async with _replicas(database, sabotage) as (replicas, front):
        lanes = [asyncio.create_task(lane(group, path, front)) for group, path in bases.items()]
        try:
            for replica in replicas:
                await asyncio.sleep(0.7)
                await asyncio.to_thread(replica.stop)
                await replica.start()
            await asyncio.sleep(0.5)
        finally:
            done.set()
            await asyncio.gather(*lanes)
    return counts["answered"], counts["failed"]


async def test_no_request_fails_while_replicas_are_restarted_under_load(database: Database) -> None:
    answered, failed = await _failures(database, None)

    assert failed == 0
    assert answered > LANES * 5


async def test_a_build_that_does_not_drain_fails_some(database: Database) -> None:
    with pytest.raises(AssertionError):
        assert (await _failures(database, "no-drain"))[1] == 0
