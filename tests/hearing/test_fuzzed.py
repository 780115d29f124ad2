"""The callbacks as they are described, driven by schemathesis; and what the same bytes do to a stock route."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import FastAPI

from chain_orders.receivers.routes import describe
from chain_orders.vtex.messages import Invoice

from ..builders import Marketplace, SimulatedSeller, order
from .test_hostile import CORPUS

EXAMPLES = os.environ.get("FUZZ_EXAMPLES", "10")
"""Of each call; `make fuzz-api` tries many more."""
CHECKS = "not_a_server_error,content_type_conformance,response_schema_conformance"
PATHS = {
    "cancellation": "/pvt/orders/order-group/{group}/notifications/seller-cancellation",
    "invoice": "/api/oms/pvt/orders/{group}/invoice",
    "one-level-cancellation": "/pub/orders/{group}/cancel",
    "tracking": "/pvt/orders/{group}/invoice/{number}",
    "change": "/pvt/orders/{group}/changes",
}


def _described(base: str) -> dict[str, Any]:
    """The webhooks of the description, as paths below one order's base."""
    paths: dict[str, Any] = {}
    for name, item in describe().items():
        named = [part[1:-1] for part in PATHS[name].split("/") if part.startswith("{")]
        parameters = [
            {"name": one, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}} for one in named
        ]
        paths[urlsplit(base).path + PATHS[name]] = {"post": {**item["post"], "parameters": parameters}}
    return {"openapi": "3.1.0", "info": {"title": "callbacks", "version": "1"}, "paths": paths}


async def test_no_call_that_can_be_made_of_the_description_is_a_failure(
    marketplace: Marketplace, simulated: SimulatedSeller, tmp_path: Path
) -> None:
    await marketplace.place(order("FUZZ1"))
    base = await simulated.base("FUZZ1")
    (tmp_path / "callbacks.json").write_text(json.dumps(_described(base)))
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("schemathesis")),
        *("run", "callbacks.json", "--url", marketplace.url),
        *("--phases", "fuzzing", "--max-examples", EXAMPLES, "--generation-deterministic", "--mode", "all"),
        *("--checks", CHECKS, "--no-color", "--warnings", "off"),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told, _ = await process.communicate()

    assert process.returncode == 0, told.decode()[-6000:]


@pytest.mark.filterwarnings("default")  # the stock route's own
async def test_the_corpus_breaks_a_stock_route() -> None:
    """The control: were the corpus harmless, it would prove nothing of the receivers."""
    stock = FastAPI()

    @stock.post("/invoice")
    async def invoice(_: Invoice) -> dict[str, str]:
        return {}

    transport = httpx.ASGITransport(app=stock, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://stock.example") as client:
        statuses = {
            name: (await client.post("/invoice", content=raw, headers={"Content-Type": "application/json"})).status_code
            for name, raw in CORPUS.items()
        }

    assert {name for name, status in statuses.items() if status >= 500} >= {"NaN", "infinity"}
