"""A repeat is looked at after its first has been applied, whoever applies that, and whenever the repeat is stored."""

from __future__ import annotations

import asyncio
import json
import uuid
from datetime import timedelta

import pytest
from sqlalchemy import text

from chain_orders.database import Bell, Database
from chain_orders.notifications import repeats
from chain_orders.notifications.applier import Applier

from ..builders import until
from ..faults.notifying import placed_orders

_TOLD = text(
    """
    insert into notifications (dedupe_key, receipt, kind, caller, order_id, path, headers, body, policy, state, reason)
    select 'change', 'receipt', 'change', 'base', id, 'pvt/orders/REPEAT/changes', '{}', :body, 'accept', :state,
           case when :state = 'parked' then 'not-placed' end
      from orders
    """
)
_AGAIN = text("insert into repeats (dedupe_key, ref) select 'change', ref from orders")


@pytest.fixture
async def order_id(database: Database) -> uuid.UUID:
    await placed_orders(database, ["REPEAT"])
    async with database.transaction() as session:
        await session.execute(
            text("insert into receipts (dedupe_key, receipt, answer) values ('change', 'receipt', '')")
        )
        return (await session.execute(text("select id from orders"))).scalar_one()


def _applier(database: Database) -> Applier:
    return Applier(database, Bell(""), poll_seconds=1, sweep=timedelta(seconds=30), patience=timedelta(minutes=10))


async def _told(database: Database, state: str) -> None:
    body = json.dumps({"discountValue": 300, "incrementValue": 0, "itemsAdded": [], "itemsRemoved": []}).encode()
    async with database.transaction() as session:
        await session.execute(_TOLD, {"body": body, "state": state})


async def _told_again(database: Database) -> None:
    async with database.transaction() as session:
        await session.execute(text("update receipts set repeats = 1"))
        await session.execute(_AGAIN)


async def _found(database: Database) -> tuple[str | None, int]:
    """What a person is asked to look at, and how many repeats are still to be looked at."""
    async with database.transaction() as session:
        attention = await session.scalar(text("select attention_code from orders"))
        return attention, await session.scalar(text("select count(*) from repeats")) or 0


async def test_a_repeat_of_what_somebody_else_is_about_to_apply_is_kept_until_then(
    database: Database, order_id: uuid.UUID
) -> None:
    await _told(database, "received")
    await _told_again(database)
    async with database.transaction() as other:
        await other.execute(text("select 1 from orders for no key update"))
        assert await _applier(database).step() == 0
        assert await _found(database) == (None, 1)

    await _applier(database).step()

    assert await _found(database) == ("change-repeated", 0)


async def test_a_repeat_that_is_stored_while_its_first_is_applied_is_judged(
    database: Database, order_id: uuid.UUID
) -> None:
    """Whoever applies it has counted its repeats before this one; whoever looks at this one still sees it parked."""
    await _told(database, "parked")
    async with database.transaction() as other:
        await other.execute(text("lock table orders in exclusive mode"))
        only = (await other.execute(text("select id from notifications"))).scalar_one()
        await _applier(database)._apply(other, [order_id], only=only)
        await _told_again(database)
        looking = asyncio.create_task(repeats.look(database))
        await until(lambda: _waits_for_the_order(database))
    await looking

    assert await _found(database) == ("change-repeated", 0)


async def test_a_repeat_of_what_was_given_up_is_asked_of_nobody(database: Database, order_id: uuid.UUID) -> None:
    """The change is there by another notification: of one that was applied itself a person would be asked."""
    await _told(database, "received")
    await _applier(database).step()
    async with database.transaction() as session:
        await session.execute(text("update notifications set state = 'ignored', reason = 'dismissed: ambiguous'"))
    await _told_again(database)

    assert await repeats.look(database) == 1

    assert await _found(database) == (None, 0)


async def _waits_for_the_order(database: Database) -> bool:
    waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like '%from orders%'"
    async with database.transaction() as session:
        return bool(await session.scalar(text(waiting)))


async def test_a_repeat_is_looked_at_later_while_somebody_holds_its_order(
    database: Database, order_id: uuid.UUID
) -> None:
    await _told(database, "applied")
    await _told_again(database)
    async with database.transaction() as other:
        await other.execute(text("select 1 from orders for no key update"))

        assert await repeats.look(database) == 0

    assert await _found(database) == (None, 1)
    assert await repeats.look(database) == 1


async def test_a_repeat_of_what_is_parked_is_judged_by_whoever_applies_it(
    database: Database, order_id: uuid.UUID
) -> None:
    await _told(database, "parked")
    await _told_again(database)
    async with database.transaction() as session:
        await session.execute(
            text("update notifications set tries = 1, next_at = clock_timestamp() + interval '1 hour'")
        )
    await repeats.look(database)
    assert await _found(database) == (None, 0)
    async with database.transaction() as session:
        await session.execute(text("update notifications set next_at = clock_timestamp()"))

    await _applier(database).step()

    assert await _found(database) == ("change-repeated", 0)
