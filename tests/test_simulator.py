"""The simulated seller's own promises: its book outlives a crash, its controls refuse what they cannot mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from chain_orders.simulator.book import Book, new_orders

from .builders import SimulatedSeller, order


def _opened(path: Path, *groups: str) -> list[str]:
    """Open the book, write orders into it, close it; the groups that it knows."""
    book = Book(path)
    for group in groups:
        document = {**order(group), "marketplaceServicesEndpoint": "https://cb.example"}
        book.add(new_orders(document, "MKP", "1", "none", 0.0))
    assert book._file is not None
    book._file.close()
    return [booked.group for booked in book.all()]


def test_a_line_that_a_crash_tore_takes_no_later_order_with_it(tmp_path: Path) -> None:
    path = tmp_path / "book.ndjson"
    _opened(path, "FIRST")
    with path.open("ab") as torn:
        torn.write(b'{"created": {"chain_order_id": "MKP-TO')
    _opened(path, "SECOND")

    assert _opened(path) == ["FIRST", "SECOND"]


@pytest.mark.parametrize(("body", "status"), [(b"{", 400), (b"[]", 422), (b'"x"', 422), (b'{"fail": 2}', 422)])
async def test_a_switch_that_cannot_be_meant_is_refused(simulated: SimulatedSeller, body: bytes, status: int) -> None:
    headers = {"Content-Type": "application/json"}

    answer = await simulated.client.put("/control/behaviour", content=body, headers=headers)

    assert answer.status_code == status
    assert answer.json()["detail"]
