"""Orders are applied in batches: one notification that cannot be applied holds up no other."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from sqlalchemy import text

from chain_orders.database import Database

from ..builders import Marketplace, SimulatedSeller, invoice, order, until


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
