"""The only door for what sellers tell us: stored and answered in one statement, or not at all.

Whatever has arrived is gathered and stored by one autocommitted statement, at most two of them at a time. A
notification that means the same as an earlier one finds the earlier answer and changes a counter. The answer leaves
after the commit and only then: a statement that takes too long, fails, or commits with a warning is answered 503. Each
has one budget of time from its arrival on, for the queue, a connection and the commit together.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from typing import NamedTuple, Self

from .. import logs
from ..database import Bell, Database, is_passing
from ..errors import Unavailable
from .storing import Doubtful, Given, Incoming, Store

log = logs.get("inbox")

TOPIC = "notifications"
_BATCH = 200
_STATEMENTS = 2
_PATIENCE_SECONDS = 0.05
_MAXIMUM_WAITING = 4000
_MAXIMUM_BYTES = 32 * 1024 * 1024
_WAIT_SECONDS = 0.5  # what may be ahead of a notification that is let in
_TOO_LATE = 0.75  # of the budget: what is left is not enough, and would be all that its whole batch has


class _Waiting(NamedTuple):
    given: Given
    answered: asyncio.Future[bytes]
    since: float

    def renumbered(self) -> _Waiting:
        """The same under another number. A statement that failed may have been committed: under its number it would be
        stored again, under another one it is a repeat."""
        return self._replace(given=self.given._replace(receipt=secrets.token_hex(16)))


class _Room:
    """Room for one body while it is read and stored; to call it takes some more. Raises what `Inbox.admit` does."""

    __slots__ = ("_inbox", "_taken")

    def __init__(self, inbox: Inbox) -> None:
        self._inbox, self._taken = inbox, 0

    def __enter__(self) -> Self:
        self._inbox.admit()
        return self

    def __call__(self, size: int) -> None:
        self._inbox.admit(size)
        self._taken += size

    def __exit__(self, *_: object) -> None:
        self._inbox.let_go(self._taken)


class Inbox:
    def __init__(self, database: Database, bell: Bell, *, commit_seconds: float) -> None:
        self.database = database
        self._store = Store(database)
        self._bell = bell
        self.commit_seconds = commit_seconds
        self._waiting: list[_Waiting] = []
        self._bytes = 0
        self._arrived = asyncio.Event()
        self._free = asyncio.Semaphore(_STATEMENTS)
        self._storing: set[asyncio.Task[None]] = set()
        self._statement_seconds = 0.0
        self._admitted = admitted(0)

    def room(self) -> _Room:
        """Room for one body."""
        return _Room(self)

    def admit(self, size: int = 0) -> None:
        """Count some more bytes that are being read and stored, until they are let go.

        Raises Unavailable when no further notification may wait, or all bodies together would be too large.
        """
        if len(self._waiting) >= self._admitted or self._bytes + size > _MAXIMUM_BYTES:
            raise _unavailable("too many notifications are waiting")
        self._bytes += size

    def let_go(self, size: int) -> None:
        self._bytes -= size

    async def receive(self, incoming: Incoming, arrived: float | None = None) -> bytes:
        """Store a notification and return the answer's bytes: the first one's, for a repeat. Raises Unavailable.

        `arrived`: when, by the monotonic clock, if that was some time ago.
        """
        self.admit()
        answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        key, receipt = incoming.dedupe_key, secrets.token_hex(16)
        self._waiting.append(_Waiting(Given(incoming, key, receipt), answered, arrived or time.monotonic()))
        self._arrived.set()
        if arrived is None:
            return await answered
        try:  # what it waits for here may have been asked before it had spent a part of its budget elsewhere
            async with asyncio.timeout(arrived + self.commit_seconds - time.monotonic()):
                return await answered
        except TimeoutError:
            raise _unavailable("the notification could not be stored") from None

    async def run(self, stop: asyncio.Event) -> None:
        """Gather and store until `stop` is set and nothing waits."""
        stopping = asyncio.create_task(stop.wait())
        stopping.add_done_callback(lambda _: self._arrived.set())
        try:
            await self._gather(stop)
        finally:
            await self._store.close()

    async def _gather(self, stop: asyncio.Event) -> None:
        while True:
            await self._free.acquire()
            while not self._waiting and not stop.is_set():
                await self._arrived.wait()
                self._arrived.clear()
            if not self._waiting:
                break
            if self._storing and len(self._waiting) < _BATCH:
                # What arrives while a statement is under way goes with what comes after it, unless that one is slow.
                await asyncio.wait(self._storing, timeout=_PATIENCE_SECONDS)
            await self._hear_out()
            self._refuse_late()
            batch, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
            if not batch:
                self._free.release()
                continue
            task = asyncio.create_task(self._answer(batch))
            self._storing.add(task)
            task.add_done_callback(self._stored)
        if self._storing:
            await asyncio.wait(self._storing)

    async def _hear_out(self) -> None:
        """Take along what has arrived already and is only waiting to be read: each turn of the loop reads some more.

        Whoever is alone waits one turn more; under load the batches become larger.
        """
        heard = 0
        while heard < len(self._waiting) < _BATCH:
            heard = len(self._waiting)
            await asyncio.sleep(0)

    def _refuse_late(self) -> None:
        """Whoever has waited for most of the budget is told so, and not stored for nothing: it will send again."""
        late = time.monotonic() - self.commit_seconds * _TOO_LATE
        if any(one.since < late for one in self._waiting):
            self._refuse([one for one in self._waiting if one.since < late])
            self._waiting = [one for one in self._waiting if one.since >= late]

    def _stored(self, task: asyncio.Task[None]) -> None:
        self._storing.discard(task)
        self._free.release()

    async def _answer(self, batch: Sequence[_Waiting]) -> None:
        """Answer everybody in the batch; where it fails as a whole, each by itself."""
        began = time.monotonic()
        try:
            answers = await self._commit(batch)
        except (TimeoutError, Doubtful) as unsure:
            log.warning("intake-unsure", error=type(unsure).__name__, count=len(batch))
            self._refuse(batch)
        except Exception as failure:  # a future left unanswered would be a caller left hanging
            log.warning("intake-failed", exc_info=failure, count=len(batch))
            if len(batch) == 1 or is_passing(failure):
                self._refuse(batch)
                return
            for one in batch:
                await self._answer([one.renumbered()])
        else:
            for one in batch:
                if not one.answered.done():
                    one.answered.set_result(answers[one.given.key])
            self._bell.ring(TOPIC)
        finally:
            self._statement_seconds += (time.monotonic() - began - self._statement_seconds) / 4
            self._admitted = admitted(self._statement_seconds)

    @staticmethod
    def _refuse(batch: Sequence[_Waiting]) -> None:
        for one in batch:
            if not one.answered.done():
                one.answered.set_exception(_unavailable("the notification could not be stored"))

    async def _commit(self, batch: Sequence[_Waiting]) -> dict[bytes, bytes]:
        """Within what the first of them has left."""
        waited = time.monotonic() - min(one.since for one in batch)
        return await self._store.commit([one.given for one in batch], max(0.0, self.commit_seconds - waited))


def admitted(statement_seconds: float) -> int:
    """How many notifications may wait, so that the last of them waits about `_WAIT_SECONDS`.

    More than that would be stored when their senders no longer listen: under overload everybody would be served too
    late, and nobody in time. One batch may always wait, however slow the last statements were.
    """
    if statement_seconds <= 0:
        return _MAXIMUM_WAITING
    return max(_BATCH, min(_MAXIMUM_WAITING, int(_BATCH * _STATEMENTS * _WAIT_SECONDS / statement_seconds)))


def _unavailable(detail: str) -> Unavailable:
    return Unavailable("not-stored", f"{detail}; send it again", headers={"Retry-After": "2"})
