"""Every order in which a chain order's events can arrive: always a state of the model, and the same facts."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest

from chain_orders.deliveries.retry import Delivered
from chain_orders.notifications.applying import apply
from chain_orders.notifications.models import Notification
from chain_orders.orders.authorizing import Authorize
from chain_orders.orders.models import ChainOrder, Order
from chain_orders.orders.states import CHAIN_MOVES, Status, aggregate

from ..builders import cancellation, invoice

AT = datetime(2026, 11, 5, 12, tzinfo=UTC)
PATIENCE = timedelta(seconds=1)


def an_order() -> Order:
    """An order of 1300 that is being authorized."""
    chain = ChainOrder(
        position=1, chain_order_id="MKP-PER1-01", status=Status.AUTHORIZING, value_cents=1300,
        items=[{"id": "8", "quantity": 1}], invoices=[], changes=[],
    )  # fmt: skip
    return Order(
        id=uuid.UUID(int=1), seller_id="acme", order_group="PER1", affiliate_id="MKP", status=Status.AUTHORIZING,
        version=1, applied_seq=0, chain_orders=[chain],
    )  # fmt: skip


def note(path: str, body: dict[str, Any], kind: str) -> Notification:
    return Notification(
        kind=kind, caller="base", path=path.encode(), body=json.dumps(body).encode(), receipt="0" * 32, tries=0,
        received_at=AT, state="received",
    )  # fmt: skip


TOLD: dict[str, Callable[[], Notification]] = {
    "partial A": lambda: note("pvt/orders/PER1/invoice", invoice("A", 300), "invoice"),
    "partial B": lambda: note("pvt/orders/PER1/invoice", invoice("B", 1000), "invoice"),
    "tracking of A": lambda: note("pvt/orders/PER1/invoice/A", {"trackingNumber": "TR-A"}, "tracking"),
    "tracking of B": lambda: note("pvt/orders/PER1/invoice/B/tracking", {"courier": "Invented"}, "tracking"),
    "delivery of A": lambda: note("pvt/orders/PER1/invoice/A/tracking", {"isDelivered": True}, "tracking"),
    "A with tracking": lambda: note("pvt/orders/PER1/invoice", invoice("A", 300, trackingNumber="TR-A"), "invoice"),
    "cancellation": lambda: note(
        "pvt/orders/order-group/PER1/notifications", cancellation("MKP-PER1-01"), "cancellation"
    ),
    "return": lambda: note("pvt/orders/PER1/invoice", invoice("R", 100, type="Input"), "invoice"),
}
SIX = ("partial A", "partial B", "tracking of A", "cancellation", "return", "authorization")


def play(names: Iterable[str]) -> tuple[Order, list[Notification]]:
    """Let the events arrive in this order; what is parked is tried again after the newest, as the applier does."""
    order, notes = an_order(), []
    for name in names:
        if name == "authorization":
            Authorize._apply(order, order.chain_orders[0], Delivered())
            order.settle_status()
            continue
        notes.append(TOLD[name]())
        for waiting in [*reversed(notes), *notes]:
            if waiting.state in {"received", "parked"}:
                apply(order, waiting, trusted=True, patience=PATIENCE)
    return order, notes


def facts(order: Order) -> dict[str, Any]:
    (chain,) = order.chain_orders
    return {
        "status": (order.status, chain.status),
        "invoices": sorted(
            (one.type, one.number, one.value_cents, one.tracking_number, one.courier, str(one.delivered_at))
            for one in chain.invoices
        ),
    }


def expected(names: Sequence[str]) -> Status:
    """The model, written a second time: a sale before the cancellation keeps it out, a cancellation keeps sales out."""
    sales = {"partial A": 300, "partial B": 1000}
    if "cancellation" in names and not any(n in sales for n in names[: names.index("cancellation")]):
        return Status.CANCELLED
    invoiced = sum(sales.get(name, 0) for name in names)
    if invoiced:
        return Status.INVOICED if invoiced >= 1300 else Status.PARTIALLY_INVOICED
    return Status.AUTHORIZED if "authorization" in names else Status.AUTHORIZING


@pytest.mark.parametrize("size", range(1, 7))
def test_every_permutation_ends_in_a_state_of_the_model(size: int) -> None:
    for names in permutations(SIX, size):
        order, notes = play(names)

        (chain,) = order.chain_orders
        assert chain.status in CHAIN_MOVES
        assert chain.status == expected(names), names
        assert order.status == aggregate([Status(chain.status)])
        assert {one.number for one in chain.invoices} == {
            number for number, name in (("A", "partial A"), ("B", "partial B"), ("R", "return")) if name in names
        }, names
        contradicts = [one for one in notes if one.state == "conflict"]
        assert not contradicts or order.attention, names
        waits = [one for one in notes if one.state == "parked"]
        assert bool(waits) == ("tracking of A" in names and "partial A" not in names), names


@pytest.mark.parametrize(
    "names",
    [
        ("partial A", "partial B", "tracking of A", "tracking of B", "delivery of A"),
        ("partial A", "A with tracking", "partial B", "tracking of B"),
        ("partial A", "partial A", "partial B", "return", "tracking of A"),
    ],
)
def test_permutations_of_invoices_and_tracking_end_in_the_same_facts(names: tuple[str, ...]) -> None:
    ends = [facts(play(some)[0]) for some in permutations(names)]

    assert all(end == ends[0] for end in ends)
    assert ends[0]["status"] == (Status.INVOICED, Status.INVOICED)


def test_permutations_with_a_contradiction_keep_every_invoice() -> None:
    for names in permutations(("partial A", "partial B", "cancellation", "return")):
        order, _ = play(names)

        assert {one.number for one in order.chain_orders[0].invoices} == {"A", "B", "R"}
        assert order.attention
