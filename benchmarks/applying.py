"""What applying notifications costs: this service's applier beside the ORM code one would write first, which loads an
order, applies what it was told, and commits, one order after the other. Both apply the same invoices, alternating.
"""

from __future__ import annotations

import json
import time
from datetime import timedelta

from sqlalchemy import select, text
from sqlalchemy.orm import selectinload
from tests.builders import invoice
from tests.faults.notifying import PARTS, VALUE, placed_orders

from chain_orders.database import Bell, Database
from chain_orders.events.models import Event
from chain_orders.notifications.applier import Applier
from chain_orders.notifications.models import Notification
from chain_orders.orders.models import ChainOrder, Order
from chain_orders.orders.models import Invoice as Known
from chain_orders.vtex.messages import Invoice

OURS, ORM = "(f) this service's applier", "(g) ORM, one order a transaction"

_STORE = text(
    """
    insert into notifications (dedupe_key, receipt, kind, caller, order_id, path, headers, body)
    select sha256(convert_to(o.ref || n, 'utf8')), md5(o.ref || n), 'invoice', 'base', o.id,
           convert_to('pvt/orders/' || o.order_group || '/invoice', 'utf8'), '{}'::bytea,
           convert_to(replace(:body, 'NUMBER', 'NF-' || n), 'utf8')
      from orders o cross join generate_series(1, :parts) n
     where o.order_group like :mine
     order by n, o.id
    """
)


async def _tell(database: Database, prefix: str) -> int:
    """Tell each of these orders of ten invoices that nobody applies yet; how many notifications there are."""
    body = json.dumps(invoice("NUMBER", VALUE // PARTS, items=[]))
    async with database.transaction() as session:
        told = await session.execute(_STORE, {"body": body, "parts": PARTS, "mine": f"{prefix}%"})
        for table in ("orders", "chain_orders", "notifications"):
            await session.execute(text(f"analyze {table}"))
    return int(told.rowcount)  # type: ignore[attr-defined]  # of a statement that inserts


async def ours(database: Database, notifications: int) -> float:
    """Notifications a second."""
    applier = Applier(database, Bell(""), poll_seconds=1, sweep=timedelta(seconds=30), patience=timedelta(minutes=10))
    began = time.monotonic()
    while await applier.step():
        pass
    return notifications / (time.monotonic() - began)


async def orm(database: Database, notifications: int) -> float:
    """Notifications a second."""
    began = time.monotonic()
    async with database.transaction() as session:
        waiting = select(Notification.order_id).where(Notification.state == "received").distinct()
        ids = list(await session.scalars(waiting))
    for order_id in ids:
        async with database.transaction() as session:
            whole = selectinload(Order.chain_orders).selectinload(ChainOrder.invoices)
            order = (
                await session.scalars(select(Order).where(Order.id == order_id).options(whole).with_for_update())
            ).one()
            notes = select(Notification).where(Notification.order_id == order_id, Notification.state == "received")
            for note in await session.scalars(notes.order_by(Notification.id)):
                _apply(order, note)
                session.add(
                    Event(
                        type="chain-order.invoiced", actor="seller", seller_id=order.seller_id, data={},
                        order_group=order.order_group, order_id=order.id,
                    )
                )  # fmt: skip
    return notifications / (time.monotonic() - began)


def _apply(order: Order, note: Notification) -> None:
    heard = Invoice.model_validate_json(note.body)
    (chain,) = order.chain_orders
    if all(known.number != heard.invoice_number for known in chain.invoices):
        chain.invoices.append(
            Known(
                type=heard.type, number=heard.invoice_number, value_cents=heard.invoice_value,
                issued_at=heard.issuance_date, items=[], receipt=note.receipt, source="callback",
            )
        )  # fmt: skip
    order.applied_seq += 1
    note.applied_seq, note.state = order.applied_seq, "applied"
    invoiced = sum(known.value_cents for known in chain.invoices)
    chain.status = order.status = "invoiced" if invoiced >= chain.value_cents else "partially-invoiced"


async def measure(database: Database, rounds: int, orders: int) -> dict[str, list[float]]:
    """A round of each, alternating, each on orders of its own."""
    rows: dict[str, list[float]] = {OURS: [], ORM: []}
    prefixes = {(nth, row): f"{row[1]}{nth:02d}X".upper() for nth in range(rounds) for row in rows}
    await placed_orders(database, [f"{prefix}{n:05d}" for prefix in prefixes.values() for n in range(orders)])
    for (_, row), prefix in prefixes.items():
        notifications = await _tell(database, prefix)
        rows[row].append(await (ours if row == OURS else orm)(database, notifications))
        async with database.transaction() as session:
            left = await session.scalar(text("select count(*) from notifications where state <> 'applied'"))
        if left:
            raise SystemExit(f"{left} notifications were not applied")
    return rows
