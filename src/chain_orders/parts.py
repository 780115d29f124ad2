"""What one process is made of, and the loops that it runs: settings in, joined parts out."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from . import logs, tracing
from .alerts import refusals
from .alerts.alarm import Alarm
from .alerts.mail import Mail
from .capability import Keyring
from .database import Bell, Database, check, connections
from .deliveries import reach
from .deliveries.reach import Reach
from .deliveries.room import BESIDE
from .deliveries.upkeep import Upkeep
from .deliveries.worker import Limits, Worker
from .errors import Stopped
from .events.feed import Relay
from .notifications.applier import Applier
from .notifications.inbox import Inbox
from .operators import idempotency
from .orders import counting, lookup
from .orders.authorizing import Authorize
from .orders.cancelling import Cancel
from .orders.placing import Bases, Place
from .orders.reads import Plan
from .orders.reconciling import Reconciler
from .outbound import Wire
from .retention.job import Retention
from .rotation import missing_keys
from .sellers.vault import Vault
from .settings import Settings
from .webhooks.fanout import Fanout
from .webhooks.sending import Send

log = logs.get("app")


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything one process is made of."""

    settings: Settings
    database: Database
    bell: Bell
    keyring: Keyring
    vault: Vault
    wire: Wire
    inbox: Inbox
    applier: Applier
    worker: Worker
    reconciler: Reconciler
    upkeep: Upkeep
    place: Place
    bases: Bases
    relay: Relay
    fanout: Fanout
    alarm: Alarm
    retention: Retention
    failures: list[str] = field(default_factory=list)
    """Loops that ended by themselves: the process must end as a failure, so that it is started again."""

    async def close(self) -> None:
        await self.wire.close()
        await self.database.close()


def assemble(settings: Settings) -> Parts:
    """Make the parts. Opens no connection yet. Raises Refused for traces without the extra that makes them."""
    if settings.otel_endpoint and not tracing.installed():
        raise Refused("CHAIN_ORDERS_OTEL_ENDPOINT is set, and chain-orders[otel] is not installed")
    url = settings.database_url.get_secret_value()
    listen = settings.listen_url.get_secret_value() if settings.listen_url is not None else url
    database, bell = Database(url, pool_size=settings.pool_size), Bell(listen)
    keyring = Keyring(settings.key_bytes("callback"))
    vault = Vault(settings.key_bytes("credential"))
    bases = Bases(settings.public_url, keyring)
    wire = Wire(
        deadline=settings.exchange_seconds,
        connect=settings.connect_seconds,
        allow_private=settings.development,
        concurrency=settings.worker_slots * (1 + BESIDE),
    )
    plan = Plan(timedelta(seconds=settings.reconcile_seconds), settings.confirm_at, settings.closed_at)
    place = Place(database, wire, vault, bases, settings.verify_at[-1], plan)
    within = Reach()
    worker = _worker(settings, database, bell, wire, vault, place, within)
    applier = Applier(
        database,
        bell,
        poll_seconds=settings.poll_seconds,
        sweep=timedelta(seconds=settings.sweep_seconds),
        patience=settings.confirm_at[-1],
    )
    upkeep = Upkeep(
        database,
        every=timedelta(seconds=settings.sweep_seconds),
        replay_dead=timedelta(seconds=settings.replay_dead_seconds),
        chores=(idempotency.purge, refusals.purge, reach.purge, counting.fold),
    )
    return Parts(
        settings=settings,
        database=database,
        bell=bell,
        keyring=keyring,
        vault=vault,
        wire=wire,
        inbox=Inbox(database, bell, commit_seconds=settings.commit_seconds),
        applier=applier,
        worker=worker,
        reconciler=Reconciler(database, bell, wire, vault, plan, within, poll_seconds=settings.poll_seconds),
        upkeep=upkeep,
        place=place,
        bases=bases,
        relay=Relay(database, bell, poll_seconds=settings.poll_seconds),
        fanout=Fanout(database, bell, poll_seconds=settings.poll_seconds),
        alarm=_alarm(settings, database, bell),
        retention=Retention(database, after=settings.retention, every=timedelta(seconds=settings.retention_seconds)),
    )


def _worker(
    settings: Settings, database: Database, bell: Bell, wire: Wire, vault: Vault, place: Place, within: Reach
) -> Worker:
    """The worker, with a handler for each kind of call."""
    patience = timedelta(seconds=settings.not_there_seconds)
    return Worker(
        database,
        bell,
        {
            "place": place,
            "authorize": Authorize(database, wire, vault, patience),
            "cancel": Cancel(database, wire, vault, patience),
            "webhook": Send(database, wire, vault),
        },
        lookup.lock_free,
        Limits(
            slots=settings.worker_slots,
            lease=timedelta(seconds=settings.lease_seconds),
            exchange=timedelta(seconds=settings.exchange_seconds),
            poll_seconds=settings.poll_seconds,
        ),
        settings.retry_schedule,
        settings.verify_at,
        within,
    )


def _alarm(settings: Settings, database: Database, bell: Bell) -> Alarm:
    every, patience = timedelta(seconds=settings.alert_seconds), timedelta(seconds=settings.alert_after_seconds)
    sender = f"chain-orders@{urlsplit(settings.public_url).hostname}"
    url = settings.alert_smtp_url.get_secret_value() if settings.alert_smtp_url is not None else ""
    return Alarm(database, bell, Mail(url, settings.alert_to, sender) if url else None, every=every, patience=patience)


class Refused(Stopped):
    """The service does not start: what it would acknowledge could be lost."""


async def check_database(parts: Parts, processes: int = 1) -> None:
    """Raise Refused when the server is set to lose what it committed, has too few connections for so many processes,
    or a key that is still needed is missing."""
    needed, there = processes * parts.database.connections, await connections(parts.database)
    if needed > there:
        raise Refused(
            f"{processes} processes may open {needed} database connections, and the server has {there}: "
            "lower --workers or CHAIN_ORDERS_POOL_SIZE, or raise the server's max_connections"
        )
    wrong = await check(parts.database, development=parts.settings.development)
    if wrong:
        raise Refused("the database does not keep what it commits: " + "; ".join(wrong))
    async with parts.database.transaction() as session:
        missing = await missing_keys(session, parts.keyring.keys, parts.vault.keys)
    if missing.told:
        raise Refused("a key is missing: " + "; ".join(missing.told))


@contextlib.asynccontextmanager
async def running(
    parts: Parts, *, worker: bool, intake: bool = True, waiting: Sequence[Coroutine[Any, Any, None]] = ()
) -> AsyncIterator[asyncio.Event]:
    """Run the loops of one process. Setting the event that is yielded stops them; leaving waits for them."""
    endpoint = parts.settings.otel_endpoint
    if endpoint:
        tracing.export_to(endpoint)
    stop = asyncio.Event()
    endless = [parts.bell.run(), *waiting]
    ending = []
    if intake:
        ending.append(parts.inbox.run(stop))
    if worker:
        loops = (
            parts.worker,
            parts.applier,
            parts.reconciler,
            parts.upkeep,
            parts.relay,
            parts.fanout,
            parts.alarm,
            parts.retention,
        )
        ending += [loop.run(stop) for loop in loops]
    cancelled = [_supervised(loop, stop, parts.failures) for loop in endless]
    finishing = [_supervised(loop, stop, parts.failures) for loop in ending]
    try:
        yield stop
    finally:
        stop.set()
        parts.bell.rouse()
        await asyncio.gather(*finishing, return_exceptions=True)
        for task in cancelled:
            task.cancel()
        await asyncio.gather(*cancelled, return_exceptions=True)
        await parts.close()
        if endpoint:
            await asyncio.to_thread(tracing.stop)  # hands over what was not sent yet


def _supervised(loop: Coroutine[Any, Any, None], stop: asyncio.Event, failures: list[str]) -> asyncio.Task[None]:
    """A loop of the process. One that ends by itself ends the process, which is started again by whoever runs it:
    a service that accepts and no longer applies would look healthy and be none."""

    def ended(task: asyncio.Task[None]) -> None:
        if task.cancelled() or (stop.is_set() and task.exception() is None):
            return
        failures.append(getattr(loop, "__qualname__", "loop"))
        log.critical("loop-ended", exc_info=task.exception())
        if not stop.is_set():
            os.kill(os.getpid(), signal.SIGTERM)

    task = asyncio.create_task(loop)
    task.add_done_callback(ended)
    return task
