"""What the simulated seller answers when it is asked for price and delivery."""

from __future__ import annotations

from typing import Any

PRICE, FREIGHT = 1200, 100


def simulation(asked: list[dict[str, Any]]) -> dict[str, Any]:
    """Everything costs 12.00 and 1.00 of freight a line; a SKU that begins with OUT is not in stock."""
    items = [
        {
            **item,
            "requestIndex": at,
            "price": PRICE,
            "sellingPrice": PRICE,
            "availability": "withoutStock" if str(item.get("id")).startswith("OUT") else "available",
        }
        for at, item in enumerate(asked)
    ]
    sold = [item for item in items if item["availability"] == "available"]
    freight = {"id": "Normal", "deliveryChannel": "delivery", "price": FREIGHT, "shippingEstimate": "3bd"}
    totals = {"Items": sum(PRICE * int(item["quantity"]) for item in sold), "Shipping": FREIGHT * len(sold)}
    return {
        "items": items,
        "logisticsInfo": [{"itemIndex": item["requestIndex"], "slas": [freight]} for item in sold],
        "totals": [{"id": name, "name": name, "value": value} for name, value in totals.items()],
        "messages": [],
    }
