"""The only door for what sellers tell us: stored and answered in one statement, or not at all.

Whatever has arrived is gathered and stored by one autocommitted statement, at most two of them at a time. A
notification that means the same as an earlier one finds the earlier answer and changes a counter. The answer leaves
after the commit and only then: a statement that takes too long, fails, or commits with a warning is answered 503.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from .. import logs, strict_json
from ..database import Bell, Database, is_passing
from ..errors import Unavailable

log = logs.get("inbox")

TOPIC = "notifications"
_BATCH = 200
_STATEMENTS = 2
_MAXIMUM_WAITING = 4000
_MAXIMUM_BYTES = 32 * 1024 * 1024
_WAIT_SECONDS = 0.5  # what may be ahead of a notification that is let in


@dataclass(frozen=True, slots=True)
class Incoming:
    """A notification as it came. `meaning` is what makes two of them the same: scope, kind, ids, canonical content.

    Of a change: `policy` says how it is answered, and `request_id` stands for the receipt.
    """

    kind: str
    caller: str
    ref: str | None
    named: str
    path: bytes
    headers: bytes
    body: bytes
    meaning: bytes
    seller_id: str | None = None
    policy: str | None = None
    request_id: str | None = None
    receipt: str = field(default_factory=lambda: secrets.token_hex(16))

    @property
    def dedupe_key(self) -> bytes:
        return sha256(self.meaning).digest()

    def answer(self) -> bytes:
        """The seed's answer: when it was received, which order it is about, and our protocol number.

        A change's has no date; one that is refused has no answer.
        """
        if self.policy == "refuse":
            return b""
        if self.policy is not None:
            return strict_json.dump({"orderId": self.named, "receipt": self.request_id or self.receipt})
        date = datetime.now(UTC).isoformat(timespec="microseconds")
        return f'{{"date":"{date}","orderId":{strict_json.text(self.named)},"receipt":"{self.receipt}"}}'.encode()


# Returns the answer to each key: the proposed one where the key is new, the stored one where it is not. Keys are
# inserted in order, so that two batches that share keys wait for each other and never in a circle. A notification
# is stored only where its own receipt was accepted; a repeat that may mean more is noted for the applier to look at.
_STORE = """
    with given as (
        select * from unnest(
            cast($1 as bytea[]), cast($2 as text[]), cast($3 as bytea[]), cast($4 as int[]),
            cast($5 as text[]), cast($6 as text[]), cast($7 as text[]),
            cast($8 as bytea[]), cast($9 as bytea[]), cast($10 as bytea[]),
            cast($11 as text[]), cast($12 as text[])
        ) with ordinality as g(
            dedupe_key, receipt, answer, repeats, kind, caller, ref, path, headers, body, seller_id, policy, nth
        )
    ), kept as (
        insert into receipts as r (dedupe_key, receipt, answer, repeats)
        select dedupe_key, receipt, answer, repeats from given order by dedupe_key
            on conflict (dedupe_key) do update
           set repeats = r.repeats + excluded.repeats + 1, last_seen = clock_timestamp()
        returning r.dedupe_key, r.receipt, r.answer
    ), stored as (
        insert into notifications (dedupe_key, receipt, kind, caller, order_id, path, headers, body, seller_id, policy)
        select g.dedupe_key, g.receipt, g.kind, g.caller, o.id, g.path, g.headers, g.body, g.seller_id, g.policy
          from given g
          join kept k on k.dedupe_key = g.dedupe_key and k.receipt = g.receipt
          left join orders o on o.ref = g.ref
         order by g.nth
    ), again as (
        insert into repeats as s (dedupe_key, ref)
        select g.dedupe_key, g.ref
          from given g
          join kept k on k.dedupe_key = g.dedupe_key
         where (k.receipt <> g.receipt or g.repeats > 0) and g.kind in ('invoice', 'tracking', 'change')
         order by g.dedupe_key
            on conflict (dedupe_key) do update set seen_at = clock_timestamp()
    )
    select dedupe_key, answer from kept
"""


class _Doubtful(Exception):
    """The statement returned, but the server warned during its commit: a standby may lack it."""


@dataclass(slots=True, eq=False)
class _Waiting:
    incoming: Incoming
    key: bytes
    answered: asyncio.Future[bytes]
    since: float = field(default_factory=time.monotonic)


class Inbox:
    def __init__(self, database: Database, bell: Bell, *, commit_seconds: float) -> None:
        self.database = database
        self._bell = bell
        self._budget = commit_seconds
        self._waiting: list[_Waiting] = []
        self._bytes = 0
        self._arrived = asyncio.Event()
        self._free = asyncio.Semaphore(_STATEMENTS)
        self._storing: set[asyncio.Task[None]] = set()
        self._statement_seconds = 0.0

    @contextlib.contextmanager
    def room(self) -> Iterator[Callable[[int], None]]:
        """Room for one body while it is read and stored; what is yielded takes some more of it.

        Both raise Unavailable when no further notification may wait, or all bodies together would be too large.
        """
        taken = 0

        def take(size: int) -> None:
            nonlocal taken
            self._check_room(size)
            taken += size
            self._bytes += size

        self._check_room()
        try:
            yield take
        finally:
            self._bytes -= taken

    def _check_room(self, size: int = 0) -> None:
        if len(self._waiting) >= admitted(self._statement_seconds) or self._bytes + size > _MAXIMUM_BYTES:
            raise _unavailable("too many notifications are waiting")

    async def receive(self, incoming: Incoming) -> bytes:
        """Store a notification and return the answer's bytes: the first one's, for a repeat. Raises Unavailable."""
        self._check_room()
        waiting = _Waiting(incoming, incoming.dedupe_key, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._arrived.set()
        return await waiting.answered

    async def run(self, stop: asyncio.Event) -> None:
        """Gather and store until `stop` is set and nothing waits."""
        stopping = asyncio.create_task(stop.wait())
        stopping.add_done_callback(lambda _: self._arrived.set())
        while True:
            await self._free.acquire()
            while not self._waiting and not stop.is_set():
                await self._arrived.wait()
                self._arrived.clear()
            if not self._waiting:
                break
            self._refuse_late()
            batch, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
            if not batch:
                self._free.release()
                continue
            task = asyncio.create_task(self._store(batch))
            self._storing.add(task)
            task.add_done_callback(self._stored)
        if self._storing:
            await asyncio.wait(self._storing)

    def _refuse_late(self) -> None:
        """Whoever has waited for the whole budget is told so, and not stored for nothing: it will send again."""
        late = time.monotonic() - self._budget
        if self._waiting and self._waiting[0].since < late:
            self._refuse([one for one in self._waiting if one.since < late])
            self._waiting = [one for one in self._waiting if one.since >= late]

    def _stored(self, task: asyncio.Task[None]) -> None:
        self._storing.discard(task)
        self._free.release()

    async def _store(self, batch: Sequence[_Waiting]) -> None:
        """Answer everybody in the batch; where it fails as a whole, each by itself."""
        began = time.monotonic()
        try:
            answers = await self._commit(batch)
        except (TimeoutError, _Doubtful) as unsure:
            log.warning("intake-unsure", error=type(unsure).__name__, count=len(batch))
            self._refuse(batch)
        except Exception as failure:  # a future left unanswered would be a caller left hanging
            log.warning("intake-failed", exc_info=failure, count=len(batch))
            if len(batch) == 1 or is_passing(failure):
                self._refuse(batch)
                return
            for one in batch:
                await self._store([one])
        else:
            for one in batch:
                if not one.answered.done():
                    one.answered.set_result(answers[one.key])
            self._bell.ring(TOPIC)
        finally:
            self._statement_seconds += (time.monotonic() - began - self._statement_seconds) / 4

    @staticmethod
    def _refuse(batch: Sequence[_Waiting]) -> None:
        for one in batch:
            if not one.answered.done():
                one.answered.set_exception(_unavailable("the notification could not be stored"))

    async def _commit(self, batch: Sequence[_Waiting]) -> dict[bytes, bytes]:
        """One statement, waited for at most the budget, never cancelled: a cancelled commit can report success.

        It goes to the driver itself: through SQLAlchemy a small batch would cost twice as much.
        """
        async with self._connection() as (connection, driver):
            warned: list[str] = []

            def listen(_: Any, message: Any) -> None:
                warned.append(str(getattr(message, "severity_en", None) or getattr(message, "severity", "")))

            driver.add_log_listener(listen)
            statement = asyncio.ensure_future(driver.fetch(_STORE, *_columns(batch)))
            done, _ = await asyncio.wait([statement], timeout=self._budget)
            if not done:
                driver.terminate()
                statement.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
                await connection.invalidate()
                raise TimeoutError
            driver.remove_log_listener(listen)  # the connection goes back to the pool, whatever came of the statement
            if "WARNING" in warned:
                await connection.invalidate()
                raise _Doubtful
            return {row["dedupe_key"]: row["answer"] for row in statement.result()}

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[tuple[AsyncConnection, Any]]:
        """A connection of the intake's own pool and the driver's below it, got within the budget."""
        async with contextlib.AsyncExitStack() as stack:
            async with asyncio.timeout(self._budget):
                connection = await stack.enter_async_context(self.database.statement())
                driver = await _driver(connection)
            yield connection, driver


def admitted(statement_seconds: float) -> int:
    """How many notifications may wait, so that the last of them waits about `_WAIT_SECONDS`.

    More than that would be stored when their senders no longer listen: under overload everybody would be served too
    late, and nobody in time. One batch may always wait, however slow the last statements were.
    """
    if statement_seconds <= 0:
        return _MAXIMUM_WAITING
    return max(_BATCH, min(_MAXIMUM_WAITING, int(_BATCH * _STATEMENTS * _WAIT_SECONDS / statement_seconds)))


async def _driver(connection: AsyncConnection) -> Any:
    """The driver's connection. One that died in the pool is replaced: using it below SQLAlchemy would tell nobody."""
    driver: Any = (await connection.get_raw_connection()).driver_connection
    if driver is not None and driver.is_closed():
        await connection.invalidate()
        driver = (await connection.get_raw_connection()).driver_connection
    return driver


def _columns(batch: Sequence[_Waiting]) -> tuple[list[Any], ...]:
    """The batch as the statement's columns, equal keys folded: an upsert may not touch a row twice."""
    first: dict[bytes, _Waiting] = {}
    repeats: dict[bytes, int] = {}
    for one in batch:
        if first.setdefault(one.key, one) is not one:
            repeats[one.key] = repeats.get(one.key, 0) + 1
    unique = [one.incoming for one in first.values()]
    return (
        list(first),
        [one.receipt for one in unique],
        [one.answer() for one in unique],
        [repeats.get(key, 0) for key in first],
        [one.kind for one in unique],
        [one.caller for one in unique],
        [one.ref for one in unique],
        [one.path for one in unique],
        [one.headers for one in unique],
        [one.body for one in unique],
        [one.seller_id for one in unique],
        [one.policy for one in unique],
    )


def _unavailable(detail: str) -> Unavailable:
    return Unavailable("not-stored", f"{detail}; send it again", headers={"Retry-After": "2"})
