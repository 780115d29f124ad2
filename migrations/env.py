"""Run migrations over asyncpg, one transaction each, never waiting long for a lock.

A migration must suit the release that is still running: add first, let the new release use it, remove later.
"""

from __future__ import annotations

import asyncio

from alembic import context
from sqlalchemy import Connection, pool, text
from sqlalchemy.ext.asyncio import create_async_engine

from chain_orders.alerts import models as _alerts  # noqa: F401
from chain_orders.console import models as _console  # noqa: F401  (each import puts its tables on record)
from chain_orders.database import Base
from chain_orders.deliveries import models as _deliveries  # noqa: F401
from chain_orders.events import models as _events  # noqa: F401
from chain_orders.notifications import models as _notifications  # noqa: F401
from chain_orders.operators import audit as _audit  # noqa: F401
from chain_orders.operators import models as _operators  # noqa: F401
from chain_orders.orders import counting as _counting  # noqa: F401
from chain_orders.orders import models as _orders  # noqa: F401
from chain_orders.orders import seen as _seen  # noqa: F401
from chain_orders.sellers import models as _sellers  # noqa: F401
from chain_orders.settings import DatabaseSettings
from chain_orders.webhooks import models as _webhooks  # noqa: F401


def _migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        compare_server_default=True,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        # Two replicas that start together migrate one after the other.
        connection.execute(text("select pg_advisory_xact_lock(hashtextextended('chain-orders migrations', 0))"))
        connection.execute(text("set local lock_timeout = '2s'"))
        context.run_migrations()


async def _connect() -> None:
    url = context.config.attributes.get("url") or DatabaseSettings().database_url.get_secret_value()
    engine = create_async_engine(url, poolclass=pool.NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(_migrate)
    await engine.dispose()


asyncio.run(_connect())
