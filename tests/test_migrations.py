"""Migrations: they make what the models say, can be taken back, and may be run by two at once."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from chain_orders import schema
from chain_orders.database import Base
from chain_orders.embedded import Cluster

from .fresh import ask, fresh_database

TABLES = sorted(table.name for table in Base.metadata.sorted_tables)

# What autogenerate does not look at (checks, conditions and operators of indexes), as the server itself puts it.
CATALOGUE = {
    "columns": """
        select table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable
               || ' ' || coalesce(column_default, '-') || ' ' || is_identity
        from information_schema.columns where table_schema = 'public' and table_name <> 'alembic_version'""",
    "constraints": """
        select conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid)
        from pg_constraint where connamespace = 'public'::regnamespace
        and contype <> 'n' and conrelid <> coalesce(to_regclass('alembic_version'), 0)""",
    "indexes": "select indexdef from pg_indexes where schemaname = 'public' and tablename <> 'alembic_version'",
}


@pytest.fixture
def empty_url(cluster: Cluster) -> Iterator[str]:
    with fresh_database(cluster) as url:
        yield url


def tables(url: str) -> list[str]:
    found = asyncio.run(ask(url, "select tablename from pg_tables where schemaname = 'public'"))
    return sorted(set(found) - {"alembic_version"})


def is_no_index(_: Any, __: str, kind: str, *___: Any) -> bool:
    return kind != "index"


def on(url: str, act: Callable[[Connection], Any]) -> Any:
    """Let a synchronous function act on a connection."""

    async def acting() -> Any:
        engine = create_async_engine(url)
        try:
            async with engine.begin() as connection:
                return await connection.run_sync(act)
        finally:
            await engine.dispose()

    return asyncio.run(acting())


def test_there_is_one_head() -> None:
    assert len(ScriptDirectory.from_config(schema._config("")).get_heads()) == 1


def test_an_empty_database_gets_every_table(empty_url: str) -> None:
    schema.migrate(empty_url)

    assert tables(empty_url) == TABLES


def test_autogenerate_finds_no_difference(database_url: str) -> None:
    # Indexes are left to the catalogue: autogenerate compares the text of expressions, which the server rewrites.
    options = {"compare_server_default": True, "compare_type": True, "include_object": is_no_index}

    def compare(connection: Connection) -> Any:
        return compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata)

    assert on(database_url, compare) == []


@pytest.mark.parametrize("part", CATALOGUE)
def test_migrations_make_what_the_models_make(database_url: str, empty_url: str, part: str) -> None:
    on(empty_url, Base.metadata.create_all)

    modelled = asyncio.run(ask(empty_url, CATALOGUE[part]))

    assert len(modelled) >= len(TABLES)
    assert sorted(asyncio.run(ask(database_url, CATALOGUE[part]))) == sorted(modelled)


def test_everything_can_be_taken_back(empty_url: str) -> None:
    schema.migrate(empty_url)

    command.downgrade(schema._config(empty_url), "base")

    assert tables(empty_url) == []


def test_what_was_taken_back_can_be_made_again(empty_url: str) -> None:
    schema.migrate(empty_url)
    command.downgrade(schema._config(empty_url), "base")

    schema.migrate(empty_url)

    assert tables(empty_url) == TABLES


def test_two_migrations_at_once_both_succeed(empty_url: str) -> None:
    environment = {**os.environ, "CHAIN_ORDERS_DATABASE_URL": empty_url}
    argv = [sys.executable, "-m", "chain_orders", "migrate"]

    both = [subprocess.Popen(argv, env=environment, stderr=subprocess.PIPE) for _ in range(2)]

    said = [process.communicate(timeout=60)[1].decode() for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert tables(empty_url) == TABLES
