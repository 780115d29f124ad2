"""One statement stores a batch of notifications, or tells which of them were stored before.

It is the driver's own statement, on a connection that is kept from one batch to the next: through SQLAlchemy a small
batch would cost twice as much.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from .. import strict_json
from ..database import Database

_RESTED_SECONDS = 30.0  # a connection that was not used for longer may be dead without our knowing


class Incoming(NamedTuple):
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

    @property
    def dedupe_key(self) -> bytes:
        return sha256(self.meaning).digest()

    def answer(self, receipt: str) -> bytes:
        """The seed's answer: when it was received, which order it is about, and our protocol number.

        A change's has no date; one that is refused has no answer.
        """
        if self.policy == "refuse":
            return b""
        if self.policy is not None:
            return strict_json.dump({"orderId": self.named, "receipt": self.request_id or receipt})
        date = datetime.now(UTC).isoformat(timespec="microseconds")
        return f'{{"date":"{date}","orderId":{strict_json.text(self.named)},"receipt":"{receipt}"}}'.encode()


class Given(NamedTuple):
    """A notification to be stored, with its key and the number it is known by if it is new."""

    incoming: Incoming
    key: bytes
    receipt: str


# Returns the answer to each key: the proposed one where the key is new, the stored one where it is not. Keys are
# inserted in order, so that two batches that share keys wait for each other and never in a circle. A notification
# is stored only where its own receipt was accepted; a repeat that may mean more is noted for the applier to look at.
# What is absent comes as an empty text: of each value that is none, the driver would ask at length what it is.
_STORE = """
    with given as (
        select * from unnest(
            cast($1 as bytea[]), cast($2 as text[]), cast($3 as bytea[]), cast($4 as text[]),
            cast($5 as text[]), cast($6 as text[]), cast($7 as text[]),
            cast($8 as bytea[]), cast($9 as bytea[]), cast($10 as bytea[]),
            cast($11 as text[]), cast($12 as text[])
        ) with ordinality as g(
            dedupe_key, receipt, answer, repeats, kind, caller, ref, path, headers, body, seller_id, policy, nth
        )
    ), kept as (
        insert into receipts as r (dedupe_key, receipt, answer, repeats)
        select dedupe_key, receipt, answer, repeats::bigint from given order by dedupe_key
            on conflict (dedupe_key) do update
           set repeats = r.repeats + excluded.repeats + 1, last_seen = clock_timestamp()
        returning r.dedupe_key, r.receipt, r.answer
    ), stored as (
        insert into notifications (dedupe_key, receipt, kind, caller, order_id, path, headers, body, seller_id, policy)
        select g.dedupe_key, g.receipt, g.kind, g.caller, o.id, g.path, g.headers, g.body,
               nullif(g.seller_id, ''), nullif(g.policy, '')
          from given g
          join kept k on k.dedupe_key = g.dedupe_key and k.receipt = g.receipt
          left join orders o on o.ref = nullif(g.ref, '')
         order by g.nth
    ), again as (
        insert into repeats as s (dedupe_key, ref)
        select g.dedupe_key, nullif(g.ref, '')
          from given g
          join kept k on k.dedupe_key = g.dedupe_key
         where (k.receipt <> g.receipt or g.repeats <> '0') and g.kind in ('invoice', 'tracking', 'change')
         order by g.dedupe_key
            on conflict (dedupe_key) do update set seen_at = clock_timestamp()
    )
    select dedupe_key, answer from kept
"""


class Doubtful(Exception):
    """The statement returned, but the server warned during its commit: a standby may lack it."""


class _Line:
    """A connection, and the driver's below it; `warned` holds the severities of what the server said beside answers."""

    def __init__(self, connection: AsyncConnection, driver: Any) -> None:
        self.connection, self.driver = connection, driver
        self.used_at = time.monotonic()
        self.warned: list[str] = []
        driver.add_log_listener(self._listen)

    def _listen(self, _: Any, message: Any) -> None:
        self.warned.append(str(getattr(message, "severity_en", None) or getattr(message, "severity", "")))

    @property
    def good(self) -> bool:
        return not self.driver.is_closed() and time.monotonic() - self.used_at < _RESTED_SECONDS

    async def drop(self) -> None:
        """Close it without a word to the server: what it was asked may still happen."""
        self.driver.terminate()
        await self.connection.invalidate()
        await self.connection.close()


class Store:
    """The connections of an intake. Close it in the end."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._resting: list[_Line] = []

    async def commit(self, batch: Sequence[Given], seconds: float) -> dict[bytes, bytes]:
        """Store the batch; the answer to each key. Waits for so long, a new connection included, and never cancels: a
        cancelled commit can report success. Raises TimeoutError, Doubtful, and what the driver raises."""
        until = time.monotonic() + seconds
        line = await self._line(seconds)
        kept = False
        try:
            statement = asyncio.ensure_future(line.driver.fetch(_STORE, *_columns(batch)))
            done, _ = await asyncio.wait([statement], timeout=max(0.0, until - time.monotonic()))
            if not done:
                statement.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
                raise TimeoutError
            if "WARNING" in line.warned:
                raise Doubtful
            kept = True  # whatever came of the statement
            return {row["dedupe_key"]: row["answer"] for row in statement.result()}
        finally:
            if kept:
                line.used_at = time.monotonic()
                self._resting.append(line)
            else:
                await line.drop()

    async def _line(self, seconds: float) -> _Line:
        """A connection that is good as far as we know."""
        while self._resting:
            line = self._resting.pop()
            if line.good:
                return line
            await line.drop()
        async with asyncio.timeout(seconds):
            connection = await self._database.intake_connection()
            try:
                return _Line(connection, (await connection.get_raw_connection()).driver_connection)
            except BaseException:
                await connection.close()
                raise

    async def close(self) -> None:
        while self._resting:
            await self._resting.pop().connection.close()


def _columns(batch: Sequence[Given]) -> tuple[list[Any], ...]:
    """The batch as the statement's columns, equal keys folded: an upsert may not touch a row twice."""
    first: dict[bytes, Given] = {}
    repeats: dict[bytes, int] = {}
    for one in batch:
        if first.setdefault(one.key, one) is not one:
            repeats[one.key] = repeats.get(one.key, 0) + 1
    given = list(first.values())
    unique = [one.incoming for one in given]
    return (
        list(first),
        [one.receipt for one in given],
        [one.incoming.answer(one.receipt) for one in given],
        [str(repeats.get(key, 0)) for key in first],
        [one.kind for one in unique],
        [one.caller for one in unique],
        [one.ref or "" for one in unique],
        [one.path for one in unique],
        [one.headers for one in unique],
        [one.body for one in unique],
        [one.seller_id or "" for one in unique],
        [one.policy or "" for one in unique],
    )
