"""A seller within a simulation: it dedupes nothing, answers or does not by a seed, and lives a life of its own.

It stands where the wire would be, so that the service's own client, addresses and readings of answers are what speaks.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from chain_orders.outbound import Exchange

LONGEST_LAG = 50.0
"""Seconds for which an order may be invisible: within the window that the service's promise asks for."""
_UNTIL = 1500.0
"""After so many seconds nothing goes wrong any more."""


@dataclass(slots=True)
class Booked:
    """An order at the seller."""

    chain_order_id: str
    group: str
    items: list[dict[str, Any]]
    value: int
    endpoint: str
    visible_at: float
    status: str = "payment-pending"
    authorized_at: str | None = None
    authorizations: int = 0
    packages: list[dict[str, Any]] = field(default_factory=list)
    wishes: list[dict[str, Any]] = field(default_factory=list)

    @property
    def invoiced(self) -> int:
        return sum(one["invoiceValue"] for one in self.packages if one["type"] == "Output")

    def shown(self) -> dict[str, Any]:
        return {
            "orderId": self.chain_order_id, "orderGroup": f"MKP-{self.group}", "marketplaceOrderId": self.group,
            "value": self.value, "items": self.items, "isCompleted": True, "affiliateId": "MKP",
            "marketplaceServicesEndpoint": self.endpoint, "status": self.status, "authorizedDate": self.authorized_at,
            "cancellationRequests": self.wishes or None, "packageAttachment": {"packages": self.packages},
        }  # fmt: skip


class Seller:
    """`exchange` is what a `Wire` has. `booked` is called with each order that is created."""

    def __init__(self, chance: random.Random, clock: Callable[[], float], booked: Callable[[Booked], None]) -> None:
        self._chance, self._clock, self._booked = chance, clock, booked
        self.orders: list[Booked] = []
        self.created = 0
        self.took = 0.0
        """Seconds that the last exchange took."""
        self._refuses = chance.random() < 0.04
        self._splits = chance.random() < 0.3
        self._wish = chance.choice(["accept", "decide", "refuse"])
        self._trouble = chance.choice([0.0, 0.3, 0.7])

    async def exchange(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        content: bytes = b"",
        reuse: bool = False,
        in_time: Callable[[], bool] = lambda: True,
    ) -> Exchange:
        del headers, reuse, in_time
        self.took = self._chance.uniform(0.05, 2)
        path, ill = urlsplit(url).path, self._clock() < _UNTIL and self._chance.random() < self._trouble
        if method == "GET":
            return self._ill_read() if ill else self._read(path)
        if not ill:
            return self._do(method, path, content)
        return self._ill_call(method, path, content)

    def _ill_read(self) -> Exchange:
        return self._chance.choice([Exchange(None, error="ReadError"), Exchange(500), Exchange(200, b"<html>")])

    def _ill_call(self, method: str, path: str, content: bytes) -> Exchange:
        match self._chance.randrange(7):
            case 0:
                return Exchange(None, sent=False, error="ConnectError")
            case 1:
                return Exchange(None, error="ReadError")
            case 2:
                return Exchange(429, headers={"retry-after": "2"})
            case 3:
                return Exchange(503)
        done = self._do(method, path, content)
        if done.status is not None and done.status >= 300:
            return done
        self.took = self._chance.uniform(0.05, 35)
        answers = [Exchange(None, error="deadline"), Exchange(500), Exchange(200, b"<html>")]
        return self._chance.choice(answers)

    def _do(self, method: str, path: str, content: bytes) -> Exchange:
        if method == "PUT":
            return self._place(json.loads(content))
        order = self._known(path)
        if order is None:
            return Exchange(404, _error("CHK0201"))
        return self._ask_to_cancel(order) if path.endswith("/cancel") else self._authorize(order)

    def _place(self, document: dict[str, Any]) -> Exchange:
        if self._refuses:
            return Exchange(400, _error("CHK0198"))
        self.created += 1
        lag = self._chance.choice([0.0, self._chance.uniform(0, LONGEST_LAG)])
        parts = [[item] for item in document["items"]] if self._splits else [document["items"]]
        made = [
            Booked(
                f"MKP-{document['marketplaceOrderGroup']}-{self.created - 1}{nth}",
                document["marketplaceOrderGroup"],
                [{"id": item["id"], "quantity": item["quantity"], "price": item["price"]} for item in part],
                sum(item["price"] * item["quantity"] for item in part) + (100 if nth == 1 else 0),
                document["marketplaceServicesEndpoint"],
                self._clock() + lag,
            )
            for nth, part in enumerate(parts, start=1)
        ]
        self.orders.extend(made)
        for one in made:
            self._booked(one)
        return _json({"orders": [one.shown() for one in made]}, 201)

    def _authorize(self, order: Booked) -> Exchange:
        if order.status in {"canceled", "invoiced"}:
            return Exchange(400, _error("CHK0242"))
        order.authorizations += 1
        order.authorized_at = "2026-11-05T12:00:00+00:00"
        if order.status == "payment-pending":
            order.status = "payment-approved"
        return _json({"orderId": order.chain_order_id})

    def _ask_to_cancel(self, order: Booked) -> Exchange:
        if self._wish == "refuse" or order.packages:
            return Exchange(400, _error("OMS014"))
        order.wishes.append({"reason": "asked for", "deniedBySeller": False})
        order.status = "canceled" if self._wish == "accept" else "waiting-for-seller-decision"
        return _json({"orderId": order.chain_order_id})

    def _read(self, path: str) -> Exchange:
        group = re.search(r"/order-group/(?:MKP-)?([^/]+)$", path)
        if group is None:
            order = self._known(path)
            return _json(order.shown()) if order is not None else Exchange(404, _error("CHK0201"))
        return _json([one.shown() for one in self.orders if one.group == unquote(group[1]) and self._sees(one)])

    def _known(self, path: str) -> Booked | None:
        wanted = unquote(path.removesuffix("/cancel")).split("/")
        return next((one for one in self.orders if one.chain_order_id in wanted and self._sees(one)), None)

    def _sees(self, order: Booked) -> bool:
        return self._clock() >= order.visible_at


def _json(document: Any, status: int = 200) -> Exchange:
    return Exchange(status, json.dumps(document).encode())


def _error(code: str) -> bytes:
    return json.dumps({"error": {"code": code, "message": "as arranged"}}).encode()
