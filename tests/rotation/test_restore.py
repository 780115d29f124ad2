"""Going back to an older backup: what the database lacks is said before anything starts, and nothing is placed twice.

The backup is a copy of the database's files while nobody is connected, as PostgreSQL makes one from a template.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy import text

from chain_orders import schema
from chain_orders.database import Database
from chain_orders.deliveries import queue
from chain_orders.rotation import reseal
from chain_orders.sellers.vault import Vault
from chain_orders.settings import Settings

from ..builders import Marketplace, SimulatedSeller, order, settings_for
from ..conftest import serving
from ..fresh import ask
from .test_rotation import BOTH, NEW, findings, refusal

READ_FIRST = """
update deliveries set state = 'unknown', phase = 'verify', unclear_since = clock_timestamp()
 where kind = 'place' and state in ('ready', 'retrying')
"""
"""As docs/operations.md says."""


@contextlib.asynccontextmanager
async def copied(url: str) -> AsyncIterator[str]:
    """The address of a copy of a database. Whom an earlier test left connected to it, such as a process that was killed
    while it waited there, is disconnected."""
    server, _, source = url.rpartition("/")
    name = f"copy_{secrets.token_hex(6)}"
    await ask(
        f"{server}/postgres", f"select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = '{source}'"
    )
    await ask(f"{server}/postgres", f"create database {name} template {source}")
    try:
        yield f"{server}/{name}"
    finally:
        await ask(f"{server}/postgres", f"drop database {name} with (force)")


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    database = Database(url)
    try:
        yield database
    finally:
        await database.close()


@pytest.fixture
async def live(database_url: str) -> AsyncIterator[str]:
    """A database that a test may leave alone."""
    async with copied(database_url) as url:
        yield url


async def test_a_backup_from_before_a_rotation_names_the_keys_that_it_lacks(
    live: str, simulated: SimulatedSeller
) -> None:
    async with opened(live) as database, serving(database, Settings(**settings_for(live)), worker=False) as before:
        await before.add_seller(simulated.url)
        await before.post_order(order())
    async with copied(live) as backup:
        async with opened(live) as database:
            await reseal(database, Vault(BOTH))
        async with opened(backup) as restored:
            refused = await refusal(restored, callback_keys=NEW, credential_keys=NEW)
            found = await findings(restored, callback_keys=NEW, credential_keys=NEW)

    assert refused == (
        "a key is missing: CHAIN_ORDERS_CALLBACK_KEYS lacks k1, which stored orders carry;"
        " CHAIN_ORDERS_CREDENTIAL_KEYS lacks k1, which seals stored credentials"
    )
    assert {code for code, (ok, _) in found.items() if ok is False} >= {
        "callback-key-missing",
        "credential-key-missing",
    }
    assert not any("\n" in told for _, told in found.values())


async def test_a_backup_from_before_a_migration_names_it(live: str) -> None:
    async with opened(live) as restored:
        async with restored.transaction() as session:
            await session.execute(text("update alembic_version set version_num = '0005'"))
        with pytest.raises(
            schema.Outdated, match=r"^the database's schema is at 0005, this release needs \d+: run migr"
        ):
            await schema.check(restored)
        found = await findings(restored)

    assert found["schema-outdated"][0] is False


async def test_a_backup_places_nothing_that_was_placed_since(live: str, simulated: SimulatedSeller) -> None:
    settings = Settings(**settings_for(live))
    await simulated.behave(dedupe=False)
    async with opened(live) as database:
        async with serving(database, settings, worker=False) as taking:
            await taking.add_seller(simulated.url)
            ids = [(await taking.post_order(order(group))).json()["id"] for group in ("REST1", "REST2")]
        async with database.transaction() as session:
            under_way = await queue.claim(session, worker="gone", slots=1, lease=timedelta(seconds=1))
    async with copied(live) as backup:
        async with opened(live) as database, serving(database, settings) as original:
            for order_id in ids:
                await original.becomes(order_id, "placed", 60)
        async with opened(backup) as restored:
            async with restored.transaction() as session:
                await session.execute(text(READ_FIRST))
            async with serving(restored, Settings(**settings_for(backup))) as again:
                phases = [await _phases(again, order_id) for order_id in ids]

    assert len(under_way) == 1
    assert phases == [["send", "verify"], ["verify"]]
    assert await simulated.puts() == {"REST1": 1, "REST2": 1}


async def _phases(marketplace: Marketplace, order_id: str) -> list[str]:
    await marketplace.becomes(order_id, "placed", 60)
    (delivery,) = (await marketplace.get(order_id, "/deliveries"))["items"]
    return [attempt["phase"] for attempt in delivery["attempts"]]
