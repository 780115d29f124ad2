"""The intake after PostgreSQL was killed: its pool must not keep what died."""

from __future__ import annotations

import asyncio
from pathlib import Path

from chain_orders import schema
from chain_orders.database import Bell, Database
from chain_orders.embedded import Cluster
from chain_orders.errors import Unavailable
from chain_orders.notifications.inbox import Inbox
from chain_orders.notifications.storing import Incoming

from .process import free_port


async def test_the_intake_takes_notifications_again_after_postgresql_was_killed(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "cluster", port=free_port())
    try:
        await asyncio.to_thread(cluster.start)
        await asyncio.to_thread(schema.migrate, cluster.database_url)
        database, stop = Database(cluster.database_url), asyncio.Event()
        inbox = Inbox(database, Bell(""), commit_seconds=5)
        running = asyncio.create_task(inbox.run(stop))
        try:
            await inbox.receive(_incoming(b"before"))
            cluster.crash()
            await asyncio.to_thread(cluster.start)

            assert await _received(inbox)
        finally:
            stop.set()
            await running
            await database.close()
    finally:
        cluster.remove()


async def _received(inbox: Inbox) -> bool:
    for nth in range(10):
        try:
            return bool(await inbox.receive(_incoming(b"after %d" % nth)))
        except Unavailable:
            await asyncio.sleep(0.2)
    return False


def _incoming(meaning: bytes) -> Incoming:
    return Incoming("invoice", "base", "ref", "X", b"p", b"{}", b"{}", meaning)
