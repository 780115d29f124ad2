"""Importing in bulk: a result a line, and never an order twice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from chain_orders.database import Database
from chain_orders.operators import imports

from ..builders import Marketplace, SimulatedSeller, order
from ..faults import importing

IMPORT = "/v1/sellers/acme/orders/import"


def lines(*documents: Any) -> bytes:
    return b"".join((one if isinstance(one, bytes) else json.dumps(one).encode()) + b"\n" for one in documents)


def results(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


async def _send(marketplace: Marketplace, body: Any, **params: str) -> list[dict[str, Any]]:
    headers = {"Content-Type": "application/x-ndjson"}
    answer = await marketplace.client.post(IMPORT, content=body, headers=headers, params=params, timeout=120)
    return results(answer)


async def test_every_line_has_its_result(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    receipt = {"authorizationReceipt": {"receipt": "pay_1"}}
    good, bad = (order("B"), order("A") | receipt), (order("C", items=[]), order("A", items=[]))
    body = lines(good[0], b"{", b"", good[1], bad[0], order("B"), bad[1], b"[]")

    found = await _send(marketplace, body)

    assert [(one["line"], one["result"], one.get("code")) for one in found] == [
        (1, "accepted", None),
        (2, "refused", "not-json"),
        (4, "accepted", None),
        (5, "refused", "no-items"),
        (6, "exists", None),
        (7, "refused", "no-items"),
        (8, "refused", "wrong-type"),
    ]
    assert found[4]["orderId"] == found[0]["orderId"]
    assert found[3]["errors"][0]["pointer"] == "/items"
    await marketplace.becomes(found[2]["orderId"], "authorized")
    assert await simulated.puts() == {"A": 1, "B": 1}


async def test_a_group_that_is_taken_by_another_order_is_named(marketplace: Marketplace) -> None:
    placed = await marketplace.place(order("TAKEN"))

    (found,) = await _send(marketplace, lines(order("TAKEN", marketplacePaymentValue=1)))

    assert (found["code"], found["orderId"]) == ("order-group-taken", placed["id"])


async def test_a_line_that_is_too_long_holds_up_no_other(marketplace: Marketplace, monkeypatch: Any) -> None:
    monkeypatch.setattr(imports, "LINE_BYTES", 2000)
    long = order("LONG", note="x" * 5000)

    async def dripping() -> AsyncIterator[bytes]:
        body = lines(order("ONE"), long, order("TWO"), long).rstrip(b"\n")
        for start in range(0, len(body), 700):
            yield body[start : start + 700]

    found = await _send(marketplace, dripping())

    assert [(one["result"], one.get("code")) for one in found] == [
        ("accepted", None),
        ("refused", "line-too-long"),
        ("accepted", None),
        ("refused", "line-too-long"),
    ]


async def test_an_import_that_is_too_large_is_refused_or_cut(marketplace: Marketplace, monkeypatch: Any) -> None:
    monkeypatch.setattr(imports, "TOTAL_BYTES", 3000)
    body = lines(*(order(f"BIG{n}") for n in range(10)))

    async def chunked() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 500):
            yield body[start : start + 500]
            await asyncio.sleep(0.02)

    headers = {"Content-Type": "application/x-ndjson"}
    refused = await marketplace.client.post(IMPORT, content=body, headers=headers)
    cut = await _send(marketplace, chunked())

    assert (refused.status_code, refused.json()["code"]) == (413, "body-too-large")
    assert {one["result"] for one in cut[:-1]} == {"accepted"}
    assert (cut[-1]["result"], cut[-1]["code"]) == ("failed", "body-too-large")


async def test_a_dry_run_imports_nothing(marketplace: Marketplace) -> None:
    found = await _send(marketplace, lines(order("DRY1"), order("DRY2", items=[])), dryRun="true")

    assert [(one["result"], one["orderId"]) for one in found] == [("accepted", None), ("refused", None)]
    assert (await marketplace.client.get("/v1/orders")).json()["items"] == []


async def test_two_imports_of_the_same_orders_at_once_take_each_once(marketplace: Marketplace) -> None:
    documents = [order(f"BOTH{n:03d}") for n in range(150)]
    accepted: list[str] = []

    async def send(*those: dict[str, Any]) -> None:
        """Until all is stored: what waits too long for the other import is told to come again."""
        while True:
            found = await _send(marketplace, lines(*those))
            accepted.extend(one["orderGroup"] for one in found if one["result"] == "accepted")
            if {one["result"] for one in found} <= {"accepted", "exists"}:
                return
            assert {one["code"] for one in found if one["result"] == "failed"} == {"not-stored"}

    await asyncio.gather(send(*documents), send(*reversed(documents)))

    assert sorted(accepted) == [document["marketplaceOrderGroup"] for document in documents]


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"Content-Type": "text/csv"}, 415), ({"Content-Encoding": "gzip"}, 415)],
)
async def test_another_kind_of_body_is_refused(marketplace: Marketplace, headers: dict[str, str], status: int) -> None:
    assert (await marketplace.client.post(IMPORT, content=b"x", headers=headers)).status_code == status


async def test_an_import_whose_service_is_killed_is_run_again(database: Database, simulated: SimulatedSeller) -> None:
    """The short form of `make faults-import`; its broken builds are `make faults-import-sabotage`'s."""
    told = await importing.run(importing.Plan(lines=100, small_commits=True), database, simulated)

    print(told)
    told.hold()
    assert {len(told.there), 100 - len(told.there)} == {40, 60}
