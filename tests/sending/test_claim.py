"""What the claim looks at: nothing behind a lane that is paused, and nothing that is done."""

from __future__ import annotations

from typing import Any

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncSession

from chain_orders.database import Database
from chain_orders.deliveries import queue

MANY = 20_000

_FILL = text(
    """
    insert into deliveries (lane, sequence, order_id, kind, method, target, body, state, settled_at)
    select :lane, :lane || n, gen_random_uuid(), 'authorize', 'POST', '/', '', :state,
           case when :state = 'delivered' then clock_timestamp() end
      from generate_series(1, :many) n
    """
)


async def _lane(database: Database, lane: str, state: str, many: int, *, paused: bool = False) -> None:
    async with database.transaction() as session:
        await session.execute(
            text(
                "insert into lanes (lane, concurrency, rate_per_second, tokens, paused)"
                " values (:lane, 100, 1000, 1000, :paused)"
            ),
            {"lane": lane, "paused": paused},
        )
        await session.execute(_FILL, {"lane": lane, "state": state, "many": many})
    async with database.transaction() as session:
        await session.execute(text("analyze deliveries"))


async def _explained(session: AsyncSession, statement: TextClause, given: dict[str, Any]) -> int:
    """Rows of `deliveries` that a statement read or passed over."""
    told = statement.text.replace(":lease", "interval '60 seconds'")
    given = {name: value for name, value in given.items() if f":{name}" in told}
    (plan,) = (await session.execute(text(f"explain (analyze, format json) {told}"), given)).scalar_one()
    return _rows(plan["Plan"])


async def _visited(database: Database) -> int:
    """Rows of `deliveries` that finding the gates and claiming behind them read or passed over."""
    async with database.transaction() as session:
        gates = list(await session.scalars(queue._LOCK_GATES, {"lanes": 16, "whose": "", "but": [], "only": None}))
        asked = {"lanes": 16, "whose": "", "but": [], "only": None, "worker": "w", "slots": 10, "gates": gates}
        total = 0
        for statement in (queue._LOCK_GATES, queue._CLAIM):
            total += await _explained(session, statement, asked)
        await session.rollback()
    return total


def _rows(node: dict[str, Any]) -> int:
    mine = 0
    if node.get("Relation Name") == "deliveries" and "Scan" in node["Node Type"]:
        seen = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
        mine = int(seen * node["Actual Loops"])
    return mine + sum(_rows(child) for child in node.get("Plans", []))


async def test_what_waits_behind_a_paused_lane_is_not_visited(database: Database) -> None:
    await _lane(database, "seller:paused", "ready", MANY, paused=True)
    await _lane(database, "seller:open", "ready", 50)

    assert await _visited(database) < 1000


async def test_what_is_done_is_not_visited(database: Database) -> None:
    await _lane(database, "seller:done", "delivered", MANY)
    await _lane(database, "seller:open", "ready", 50)

    assert await _visited(database) < 1000


async def test_what_waits_is_not_counted_to_know_when_the_next_is_due(database: Database) -> None:
    for lane, paused in (("seller:paused", True), ("seller:open", False)):
        await _lane(database, lane, "retrying", MANY, paused=paused)
    async with database.transaction() as session:
        await session.execute(text("update deliveries set next_at = clock_timestamp() + interval '1 hour'"))
        await session.execute(text("analyze deliveries"))

        assert await _explained(session, queue._NEXT_DUE, {}) < 1000
        assert 3500 < (await queue.seconds_until_due(session) or 0) <= 3600


async def test_what_is_due_later_is_not_visited(database: Database) -> None:
    await _lane(database, "seller:busy", "retrying", MANY)
    async with database.transaction() as session:
        await session.execute(text("update deliveries set next_at = clock_timestamp() + interval '1 hour'"))
        await session.execute(_FILL, {"lane": "seller:busy", "state": "ready", "many": 20})
    async with database.transaction() as session:
        await session.execute(text("analyze deliveries"))

    assert await _visited(database) < 1000
