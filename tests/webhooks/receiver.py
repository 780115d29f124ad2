"""Somebody who is told: keeps what came, answers as it is told to, and owns the secrets that prove it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request, Response
from standardwebhooks import Webhook

from chain_orders.simulator.server import running

from ..builders import Marketplace, until


@dataclass(frozen=True, slots=True)
class Heard:
    """One request: its headers, its bytes, and what was answered."""

    headers: dict[str, str]
    body: bytes
    status: int

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    def proven(self, secret: str) -> Any:
        """The document, its signature and age checked by the public library."""
        return Webhook(secret).verify(self.body, self.headers)


@dataclass(slots=True)
class Receiver:
    url: str = ""
    status: int = 204
    """What is answered to everything."""
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    slow_seconds: float = 0.0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """While it is not set, nothing is answered."""
    inside: int = 0
    """How many wait for an answer."""
    most: int = 0
    all: list[Heard] = field(default_factory=list)

    @property
    def accepted(self) -> list[Heard]:
        return [one for one in self.all if one.status < 300]

    async def hears(self, count: int, seconds: float = 15.0) -> list[Heard]:
        """Wait until this many were accepted; all that were."""

        async def enough() -> bool:
            return len(self.accepted) >= count

        await until(enough, seconds)
        return self.accepted

    async def take(self, request: Request) -> Response:
        body = await request.body()
        status = self.status
        self.inside += 1
        self.most = max(self.most, self.inside)
        await self.gate.wait()
        if self.slow_seconds:
            await asyncio.sleep(self.slow_seconds)
        self.inside -= 1
        self.all.append(Heard(dict(request.headers), body, status))
        return Response(self.body, status, self.headers)


@contextlib.asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    receiver.gate.set()
    app = FastAPI(openapi_url=None)
    app.add_route("/hooks", receiver.take, methods=["POST"])
    async with running(app) as url:
        receiver.url = f"{url}/hooks"
        yield receiver


async def subscribe(marketplace: Marketplace, url: str, **settings: Any) -> dict[str, Any]:
    """A webhook of every event of orders, as it was answered: with its secret."""
    body = {"url": url, "events": ["order.*", "chain-order.*"], **settings}
    answer = await marketplace.client.post("/v1/webhooks", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def change(marketplace: Marketplace, webhook_id: str, **changes: Any) -> dict[str, Any]:
    found = await marketplace.client.get(f"/v1/webhooks/{webhook_id}")
    match = {"If-Match": found.headers["etag"]}
    answer = await marketplace.client.patch(f"/v1/webhooks/{webhook_id}", json=changes, headers=match)
    assert answer.status_code == 200, answer.text
    changed: dict[str, Any] = answer.json()
    return changed


async def owed(marketplace: Marketplace, webhook_id: str) -> list[dict[str, Any]]:
    """The deliveries of a webhook, oldest first."""
    params = {"webhook": webhook_id, "limit": 200}
    items: list[dict[str, Any]] = (await marketplace.client.get("/v1/deliveries", params=params)).json()["items"]
    return items[::-1]


async def feed(marketplace: Marketplace, after: int = 0) -> list[dict[str, Any]]:
    """The marketplace's feed after a position, as far as it is numbered."""
    found: list[dict[str, Any]] = []
    while True:
        answer = await marketplace.client.get("/v1/events", params={"after": after, "limit": 1000})
        items: list[dict[str, Any]] = answer.json()["items"]
        if not items:
            return found
        found += items
        after = items[-1]["id"]
