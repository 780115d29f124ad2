"""The intake: answered after the commit and only then, whatever the database does."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import func, select, text

from chain_orders import database as database_module
from chain_orders.database import Bell, Database
from chain_orders.errors import Unavailable
from chain_orders.notifications import inbox as inbox_module
from chain_orders.notifications import policies, repeats, storing
from chain_orders.notifications.inbox import Inbox, admitted
from chain_orders.notifications.models import Notification, Receipt
from chain_orders.notifications.storing import Incoming

from ..builders import until
from ..conftest import empty


def _incoming(name: str = "one", *, body: bytes = b"{}") -> Incoming:
    return Incoming("invoice", "open", None, name, b"pvt/orders/X/invoice", b"{}", body, name.encode())


@contextlib.asynccontextmanager
async def _running(database: Database, commit_seconds: float = 10) -> AsyncIterator[Inbox]:
    stop = asyncio.Event()
    inbox = Inbox(database, Bell(""), commit_seconds=commit_seconds)
    task = asyncio.create_task(inbox.run(stop))
    try:
        yield inbox
    finally:
        stop.set()
        await task


async def _stored(database: Database) -> int:
    async with database.transaction() as session:
        return await session.scalar(select(func.count()).select_from(Notification)) or 0


@contextlib.asynccontextmanager
async def _held(database: Database, table: str) -> AsyncIterator[None]:
    """Another session holds a table."""
    async with database.transaction() as session:
        await session.execute(text(f"lock table {table} in access exclusive mode"))
        yield


@pytest.mark.parametrize("table", ["receipts", "notifications"])
async def test_what_cannot_be_committed_in_time_is_refused_and_can_be_repeated(database: Database, table: str) -> None:
    async with _running(database, 0.3) as inbox:
        async with _held(database, table):
            with pytest.raises(Unavailable) as refused:
                await inbox.receive(_incoming())

        inbox.commit_seconds = 10
        answer = await inbox.receive(_incoming())

        assert refused.value.headers["Retry-After"]
        assert await inbox.receive(_incoming()) == answer
        assert await _stored(database) == 1


async def test_nothing_that_a_seller_tells_waits_for_an_operators_connection(database_url: str) -> None:
    database = Database(database_url, pool_size=1)
    try:
        async with database.transaction() as operator, _running(database, 5) as inbox:
            await operator.execute(text("select 1"))  # on the pool's only connection
            answers = await asyncio.gather(*(inbox.receive(_incoming(str(n))) for n in range(2 * inbox_module._BATCH)))
            policy = await policies.of_change(database, None, "nobody", "G1", b"", seconds=4)
    finally:
        await empty(database)
        await database.close()

    assert len(set(answers)) == 2 * inbox_module._BATCH
    assert policy == ("record", b"")


async def test_equal_notifications_in_one_batch_get_one_answer(database: Database) -> None:
    async with _running(database) as inbox:
        answers = await asyncio.gather(*(inbox.receive(_incoming()) for _ in range(100)))

        assert len(set(answers)) == 1
        async with database.transaction() as session:
            assert await session.scalar(select(Receipt.repeats)) == 99


async def test_two_processes_give_one_answer_to_the_same_notification(database: Database) -> None:
    async with _running(database) as one, _running(database) as other:
        answers = await asyncio.gather(
            *(inbox.receive(_incoming(str(n))) for n in range(50) for inbox in (one, other, one))
        )

        assert len(set(answers)) == 50
        assert await _stored(database) == 50


async def test_one_that_cannot_be_stored_does_not_take_its_neighbours_along(database: Database) -> None:
    async with database.transaction() as session:
        await session.execute(text("alter table notifications add constraint no_poison check (body <> 'poison')"))
    try:
        async with _running(database) as inbox:
            given = [_incoming(str(n), body=b"poison" if n == 5 else b"{}") for n in range(10)]

            answers = await asyncio.gather(*map(inbox.receive, given), return_exceptions=True)

            assert [type(answer) for answer in answers].count(Unavailable) == 1
            assert await _stored(database) == 9
    finally:
        async with database.transaction() as session:
            await session.execute(text("alter table notifications drop constraint no_poison"))


@contextlib.asynccontextmanager
async def _without_its_standby(database: Database) -> AsyncIterator[Any]:
    """Every commit waits for a standby that is not there. A connection of which none does."""
    async with database.engine.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        await driver.execute("set synchronous_commit = local")
        try:
            await driver.execute("alter system set synchronous_standby_names = 'nobody'")
            await driver.execute("select pg_reload_conf()")
            yield driver
        finally:
            await driver.execute("alter system reset synchronous_standby_names")
            await driver.execute("select pg_reload_conf()")
            await connection.invalidate()


_GIVE_UP_WAITING = "select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'"


@pytest.mark.parametrize("believed", [False, True], ids=["as it is", "without the listener"])
async def test_a_commit_that_was_told_to_wait_no_longer_is_not_believed(
    database: Database, monkeypatch: pytest.MonkeyPatch, believed: bool
) -> None:
    """It reports success, with a warning: a standby that takes over would not have it. The control believes it."""
    monkeypatch.setitem(database_module._SERVER_SETTINGS, "synchronous_commit", "on")
    if believed:
        monkeypatch.setattr(storing._Line, "_listen", lambda *_: None)
    safe = Database(database.url)
    async with _running(safe, 20) as inbox, _without_its_standby(database) as driver:
        told = [asyncio.create_task(inbox.receive(_incoming("0")))]

        async def cancelled() -> bool:
            if told[-1].done() and not told[-1].exception():  # the server had not heard of the standby yet
                told.append(asyncio.create_task(inbox.receive(_incoming(str(len(told))))))
            return bool(await driver.fetch(_GIVE_UP_WAITING))

        await until(cancelled)
        (last,) = await asyncio.gather(told[-1], return_exceptions=True)
    await safe.close()

    assert isinstance(last, bytes if believed else Unavailable)
    assert await _stored(database) == len(told)  # it is visible, and that is the trap


async def test_what_is_waiting_at_a_stop_is_still_stored(database: Database) -> None:
    async with _running(database) as inbox:
        waiting = [asyncio.create_task(inbox.receive(_incoming(str(n)))) for n in range(300)]
        await asyncio.sleep(0)

    assert len(await asyncio.gather(*waiting)) == 300
    assert await _stored(database) == 300


async def _statements(database: Database) -> int:
    """How many of the intake's statements wait for a table that is held."""
    waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like '%into receipts%'"
    async with database.transaction() as session:
        return await session.scalar(text(waiting)) or 0


async def _under_way(database: Database, statements: int) -> None:
    """Wait until so many of them do."""

    async def reached() -> bool:
        return await _statements(database) == statements

    await until(reached)


async def _batches(database: Database) -> list[int]:
    """How many notifications each statement stored: each is a transaction of its own."""
    async with database.transaction() as session:
        return list(await session.scalars(text("select count(*) from notifications group by xmin::text order by 1")))


async def test_what_is_read_turn_by_turn_of_the_loop_is_stored_together(database: Database) -> None:
    async with _running(database) as inbox:
        await inbox.receive(_incoming("the connection is made"))
        told = []
        for n in range(20):
            told.append(asyncio.create_task(inbox.receive(_incoming(str(n)))))
            await asyncio.sleep(0)
        await asyncio.gather(*told)

    assert await _batches(database) == [1, 20]


async def test_what_arrives_while_a_statement_is_under_way_goes_together_with_the_next(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox_module, "_PATIENCE_SECONDS", 60)
    async with _running(database) as inbox:
        async with _held(database, "receipts"):
            told = [asyncio.create_task(inbox.receive(_incoming("first")))]
            await _under_way(database, 1)
            for name in ("second", "third"):
                told.append(asyncio.create_task(inbox.receive(_incoming(name))))
                await asyncio.sleep(0.1)
        await asyncio.gather(*told)

    async with database.transaction() as session:  # each statement is a transaction of its own
        first, second, third = await session.scalars(text("select xmin::text from notifications order by id"))
    assert first != second == third


async def test_what_arrives_does_not_wait_for_a_statement_that_is_slow(database: Database) -> None:
    async with _running(database) as inbox:
        async with _held(database, "receipts"):
            slow = asyncio.create_task(inbox.receive(_incoming("first")))
            await _under_way(database, 1)
            next_one = asyncio.create_task(inbox.receive(_incoming("second")))

            await _under_way(database, 2)

            assert not slow.done()
        await asyncio.gather(slow, next_one)


async def test_who_has_waited_for_others_is_not_granted_the_whole_time_again(database: Database) -> None:
    async with _running(database, 3) as inbox, _held(database, "receipts"):
        stuck = []
        for name in ("first", "second"):
            stuck.append(asyncio.create_task(inbox.receive(_incoming(name))))
            await _under_way(database, len(stuck))

        with pytest.raises(Unavailable):
            await inbox.receive(_incoming("third"))
        asked = await _statements(database)

        refused = await asyncio.gather(*stuck, return_exceptions=True)
        assert [type(one) for one in refused] == [Unavailable] * 2
    assert asked <= 2  # the server was not asked for the third


async def test_what_was_spent_before_the_queue_is_not_granted_again(database: Database) -> None:
    async with _running(database, 8) as inbox, _held(database, "receipts"):
        other = asyncio.create_task(inbox.receive(_incoming("first")))
        await _under_way(database, 1)

        with pytest.raises(Unavailable):
            await inbox.receive(_incoming("late"), time.monotonic() - 5.9)

        assert not other.done()
    with contextlib.suppress(Unavailable):
        await other


@pytest.mark.parametrize(("seconds", "waiting"), [(0.0, 4000), (0.001, 4000), (0.1, 2000), (0.5, 400), (30.0, 200)])
def test_as_many_may_wait_as_are_stored_in_half_a_second(seconds: float, waiting: int) -> None:
    assert admitted(seconds) == waiting


async def test_all_bodies_that_are_being_read_and_stored_are_bounded_together(database: Database) -> None:
    inbox = Inbox(database, Bell(""), commit_seconds=2)
    half = 20 * 1024 * 1024

    with inbox.room() as take:
        take(half)
        with inbox.room() as other, pytest.raises(Unavailable):
            other(half)
    with inbox.room() as take:
        take(half)


async def test_what_was_looked_at_is_forgotten_without_waiting_for_the_intake(database: Database) -> None:
    async with database.transaction() as session:
        await session.execute(text("insert into repeats (dedupe_key) values ('held'), ('free')"))
        seen = (await session.execute(text("select dedupe_key, seen_at from repeats"))).all()
    async with database.transaction() as intake:
        await intake.execute(text("select 1 from repeats where dedupe_key = 'held' for update"))

        await repeats._forget(database, seen)

        assert set(await intake.scalars(text("select dedupe_key from repeats"))) == {b"held"}
