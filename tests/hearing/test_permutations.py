"""Every order in which an order's events can arrive: always a state of the model, the same facts, and a rebuild of them
that finds nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest

from chain_orders.deliveries.models import Delivery
from chain_orders.deliveries.retry import Delivered
from chain_orders.errors import Conflict
from chain_orders.events.models import Event
from chain_orders.notifications import mending, rebuild
from chain_orders.notifications.applying import apply
from chain_orders.notifications.models import Notification
from chain_orders.orders.authorizing import Authorize
from chain_orders.orders.models import ChainOrder, Order
from chain_orders.orders.resolving import Decision, resolve
from chain_orders.orders.states import CHAIN_MOVES, Status, aggregate
from chain_orders.outcome import Answered

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
        version=1, applied_seq=0, items=[], chain_orders=[chain],
    )  # fmt: skip


def of_two() -> Order:
    """The same, which its seller split: the second one is worth 100 and placed."""
    order = an_order()
    order.chain_orders.append(
        ChainOrder(
            position=2, chain_order_id="MKP-PER1-02", status=Status.PLACED, value_cents=100,
            items=[{"id": "9", "quantity": 1}], invoices=[], changes=[],
        )
    )  # fmt: skip
    order.settle_status()
    return order


def of_nothing() -> Order:
    """One that is worth nothing."""
    order = an_order()
    order.chain_orders[0].value_cents = 0
    return order


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
TOLD |= {
    "TR-1 of A": lambda: note("pvt/orders/PER1/invoice/A", {"trackingNumber": "TR-1", "courier": "One"}, "tracking"),
    "TR-2 of A": lambda: note("pvt/orders/PER1/invoice/A", {"trackingNumber": "TR-2", "invoiceKey": "2"}, "tracking"),
    "change": lambda: note("pvt/orders/PER1/changes", {"requestId": "c", "discountValue": 1000}, "change"),
    "of nothing": lambda: note("pvt/orders/PER1/invoice", invoice("A", 0), "invoice"),
    "whole of 2": lambda: note("pvt/orders/PER1-02/invoice", invoice("C", 100), "invoice"),
    "cancellation of 2": lambda: note(
        "pvt/orders/order-group/PER1/notifications", cancellation("MKP-PER1-02"), "cancellation"
    ),
}


class NoDatabase:
    """What an operator's decision asks a session for: there is nothing to withdraw and nothing to settle."""

    async def flush(self) -> None:
        pass

    async def execute(self, *_: Any) -> NoDatabase:
        return self

    async def scalars(self, *_: Any) -> list[Any]:
        return []

    def all(self) -> list[Any]:
        return []


ACTS: dict[str, tuple[Decision, str | None]] = {
    "decided: cancelled": ("cancelled", "MKP-PER1-01"),
    "decided: invoiced": ("invoiced", "MKP-PER1-01"),
    "accepted": ("accept-change", "MKP-PER1-01"),
    "dismissed": ("dismiss", None),
}


def _decide(order: Order, name: str) -> None:
    """An operator's act; where there is nothing to decide it is refused and leaves no trace."""
    decision, chain_order_id = ACTS[name]
    session: Any = NoDatabase()
    with contextlib.suppress(Conflict):
        asyncio.run(resolve(session, order, decision, "as told", "operator:test", chain_order_id))


def play(names: Iterable[str], order: Order | None = None) -> tuple[Order, list[Notification]]:
    """Let the events arrive in this order; what is parked is tried again after the newest, as the applier does."""
    order, notes = order or an_order(), []
    for name in names:
        if name == "authorization":
            Authorize._apply(order, order.chain_orders[0], Delivered(), Answered())
            order.settle_status()
            continue
        if name in ACTS:
            _decide(order, name)
            continue
        notes.append(TOLD[name]())
        notes[-1].id = len(notes)
        for waiting in [*reversed(notes), *notes]:
            if waiting.state in {"received", "parked"}:
                apply(order, waiting, trusted=True, patience=PATIENCE)
                order.settle_status()
    return order, notes


def rebuilt(order: Order, notes: Sequence[Notification], values: Sequence[int]) -> list[str]:
    """Where the order made anew of what happened to it differs. Its clock stood still."""
    events = [Event(id=nth, at=AT, **fact._asdict()) for nth, fact in enumerate(order.told)]
    for chain in order.chain_orders:
        chain.key = chain.position
    for one in notes:
        one.applied_at = AT if one.applied_seq else None
    used = [one for one in notes if one.state in {"applied", "ignored", "conflict"}]
    owed = [Delivery(kind="authorize", chain_order_key=1, created_at=AT - timedelta(seconds=1))]
    placed = {
        "orders": [{"orderId": c.chain_order_id, "value": v} for c, v in zip(order.chain_orders, values, strict=True)]
    }
    inputs = rebuild.inputs(order, used, events, owed, [json.dumps(placed).encode()])
    return mending.differences(order, rebuild.replay(inputs))


def facts(order: Order) -> dict[str, Any]:
    return {
        "status": (order.status, *(chain.status for chain in order.chain_orders)),
        "invoices": sorted(
            (chain.position, one.type, one.number, one.value_cents, one.tracking_number or "", one.courier or "",
             one.key or "", str(one.delivered_at))
            for chain in order.chain_orders
            for one in chain.invoices
        ),
    }  # fmt: skip


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
        assert rebuilt(order, notes, [1300]) == [], names


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


@pytest.mark.parametrize("names", list(permutations(("partial A", "TR-1 of A", "TR-2 of A", "A with tracking"))))
def test_of_two_that_tell_the_same_detail_the_later_one_holds_however_late_each_is_applied(
    names: tuple[str, ...],
) -> None:
    numbers = {"TR-1 of A": "TR-1", "TR-2 of A": "TR-2", "A with tracking": "TR-A"}
    arrived = [TOLD[name]() for name in names]
    for nth, one in enumerate(arrived, start=1):
        one.id = nth
    last = next(numbers[name] for name in reversed(names) if name in numbers)

    for applied in permutations(arrived):
        order = an_order()
        for one in applied:
            one.state, one.reason, one.tries = "received", None, 0
        for waiting in [*applied, *arrived]:
            if waiting.state in {"received", "parked"}:
                apply(order, waiting, trusted=True, patience=PATIENCE)

        (known,) = order.chain_orders[0].invoices
        assert (known.tracking_number, known.courier, known.key) == (last, "One", "2")


def test_permutations_with_an_operators_acts_are_rebuilt() -> None:
    for acts in (
        ("partial A", "change", "accepted", "dismissed"),
        ("change", "cancellation", "accepted", "decided: cancelled"),
        ("cancellation", "partial A", "decided: invoiced", "partial B"),
    ):
        for names in permutations(acts):
            order, notes = play(names)

            assert rebuilt(order, notes, [1300]) == [], names


def test_permutations_of_a_split_order_keep_its_chain_orders_apart() -> None:
    names_of_two = ("partial A", "partial B", "whole of 2", "cancellation of 2", "authorization")
    for names in permutations(names_of_two):
        order, notes = play(names, of_two())

        first, second = order.chain_orders
        cancelled = names.index("cancellation of 2") < names.index("whole of 2")
        assert first.status == Status.INVOICED, names
        assert second.status == (Status.CANCELLED if cancelled else Status.INVOICED), names
        assert [[one.number for one in chain.invoices] for chain in (first, second)] in (
            [["A", "B"], ["C"]],
            [["B", "A"], ["C"]],
        )
        assert rebuilt(order, notes, [1300, 100]) == [], names


def test_permutations_of_an_order_worth_nothing_end_in_a_state_of_the_model() -> None:
    for names in permutations(("of nothing", "cancellation", "tracking of A", "authorization")):
        order, notes = play(names, of_nothing())

        cancelled = names.index("cancellation") < names.index("of nothing")
        assert order.status == (Status.CANCELLED if cancelled else Status.INVOICED), names
        assert order.attention_code in {
            "cancelled-after-invoice", "invoiced-after-cancellation", "authorized-after-cancellation",
        }, names  # fmt: skip
        assert rebuilt(order, notes, [0]) == [], names


def test_what_was_told_of_a_rejected_order_holds_once_it_is_placed_after_all() -> None:
    for names in permutations(("partial A", "partial B", "tracking of A", "return")):
        order = an_order()
        chains, order.chain_orders, order.status = list(order.chain_orders), [], Status.REJECTED
        _, notes = play(names, order)
        assert {one.reason for one in notes} == {"rejected-but-known"}
        assert order.attention_code == "rejected-but-known"

        order.chain_orders, order.status = chains, Status.PLACED
        for waiting in [*notes, *notes]:
            if waiting.state == "parked":
                apply(order, waiting, trusted=True, patience=PATIENCE)

        assert facts(order) == facts(play(names)[0]), names
