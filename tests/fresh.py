"""An empty database of its own in the run's PostgreSQL, for a test that migrates one or wants one unmigrated."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Iterator
from typing import Any

import asyncpg

from chain_orders.embedded import Cluster


@contextlib.contextmanager
def fresh_database(cluster: Cluster) -> Iterator[str]:
    """The address of the database, which is dropped afterwards."""
    name = f"fresh_{secrets.token_hex(6)}"
    asyncio.run(ask(cluster.database_url, f"create database {name}"))
    try:
        yield cluster.database_url.rpartition("/")[0] + f"/{name}"
    finally:
        asyncio.run(ask(cluster.database_url, f"drop database {name} with (force)"))


async def ask(url: str, statement: str) -> list[Any]:
    """The first column of what a statement returns, over a connection of its own."""
    connection = await asyncpg.connect(url.replace("+asyncpg", ""), timeout=10)
    try:
        return [row[0] for row in await connection.fetch(statement)]
    finally:
        await connection.close()
