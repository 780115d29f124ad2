"""Outside development: an address that leads inside is refused where it is given, and would not be called either."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from chain_orders.app import create_app
from chain_orders.database import Database
from chain_orders.operators import access
from chain_orders.settings import Settings

from ..builders import SimulatedSeller, settings_for

PRODUCTION = {"environment": "production", "public_url": "https://orders.example", "seller_hosts": "gate.example"}
SELLER = {"accountName": "acme", "salesChannel": "1", "affiliateId": "MKP", "appKey": "k", "appToken": "t"}


@pytest.fixture
async def app(database: Database) -> AsyncIterator[FastAPI]:
    """The service as it is made for production. It does not run: that would ask for a database that keeps its word."""
    app = create_app(Settings(**settings_for(database.url, **PRODUCTION)), worker=False)
    yield app
    await app.state.wire.close()
    await app.state.database.close()


@pytest.fixture
async def admin(app: FastAPI, database: Database) -> AsyncIterator[httpx.AsyncClient]:
    async with database.transaction() as session:
        key = await access.create_key(session, "production", "admin")
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="https://o.example", headers=headers
    ) as c:
        yield c


@pytest.mark.parametrize("wrong", [{"baseUrl": "http://127.0.0.1:8011"}, {"baseUrl": "https://evil.example"},
                                   {"callbackBase": "http://cb.example"}], ids=str)  # fmt: skip
async def test_a_seller_that_leads_inside_is_neither_added_nor_changed(
    admin: httpx.AsyncClient, wrong: dict[str, str]
) -> None:
    right = await admin.post("/v1/sellers", json={**SELLER, "baseUrl": "https://acme.gate.example"})
    match = {"If-Match": right.headers["etag"]}

    added = await admin.post("/v1/sellers", json={**SELLER, "sellerId": "other", **wrong})
    changed = await admin.patch("/v1/sellers/acme", json=wrong, headers=match)

    for answer in (added, changed):
        assert (answer.status_code, [one["pointer"] for one in answer.json()["errors"]]) == (
            422,
            [f"/{next(iter(wrong))}"],
        )


async def test_a_webhook_that_leads_inside_is_not_added(admin: httpx.AsyncClient) -> None:
    answer = await admin.post("/v1/webhooks", json={"url": "https://10.0.0.7/hook", "events": ["*"]})

    assert (answer.status_code, answer.json()["code"]) == (422, "webhook-url-refused")


async def test_what_leads_inside_all_the_same_is_not_called(app: FastAPI, simulated: SimulatedSeller) -> None:
    exchange = await app.state.wire.exchange("PUT", f"{simulated.url}/api/checkout/pvt/orders", headers={})

    assert (exchange.status, exchange.sent) == (None, False)
    assert sum((await simulated.calls()).values()) == 0
