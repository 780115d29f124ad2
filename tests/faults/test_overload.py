"""The short form of `make faults-overload`, and a build that lets everybody wait."""

from __future__ import annotations

import pytest

from chain_orders.database import Database

from .overload import run


async def test_overload_is_refused_quickly_and_as_much_is_stored_as_ever(database: Database) -> None:
    (await run(database, seconds=4)).hold()


async def test_a_build_that_lets_everybody_wait_is_caught(database: Database) -> None:
    told = await run(database, seconds=4, sabotage="no-shedding")

    with pytest.raises(AssertionError, match="refusals took as long as storing"):
        told.hold()
