"""A process whose loop dies does not go on as if nothing had happened."""

from __future__ import annotations

import asyncio

from chain_orders.database import Database

from .process import served


async def test_a_service_whose_applier_dies_ends_as_a_failure(database: Database) -> None:
    async with served(database, "applier-dies") as (service, _):
        for _ in range(200):
            if service.exit_code is not None:
                break
            await asyncio.sleep(0.05)

        assert service.exit_code == 1
        assert "loop-ended" in service.log
