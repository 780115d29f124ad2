"""The simulated seller's own promises: its book outlives a crash, its controls refuse what they cannot mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chain_orders.simulator.app import create_app
from chain_orders.simulator.book import Book, new_orders
from chain_orders.simulator.server import running

from .builders import SimulatedSeller, order


def _opened(path: Path, *groups: str) -> list[str]:
    """Open the book, write orders into it, close it; the groups that it knows."""
    book = Book(path)
    for group in groups:
        document = {**order(group), "marketplaceServicesEndpoint": "https://cb.example"}
        book.add(new_orders(document, "MKP", "1", "none", 0.0))
    book.close()
    return [booked.group for booked in book.all()]


def test_a_line_that_a_crash_tore_takes_no_later_order_with_it(tmp_path: Path) -> None:
    path = tmp_path / "book.ndjson"
    _opened(path, "FIRST")
    with path.open("ab") as torn:
        torn.write(b'{"created": {"chain_order_id": "MKP-TO')
    _opened(path, "SECOND")

    assert _opened(path) == ["FIRST", "SECOND"]


async def test_a_seller_that_stops_closes_its_book(tmp_path: Path) -> None:
    app = create_app(book_path=tmp_path / "book.ndjson")
    async with running(app):
        pass

    late = {**order("LATE"), "marketplaceServicesEndpoint": "https://cb.example"}
    with pytest.raises(ValueError, match="closed file"):
        app.state.seller.book.add(new_orders(late, "MKP", "1", "none", 0.0))


async def test_a_caller_that_goes_away_is_no_failure_of_the_seller() -> None:
    """As when the service is killed: the simulated seller prints nothing of it."""
    keys = [(b"x-vtex-api-appkey", b"simulated-key"), (b"x-vtex-api-apptoken", b"simulated-token")]
    scope = {"type": "http", "method": "PUT", "path": "/api/checkout/pvt/orders", "headers": keys, "query_string": b""}
    told: list[Any] = []

    async def receive() -> dict[str, str]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        told.append(message)

    await create_app()(scope, receive, send)

    assert told[0]["status"] == 499


async def test_a_body_that_is_no_json_is_refused_in_vtexs_envelope(simulated: SimulatedSeller) -> None:
    keys = {"X-VTEX-API-AppKey": "simulated-key", "X-VTEX-API-AppToken": "simulated-token"}

    answer = await simulated.client.put("/api/checkout/pvt/orders?sc=1&affiliateId=MKP", content=b"{", headers=keys)

    assert (answer.status_code, answer.json()["error"]["message"]) == (400, "the body is not JSON")


@pytest.mark.parametrize(("body", "status"), [(b"{", 400), (b"[]", 422), (b'"x"', 422), (b'{"fail": 2}', 422)])
async def test_a_switch_that_cannot_be_meant_is_refused(simulated: SimulatedSeller, body: bytes, status: int) -> None:
    headers = {"Content-Type": "application/json"}

    answer = await simulated.client.put("/control/behaviour", content=body, headers=headers)

    assert answer.status_code == status
    assert answer.json()["detail"]
