"""The short form of `make faults-send`. The builds that it must see broken are `make faults-send-sabotage`'s: how often
a frozen worker overwrites another depends on the machine.
`tests/sending/test_queue.py` breaks the fence where nothing depends on it.
"""

from __future__ import annotations

from pathlib import Path

from chain_orders.database import Database

from .sending import run
from .told import Plan


async def test_every_order_is_placed_once_whatever_breaks(database: Database, tmp_path: Path) -> None:
    told = await run(Plan(orders=500, seed=7, per_second=40, kills=2, freezes=1, most_kills=5), database, tmp_path)

    print(told)
    told.hold()
