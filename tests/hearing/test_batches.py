"""Orders are applied in batches: one notification that cannot be applied holds up no other."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chain_orders.database import Bell, Database
from chain_orders.notifications import applier
from chain_orders.notifications.inbox import Inbox
from chain_orders.notifications.storing import Incoming

from ..builders import Marketplace, SimulatedSeller, cancellation, invoice, order, until
from ..faults import sabotage
from ..faults.heard import applied
from ..faults.notifying import placed_orders


@contextlib.asynccontextmanager
async def _no_invoice_may_be_called(number: str, database: Database) -> AsyncIterator[None]:
    """A rule of the database that nothing in memory knows of."""
    rule = f"alter table invoices add constraint not_this check (number <> '{number}') not valid"
    async with database.transaction() as session:
        await session.execute(text(rule))
    try:
        yield
    finally:
        async with database.transaction() as session:
            await session.execute(text("alter table invoices drop constraint not_this"))


async def test_one_that_cannot_be_applied_is_parked_alone_and_tried_again(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    groups = ["BATCH0", "BATCH1", "BATCH2"]
    first, broken, last = [(await marketplace.place(order(group)))["id"] for group in groups]

    async def told(group: str, number: str, value: int) -> None:
        address = f"{await simulated.base(group)}/pvt/orders/MKP-{group}-01/invoice"
        assert (await marketplace.notify(address, invoice(number, value))).status_code == 200

    async def notes() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await marketplace.get(broken, "/notifications"))["items"]
        return found

    async with _no_invoice_may_be_called("NF-BAD", marketplace.database):
        async with marketplace.database.transaction() as session:  # so that all of them are one batch
            await session.execute(text("select id from orders for no key update"))
            await told("BATCH0", "NF-1", 1300)
            await told("BATCH1", "NF-BAD", 100)
            await told("BATCH1", "NF-2", 200)
            await told("BATCH2", "NF-3", 1300)
        for whole in (first, last):
            await marketplace.becomes(whole, "invoiced")
        partly = await marketplace.becomes(broken, "partially-invoiced")
        states = [(note["state"], note["reason"]) for note in await notes()]

    assert states == [("parked", "apply-failed"), ("applied", None)]
    assert (partly["money"]["invoiced"], partly["attention"]["code"]) == (200, "apply-failed")

    async def applied() -> bool:
        return {note["state"] for note in await notes()} == {"applied"}

    await until(applied, 60)
    assert (await marketplace.get(broken))["money"]["invoiced"] == 300


async def _overtaken(database: Database, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int, int]:
    """An applier is about to apply an order's invoice when the order is cancelled, and another one hears of that, which
    goes on only when the first is done. What `applied` says of it."""
    (path,) = (await placed_orders(database, ["RACE1"])).values()
    bell, stop, due = Bell(""), asyncio.Event(), applier._due
    inbox = Inbox(database, bell, commit_seconds=10)
    waits = {"poll_seconds": 0.1, "sweep": timedelta(seconds=1), "patience": timedelta(seconds=1)}
    one, other = (applier.Applier(database, bell, **waits) for _ in range(2))
    ready, reached, running = asyncio.Event(), asyncio.Event(), asyncio.create_task(inbox.run(stop))

    async def meet(session: AsyncSession, order_ids: Sequence[uuid.UUID]) -> list[int]:
        if asyncio.current_task() is second:
            reached.set()
            await first
            return await due(session, order_ids)
        found = await due(session, order_ids)
        if not ready.is_set():
            ready.set()
            await reached.wait()
        return found

    async def tell(kind: str, below: str, body: dict[str, Any]) -> None:
        sent = json.dumps(body).encode()
        await inbox.receive(Incoming(kind, "base", path.split("/")[-2], "RACE1", below.encode(), b"{}", sent, sent))

    async def step() -> None:
        try:
            await other.step()
        finally:
            reached.set()  # or it has found nobody there

    monkeypatch.setattr(applier, "_due", meet)
    await tell("invoice", "pvt/orders/RACE1/invoice", invoice())
    first, second = asyncio.create_task(one.step()), None
    await ready.wait()
    await tell("cancellation", "pvt/orders/order-group/RACE1/notifications", cancellation("MKP-RACE1-01"))
    second = asyncio.create_task(step())
    await asyncio.gather(first, second)
    await one.step()
    stop.set()
    await running
    return await applied(database, ["RACE1"], 1)


async def test_a_cancellation_in_the_middle_of_an_invoice_is_applied_after_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await _overtaken(database, monkeypatch) == (0, 0, 0)


async def test_an_applier_without_the_orders_lock_is_caught(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sabotage, "replace", monkeypatch.setattr)
    sabotage.no_order_lock()

    _, misapplied, cancelled = await _overtaken(database, monkeypatch)

    assert (misapplied, cancelled) == (1, 1)


_HEARD = text(
    """
    insert into notifications (dedupe_key, receipt, kind, caller, order_id, path, headers, body, state, next_at)
    select sha256(g::text::bytea), md5(g::text), 'invoice', 'base', gen_random_uuid(), '', '{}', '{}',
           case when g <= 3000 then 'applied' when g <= 6000 then 'parked' when g % 2 = 0 then 'received'
                else 'parked' end,
           clock_timestamp() + case when g <= 6000 then interval '1 hour' else interval '-1 hour' end
      from generate_series(1, 6100) g
    """
)


async def test_what_was_applied_or_is_not_due_is_not_visited(database: Database) -> None:
    """The applier looks for work without end: what it costs must not grow with what was ever told."""
    await placed_orders(database, ["VISITS"])
    async with database.transaction() as session:
        await session.execute(_HEARD)
        await session.execute(text("analyze notifications"))
        explained = text(f"explain (analyze, format json) {applier._LOCK_ORDERS.text}")
        (plan,) = (await session.execute(explained, {"orders": 64})).scalar_one()

    visits = dict(_visits(plan["Plan"]))
    assert visits.keys() == {"notifications_received_idx", "notifications_parked_idx"}
    assert sum(visits.values()) == 100


def _visits(node: dict[str, Any]) -> Iterator[tuple[str | None, int]]:
    """Of each scan of notifications: by which index, and how many rows it read or passed over."""
    if node.get("Relation Name") == "notifications":
        rows = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
        index = node.get("Index Name") or node.get("Plans", [{}])[0].get("Index Name")  # of a bitmap it is below
        yield index, int(rows * node["Actual Loops"])
    for child in node.get("Plans", []):
        yield from _visits(child)
