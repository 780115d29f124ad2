"""Writing what a batch of notifications came to: a statement for all of them and one for all their new invoices.

The session would write each as an object of its own, which costs more than applying it does. Orders and chain orders,
of which a batch has few, are left to it; what is written here must not belong to it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm.attributes import set_committed_value

from ..orders.models import Invoice, Order
from .models import Notification

_NOTES = text(
    """
    update notifications n
       set state = s.state, reason = s.reason, tries = s.tries, next_at = s.next_at,
           applied_seq = s.applied_seq, applied_at = s.applied_at,
           contradicts = s.contradicts, chain_order_key = s.chain_order_key
      from unnest(
           cast(:id as bigint[]), cast(:state as text[]), cast(:reason as text[]), cast(:tries as bigint[]),
           cast(:next_at as timestamptz[]), cast(:applied_seq as bigint[]), cast(:applied_at as timestamptz[]),
           cast(:contradicts as text[]), cast(:chain_order_key as bigint[])
      ) as s(id, state, reason, tries, next_at, applied_seq, applied_at, contradicts, chain_order_key)
     where n.id = s.id
    """
)
_NOTE = (
    "id", "state", "reason", "tries", "next_at", "applied_seq", "applied_at", "contradicts", "chain_order_key",
)  # fmt: skip


async def save_notes(session: AsyncSession, notes: Sequence[Notification]) -> None:
    """Write how far these have been applied."""
    if notes:
        await session.execute(_NOTES, {column: [getattr(note, column) for note in notes] for column in _NOTE})


_INVOICES = text(
    """
    insert into invoices (
           chain_order_key, type, number, value_cents, issued_at, url, key, courier, tracking_number, tracking_url,
           items, receipt, heard, source, confirmed_at, delivered_at)
    select chain_order_key, type, number, value_cents, issued_at, url, key, courier, tracking_number, tracking_url,
           cast(items as jsonb), receipt, cast(heard as jsonb), source, confirmed_at, delivered_at
      from unnest(
           cast(:chain_order_key as bigint[]), cast(:type as text[]), cast(:number as text[]),
           cast(:value_cents as bigint[]), cast(:issued_at as timestamptz[]), cast(:url as text[]),
           cast(:key as text[]), cast(:courier as text[]), cast(:tracking_number as text[]),
           cast(:tracking_url as text[]), cast(:items as text[]), cast(:receipt as text[]), cast(:heard as text[]),
           cast(:source as text[]), cast(:confirmed_at as timestamptz[]), cast(:delivered_at as timestamptz[])
      ) with ordinality as one(
           chain_order_key, type, number, value_cents, issued_at, url, key, courier, tracking_number, tracking_url,
           items, receipt, heard, source, confirmed_at, delivered_at, nth)
     order by nth
    """
)
_INVOICE = (
    "type", "number", "value_cents", "issued_at", "url", "key", "courier", "tracking_number", "tracking_url",
    "receipt", "source", "confirmed_at", "delivered_at",
)  # fmt: skip


async def save_invoices(session: AsyncSession, orders: Iterable[Order]) -> None:
    """Write the invoices that these orders have gained, in the order in which they came, and take them off."""
    keys: list[int] = []
    new: list[Invoice] = []
    for chain in (chain for order in orders for chain in order.chain_orders):
        gained = [invoice for invoice in chain.invoices if invoice.id is None]
        if gained:
            set_committed_value(chain, "invoices", [invoice for invoice in chain.invoices if invoice.id is not None])
        keys += [chain.key] * len(gained)
        new += gained
    if new:
        columns = {column: [getattr(invoice, column) for invoice in new] for column in _INVOICE}
        documents = {column: [json.dumps(getattr(invoice, column)) for invoice in new] for column in ("items", "heard")}
        await session.execute(_INVOICES, {"chain_order_key": keys, **columns, **documents})
