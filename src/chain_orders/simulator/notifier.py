"""What the simulated seller tells the marketplace: cancellations and invoices, under every spelling of the address.

The address is the one that the order was placed with. VTEX puts its own part into the path, before a query.
"""

from __future__ import annotations

import time
from base64 import b64encode
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import httpx
from fastapi import HTTPException

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
    "one-level": "/pvt/orders/{order}/cancel",
}
ONE_LEVEL = "one-level"
TRACKING_PATHS = {
    "invoice": "/pvt/orders/{order}/invoice/{number}",
    "tracking": "/pvt/orders/{order}/invoice/{number}/tracking",
}
CHANGE_PATH = "/pvt/orders/{group}/changes"


def chosen(paths: dict[str, str], name: str) -> str:
    """The address of that name. Raises HTTPException."""
    if name not in paths:
        raise HTTPException(422, f"path must be one of {', '.join(paths)}")
    return paths[name]


def address(base: str, path: str) -> str:
    """The base with VTEX's path in it; a query stays behind the path."""
    parts = urlsplit(base)
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/") + path, parts.query, ""))


def rooted(base: str, path: str, token: str, way: str) -> tuple[str, dict[str, str]]:
    """The address at the root of the marketplace, and the headers, that carry a seller's own token."""
    parts = urlsplit(base)
    query = f"token={quote(token, safe='')}" if way == "query" else ""
    headers = {}
    if way == "bearer":
        headers["Authorization"] = f"Bearer {token}"
    elif way == "basic":
        headers["Authorization"] = "Basic " + b64encode(f"vtex:{token}".encode()).decode()
    return urlunsplit((parts.scheme, parts.netloc, path, query, "")), headers


def path(template: str, *, order: str, group: str, number: str = "") -> str:
    return template.format(order=quote(order, safe=""), group=quote(group, safe=""), number=quote(number, safe=""))


@dataclass(frozen=True, slots=True)
class Notifier:
    client: httpx.AsyncClient

    async def send(self, told: dict[str, Any], times: int = 1) -> list[dict[str, Any]]:
        """Send a notification, the same bytes `times` times; what came back, or why nothing did."""
        answers = []
        method, url = told["method"], told["url"]
        content = httpx.Request(method, url, json=told["body"]).content
        headers = {"Content-Type": "application/json", **told.get("headers", {})}
        for _ in range(times):
            started = time.monotonic()
            try:
                response = await self.client.request(method, url, content=content, headers=headers)
                answer: dict[str, Any] = {"status": response.status_code, "body": response.text}
            except httpx.HTTPError as failure:
                answer = {"status": None, "body": None, "error": type(failure).__name__}
            answers.append({**answer, "durationMs": int((time.monotonic() - started) * 1000)})
        return answers
