"""A durable PostgreSQL of a long run's own, migrated, and gone afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from chain_orders import schema
from chain_orders.database import Database
from chain_orders.embedded import Cluster

from .process import free_port


@contextlib.asynccontextmanager
async def own_server() -> AsyncIterator[tuple[Database, Cluster, Path]]:
    """An empty database, its server, which keeps its port when it is killed, and a folder for what else is written."""
    with tempfile.TemporaryDirectory(prefix="chain-orders-faults-") as folder:
        cluster = Cluster(Path(folder) / "cluster", port=free_port())
        try:
            await asyncio.to_thread(cluster.start)
            await asyncio.to_thread(schema.migrate, cluster.database_url)
            database = Database(cluster.database_url)
            try:
                yield database, cluster, Path(folder)
            finally:
                await database.close()
        finally:
            cluster.remove()
