"""A service whose PostgreSQL goes away and comes back: it neither ends nor keeps what died, and says so meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from chain_orders import schema
from chain_orders.database import Bell, Database
from chain_orders.embedded import Cluster
from chain_orders.errors import Unavailable
from chain_orders.notifications.inbox import Inbox
from chain_orders.notifications.storing import Incoming

from ..builders import calling, invoice, until
from ..conftest import empty
from .notifying import placed_orders
from .process import ServiceProcess, free_port


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A server of this module's own, which keeps its port."""
    cluster = Cluster(tmp_path_factory.mktemp("own") / "cluster", port=free_port())
    try:
        cluster.start()
        schema.migrate(cluster.database_url)
        yield cluster
    finally:
        cluster.remove()


@pytest.fixture
async def own(migrated: Cluster) -> AsyncIterator[Database]:
    database = Database(migrated.database_url)
    try:
        yield database
    finally:
        await asyncio.to_thread(migrated.start)  # a test may have left it stopped
        await empty(database)
        await database.close()


async def test_the_intake_takes_notifications_again_after_postgresql_was_killed(
    own: Database, migrated: Cluster
) -> None:
    stop, inbox = asyncio.Event(), Inbox(own, Bell(""), commit_seconds=5)
    running = asyncio.create_task(inbox.run(stop))
    try:
        await inbox.receive(_incoming(b"before"))
        migrated.crash()
        await asyncio.to_thread(migrated.start)

        assert await _received(inbox)
    finally:
        stop.set()
        await running


async def _received(inbox: Inbox) -> bool:
    for nth in range(10):
        try:
            return bool(await inbox.receive(_incoming(b"after %d" % nth)))
        except Unavailable:
            await asyncio.sleep(0.2)
    return False


def _incoming(meaning: bytes) -> Incoming:
    return Incoming("invoice", "base", "ref", "X", b"p", b"{}", b"{}", meaning)


async def outlives_its_database(own: Database, cluster: Cluster, group: str, sabotage: str | None = None) -> None:
    """PostgreSQL stops and starts again under a service: its process lives, refuses meanwhile, and serves again."""
    paths = await placed_orders(own, [group])
    service = ServiceProcess(own.url, free_port(), sabotage)
    try:
        await service.start()
        pid = service.pid
        async with calling(service.url, timeout=20) as client:

            async def told(number: str) -> httpx.Response:
                return await client.post(f"{paths[group]}/pvt/orders/{group}/invoice", json=invoice(number, 1))

            async def taken_again() -> bool:
                return (await told("NF-2")).status_code == 200

            first = await told("NF-1")
            await asyncio.to_thread(cluster.stop)
            for _ in range(2):
                assert [(await client.get(path)).status_code for path in ("/livez", "/readyz")] == [200, 503]
                refused = await told("NF-2")
                assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
                assert (await client.get("/v1/orders", headers={"Authorization": "Bearer co_x"})).status_code == 503
                await asyncio.sleep(0.5)  # long enough for every loop of the process to have missed the database
            await asyncio.to_thread(cluster.start)

            await until(taken_again, 60)
            await service.ready()
            assert (await told("NF-1")).content == first.content
        assert (service.pid, service.running) == (pid, True)
    finally:
        service.kill()
        service.forget()


async def test_a_service_outlives_its_database(own: Database, migrated: Cluster) -> None:
    await outlives_its_database(own, migrated, "AWAY1")


async def test_a_service_that_ends_with_its_database_is_caught(own: Database, migrated: Cluster) -> None:
    with pytest.raises((AssertionError, httpx.TransportError)):
        await outlives_its_database(own, migrated, "AWAY2", "ends-without-database")
