"""The simulated seller's own promises: its book outlives a crash, its controls refuse what they cannot mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from chain_orders.simulator.book import Book, new_orders

from .builders import SimulatedSeller, order


def _booked(book: Book, group: str) -> None:
    document = {**order(group), "marketplaceServicesEndpoint": "https://cb.example"}
    book.add(new_orders(document, "MKP", "1", "none", 0.0))


def test_a_line_that_a_crash_tore_takes_no_later_order_with_it(tmp_path: Path) -> None:
    path = tmp_path / "book.ndjson"
    _booked(Book(path), "FIRST")
    with path.open("ab") as torn:
        torn.write(b'{"created": {"chain_order_id": "MKP-TO')
    _booked(Book(path), "SECOND")

    assert [booked.group for booked in Book(path).all()] == ["FIRST", "SECOND"]


@pytest.mark.parametrize(("body", "status"), [(b"{", 400), (b"[]", 422), (b'"x"', 422), (b'{"fail": 2}', 422)])
async def test_a_switch_that_cannot_be_meant_is_refused(simulated: SimulatedSeller, body: bytes, status: int) -> None:
    headers = {"Content-Type": "application/json"}

    answer = await simulated.client.put("/control/behaviour", content=body, headers=headers)

    assert answer.status_code == status
    assert answer.json()["detail"]
