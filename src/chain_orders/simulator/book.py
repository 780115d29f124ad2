"""The order book: what the simulated seller knows. Kept in a file that only grows, fsynced at every creation."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


@dataclass(slots=True)
class BookedOrder:
    """A chain order at the seller."""

    chain_order_id: str
    group: str
    affiliate_id: str
    sales_channel: str
    endpoint: str
    items: list[dict[str, Any]]
    value: int
    seller_order_id: str
    status: str = "payment-pending"
    created_at: str = ""
    visible_at: float = 0.0
    authorizations: list[dict[str, Any]] = field(default_factory=list)
    authorized_at: str | None = None
    packages: list[dict[str, Any]] = field(default_factory=list)
    cancelled_at: str | None = None
    cancellation_requests: list[dict[str, Any]] = field(default_factory=list)
    last_notification: dict[str, Any] | None = None
    person: dict[str, Any] = field(default_factory=dict)
    """Who buys and where it is sent: a seller's answers repeat it."""

    @property
    def invoiced(self) -> int:
        return sum(int(package["invoiceValue"]) for package in self.packages if package["type"] == "Output")


class Book:
    """Every order, by chain order id. A repeated id (a seller that does not dedupe) is kept beside the first."""

    def __init__(self, path: Path | None = None) -> None:
        self._orders: dict[str, list[BookedOrder]] = {}
        self.puts: Counter[str] = Counter()
        self.arrived: dict[str, list[str]] = {}
        """By order group, the SHA-256 of each placement that came, whatever became of it: its query and its bytes."""
        self._file = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                self._load(path)
            self._file = path.open("a", encoding="utf-8")

    def close(self) -> None:
        """Nothing can be written any more, if it was written to a file."""
        if self._file is not None:
            self._file.close()

    def all(self) -> list[BookedOrder]:
        return [order for orders in self._orders.values() for order in orders]

    def of_group(self, group: str) -> list[BookedOrder]:
        return [order for order in self.all() if group in {order.group, f"{order.affiliate_id}-{order.group}"}]

    def get(self, chain_order_id: str) -> BookedOrder | None:
        found = self._orders.get(chain_order_id)
        return found[0] if found else None

    def note(self, group: str, query: bytes, body: bytes) -> None:
        """A placement has come."""
        self.arrived.setdefault(group, []).append(hashlib.sha256(query + b"\n" + body).hexdigest())

    def add(self, orders: list[BookedOrder]) -> None:
        for order in orders:
            self._orders.setdefault(order.chain_order_id, []).append(order)
        self._write([{"created": asdict(order)} for order in orders])

    def save(self, order: BookedOrder) -> None:
        self._write([{"changed": asdict(order)}])

    def _write(self, entries: list[dict[str, Any]]) -> None:
        if self._file is None:
            return
        self._file.writelines(json.dumps(entry) + "\n" for entry in entries)
        self._file.flush()
        os.fsync(self._file.fileno())

    def _load(self, path: Path) -> None:
        _cut_torn_end(path)
        for line in path.read_text("utf-8").splitlines():
            entry = json.loads(line)
            if "created" in entry:
                order = BookedOrder(**entry["created"])
                self._orders.setdefault(order.chain_order_id, []).append(order)
            else:
                changed = BookedOrder(**entry["changed"])
                self._orders[changed.chain_order_id][0] = changed


def _cut_torn_end(path: Path) -> None:
    """A crash may leave half a line, which the next one would be glued to: what ends without a newline never was."""
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)


def new_orders(
    document: dict[str, Any], affiliate_id: str, sales_channel: str, split: str, lag: float
) -> list[BookedOrder]:
    """The chain orders that a purchase becomes, numbered from 01."""
    group = document["marketplaceOrderGroup"]
    freight = {
        entry.get("itemIndex"): _freight(entry) for entry in document.get("shippingData", {}).get("logisticsInfo", [])
    }
    parts: dict[str, list[int]] = {}
    for at, item in enumerate(document["items"]):
        key = {"none": "", "seller": str(item.get("seller")), "item": str(at)}[split]
        parts.setdefault(key, []).append(at)
    orders = []
    for number, positions in enumerate(parts.values(), start=1):
        items = [document["items"][at] for at in positions]
        value = sum(_cost(item) for item in items)
        chain_order_id = f"{affiliate_id}-{group}-{number:02d}"
        orders.append(
            BookedOrder(
                chain_order_id=chain_order_id,
                group=group,
                affiliate_id=affiliate_id,
                sales_channel=sales_channel,
                endpoint=document["marketplaceServicesEndpoint"],
                items=items,
                value=value + sum(freight.get(at, 0) for at in positions),
                seller_order_id=f"00-{chain_order_id}",
                created_at=datetime.now(UTC).isoformat(),
                visible_at=time.time() + lag,
                person={name: document[name] for name in ("clientProfileData", "shippingData") if name in document},
            )
        )
    return orders


def _cost(item: dict[str, Any]) -> int:
    """A line's price, with its services and its tax, and what its price tags take off or add."""
    services = sum(int(service.get("price") or 0) for service in item.get("bundleItems") or [])
    tags = sum(int(tag.get("value") or 0) for tag in item.get("priceTags") or [] if not tag.get("isPercentual"))
    return int(item["price"]) * int(item["quantity"]) + services + int(item.get("tax") or 0) + tags


def _freight(entry: dict[str, Any]) -> int:
    """What the delivery of a line costs, with the price and the tax of its window."""
    window = entry.get("deliveryWindow") or {}
    return int(entry.get("price") or 0) + int(window.get("price") or 0) + int(window.get("tax") or 0)


def new_receipt() -> dict[str, str]:
    return {"date": datetime.now(UTC).isoformat(), "receipt": secrets.token_hex(16)}
