"""What a read of the seller says against what we know. Pure: moves an order in memory.

`compare` applies what can be learnt. What the seller shows otherwise than it told us is a difference, which every read
shows again: whoever reads looks whether a person has heard of it, and `tell` tells it once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..money import written
from ..vtex.messages import Invoice as InvoiceMessage
from ..vtex.messages import Package, SellerOrder
from .cancelling import deny, record_cancellation
from .invoicing import other_value, record_invoice
from .models import ChainOrder, Invoice, Order
from .states import Status

NOT_SHOWN = "not-shown"
MISSING = "missing-at-seller"
_CANCELLED = frozenset({"canceled", "cancelled", "cancel"})
VALUE_DIFFERS, INVOICE_CHANGED = "value-differs", "invoice-changed"
NOT_AUTHORIZED = "not-authorized-at-seller"
DIFFERENCES = (VALUE_DIFFERS, INVOICE_CHANGED, NOT_AUTHORIZED)
"""Codes of attention."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What the seller shows otherwise than it told us: of a chain order, or of the invoice with this number."""

    code: str
    reason: str
    invoice: str | None = None


def compare(
    order: Order,
    chain: ChainOrder,
    seen: SellerOrder | None,
    *,
    waited_long_enough: bool,
    asking: bool = False,
    again_soon: bool = False,
) -> None:
    """Apply what the seller shows of a chain order; `seen` is None when it shows nothing.

    `waited_long_enough`: what the seller told us had time to show, so that its absence is a contradiction. `asking`: a
    request to cancel is not known to have arrived before this read, so that what the seller has denied is an earlier
    one. `again_soon`: it is about to be read again; one that is new at the seller may not be shown yet.
    """
    if seen is None and again_soon and chain.seller_status is None:
        return
    if seen is None:
        if chain.seller_status != NOT_SHOWN:
            order.ask_attention(MISSING, f"the seller does not show {chain.chain_order_id}")
        chain.seller_status = NOT_SHOWN
        return
    was_cancelled = shown_cancelled(chain)
    chain.seller_status = seen.status
    if seen.marketplace_order_id and chain.marketplace_order_id is None:
        chain.marketplace_order_id = seen.marketplace_order_id
        order.new_names.add(("marketplace-order", seen.marketplace_order_id))
    for package in seen.packages:
        if package.invoice_number is not None:
            record_invoice(order, chain, _message(package), None, source="read")
    if seen.cancelled:
        if not was_cancelled:
            record_cancellation(order, chain, source="read")
        return
    if seen.authorized and chain.advance(Status.AUTHORIZED):
        order.tell("chain-order.authorized", "seller", chain_order=chain, source="read")
    if seen.status == "invoiced" and chain.status != Status.CANCELLED and chain.advance(Status.INVOICED):
        order.tell("chain-order.invoiced", "seller", chain_order=chain, source="read")
    _judge_cancellation(order, chain, seen, waited_long_enough, asking)
    unseen = ", ".join(invoice.number for invoice in _unseen_returns(chain))
    if unseen and waited_long_enough:
        order.ask_attention("return-not-at-seller", f"the seller told us of the return {unseen}, and does not show it")


def differences(chain: ChainOrder, seen: SellerOrder | None) -> list[Difference]:
    """What the seller shows of a chain order otherwise than it told us; a value means nothing once it is cancelled."""
    if seen is None:
        return []
    known = {(invoice.type, invoice.number): invoice for invoice in chain.invoices}
    found = [
        Difference(INVOICE_CHANGED, reason, package.invoice_number)
        for package in seen.packages
        if (invoice := known.get((package.type, package.invoice_number or ""))) is not None
        if (reason := other_value(invoice, package.invoice_value)) is not None
    ]
    counts = not seen.cancelled and chain.status != Status.CANCELLED
    if counts and seen.value is not None and seen.value not in _values(chain):
        ours = written(chain.value_cents)
        reason = f"{chain.chain_order_id} is worth {written(seen.value)} at the seller, and {ours} here"
        found.append(Difference(VALUE_DIFFERS, reason))
    if chain.status == Status.AUTHORIZED and seen.awaits_authorization:
        reason = f"the seller took the authorization of {chain.chain_order_id}, and still waits for it"
        found.append(Difference(NOT_AUTHORIZED, reason))
    return found


def tell(order: Order, chain: ChainOrder, found: Sequence[Difference]) -> None:
    """Tell these differences, and ask a person to look."""
    for one in found:
        if one.invoice is not None:
            order.tell("chain-order.invoice-changed", "seller", chain_order=chain, number=one.invoice)
        order.ask_attention(one.code, one.reason, chain)


def _values(chain: ChainOrder) -> set[int]:
    """What the chain order is worth, also with the changes that a person knows of and that do not count here."""
    waiting, dismissed = (
        sum(change.increment_cents - change.discount_cents for change in chain.changes if change.state == state)
        for state in ("recorded", "dismissed")
    )
    return {max(chain.value_cents + cents, 0) for cents in (0, waiting, dismissed, waiting + dismissed)}


def _judge_cancellation(
    order: Order, chain: ChainOrder, seen: SellerOrder, waited_long_enough: bool, asking: bool
) -> None:
    if chain.status == Status.CANCEL_REQUESTED and seen.cancellation_denied and not asking:
        deny(order, chain, f"the seller does not cancel {chain.chain_order_id}")
    elif waited_long_enough and chain.status == Status.CANCELLED:
        order.ask_attention(
            "cancellation-not-at-seller",
            f"the seller told us that {chain.chain_order_id} is cancelled, and shows it as {seen.status}",
            chain,
        )


def shown_cancelled(chain: ChainOrder) -> bool:
    """Whether the last read of the seller showed it as cancelled."""
    return chain.seller_status in _CANCELLED


def unconfirmed(chain: ChainOrder) -> bool:
    """Whether a cancellation or a return is still to be seen at the seller."""
    if chain.status == Status.CANCEL_REQUESTED:
        return True
    if chain.status == Status.CANCELLED and not shown_cancelled(chain):
        return True
    return bool(_unseen_returns(chain))


def _unseen_returns(chain: ChainOrder) -> list[Invoice]:
    return [invoice for invoice in chain.invoices if invoice.type == "Input" and invoice.confirmed_at is None]


def _message(package: Package) -> InvoiceMessage:
    return InvoiceMessage.model_construct(**package.model_dump(), items=[])
