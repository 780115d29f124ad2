"""Commands of whoever keeps the service: they open the database themselves, beside the processes that serve.

What they change stands in the audit, by `command:{name}`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from . import logs, schema
from .database import Database
from .errors import Unknown
from .evidence import archive
from .notifications import rebuild as rebuilding
from .operators import audit
from .orders.models import Order
from .retention.job import Forecast, Report, Retention
from .rotation import Progress, reseal
from .sellers.vault import Vault
from .settings import DatabaseSettings, EvidenceSettings, RetentionSettings, VaultSettings


def rebuild(
    order: Annotated[uuid.UUID | None, typer.Option(help="One order's id; all of them unless given.")] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Store what should be there.")] = False,
) -> None:
    """Apply everything again that sellers told, and compare it with what is stored. Exit code 4: they differ.

    Example: chain-orders rebuild --order 0192f0c1-5a54-7c3e-9d7e-2f6f0a5d1c11 --repair
    """
    logs.configure("console")
    url = schema.usable(DatabaseSettings().database_url.get_secret_value())
    with schema.reaching():
        found = asyncio.run(_rebuild(url, order, repairing=repair))
    if found is None:
        print(f"chain-orders: there is no order {order}", file=sys.stderr)
        raise typer.Exit(1)
    for order_id, lines in found.differences.items():
        print(*(f"{order_id} {line}" for line in lines), sep="\n")
    wrong = len(found.differences)
    told = f"{wrong} differ" + (", repaired" if repair and wrong else "")
    print(f"{found.orders} orders applied again, {told}; {found.sealed} sealed ones left out")
    if wrong and not repair:
        raise typer.Exit(4)


async def _rebuild(url: str, order_id: uuid.UUID | None, *, repairing: bool) -> rebuilding.Report | None:
    database = Database(url, pool_size=2)
    report = None
    try:
        await schema.check(database)
        async for report in rebuilding.run(database, order_id, repairing=repairing, noted=_repaired):
            print(f"applied again so far: {report.orders} orders", file=sys.stderr)
    except Unknown:
        return None
    finally:
        await database.close()
    return report


def _repaired(session: AsyncSession, order: Order) -> None:
    audit.note(session, audit.Command("rebuild"), "order.repair", order)


def retention(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, and change nothing.")] = False,
) -> None:
    """Seal the orders whose time is over now: personal data becomes hashes. `serve` and `work` do so by themselves.

    Example: chain-orders retention --dry-run
    """
    logs.configure("console")
    settings = RetentionSettings()  # the environment gives what is required
    url = schema.usable(settings.database_url.get_secret_value())
    with schema.reaching():
        found = asyncio.run(_retention(url, settings, dry_run=dry_run))
    print(json.dumps(found.as_dict(), indent=2))
    if isinstance(found, Report) and found.elsewhere:
        print("another process is sealing; what it leaves is done in its next round", file=sys.stderr)


async def _retention(url: str, settings: RetentionSettings, *, dry_run: bool) -> Forecast | Report:
    database = Database(url, pool_size=2)
    try:
        await schema.check(database)
        job = Retention(database, after=settings.retention, every=timedelta(days=1))
        if dry_run:
            return await job.forecast()
        report = await job.step(told=_progress)
        async with database.transaction() as session:
            audit.note(session, audit.Command("retention"), "retention.run", "orders:due", **report.as_dict())
        return report
    finally:
        await database.close()


def _progress(so_far: Report) -> None:
    print(f"sealed so far: {so_far.orders + so_far.again} orders", file=sys.stderr)


def rotate_credentials() -> None:
    """Seal under the first credential key whatever another one has sealed, while the service goes on.

    May be stopped and begun again. When it ends with 0, the other keys can be taken off CHAIN_ORDERS_CREDENTIAL_KEYS.

    Example: chain-orders rotate-credentials
    """
    logs.configure("console")
    settings = VaultSettings()
    url = schema.usable(settings.database_url.get_secret_value())
    with schema.reaching():
        done = asyncio.run(_rotate(url, Vault(settings.credential_bytes())))
    print(f"sealed under {next(iter(settings.credential_keys))}: {done.sealed} of {done.total}")
    for name in done.lost:
        print(f"no key opens {name}; configure the one that sealed it, or give the credential anew", file=sys.stderr)
    if done.lost:
        raise SystemExit(1)


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


evidence = typer.Typer(name="evidence", help="Archives of all that is known of one order.", no_args_is_help=True)


@evidence.command("check")
def check_evidence(
    file: Annotated[Path, typer.Argument(help="The archive.", exists=True, dir_okay=False)],
    key: Annotated[str | None, typer.Option(help="The public key that must have signed it, in base64.")] = None,
) -> None:
    """Say whether an archive is what it was when it was made, and name each file that was changed.

    Without --key the key that signs here is expected (CHAIN_ORDERS_EVIDENCE_KEY), else the one that the archive names.

    Example: chain-orders evidence check HARBOR1001.zip
    """
    seed = EvidenceSettings().evidence_seed
    known = key or (archive.public_key(seed) if seed is not None else None)
    found = archive.check(file.read_bytes(), known)
    for name, why in sorted(found.changed.items()):
        print(f"{name}: {why}")
    if found.changed:
        raise SystemExit(1)
    whose = "by the key that is known" if known else "by a key that only the archive names: compare it"
    signed = f"signed by {found.signed_by}, {whose}" if found.signed_by else "not signed"
    print(f"nothing was changed; {signed}")


@evidence.command("key")
def show_evidence_key() -> None:
    """Print the public key that checks what is signed here. Needs CHAIN_ORDERS_EVIDENCE_KEY only.

    Example: chain-orders evidence key
    """
    seed = EvidenceSettings().evidence_seed
    if seed is None:
        raise typer.BadParameter("CHAIN_ORDERS_EVIDENCE_KEY is not set")
    print(archive.public_key(seed))
