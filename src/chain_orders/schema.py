"""Bringing the database's schema up to date: the checkout's migrations, or the ones packaged with the wheel."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from .database import Database

_PACKAGED = Path(__file__).parent / "_migrations"
_CHECKOUT = Path(__file__).parents[2] / "migrations"


class Outdated(Exception):
    """The schema is not the one that this release needs."""


def _config(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_CHECKOUT if (_CHECKOUT / "env.py").exists() else _PACKAGED))
    config.set_main_option("path_separator", "os")
    config.attributes["url"] = url
    return config


def migrate(url: str) -> str:
    """Apply what is missing; the revision that is reached."""
    config = _config(url)
    command.upgrade(config, "head")
    return _head(config)


def _head(config: Config) -> str:
    return ScriptDirectory.from_config(config).get_current_head() or "none"


async def check(database: Database) -> None:
    """Raise Outdated unless every migration is applied."""
    wanted = _head(_config(database.url))
    try:
        async with database.transaction() as session:
            found = await session.scalar(text("select version_num from alembic_version"))
    except ProgrammingError:
        found = None
    if found != wanted:
        raise Outdated(f"the database's schema is at {found or 'nothing'}, this release needs {wanted}: run migrate")
