"""Invoices and their tracking, as sellers tell them. Pure: moves an order in memory and says what came of it.

The first value under a number stands; tracking is merged, and nothing empty erases anything. Each detail is the one of
the latest notification that told it, in whatever order they are applied: `nth` is a notification's number.
Output invoices add up against the chain order's value; `Input` is a return and counts apart.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime

from ..database import now
from ..money import written
from ..vtex.messages import Invoice as InvoiceMessage
from ..vtex.messages import Tracking
from .applied import Applied, Contradicts, Ignored, Result
from .models import ChainOrder, Invoice, Order
from .states import Status, after_invoice

_PLAIN_NUMBER = re.compile(r"[\w.-]+", re.ASCII)
_TRACKING = {"courier": "courier", "tracking_number": "tracking_number", "tracking_url": "tracking_url"}
_DETAILS = {**_TRACKING, "url": "invoice_url", "key": "invoice_key"}


def record_invoice(
    order: Order,
    chain: ChainOrder,
    told: InvoiceMessage,
    receipt: str | None,
    *,
    source: str = "callback",
    nth: int | None = None,
) -> Result:
    """Apply an invoice to the chain order it names, told by a notification or found by a read, which has no `nth`."""
    known = next((i for i in chain.invoices if (i.type, i.number) == (told.type, told.invoice_number)), None)
    if known is not None:
        if source == "read":
            if known.confirmed_at is None:  # it may be the database's clock, which is neither true nor false
                known.confirmed_at = now()
            if other_value(known, told.invoice_value) is not None:
                return Ignored("the seller shows another value")  # as each read will: `comparing` tells it once
        return _merge(order, chain, known, told, receipt, nth)
    invoice = Invoice(
        type=told.type,
        number=told.invoice_number,
        value_cents=told.invoice_value,
        issued_at=told.issuance_date,
        items=_items(told),
        receipt=receipt,
        source=source,
        confirmed_at=now() if source == "read" else None,
        heard={},
    )
    details = {column: getattr(told, field) for column, field in _DETAILS.items() if getattr(told, field) is not None}
    _keep(invoice, details, nth)
    chain.invoices.append(invoice)
    order.touch()
    _name(order, "invoice", invoice.number)
    _name(order, "tracking", invoice.tracking_number)
    if not _PLAIN_NUMBER.fullmatch(invoice.number):
        order.ask_attention(
            "invoice-number-odd", "the invoice number holds characters that VTEX is known to lose tracking over"
        )
    return _return(order, chain, invoice) if invoice.type == "Input" else _sale(order, chain, invoice)


def _sale(order: Order, chain: ChainOrder, invoice: Invoice) -> Result:
    before = Status(chain.status)
    if before is Status.CANCELLED:
        reason = f"invoice {invoice.number} came after {chain.chain_order_id} was cancelled"
        order.tell("chain-order.invoice-after-cancellation", "seller", chain_order=chain, **_facts(invoice))
        order.ask_attention("invoiced-after-cancellation", reason, chain)
        return Contradicts("invoiced-after-cancellation", reason, chain.key)
    invoiced = chain.invoiced_cents
    after = after_invoice(invoiced, chain.value_cents)
    if after is Status.INVOICED:
        chain.move(after)
    else:
        chain.advance(after)
    order.tell(f"chain-order.{after}", "seller", chain_order=chain, **_facts(invoice))
    if invoiced > chain.value_cents:
        order.ask_attention(
            "over-invoiced",
            f"invoices of {written(invoiced)} exceed the chain order's value of {written(chain.value_cents)}",
        )
    order.settle_status()
    return Applied()


def _return(order: Order, chain: ChainOrder, invoice: Invoice) -> Result:
    order.tell("chain-order.returned", "seller", chain_order=chain, **_facts(invoice))
    if chain.returned_cents > chain.invoiced_cents:
        order.ask_attention("over-returned", "returns exceed what was invoiced")
    return Applied()


def too_high(order: Order) -> set[str]:
    """Which amounts exceed what they are a part of, as codes of attention. What comes later may make them add up."""
    codes = set()
    for chain in order.chain_orders:
        if chain.invoiced_cents > chain.value_cents:
            codes.add("over-invoiced")
        if chain.returned_cents > chain.invoiced_cents:
            codes.add("over-returned")
    return codes


def _merge(
    order: Order, chain: ChainOrder, known: Invoice, told: InvoiceMessage, receipt: str | None, nth: int | None
) -> Result:
    reason = other_value(known, told.invoice_value)
    if reason is not None:
        order.tell("chain-order.invoice-changed", "seller", chain_order=chain, number=known.number)
        order.ask_attention("invoice-changed", reason, chain)
        return Contradicts("invoice-changed", reason, chain.key)
    known.receipt = known.receipt or receipt
    return _add(order, chain, known, {**_still_news(known, told, nth), **_unshown(known, told)}, nth)


def _unshown(known: Invoice, told: InvoiceMessage) -> dict[str, object]:
    """What a read does not show of an invoice, and the first notification of it tells: its items, perhaps its date."""
    if known.items or not told.items:
        return {}
    return {"items": _items(told), "issued_at": known.issued_at or told.issuance_date}


def _items(told: InvoiceMessage) -> list[dict[str, object]]:
    return [item.model_dump(include={"id", "quantity", "price"}) for item in told.items]


def other_value(known: Invoice, cents: int) -> str | None:
    """That an invoice is told with another value, in words; None where it is the known one."""
    if cents == known.value_cents:
        return None
    return f"invoice {known.number} came again with the value {written(cents)} instead of {written(known.value_cents)}"


def record_tracking(
    order: Order, chain: ChainOrder, known: Invoice, told: Tracking, heard_at: datetime, *, nth: int
) -> Result:
    """Apply what is told of an invoice's parcel; `heard_at` stands for the delivery's own date where it has none."""
    added: dict[str, object] = {**_still_news(known, told, nth)}
    if told.is_delivered and known.delivered_at is None:
        added["delivered_at"] = told.delivered_date or heard_at
    return _add(order, chain, known, added, nth)


def news(known: Invoice, told: InvoiceMessage | Tracking) -> dict[str, str]:
    """What is told of an invoice that is not known of it. Nothing empty is news."""
    return {
        column: getattr(told, field)
        for column, field in _DETAILS.items()
        if getattr(told, field) is not None and getattr(told, field) != getattr(known, column)
    }


def _still_news(known: Invoice, told: InvoiceMessage | Tracking, nth: int | None) -> dict[str, str]:
    """What is told and not known, less what a later notification has told already. A read shows how it is now."""
    found = news(known, told)
    return {column: value for column, value in found.items() if nth is None or nth >= known.heard.get(column, 0)}


def _keep(known: Invoice, added: Mapping[str, object], nth: int | None) -> None:
    for column, value in added.items():
        setattr(known, column, value)
    if nth is not None:
        known.heard = {**known.heard, **{column: nth for column in added if column in _DETAILS}}


def _add(order: Order, chain: ChainOrder, known: Invoice, added: Mapping[str, object], nth: int | None) -> Result:
    if not added:
        return Ignored("nothing new")
    _keep(known, added, nth)
    order.touch()
    if _TRACKING.keys() & added.keys():
        _name(order, "tracking", known.tracking_number)
        order.tell("chain-order.tracked", "seller", chain_order=chain, number=known.number, **_tracking(known))
    if "delivered_at" in added:
        order.tell("chain-order.delivered", "seller", chain_order=chain, number=known.number)
    return Applied()


def _name(order: Order, kind: str, value: str | None) -> None:
    if value:
        order.new_names.add((kind, value))


def _facts(invoice: Invoice) -> dict[str, object]:
    return {"number": invoice.number, "type": invoice.type, "value": invoice.value_cents, **_tracking(invoice)}


def _tracking(invoice: Invoice) -> dict[str, str]:
    shown = {"courier": invoice.courier, "trackingNumber": invoice.tracking_number}
    return {name: value for name, value in shown.items() if value}
