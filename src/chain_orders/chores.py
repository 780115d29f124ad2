"""Commands of whoever keeps the service: they open the database themselves, beside the processes that serve."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import timedelta
from typing import Annotated

import typer

from . import logs, schema
from .database import Database
from .retention.job import Forecast, Report, Retention
from .settings import RetentionSettings


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
        return await job.forecast() if dry_run else await job.step(told=_progress)
    finally:
        await database.close()


def _progress(so_far: Report) -> None:
    print(f"sealed so far: {so_far.orders + so_far.again} orders", file=sys.stderr)
