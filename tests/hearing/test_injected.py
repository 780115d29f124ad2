"""Each call of the database that storing and applying make fails once, before it is made or after: whatever was
acknowledged is there once, and is applied once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from itertools import count
from typing import Any, Literal

import pytest
from asyncpg import Connection
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from chain_orders.database import Bell, Database
from chain_orders.errors import Unavailable
from chain_orders.notifications import applier
from chain_orders.notifications.inbox import Inbox
from chain_orders.notifications.storing import Incoming

from ..builders import cancellation, invoice
from ..faults.heard import applied
from ..faults.notifying import placed_orders

When = Literal["before", "after"]
PASSING, DEFECT = ConnectionResetError("gone"), LookupError("a defect")
WAYS: tuple[tuple[When, Exception], ...] = (
    ("before", PASSING),
    ("after", DEFECT),
    ("after", PASSING),
    ("before", DEFECT),
)


class Injector:
    """Raises at the nth call, once."""

    def __init__(self, nth: int, when: When, failure: Exception) -> None:
        self._nth, self._when, self._failure = nth, when, failure
        self._calls = {"before": 0, "after": 0}
        self.fired = False

    def pass_by(self, when: When) -> None:
        self._calls[when] += 1
        if when == self._when and self._calls[when] == self._nth and not self.fired:
            self.fired = True
            raise self._failure

    @contextlib.contextmanager
    def in_transactions(self, database: Database) -> Iterator[None]:
        """Every statement and every commit of a database's transactions."""
        engine = database.engine.sync_engine
        hooks: list[tuple[Any, str, Callable[..., None]]] = [
            (engine, "before_cursor_execute", lambda *_: self.pass_by("before")),
            (engine, "after_cursor_execute", lambda *_: self.pass_by("after")),
            (engine, "commit", lambda *_: self.pass_by("before")),
            (Session, "after_commit", lambda *_: self.pass_by("after")),
        ]
        for hook in hooks:
            event.listen(*hook)
        try:
            yield
        finally:
            for hook in hooks:
                event.remove(*hook)


def _trials(rounds: int) -> Iterator[Injector]:
    """The first call fails, then the second, and so on, as long as there are more; in another way each time, so that in
    four rounds each fails in every way."""
    for first in range(rounds):
        for nth in count(1):
            when, failure = WAYS[(first + nth) % len(WAYS)]
            yield (injector := Injector(nth, when, failure))
            if not injector.fired:
                break


@contextlib.asynccontextmanager
async def _intake(database: Database) -> AsyncIterator[Inbox]:
    inbox, stop = Inbox(database, Bell(""), commit_seconds=10), asyncio.Event()
    running = asyncio.create_task(inbox.run(stop))
    try:
        yield inbox
    finally:
        stop.set()
        await running


async def _until_taken(inbox: Inbox, incoming: Incoming) -> bytes:
    """What a seller does: it sends again what was not acknowledged."""
    for _ in range(10):
        with contextlib.suppress(Unavailable):
            return await inbox.receive(incoming)
    raise AssertionError("it is never taken")


class _Failing:
    """The calls that the intake makes of its driver, with an injector among them."""

    def __init__(self, database: Database) -> None:
        self._connect, self._fetch = database.intake_connection, Connection.fetch
        self.injector = Injector(0, "before", DEFECT)

    async def connect(self) -> Any:
        self.injector.pass_by("before")
        connection = await self._connect()
        self.injector.pass_by("after")
        return connection

    async def fetch(self, *given: Any) -> Any:
        self.injector.pass_by("before")
        rows = await self._fetch(*given)
        self.injector.pass_by("after")
        return rows


async def test_whatever_call_of_the_intake_fails_each_notification_is_stored_once_and_answered_alike(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = _Failing(database)
    monkeypatch.setattr(database, "intake_connection", failing.connect)
    monkeypatch.setattr(Connection, "fetch", lambda *given: failing.fetch(*given))
    (path,) = (await placed_orders(database, ["INJECT"])).values()
    receipts: list[tuple[bytes, str]] = []
    for trial, failing.injector in enumerate(_trials(len(WAYS))):
        told = [_incoming("invoice", path, "INJECT", invoice(f"NF-{trial}-{n}", 1)) for n in range(5)]
        async with _intake(database) as inbox:
            first = await asyncio.gather(*(_until_taken(inbox, one) for one in told))
            assert await asyncio.gather(*(_until_taken(inbox, one) for one in told)) == first
        keys = [one.dedupe_key for one in told]
        receipts += [(key, json.loads(answer)["receipt"]) for key, answer in zip(keys, first, strict=True)]

    async with database.transaction() as session:
        stored = (await session.execute(text("select dedupe_key, receipt from notifications"))).all()
    assert sorted(map(tuple, stored)) == sorted(receipts)


async def test_whatever_call_of_the_applier_fails_everything_is_applied_once(database: Database) -> None:
    """Of two orders in a batch one is cancelled as well."""
    rounds = int(os.environ.get("INJECT_ROUNDS", "1"))
    paths = await placed_orders(database, [f"NTH{nth:03d}" for nth in range(rounds * 80)])
    waits = {"poll_seconds": 0.1, "sweep": timedelta(seconds=1), "patience": timedelta(seconds=1)}
    one, unused, cancelled = applier.Applier(database, Bell(""), **waits), list(paths), list[str]()
    async with _intake(database) as inbox:
        for injector in _trials(rounds):
            for group in (unused.pop(), unused.pop()):
                await inbox.receive(_incoming("invoice", paths[group], group, invoice()))
            cancelled.append(group)
            await inbox.receive(_incoming("cancellation", paths[group], group, cancellation(f"MKP-{group}-01")))
            with injector.in_transactions(database):
                for _ in range(2):
                    with contextlib.suppress(LookupError, ConnectionResetError):
                        await one.step()

    assert await _states(database) == {"applied": 2 * len(cancelled), "conflict": len(cancelled)}
    assert await applied(database, cancelled, 1) == (0, len(unused), 0)


async def _states(database: Database) -> dict[str, int]:
    async with database.transaction() as session:
        counted = await session.execute(text("select state, count(*) as n from notifications group by state"))
        return {row.state: row.n for row in counted}


def _incoming(kind: str, base: str, group: str, body: dict[str, Any]) -> Incoming:
    path = f"{group}/invoice" if kind == "invoice" else f"order-group/{group}/notifications"
    ref, sent = base.split("/")[-2], json.dumps(body).encode()
    return Incoming(kind, "base", ref, group, f"pvt/orders/{path}".encode(), b"{}", sent, group.encode() + sent)
