"""Bringing the database's schema up to date: the checkout's migrations, or the ones packaged with the wheel.

Also says, in one line without address or password, why a database cannot be used at all.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import NullPool, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, ProgrammingError
from sqlalchemy.ext.asyncio import create_async_engine

from .database import Database
from .errors import Stopped

_PACKAGED = Path(__file__).parent / "_migrations"
_CHECKOUT = Path(__file__).parents[2] / "migrations"
_DRIVER = "postgresql+asyncpg"
_REFUSALS = {
    "28": "refuses this user or password",
    "3D": "has no database of this name",
    "53": "has no connection left",
    "55": "is busy: a lock was not to be had in time",
    "57": "is starting or stopping",
}
"""What a server says by the class of its SQLSTATE, when the work may be right and still cannot be done."""


class Outdated(Stopped):
    """The schema is not the one that this release needs."""


class Unusable(Stopped):
    """The database's address is not one that we have a driver for."""

    code = 2


class Unreachable(Stopped):
    """The database is away, or does not let us in."""


def usable(url: str) -> str:
    """The address itself. Raises Unusable."""
    with contextlib.suppress(ArgumentError, ValueError):
        parts = make_url(url)
        reachable = parts.host and (parts.port is None or 0 < parts.port < 65536)
        if parts.drivername == _DRIVER and reachable and parts.database and not parts.query:
            return url
    raise Unusable(f"CHAIN_ORDERS_DATABASE_URL: must read {_DRIVER}://user:password@host:port/name")


@contextlib.contextmanager
def reaching() -> Iterator[None]:
    """Raise Unreachable where the block fails because the database is away or does not let us in."""
    try:
        yield
    except OSError as away:
        raise Unreachable(f"the database cannot be reached ({type(away).__name__})") from None
    except DBAPIError as refused:
        told = _REFUSALS.get((getattr(refused.orig, "sqlstate", None) or "")[:2])
        if told is None:
            raise
        raise Unreachable(f"the database {told}") from None


def _config(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_CHECKOUT if (_CHECKOUT / "env.py").exists() else _PACKAGED))
    config.set_main_option("path_separator", "os")
    config.attributes["url"] = url
    return config


def migrate(url: str) -> str:
    """Apply what is missing; the revision that is reached. Two at once take their turns."""
    config = _config(url)
    asyncio.run(_in_turn(url, lambda: command.upgrade(config, "head")))
    return _head(config)


async def _in_turn(url: str, act: Callable[[], None]) -> None:
    """Hold a lock of the session while a thread migrates: each migration commits, which ends a transaction's lock."""
    engine = create_async_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    try:
        async with engine.connect() as connection:
            await connection.execute(text("select pg_advisory_lock(hashtextextended('chain-orders migrate', 0))"))
            await asyncio.to_thread(act)
    finally:
        await engine.dispose()


def _head(config: Config) -> str:
    return ScriptDirectory.from_config(config).get_current_head() or "none"


async def check(database: Database) -> None:
    """Raise Outdated unless every migration of this release is applied; those of a later one may be there as well."""
    script = ScriptDirectory.from_config(_config(database.url))
    wanted = script.get_current_head()
    try:
        async with database.transaction() as session:
            found = await session.scalar(text("select version_num from alembic_version"))
    except ProgrammingError:
        found = None
    ours = {revision.revision for revision in script.walk_revisions()}
    if found is None or (found != wanted and found in ours):
        raise Outdated(f"the database's schema is at {found or 'nothing'}, this release needs {wanted}: run migrate")
