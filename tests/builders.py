"""Builders: documents with only the field that matters, and the two parties that a test lets act."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import httpx

from chain_orders.database import Database

SAMPLES = Path(__file__).parent / "samples"
KEY_BYTES = bytes(range(32))
KEYS = "k1:" + base64.urlsafe_b64encode(KEY_BYTES).decode().rstrip("=")

_numbers = count(1)


def sample(name: str) -> bytes:
    return (SAMPLES / name).read_bytes()


def seed_order() -> dict[str, Any]:
    """The seed page's order, verbatim."""
    document: dict[str, Any] = json.loads(sample("seed/order.json"))
    return document


def order(group: str | None = None, **changes: Any) -> dict[str, Any]:
    """A placement that raises no warning: one item of 12.00, freight of 1.00."""
    document: dict[str, Any] = {
        "marketplaceOrderGroup": group or f"HARBOR{next(_numbers):06d}",
        "marketplacePaymentValue": 1300,
        "items": [{"id": "8", "quantity": 1, "seller": "1", "price": 1200}],
        "clientProfileData": {
            "email": "shopper@mail.example",
            "firstName": "Iara",
            "lastName": "Invented",
            "documentType": "cpf",
            "document": "00000000191",
            "phone": "+5500000000000",
        },
        "shippingData": {
            "address": {
                "addressType": "residential",
                "receiverName": "Iara Invented",
                "postalCode": "00000-000",
                "city": "Exampleville",
                "state": "RJ",
                "country": "BRA",
                "street": "Rua Inventada",
                "number": "1",
            },
            "logisticsInfo": [{"itemIndex": 0, "selectedSla": "Normal", "price": 100, "lockTTL": "10d"}],
        },
    }
    return {**document, **changes}


def invoice(number: str = "NF-1", value: int | str = 1300, **changes: Any) -> dict[str, Any]:
    """A whole invoice of `order()`."""
    return {
        "type": "Output",
        "invoiceNumber": number,
        "invoiceValue": value,
        "issuanceDate": "2026-11-01T10:00:00.0000000-0300",
        "items": [{"id": "8", "quantity": 1, "price": 1200}],
        **changes,
    }


def cancellation(chain_order_id: str) -> dict[str, Any]:
    return {"id": "sellerOrderCancelled", "sellerOrderId": chain_order_id}


def settings_for(database_url: str, **changes: Any) -> dict[str, Any]:
    """Settings of a test's service: development, with short waits."""
    return {
        "environment": "development",
        "database_url": database_url,
        "public_url": "http://127.0.0.1:1",
        "callback_keys": KEYS,
        "credential_keys": KEYS,
        "poll_seconds": 0.25,
        "sweep_seconds": 0.5,
        "alert_seconds": 600.0,
        "commit_seconds": 10.0,
        "exchange_seconds": 5.0,
        "lease_seconds": 10.0,
        "connect_seconds": 2.0,
        "retry_schedule": ",".join(["0.1"] * 14),
        "verify_at": "0.05,0.2,0.4",
        "confirm_at": "0.1,0.3",
        **changes,
    }


_PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def calling(url: str = "", **options: Any) -> httpx.AsyncClient:
    """A client of servers on this machine. None speaks TLS: its certificates, slow to read, are left alone."""
    return httpx.AsyncClient(base_url=url, trust_env=False, verify=_PLAIN, **options)


async def until(condition: Callable[[], Any], seconds: float = 15.0) -> Any:
    """Wait for an awaitable condition to be true; what it returned."""
    deadline = time.monotonic() + seconds
    while True:
        found = await condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"it did not come about within {seconds} seconds")
        await asyncio.sleep(0.02)


async def until_grown(
    measure: Callable[[], Awaitable[int]], wanted: int, told: Callable[[], str], stalled: float = 60.0
) -> None:
    """Wait until something has grown to what is wanted, however slowly; `told` says what is known when it stops."""
    most, moved = -1, time.monotonic()
    while (found := await measure()) < wanted:
        if found > most:
            most, moved = found, time.monotonic()
        if time.monotonic() - moved > stalled:
            raise AssertionError(f"{found} of {wanted}, and no more within {stalled} seconds: {told()}")
        await asyncio.sleep(0.05)


@dataclass(frozen=True, slots=True)
class Marketplace:
    """The service, as an operator and as a seller see it."""

    url: str
    client: httpx.AsyncClient
    database: Database

    async def add_seller(self, url: str, seller_id: str = "acme", **changes: Any) -> dict[str, Any]:
        body = {
            "sellerId": seller_id,
            "accountName": seller_id,
            "baseUrl": url,
            "salesChannel": "1",
            "affiliateId": "MKP",
            "appKey": "simulated-key",
            "appToken": "simulated-token",
            **changes,
        }
        answer = await self.client.post("/v1/sellers", json=body)
        assert answer.status_code == 201, answer.text
        return self._json(answer)

    async def change_seller(self, seller_id: str = "acme", **changes: Any) -> dict[str, Any]:
        found = await self.client.get(f"/v1/sellers/{seller_id}")
        match = {"If-Match": found.headers["etag"]}
        answer = await self.client.patch(f"/v1/sellers/{seller_id}", json=changes, headers=match)
        assert answer.status_code == 200, answer.text
        return self._json(answer)

    async def post_order(self, document: Any, *, wait: int = 0, seller_id: str = "acme") -> httpx.Response:
        headers = {"Prefer": f"wait={wait}"} if wait else {}
        return await self.client.post(f"/v1/sellers/{seller_id}/orders", json=document, headers=headers)

    async def place(self, document: dict[str, Any] | None = None) -> dict[str, Any]:
        """Place an order and wait until it is placed."""
        answer = await self.post_order(document or order(), wait=10)
        assert answer.status_code == 201, answer.text
        return self._json(answer)

    async def authorize(self, order_id: str, **body: Any) -> httpx.Response:
        return await self.client.post(f"/v1/orders/{order_id}/authorization", json=body)

    async def ask_to_cancel(self, order_id: str, reason: str = "the shopper withdrew", **body: Any) -> httpx.Response:
        return await self.client.post(f"/v1/orders/{order_id}/cancellation", json={"reason": reason, **body})

    async def get(self, order_id: str, part: str = "") -> Any:
        answer = await self.client.get(f"/v1/orders/{order_id}{part}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def becomes(self, order_id: str, status: str, seconds: float = 15.0) -> dict[str, Any]:
        """Wait until an order has this status; the order."""

        async def reached() -> dict[str, Any] | None:
            found: dict[str, Any] = await self.get(order_id)
            return found if found["status"] == status else None

        found: dict[str, Any] = await until(reached, seconds)
        return found

    async def story(self, order_id: str) -> list[str]:
        """The types of an order's events, in order."""
        return [event["type"] for event in (await self.get(order_id, "/timeline"))["items"]]

    async def notified(self, order_id: str, state: str, seconds: float = 10.0) -> dict[str, Any]:
        """Wait until the order's latest notification has this state; the notification."""

        async def reached() -> dict[str, Any] | None:
            items = (await self.get(order_id, "/notifications"))["items"]
            found: dict[str, Any] | None = items[-1] if items and items[-1]["state"] == state else None
            return found

        found: dict[str, Any] = await until(reached, seconds)
        return found

    async def notify(self, url: str, body: Any, method: str = "POST", **headers: str) -> httpx.Response:
        """What a seller does: POST without any key."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with calling(timeout=10) as stranger:
            return await stranger.request(
                method, url, content=content, headers={"Content-Type": "application/json", **headers}
            )

    @staticmethod
    def _json(answer: httpx.Response) -> dict[str, Any]:
        found: dict[str, Any] = answer.json()
        return found


@dataclass(frozen=True, slots=True)
class SimulatedSeller:
    """The simulated seller and its controls."""

    url: str
    client: httpx.AsyncClient

    async def behave(self, **switches: Any) -> None:
        answer = await self.client.put("/control/behaviour", json=switches)
        assert answer.status_code == 200, answer.text

    async def book(self, group: str | None = None) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (
            await self.client.get("/control/orders", params={"group": group} if group else {})
        ).json()
        return found

    async def puts(self) -> dict[str, int]:
        found: dict[str, int] = (await self.client.get("/control/calls")).json()["puts"]
        return found

    async def calls(self) -> dict[str, int]:
        """How many calls of each kind came, whatever became of them."""
        found: dict[str, int] = (await self.client.get("/control/calls")).json()["calls"]
        return found

    async def arrived(self, group: str) -> list[str]:
        """One hash for each placement of a group that came, also for those that a fault struck: its query and bytes."""
        found: list[str] = (await self.client.get("/control/arrived", params={"group": group})).json()
        return found

    async def base(self, group: str) -> str:
        """The callback base that the order was placed with."""
        (booked,) = await self.book(group)
        endpoint: str = booked["marketplaceServicesEndpoint"]
        return endpoint

    async def invoice(self, chain_order_id: str, **wanted: Any) -> dict[str, Any]:
        return await self._act(chain_order_id, "invoice", wanted)

    async def cancel(self, chain_order_id: str, **wanted: Any) -> dict[str, Any]:
        return await self._act(chain_order_id, "cancel", wanted)

    async def track(self, chain_order_id: str, **wanted: Any) -> dict[str, Any]:
        return await self._act(chain_order_id, "track", wanted)

    async def change(self, chain_order_id: str, **wanted: Any) -> dict[str, Any]:
        return await self._act(chain_order_id, "change", wanted)

    async def repeat(self, chain_order_id: str) -> dict[str, Any]:
        return await self._act(chain_order_id, "repeat", {})

    async def _act(self, chain_order_id: str, act: str, wanted: dict[str, Any]) -> dict[str, Any]:
        answer = await self.client.post(f"/control/orders/{chain_order_id}/{act}", json=wanted)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found
