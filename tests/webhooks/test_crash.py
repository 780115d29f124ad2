"""What a crash may not do to webhooks: lose one. Each was owed once and is sent until it is accepted."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from chain_orders.database import Database
from chain_orders.events.models import Event

from ..builders import Marketplace, SimulatedSeller, until
from ..faults.process import served
from .receiver import Receiver, feed, subscribe

WEBHOOKS = 300
"""In the long form 5,000: change this number."""


async def survives_a_kill(
    database: Database, simulated: SimulatedSeller, receiver: Receiver, sabotage: str | None
) -> None:
    """`kill -9` in the middle of a burst, and a restart: every event arrives, each under an id of its own."""
    receiver.slow_seconds = 0.01
    async with served(database, sabotage) as (service, marketplace):
        await marketplace.add_seller(simulated.url)
        placed = await marketplace.place()
        made = await subscribe(marketplace, receiver.url, events=["burst"], concurrency=20, ratePerSecond=1000)

        burst = asyncio.create_task(_burst(database, placed["id"]))
        try:
            await receiver.hears(WEBHOOKS // 5, 30)
            service.kill()
        finally:
            await burst
        await service.start()
        wanted = await until(lambda: _all_numbered(marketplace))
        await until(lambda: _heard(receiver, set(wanted)), 60 if sabotage is None else 10)

        told = {one.id: one.proven(made["secret"]) for one in receiver.accepted}
        assert told == wanted


async def _burst(database: Database, order_id: str) -> None:
    for start in range(0, WEBHOOKS, 20):
        async with database.transaction() as session:
            session.add_all(
                Event(
                    type="burst", order_id=uuid.UUID(order_id), seller_id="acme", order_group="G", actor="service",
                    data={"nth": start + n},
                )
                for n in range(20)
            )  # fmt: skip
        await asyncio.sleep(0.1)


async def _all_numbered(marketplace: Marketplace) -> dict[str, object]:
    shown = {f"evt_{one['id']}": one for one in await feed(marketplace) if one["type"] == "burst"}
    return shown if len(shown) == WEBHOOKS else {}


async def _heard(receiver: Receiver, wanted: set[str]) -> bool:
    return wanted <= {one.id for one in receiver.accepted}


async def test_every_webhook_is_received_after_a_kill(
    database: Database, simulated: SimulatedSeller, receiver: Receiver
) -> None:
    await survives_a_kill(database, simulated, receiver, None)


async def test_a_build_that_moves_its_cursor_first_is_caught(
    database: Database, simulated: SimulatedSeller, receiver: Receiver
) -> None:
    with pytest.raises(AssertionError, match="did not come about"):
        await survives_a_kill(database, simulated, receiver, "cursor-before-deliveries")
