"""What each surface serves, and what it does not."""

from __future__ import annotations

import pytest

from chain_orders.app import Surface, create_app
from chain_orders.database import Database
from chain_orders.settings import Settings

from ..builders import calling, settings_for
from ..conftest import serving_app

CALLBACK = "/cb/k1/aaaaaaaaaaaaaaaaaaaaaaaaaa/aaaaaaaaaaaaaaaaaaaaaaaaaa/pvt/orders/G/invoice"


@pytest.mark.parametrize(
    ("surface", "callbacks", "operators"),
    [("all", True, True), ("callbacks", True, False), ("operators", False, True)],
)
async def test_a_surface_serves_its_own_and_health(
    database: Database, surface: Surface, callbacks: bool, operators: bool
) -> None:
    settings = Settings(**settings_for(database.url, open_callbacks=True))
    async with (
        serving_app(create_app(settings, worker=False, surface=surface)) as url,
        calling(url) as client,
    ):
        for path in ("/livez", "/readyz"):
            assert (await client.get(path)).status_code == 200, path
        for path in ("/v1/orders", "/v1/stats", "/metrics"):
            assert (await client.get(path)).status_code == (401 if operators else 404), path
        for path in ("/openapi.json", "/console/sign-in"):
            assert (await client.get(path)).status_code == (200 if operators else 404), path
        heard = await client.post("/api/oms/pvt/orders/G/invoice", json={"invoiceNumber": "1"})
        assert (heard.json()["code"] == "not-found") is not callbacks
        assert (await client.post(CALLBACK, json={})).status_code == 404
