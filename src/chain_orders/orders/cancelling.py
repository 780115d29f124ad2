"""Cancellations that sellers tell us of. Pure: moves an order in memory and says what came of it."""

from __future__ import annotations

from .applied import Applied, Contradicts, Ignored, Result
from .models import ChainOrder, Order
from .states import Status

CANCELLED_BY_SELLER = "sellerOrderCancelled"


def record_cancellation(order: Order, chain: ChainOrder) -> Result:
    """The seller, or the franchise behind it, cancelled this chain order. After an invoice it is a contradiction."""
    status = Status(chain.status)
    if status is Status.CANCELLED:
        return Ignored("it is cancelled already")
    if chain.invoiced_cents:
        reason = f"the seller cancelled {chain.chain_order_id} after it was {status}"
        order.tell("chain-order.cancellation-after-invoice", "seller", chain_order=chain)
        order.ask_attention("cancelled-after-invoice", reason)
        return Contradicts("cancelled-after-invoice", reason)
    chain.move(Status.CANCELLED)
    order.tell("chain-order.cancelled", "seller", chain_order=chain)
    order.settle_status()
    return Applied()
