"""Every type of what is told: of the events of an order, and of the messages to subscribers that are no events."""

from __future__ import annotations

from typing import Final

OF_ORDERS: Final = frozenset(
    {
        "order.accepted", "order.corrected", "order.placed", "order.rejected", "order.placement-unknown",
        "order.authorization-given", "order.authorization-unknown", "order.cancellation-asked", "order.cancelled",
        "order.attention", "order.attention-cleared", "order.resolved", "order.notified", "order.rebuilt",
        "order.sealed",
        "chain-order.authorized", "chain-order.authorization-refused", "chain-order.authorization-withdrawn",
        "chain-order.authorized-after-cancellation",
        "chain-order.cancellation-asked", "chain-order.cancellation-requested", "chain-order.cancellation-denied",
        "chain-order.cancelled", "chain-order.cancellation-after-invoice",
        "chain-order.partially-invoiced", "chain-order.invoiced", "chain-order.invoice-changed",
        "chain-order.invoice-after-cancellation", "chain-order.returned", "chain-order.tracked",
        "chain-order.delivered", "chain-order.change-told", "chain-order.changed", "chain-order.change-refused",
        "delivery.retried", "notification.replayed", "notification.dismissed",
    }
)  # fmt: skip
RAISED, RECOVERED, TEST = "alert.raised", "alert.recovered", "webhook.test"
ALL: Final = OF_ORDERS | {RAISED, RECOVERED, TEST}
