"""What the simulated seller tells the marketplace: cancellations and invoices, under every spelling of the address.

The address is the one that the order was placed with. VTEX puts its own part into the path, before a query.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import httpx

INVOICE_PATHS = {
    "api-oms-pvt": "/api/oms/pvt/orders/{order}/invoice",
    "api-oms-pub": "/api/oms/pub/orders/{order}/invoice",
    "pvt": "/pvt/orders/{order}/invoice",
    "pub": "/pub/orders/{order}/invoice",
    "group-pvt": "/pvt/orders/order-group/{group}/invoice",
    "group-pub": "/pub/orders/order-group/{group}/invoice",
}
CANCELLATION_PATHS = {
    "seller-cancellation": "/pvt/orders/order-group/{group}/notifications/seller-cancellation",
    "notifications": "/pvt/orders/order-group/{group}/notifications",
}


def address(base: str, path: str) -> str:
    """The base with VTEX's path in it; a query stays behind the path."""
    parts = urlsplit(base)
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/") + path, parts.query, ""))


def path(template: str, *, order: str, group: str) -> str:
    return template.format(order=quote(order, safe=""), group=quote(group, safe=""))


@dataclass(frozen=True, slots=True)
class Notifier:
    client: httpx.AsyncClient

    async def post(self, url: str, body: dict[str, Any], times: int = 1) -> list[dict[str, Any]]:
        """Send a notification, the same bytes `times` times; what came back, or why nothing did."""
        answers = []
        content = httpx.Request("POST", url, json=body).content
        for _ in range(times):
            started = time.monotonic()
            try:
                response = await self.client.post(url, content=content, headers={"Content-Type": "application/json"})
                told: dict[str, Any] = {"status": response.status_code, "body": response.text}
            except httpx.HTTPError as failure:
                told = {"status": None, "body": None, "error": type(failure).__name__}
            answers.append({**told, "durationMs": int((time.monotonic() - started) * 1000)})
        return answers
