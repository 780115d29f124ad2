"""Deliberately broken builds: `tests.faults.nursery` starts a service of which one promise is broken.

A test that cannot fail proves nothing: each guarantee is checked again on the build that breaks it. Each sabotage
replaces one named attribute of the service, which must exist: a rename there must not turn a sabotage into nothing.
Failpoints, which break no promise but stop the process at a chosen place, live here too.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import uuid
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any

import uvicorn
from sqlalchemy import Select, text
from sqlalchemy.ext.asyncio import AsyncSession

from chain_orders import cli, database, strict_json
from chain_orders.deliveries import lanes, queue, retry, settling, worker
from chain_orders.notifications import applier, inbox
from chain_orders.operators import imports
from chain_orders.orders import lookup, taking
from chain_orders.outcome import Again
from chain_orders.serving import server
from chain_orders.vtex import answers
from chain_orders.vtex.client import SellerClient
from chain_orders.webhooks import outbox

SABOTAGES: dict[str, Callable[[], None]] = {}
FREEZE_AT = 10
"""The call at which a failpoint stops its process."""
FEW = 5
"""How many calls wait for one another where they are committed together: a kill must not undo all that ever happens."""
FACTOR = "FAULT_RUN_FACTOR"
"""Names the environment's word for what the waits of a run are divided by."""
SMALL_COMMIT = 20
"""How many lines of an import one failpoint commits together."""


def sabotage(act: Callable[[], None]) -> Callable[[], None]:
    SABOTAGES[act.__name__.replace("_", "-")] = act
    return act


def replace(owner: Any, attribute: str, made: Any) -> None:
    assert hasattr(owner, attribute), f"there is nothing to sabotage: {owner} has no {attribute}"
    setattr(owner, attribute, made)


def rewrite(owner: Any, statement: str, old: str, new: str) -> None:
    """Replace a part of an SQL statement, wherever it occurs in it."""
    told = getattr(owner, statement)
    assert old in told.text, f"there is nothing to sabotage: {statement} does not say {old}"
    given = [bound for bound in told._bindparams.values() if f":{bound.key}" in told.text.replace(old, new)]
    replace(owner, statement, text(told.text.replace(old, new)).bindparams(*given))


# Sending.


@sabotage
def resend_after_silence() -> None:
    """No answer counts as not done."""
    replace(answers, "_silence", lambda exchange: Again(f"no answer ({exchange.error})"))


@sabotage
def resend_after_crash() -> None:
    """A call that was under way when its worker died is simply made again."""
    rewrite(queue, "_ABANDON", "set state = 'unknown'", "set state = 'ready'")
    rewrite(queue, "_ABANDON", "phase = 'verify'", "phase = 'send'")


@sabotage
def early_ready() -> None:
    """A worker that starts makes ready whatever is being sent, as if nobody else were at work."""
    resend_after_crash()
    patient = queue._ABANDON
    rewrite(queue, "_ABANDON", "and lease_until < statement_timestamp()", "")
    told = queue.abandon_expired

    async def abandon_once(session: Any, **options: Any) -> Any:
        found = await told(session, **options)
        queue._ABANDON = patient
        return found

    replace(queue, "abandon_expired", abandon_once)


@sabotage
def no_fence() -> None:
    """A settlement is written whatever has happened to the delivery since it was claimed."""
    rewrite(settling, "_SETTLE", "and d.attempts = s.attempt and d.state = 'sending'", "")


@sabotage
def attempt_after_send() -> None:
    """The claim, with its attempt, is committed once the calls are over."""

    async def round_(self: Any) -> int:
        slots = min(FEW, self._limits.slots - len(self._running))
        if slots <= 0:
            return 0
        held: list[settling.Ended] = []

        async def hold(_: Any, ended: settling.Ended) -> None:
            held.append(ended)

        async with self._database.transaction() as session:
            claimed = await queue.claim(session, worker=self._name, slots=slots, lease=self._limits.lease)
            prepared = [one for kind in self._handlers for one in await self._prepare(session, kind, claimed)]
            sellers = await worker._sellers(session, prepared)
            now = worker.boottime()
            settling.Settler.settle = hold  # type: ignore[method-assign]
            await asyncio.gather(*(self._attempt(one, sellers[one.lane], now) for one in prepared))
            settling.Settler.settle = settle  # type: ignore[method-assign]
        await asyncio.gather(*(self._settler.settle(ended) for ended in held))
        return len(prepared)

    settle = settling.Settler.settle
    replace(worker.Worker, "_round", round_)


@sabotage
def claim_by_last_id() -> None:
    """The queue is read as a log: only what is younger than the last that was claimed."""
    due = "d.next_at <= statement_timestamp()"
    younger = f"{due} and d.id > (select coalesce(max(a.delivery_id), 0) from attempts a)"
    rewrite(queue, "_CLAIM", due, younger)


@sabotage
def resend_after_one_read() -> None:
    """One read that finds nothing is believed, whenever it was made."""
    patient = retry._after_read

    def hasty(outcome: Any, course: Any, policy: Any) -> Any:
        if isinstance(outcome, retry.Absent):
            return retry._again(course, policy, "a read did not find it", None, at_once=True)
        return patient(outcome, course, policy)

    replace(retry, "_after_read", hasty)


# Taking.


@sabotage
def repeat_places_again() -> None:
    """An order that was taken before is placed once more."""
    told = taking._repeated

    async def repeated(session: AsyncSession, seller: Any, *given: Any) -> Any:
        taken = await told(session, seller, *given)
        taking.owe_placement(await lookup.locked(session, taken.order_id), seller)
        return taken

    replace(taking, "_repeated", repeated)


@sabotage
def repeat_is_told_as_new() -> None:
    """Whoever hands an order over again is told that it was taken just now."""
    told = taking._repeated

    async def repeated(*given: Any) -> Any:
        return taking.Taken((await told(*given)).order_id, created=True)

    replace(taking, "_repeated", repeated)


# Hearing.


@sabotage
def dedupe() -> None:
    """Every notification counts as new."""
    replace(inbox.Incoming, "dedupe_key", property(lambda _: os.urandom(32)))


@sabotage
def dedupe_by_request_id() -> None:
    """Two notifications are the same if they carry the same request id."""

    def key(incoming: Any) -> bytes:
        return sha256(str(strict_json.parse(incoming.headers).get("x-request-id")).encode()).digest()

    replace(inbox.Incoming, "dedupe_key", property(key))


@sabotage
def answer_before_commit() -> None:
    """A notification is answered a second before its statement is begun."""
    storing: set[asyncio.Task[None]] = set()
    statements = asyncio.Semaphore(inbox._STATEMENTS)

    async def commit(self: inbox.Inbox, batch: Sequence[Any]) -> None:
        await asyncio.sleep(1)
        async with statements:
            await self._commit(batch)

    async def store(self: inbox.Inbox, batch: Sequence[Any]) -> None:
        for one in batch:
            if not one.answered.done():
                one.answered.set_result(one.given.incoming.answer(one.given.receipt))
        storing.add(asyncio.create_task(commit(self, batch)))

    replace(inbox.Inbox, "_answer", store)


class _Unlocked(Select[Any]):
    inherit_cache = True

    def with_for_update(self, *_: Any, **__: Any) -> Any:
        return self


@sabotage
def no_order_lock() -> None:
    """Notifications are applied without the order's row being locked. Between reading the order and what it was told
    others have time, as on a busy machine: without it two appliers hardly ever meet there."""
    due = applier._due

    async def later(session: AsyncSession, order_ids: Sequence[uuid.UUID]) -> list[int]:
        await asyncio.sleep(0.3)
        return await due(session, order_ids)

    rewrite(applier, "_LOCK_ORDERS", "for no key update of o skip locked", "")
    replace(applier, "select", lambda *entities: _Unlocked(*entities))
    replace(applier, "_due", later)


@sabotage
def ends_without_database() -> None:
    """The loop that applies notifications ends when the database is away, and the process with it."""

    async def run(self: applier.Applier, stop: asyncio.Event) -> None:
        while not stop.is_set():
            if not await self.step():
                await asyncio.sleep(self._poll)

    replace(applier.Applier, "run", run)


@sabotage
def no_shedding() -> None:
    """Every notification may wait, however many do and however slow the store is."""
    replace(inbox, "admitted", lambda _: 10**9)


@sabotage
def no_drain() -> None:
    """A process that is asked to stop stops listening at once, and closes connections that rest."""
    replace(server._Draining, "shutdown", uvicorn.Server.shutdown)


@sabotage
def asynchronous_commit() -> None:
    """`synchronous_commit=off` on every connection: a commit is reported before it is on disk."""
    replace(database, "_SERVER_SETTINGS", {**database._SERVER_SETTINGS, "synchronous_commit": "off"})


@sabotage
def cursor_before_deliveries() -> None:
    """A subscription's cursor is committed while every other webhook of what it passed is owed only a minute later."""
    owe = outbox.owe

    async def in_part(session: AsyncSession, subscription: Any, messages: Sequence[Any]) -> list[int]:
        async def make_the_rest() -> None:
            await asyncio.sleep(60)
            async with AsyncSession(session.bind) as other, other.begin():
                await owe(other, subscription, messages[1::2])

        making.add(asyncio.create_task(make_the_rest()))
        return await owe(session, subscription, messages[::2])

    making: set[asyncio.Task[None]] = set()
    replace(outbox, "owe", in_part)


# Failpoints.


@sabotage
def small_commits() -> None:
    """An import commits often."""
    replace(imports, "LINES_PER_COMMIT", SMALL_COMMIT)


@sabotage
def slow_store() -> None:
    """A store of 40 notifications a second: four in a statement, two statements at once, each of 0.2 seconds."""
    commit = inbox.Inbox._commit

    async def slowly(self: inbox.Inbox, batch: Sequence[Any]) -> dict[bytes, bytes]:
        await asyncio.sleep(0.2)
        return await commit(self, batch)

    replace(inbox, "_BATCH", 4)
    replace(inbox.Inbox, "_commit", slowly)


@sabotage
def scaled_probes() -> None:
    """A lane that is stopped is tried again sooner, by the factor that all settings of this process are divided by."""
    replace(lanes, "PROBE_AFTER", lanes.PROBE_AFTER / float(os.environ[FACTOR]))


@sabotage
def freeze_before_send() -> None:
    """The process stops itself once, holding claimed calls of which no byte has left, and then goes on as if nothing
    had happened. Nothing is between the last check of the lease and its first byte: that gap is documented."""
    send, calls = SellerClient.send, [0]
    thawed = asyncio.Event()

    async def held(self: Any, *what: Any) -> Any:
        calls[0] += 1
        if calls[0] == FREEZE_AT:
            await asyncio.sleep(0.3)
            os.kill(os.getpid(), signal.SIGSTOP)
            thawed.set()
        elif calls[0] > FREEZE_AT:
            await thawed.wait()
        return await send(self, *what)

    replace(SellerClient, "send", held)


@sabotage
def applier_dies() -> None:
    """The loop that applies notifications ends with an error."""

    async def run(*_: Any) -> None:
        await asyncio.sleep(0.5)
        raise RuntimeError("as arranged")

    replace(applier.Applier, "run", run)


def apply(names: str) -> None:
    for name in names.split(","):
        SABOTAGES[name]()


def become(names: str | None, arguments: Sequence[str]) -> None:
    """Be `chain-orders` with these arguments, broken in these ways."""
    if names is not None:
        apply(names)
    sys.argv = ["chain-orders", *arguments]
    sys.orig_argv = [sys.executable, "-m", "chain_orders", *arguments]  # what a fleet starts its processes with
    cli.main()
