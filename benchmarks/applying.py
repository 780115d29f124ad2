"""What applying notifications costs: this service's applier beside the ORM code one would write first, which loads an
order, applies what it was told, and commits, one order after the other. Both apply the same invoices, alternating, and
leave the same rows.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta

from sqlalchemy import select, text
from sqlalchemy.orm import selectinload
from tests.builders import invoice
from tests.faults.notifying import PARTS, VALUE, placed_orders

from chain_orders.database import Bell, Database
from chain_orders.events.models import Event
from chain_orders.notifications.applier import Applier
from chain_orders.notifications.models import Notification
from chain_orders.orders.models import ChainOrder, Order, OrderName
from chain_orders.orders.models import Invoice as Known
from chain_orders.serving.server import spare_the_collector
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
                session.add_all(_apply(order, note))
    return notifications / (time.monotonic() - began)


def _apply(order: Order, note: Notification) -> list[Event | OrderName]:
    """Apply an invoice to its order; the rows that tell of it."""
    heard = Invoice.model_validate_json(note.body)
    (chain,) = order.chain_orders
    order.applied_seq += 1
    note.applied_seq, note.applied_at, note.state = order.applied_seq, datetime.now(UTC), "applied"
    if any(known.number == heard.invoice_number for known in chain.invoices):
        return []
    chain.invoices.append(
        Known(
            type=heard.type, number=heard.invoice_number, value_cents=heard.invoice_value,
            issued_at=heard.issuance_date, items=[], receipt=note.receipt, source="callback",
        )
    )  # fmt: skip
    invoiced = sum(known.value_cents for known in chain.invoices)
    chain.status = order.status = "invoiced" if invoiced >= chain.value_cents else "partially-invoiced"
    order.version += 1
    order.updated_at = note.applied_at
    data = {"number": heard.invoice_number, "type": heard.type, "value": heard.invoice_value}
    return [
        OrderName(order_id=order.id, kind="invoice", value=heard.invoice_number),
        Event(
            type=f"chain-order.{chain.status}", actor="seller", seller_id=order.seller_id, data=data,
            order_group=order.order_group, order_id=order.id, chain_order_id=chain.chain_order_id,
            applied_seq=order.applied_seq,
        ),
    ]  # fmt: skip


_DONE = text(
    """
    select o.order_group, o.status, o.applied_seq,
           (select count(*) from events e where e.order_id = o.id and e.type like 'chain-order.%invoiced'),
           (select count(*) from order_names m where m.order_id = o.id and m.kind = 'invoice'),
           (select count(*) from chain_orders c join invoices i on i.chain_order_key = c.key
             where c.order_id = o.id and c.status = o.status),
           (select count(*) from notifications n where n.order_id = o.id and n.state = 'applied')
      from orders o
     where o.order_group like :mine
    """
)


async def _check(database: Database, prefix: str) -> None:
    """Both have the same to do, and have done it: whoever left something out would be quicker."""
    async with database.transaction() as session:
        rows = (await session.execute(_DONE, {"mine": f"{prefix}%"})).all()
    if wrong := [row[0] for row in rows if row[1:] != ("invoiced", *[PARTS] * 5)]:
        raise SystemExit(f"{len(wrong)} orders were not told of all their invoices, {wrong[0]} for one")


async def measure(database: Database, rounds: int, orders: int) -> dict[str, list[float]]:
    """A round of each, alternating, each on orders of its own."""
    rows: dict[str, list[float]] = {OURS: [], ORM: []}
    prefixes = {(nth, row): f"{row[1]}{nth:02d}X".upper() for nth in range(rounds) for row in rows}
    await placed_orders(database, [f"{prefix}{n:05d}" for prefix in prefixes.values() for n in range(orders)])
    spare_the_collector()  # as every process of this service does; it helps both
    for (_, row), prefix in prefixes.items():
        notifications = await _tell(database, prefix)
        rows[row].append(await (ours if row == OURS else orm)(database, notifications))
        await _check(database, prefix)
    return rows
