"""A replica that is asked to stop under load, behind a balancer: no request fails. Without the drain, some do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from chain_orders.database import Database

from ..builders import until
from ..faults.balancer import Balancer, says_ready
from ..faults.notifying import Line, notification, placed_orders
from ..faults.process import ServiceProcess, free_port

LANES = 16
PER_SECOND = 200.0


@contextlib.asynccontextmanager
async def _replicas(database: Database, sabotage: str | None) -> AsyncIterator[tuple[list[ServiceProcess], int]]:
    settings = {"CHAIN_ORDERS_DRAIN_SECONDS": "3"}
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
    """Requests that were answered, and that were not, while both replicas were restarted one after the other.

    Each is asked to stop while every connection rests, and the requests go on once it says that it is not ready.
    """
    bases = await placed_orders(database, [f"DRAIN{n:04d}" for n in range(LANES)])
    lanes = Lanes()
    async with _replicas(database, sabotage) as (replicas, front):
        running = [asyncio.create_task(lanes.run(group, path, front)) for group, path in bases.items()]
        try:
            for replica in replicas:
                await until(lambda: lanes.have_answered(LANES * 3))
                lanes.may_send.clear()
                await until(lanes.rest)
                replica.ask_to_stop()
                await until(lambda at=replica.port: _is_not_ready(at))  # type: ignore[misc]
                lanes.may_send.set()
                await asyncio.to_thread(replica.stop)
                await replica.start()
            await until(lambda: lanes.have_answered(LANES * 3))
        finally:
            lanes.done = True
            lanes.may_send.set()
            await asyncio.gather(*running)
    return lanes.answered, lanes.failed


async def _is_not_ready(port: int) -> bool:
    return not await says_ready(port)


class Lanes:
    """Sellers who send one notification after the other, each on a connection that it keeps."""

    def __init__(self) -> None:
        self.may_send, self.done = asyncio.Event(), False
        self.may_send.set()
        self.answered = self.failed = self._in_flight = self._counted = 0

    async def run(self, group: str, path: str, front: int) -> None:
        line, nth = Line(front), 0
        while not self.done:
            await self.may_send.wait()
            nth += 1
            self._in_flight += 1
            answer = await line.post(notification(path, group, nth))
            self._in_flight -= 1
            self.failed += answer is None
            self.answered += answer is not None
            await asyncio.sleep(LANES / PER_SECOND)
        line.close()

    async def rest(self) -> bool:
        return self._in_flight == 0

    async def have_answered(self, many: int) -> bool:
        """Whether so many more have been answered since this was last true."""
        if self.answered < self._counted + many:
            return False
        self._counted = self.answered
        return True


async def test_no_request_fails_while_replicas_are_restarted_under_load(database: Database) -> None:
    answered, failed = await _failures(database, None)

    assert failed == 0
    assert answered > LANES * 5


async def test_a_build_that_does_not_drain_fails_some(database: Database) -> None:
    with pytest.raises(AssertionError):
        assert (await _failures(database, "no-drain"))[1] == 0
