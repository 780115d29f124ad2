"""A lane that is open."""

from __future__ import annotations

import pytest

from chain_orders.database import Database
from chain_orders.deliveries.models import Lane

from .outbox import LANE


@pytest.fixture
async def lane(database: Database) -> str:
    async with database.transaction() as session:
        session.add(Lane(lane=LANE, concurrency=10, rate_per_second=1000, tokens=1000))
    return LANE
