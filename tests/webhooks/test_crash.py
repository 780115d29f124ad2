"""The short form of `make faults-webhooks`, and one broken build that it must see."""

from __future__ import annotations

import pytest

from chain_orders.database import Database

from ..builders import SimulatedSeller
from ..faults.telling import Plan, run


async def test_every_webhook_is_received_after_a_kill(database: Database, simulated: SimulatedSeller) -> None:
    told = await run(Plan(webhooks=200), database, simulated.url)

    print(told)
    told.hold()


async def test_a_build_that_moves_its_cursor_first_is_caught(database: Database, simulated: SimulatedSeller) -> None:
    told = await run(Plan(200, sabotage="cursor-before-deliveries"), database, simulated.url)

    with pytest.raises(AssertionError, match="missing"):
        told.hold()
    assert told.missing
