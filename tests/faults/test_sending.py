"""The short form of `make faults-send`, and one broken build that it must see."""

from __future__ import annotations

from pathlib import Path

import pytest

from chain_orders.database import Database

from .sending import Plan, run


async def test_every_order_is_placed_once_whatever_breaks(database: Database, tmp_path: Path) -> None:
    told = await run(Plan(orders=500, seed=7, per_second=100), database, tmp_path)

    print(told)
    told.hold()


async def test_a_build_without_the_fence_is_caught(database: Database, tmp_path: Path) -> None:
    told = await run(Plan(orders=200, seed=7, per_second=40, sabotage="no-fence"), database, tmp_path)

    with pytest.raises(AssertionError, match="doubled"):
        told.hold()
    assert told.doubled
