"""Connections that died while they rested are replaced before anybody uses them; what they run stays in one process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg as driver_errors
import pytest
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.exc import DBAPIError

from chain_orders import database as module
from chain_orders.database import Bell, Database
from chain_orders.settings import Settings

from .builders import settings_for, until
from .conftest import serving


@pytest.fixture
async def alone(database_url: str) -> AsyncIterator[Database]:
    """A pool of one connection."""
    made = Database(database_url, pool_size=1)
    yield made
    await made.close()


async def _pid(database: Database) -> int:
    async with database.transaction() as session:
        return int(await session.scalar(text("select pg_backend_pid()")))


async def _lives(database: Database, pid: int) -> bool:
    async with database.transaction() as session:
        found = await session.scalar(text("select count(*) from pg_stat_activity where pid = :pid"), {"pid": pid})
    return bool(found)


async def test_a_connection_that_the_server_closed_is_replaced(database: Database, alone: Database) -> None:
    before = await _pid(alone)
    async with alone.engine.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
    async with database.transaction() as session:
        await session.execute(text("select pg_terminate_backend(:pid)"), {"pid": before})

    async def closed() -> bool:
        return bool(driver.is_closed())

    await until(closed)

    assert await _pid(alone) != before


async def test_who_freezes_between_a_statement_and_its_values_lets_go_of_what_it_locked(
    database: Database, alone: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _pid(database)  # its connection is made before, with the usual limit
    monkeypatch.setattr(module, "_TRANSACTION_SECONDS", 3)  # a busy machine takes its time to the freezing
    lock = text("lock table lanes in access exclusive mode")
    async with alone.engine.connect() as frozen:
        await frozen.execute(lock)
        driver = (await frozen.get_raw_connection()).driver_connection
        await driver.prepare("select 1")  # its values are never sent

        async with database.transaction() as other:
            await other.execute(lock)

        assert not await _lives(database, driver.get_server_pid())
        await frozen.invalidate()


@pytest.mark.parametrize(("rest", "replaced"), [(0.0, True), (60.0, False)], ids=["rested", "just-used"])
async def test_a_connection_that_has_rested_is_asked_first(
    alone: Database, monkeypatch: pytest.MonkeyPatch, rest: float, replaced: bool
) -> None:
    before = await _pid(alone)
    monkeypatch.setattr(module, "_RESTED_SECONDS", rest)

    def dead(_: object) -> None:
        raise OSError("no answer")

    monkeypatch.setattr(asyncpg.AsyncAdapt_asyncpg_connection, "ping", dead)

    assert (await _pid(alone) != before) is replaced


@pytest.mark.parametrize(("value", "as_"), [(2**70, "bigint"), ("a\0b", "text"), ("soon", "timestamptz")])
async def test_what_cannot_be_written_down_does_not_pass(database: Database, value: object, as_: str) -> None:
    """Tried again, it would fail for ever."""
    with pytest.raises(DBAPIError) as failure:
        async with database.transaction() as session:
            await session.execute(text(f"select cast(:value as {as_})"), {"value": value})
    async with database.engine.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        with pytest.raises((driver_errors.InterfaceError, driver_errors.PostgresError)) as raw:
            await driver.fetch(f"select cast($1 as {as_})", value)

    assert (module.is_passing(failure.value), module.is_passing(raw.value)) == (False, False)


async def test_a_database_that_is_away_passes() -> None:
    gone = Database("postgresql+asyncpg://nobody@127.0.0.1:1/none")
    with pytest.raises(ConnectionRefusedError) as failure:
        async with gone.transaction() as session:
            await session.execute(text("select 1"))

    assert module.is_passing(failure.value)


async def test_a_process_whose_connections_are_all_busy_says_when_to_come_again_and_stays_ready(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POOL_SECONDS", 0.3)
    settings = Settings(**settings_for(database.url, pool_size=2))
    async with serving(database, settings, worker=False) as marketplace:
        async with database.transaction() as session:
            await session.execute(text("lock table sellers in access exclusive mode"))
            waiting = [asyncio.create_task(marketplace.client.get("/v1/sellers")) for _ in range(2)]
            await until(lambda: _wait_for_a_lock(database, 2))

            refused = await marketplace.client.get("/v1/orders")
            ready = await marketplace.client.get("/readyz")
        answers = await asyncio.gather(*waiting)

    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "2")
    assert ready.status_code == 200
    assert [answer.status_code for answer in answers] == [200, 200]


async def _wait_for_a_lock(database: Database, statements: int) -> bool:
    async with database.transaction() as session:
        found = await session.scalar(text("select count(*) from pg_locks where not granted"))
    return bool(found == statements)


async def test_a_ring_wakes_each_process_once(database_url: str) -> None:
    ours, theirs = Bell(database_url), Bell(database_url)

    async def both_listen() -> bool:
        return None not in {ours._connection, theirs._connection}

    running = [asyncio.create_task(bell.run()) for bell in (ours, theirs)]
    with ours.listening("orders") as here, theirs.listening("orders") as there:
        await until(both_listen)
        ours.ring("orders")
        assert here.is_set()
        here.clear()
        await there.wait()
        theirs.ring("feed")  # what we rang ourselves would have come back before this
        with ours.listening("feed") as next_one:
            await next_one.wait()
        assert not here.is_set()
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def test_a_process_that_stops_waits_for_no_next_look(database: Database) -> None:
    settings = Settings(**settings_for(database.url, poll_seconds=120, sweep_seconds=120))

    async with asyncio.timeout(60), serving(database, settings):
        pass


async def test_a_statement_is_not_shared_among_processes(database: Database) -> None:
    """However many rows the planner expects: starting them would cost more than the statement."""
    cheap = ("parallel_setup_cost", "parallel_tuple_cost", "min_parallel_table_scan_size", "jit_above_cost")
    async with database.transaction() as session:
        for setting in cheap:
            await session.execute(text(f"set local {setting} = 0"))
        await session.execute(text("create table many as select n from generate_series(1, 50000) n"))
        await session.execute(text("analyze many"))
        plan = "\n".join(await session.scalars(text("explain (analyze, timing off) select count(*) from many")))
        await session.rollback()

    assert "Seq Scan on many" in plan
    assert "Parallel" not in plan
    assert "JIT" not in plan
