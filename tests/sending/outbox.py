"""Deliveries without orders: what the tests of the outbox owe and claim."""

from __future__ import annotations

import uuid
from datetime import timedelta

from chain_orders.database import Database
from chain_orders.deliveries import queue
from chain_orders.deliveries.models import Delivery
from chain_orders.deliveries.queue import Claimed

LEASE = timedelta(seconds=60)
LANE = "seller:acme"


def delivery(sequence: str, kind: str = "authorize") -> Delivery:
    return Delivery(lane=LANE, sequence=sequence, order_id=uuid.uuid4(), kind=kind, method="POST", target="/", body=b"")


async def owe(database: Database, *sequences: str, kind: str = "authorize") -> list[int]:
    """Deliveries that are due, one a sequence."""
    async with database.transaction() as session:
        owed = [delivery(name, kind) for name in sequences]
        session.add_all(owed)
        await session.flush()
        return [one.id for one in owed]


async def claim(database: Database, slots: int = 100) -> list[Claimed]:
    async with database.transaction() as session:
        return await queue.claim(session, worker="w", slots=slots, lease=LEASE)
