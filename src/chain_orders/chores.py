"""What the commands do that are no clients of the API: they serve, or open the database beside those who do.

What they change stands in the audit, by `command:{name}`. Nothing here is loaded before such a command runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import uvloop
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from . import logs, schema
from .app import Surface
from .database import Database
from .doctor import examine
from .errors import Unknown
from .evidence import archive
from .notifications import rebuild as rebuilding
from .operators import access, audit
from .operators.models import ApiKey
from .orders.models import Order
from .parts import Refused, assemble, check_database, running
from .retention.job import Forecast, Report, Retention
from .rotation import Progress, reseal
from .sellers.check import Finding
from .sellers.vault import Vault
from .serving import fleet, server
from .settings import DatabaseSettings, EvidenceSettings, RetentionSettings, Settings, VaultSettings, read

log = logs.get("cli")


def serve(host: str | None, port: int | None, *, worker: bool, workers: int, surface: Surface) -> None:
    """Serve until SIGTERM or SIGINT: by this process, or by so many children of it."""
    settings = _settings()
    host, port = host or settings.host, settings.port if port is None else port
    with contextlib.closing(server.listen(host, port)) as listening:
        asyncio.run(_check_ready(settings, processes=workers))
        if workers == 1:
            server.serve(settings, listening, worker=worker, surface=surface)
        else:
            patience = settings.drain_seconds + server.ANSWERED_WITHIN_SECONDS + settings.lease_seconds
            fleet.Fleet(listening, workers, stops_within=patience).run()


def serve_as_child(socket: str, *, worker: bool, surface: Surface) -> None:
    """Serve on the socket that the parent hands over; it has looked whether all is ready."""
    server.serve(_settings(), fleet.adopt(socket), worker=worker, surface=surface)


def work() -> None:
    """Send and apply until SIGTERM or SIGINT."""
    settings = _settings()
    asyncio.run(_check_ready(settings))
    server.spare_the_collector()
    uvloop.run(_work(settings))


async def _work(settings: Settings) -> None:
    asked = asyncio.Event()
    for how in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(how, asked.set)
    parts = assemble(settings)
    async with running(parts, worker=True, intake=False):
        log.info("started", surface="worker")
        await asked.wait()
    if parts.failures:
        told = ", ".join(parts.failures)
        raise Refused(f"a part of the service ended by itself ({told}); the log above says why")


async def _check_ready(settings: Settings, *, processes: int = 1) -> None:
    """What must hold before anything is served: the schema of this release, and a server that keeps commits."""
    parts = assemble(settings)
    try:
        with schema.reaching():
            await schema.check(parts.database)
            await check_database(parts, processes)
    finally:
        await parts.close()


def _settings() -> Settings:
    settings = read(Settings)
    logs.configure(settings.log_format)
    _url(settings)
    return settings


def _url(settings: DatabaseSettings) -> str:
    return schema.usable(settings.database_url.get_secret_value())


def migrate() -> str:
    """Bring the schema up to date; the revision that is reached."""
    logs.configure("console")
    url = _url(read(DatabaseSettings))
    with schema.reaching():
        return schema.migrate(url)


def create_first_key(name: str) -> str:
    """Make the first admin's key. Raises Refused where there is one."""
    url = _url(read(DatabaseSettings))
    with schema.reaching():
        return asyncio.run(_create_first_key(url, name))


async def _create_first_key(url: str, name: str) -> str:
    database = Database(url)
    try:
        await schema.check(database)
        async with database.transaction() as session:
            if await access.has_admin(session):
                raise Refused("there is an admin's key already; make others with it")
            key = await access.create_key(session, name, "admin")
            made = await session.scalar(select(ApiKey.id).where(ApiKey.digest == access.digest(key)))
            audit.note(session, audit.Command("key create"), "key.create", f"key:{made}", name=name, role="admin")
        return key
    except IntegrityError:
        raise Refused(f"there is a key of the name {name} already") from None
    finally:
        await database.close()


def doctor() -> list[Finding]:
    """What is well, and what is wrong, with this deployment."""
    return asyncio.run(_doctor(_settings()))


async def _doctor(settings: Settings) -> list[Finding]:
    parts = assemble(settings)
    try:
        return [finding async for finding in examine(parts)]
    finally:
        await parts.close()


def rebuild(order_id: uuid.UUID | None, *, repairing: bool, told: Callable[[int, int], None]) -> rebuilding.Report:
    """Apply everything again and compare; `told` how many of how many orders are done. Raises Refused for an order
    that there is not."""
    logs.configure("console")
    url = _url(read(DatabaseSettings))
    try:
        with schema.reaching():
            return asyncio.run(_rebuild(url, order_id, repairing=repairing, told=told))
    except Unknown:
        raise Refused(f"there is no order {order_id}") from None


async def _rebuild(
    url: str, order_id: uuid.UUID | None, *, repairing: bool, told: Callable[[int, int], None]
) -> rebuilding.Report:
    database = Database(url, pool_size=2)
    report = rebuilding.Report()
    try:
        await schema.check(database)
        async with database.transaction() as session:
            stored = await session.scalar(select(func.count()).select_from(Order)) or 0
        async for report in rebuilding.run(database, order_id, repairing=repairing, noted=_repaired):
            told(report.orders + report.sealed, stored if order_id is None else 1)
    finally:
        await database.close()
    return report


def _repaired(session: AsyncSession, order: Order) -> None:
    audit.note(session, audit.Command("rebuild"), "order.repair", order)


def retention(*, dry_run: bool) -> Forecast | Report:
    """Seal what is due now, or say what that would be."""
    logs.configure("console")
    settings = read(RetentionSettings)
    url = _url(settings)
    with schema.reaching():
        return asyncio.run(_retention(url, settings, dry_run=dry_run))


async def _retention(url: str, settings: RetentionSettings, *, dry_run: bool) -> Forecast | Report:
    database = Database(url, pool_size=2)
    try:
        await schema.check(database)
        job = Retention(database, after=settings.retention, every=timedelta(days=1))
        if dry_run:
            return await job.forecast()
        report = await job.step(told=_progress)
        if report.elsewhere:
            print("another process is sealing; what it leaves is done in its next round", file=sys.stderr)
        async with database.transaction() as session:
            audit.note(session, audit.Command("retention"), "retention.run", "orders:due", **report.as_dict())
        return report
    finally:
        await database.close()


def _progress(so_far: Report) -> None:
    print(f"sealed so far: {so_far.orders + so_far.again} orders", file=sys.stderr)


def rotate_credentials() -> tuple[str, Progress]:
    """Seal anew whatever the first key has not sealed: that key's kid, and how it went."""
    logs.configure("console")
    settings = read(VaultSettings)
    url = _url(settings)
    with schema.reaching():
        return next(iter(settings.credential_keys)), asyncio.run(_rotate(url, Vault(settings.credential_bytes())))


async def _rotate(url: str, vault: Vault) -> Progress:
    database = Database(url, pool_size=2)
    try:
        await schema.check(database)
        done = await reseal(database, vault, lambda so_far: print(f"{so_far.seen} of {so_far.total}", file=sys.stderr))
        command, about = audit.Command("rotate-credentials"), f"kid:{next(iter(vault.keys))}"
        async with database.transaction() as session:
            audit.note(session, command, "credentials.seal", about, sealed=done.sealed, lost=done.lost)
        return done
    finally:
        await database.close()


def check_evidence(file: Path, key: str | None) -> tuple[archive.Checked, bool]:
    """What is wrong with an archive, and whether the key that must have signed it is known here."""
    known = key or evidence_key()
    return archive.check(file.read_bytes(), known), known is not None


def evidence_key() -> str | None:
    """The public key that checks what is signed here."""
    seed = read(EvidenceSettings).evidence_seed
    return archive.public_key(seed) if seed is not None else None
