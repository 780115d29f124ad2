"""`serve --workers N`: complete processes on one socket, each replaced when it dies, none left when it ends."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chain_orders.database import Database

from ..builders import calling, until
from ..faults.process import ServiceProcess, free_port


def _children(pid: int) -> set[int]:
    """The processes that this one has started."""
    try:
        return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    except FileNotFoundError:
        return set()


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
async def fleet(database: Database) -> AsyncIterator[ServiceProcess]:
    process = ServiceProcess(database.url, free_port(), options=["--workers", "2"])
    try:
        await process.start()
        yield process
    finally:
        children = _children(process.pid)
        process.stop()
        process.forget()
        assert not [child for child in children if _alive(child)]


async def _answers(fleet: ServiceProcess) -> bool:
    async with calling() as client:
        return (await client.get(f"{fleet.url}/readyz")).status_code == 200


async def test_a_child_that_dies_is_replaced_and_nobody_is_refused_meanwhile(fleet: ServiceProcess) -> None:
    first = _children(fleet.pid)
    assert len(first) == 2

    os.kill(victim := min(first), signal.SIGKILL)
    for _ in range(40):
        assert await _answers(fleet)
        await asyncio.sleep(0.02)

    async def replaced() -> bool:
        now = _children(fleet.pid)
        return victim not in now and len(now) == 2

    await until(replaced)
    assert fleet.running


async def test_sighup_replaces_every_child(fleet: ServiceProcess) -> None:
    first = _children(fleet.pid)

    os.kill(fleet.pid, signal.SIGHUP)

    async def replaced() -> bool:
        assert await _answers(fleet)
        now = _children(fleet.pid)
        return not now & first and len(now) == 2

    await until(replaced, 40)


async def test_children_end_with_a_parent_that_is_killed(database: Database) -> None:
    process = ServiceProcess(database.url, free_port(), options=["--workers", "2"])
    try:
        await process.start()
        children = _children(process.pid)
        process.kill()

        async def gone() -> bool:
            return not [child for child in children if _alive(child)]

        await until(gone, 20)
    finally:
        process.kill()
        process.forget()


async def test_more_connections_than_the_server_has_are_refused_at_start(database: Database) -> None:
    settings = {"CHAIN_ORDERS_POOL_SIZE": "200"}
    process = ServiceProcess(database.url, free_port(), settings=settings, options=["--workers", "2"])
    try:
        await process.start(wait=False)

        async def ended() -> bool:
            return process.exit_code is not None

        await until(ended)
        assert process.exit_code == 1
        assert "max_connections" in process.log
    finally:
        process.kill()
        process.forget()
