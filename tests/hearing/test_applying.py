"""Which chain order a notification means, what it waits for, and when a person hears of it. Without a database."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from chain_orders.errors import Malformed
from chain_orders.notifications.applying import apply
from chain_orders.notifications.models import Notification
from chain_orders.operators.schemas import money
from chain_orders.orders.comparing import compare, differences, tell
from chain_orders.orders.models import Order
from chain_orders.orders.states import Status
from chain_orders.receivers.reading import read
from chain_orders.vtex import addresses
from chain_orders.vtex.messages import SellerOrder

from ..builders import cancellation, invoice
from .test_permutations import PATIENCE, an_order, note, of_two


def told(order: Order, *notes: Notification) -> Notification:
    """Apply notifications in this order; the last of them."""
    for one in notes:
        apply(order, one, trusted=True, patience=PATIENCE)
    return notes[-1]


def an_invoice(named: str = "PER1", number: str = "A", value: int = 300, **changes: Any) -> Notification:
    return note(f"pvt/orders/{named}/invoice", invoice(number, value, **changes), "invoice")


def a_cancellation(named: str = "MKP-PER1-01") -> Notification:
    return note("pvt/orders/order-group/PER1/notifications", cancellation(named), "cancellation")


def not_placed() -> Order:
    order = an_order()
    order.chain_orders, order.status = [], Status.PLACING
    return order


@pytest.mark.parametrize("named", ["MKP-PER1-02", "PER1-02", "OTHER", "MKP-OTHER-01", "PER1-99", "MKP-PER1-01-02"])
def test_an_invoice_for_another_chain_order_is_not_applied_to_the_one_that_is_known(named: str) -> None:
    order = an_order()

    last = told(order, an_invoice(named, value=1300))

    assert (last.state, last.reason, order.attention_code) == ("parked", "foreign-id", "foreign-id")
    assert (order.chain_orders[0].status, order.chain_orders[0].invoices) == (Status.AUTHORIZING, [])


@pytest.mark.parametrize("named", ["MKP-OTHER-01", "MKP-PER1-02", "OTHER-01"])
def test_a_cancellation_of_another_chain_order_cancels_none_here(named: str) -> None:
    order = an_order()

    last = told(order, a_cancellation(named))

    assert (last.state, last.reason, order.attention_code) == ("parked", "foreign-id", "foreign-id")
    assert order.chain_orders[0].status == Status.AUTHORIZING


NAMES = ["MKP-PER1-01", "PER1-01", "PER1", "MKP-PER1", "mkp-per1-01", "SG77", "SG77-01", "V77", "V77-01", "ALIAS-7"]


@pytest.mark.parametrize("named", NAMES)
def test_every_name_of_an_order_is_its_own(named: str) -> None:
    order = an_order()
    (chain,) = order.chain_orders
    chain.seller_order_group, chain.seller_order_id, chain.marketplace_order_id = "SG77", "V77", "ALIAS-7"

    assert told(order, an_invoice(named)).state == "applied"
    assert (
        told(order, a_cancellation(named)).reason == "the seller cancelled MKP-PER1-01 after it was partially-invoiced"
    )


def test_the_number_behind_a_group_says_which_of_several_is_meant() -> None:
    order = of_two()

    told(order, an_invoice("PER1-02", "A", 100, items=[]), an_invoice("MKP-PER1-01", "B", items=[]))

    assert [[one.number for one in chain.invoices] for chain in order.chain_orders] == [["B"], ["A"]]


@pytest.mark.parametrize("shown", ["PER1", "MKP-PER1", "SG77"])
def test_a_groups_name_means_all_of_it_also_where_the_seller_shows_it_of_one(shown: str) -> None:
    order = of_two()
    for chain in order.chain_orders:
        chain.seller_order_group = "SG77"
    seen = SellerOrder(orderId="MKP-PER1-01", marketplaceOrderId=shown, status="handling")
    compare(order, order.chain_orders[0], seen, waited_long_enough=False)

    told(order, an_invoice(shown, "A", 100, items=[{"id": "9", "quantity": 1, "price": 100}]))

    assert [[one.number for one in chain.invoices] for chain in order.chain_orders] == [[], ["A"]]
    cancels = note(f"pvt/orders/order-group/{shown}/notifications", cancellation("876053333998"), "cancellation")
    assert told(order, cancels).reason == "ambiguous"


def test_what_the_seller_calls_an_order_is_learnt_from_a_read() -> None:
    order = an_order()
    assert told(order, an_invoice("ALIAS-7")).reason == "foreign-id"

    compare(
        order,
        order.chain_orders[0],
        SellerOrder(orderId="MKP-PER1-01", marketplaceOrderId="ALIAS-7", status="handling"),
        waited_long_enough=False,
    )

    assert ("marketplace-order", "ALIAS-7") in order.new_names
    assert told(order, an_invoice("ALIAS-7")).state == "applied"


def test_before_the_placement_a_sellers_own_id_is_nothing_to_look_at() -> None:
    order = not_placed()

    last = told(order, an_invoice("987654-01"))

    assert (last.state, last.reason, order.attention_code) == ("parked", "not-placed", None)


def test_attention_is_asked_for_whatever_it_waited_for_before() -> None:
    order = not_placed()
    waiting = told(order, an_invoice())
    order.status = Status.REJECTED

    told(order, waiting, waiting)

    assert (waiting.reason, waiting.tries, order.attention_code) == ("rejected-but-known", 2, "rejected-but-known")
    order.attention_code = order.attention_reason = None
    told(order, waiting)
    assert order.attention_code is None


def test_what_is_told_of_an_order_that_was_cancelled_unplaced_asks_a_person() -> None:
    order = not_placed()
    order.status = Status.CANCELLED

    cancelled, invoiced = a_cancellation(), an_invoice()
    told(order, cancelled)
    assert (cancelled.state, order.attention_code) == ("ignored", None)  # they say the same
    told(order, invoiced)

    assert (invoiced.state, invoiced.reason) == ("parked", "cancelled-but-known")
    assert order.attention_code == "cancelled-but-known"


def test_tracking_whose_invoice_has_not_come_asks_a_person_after_many_tries() -> None:
    order, one = an_order(), note("pvt/orders/PER1/invoice/A", {"trackingNumber": "TR-1"}, "tracking")

    told(order, *[one] * 5)
    assert (one.state, one.reason, order.attention_code) == ("parked", "invoice-unknown", None)

    told(order, one)
    assert order.attention_code == "invoice-unknown"


def test_an_ambiguous_one_asks_for_attention_though_it_waited_for_the_placement() -> None:
    order = not_placed()
    waiting = told(order, an_invoice(items=[]))
    order.chain_orders, order.status = list(of_two().chain_orders), Status.PLACED

    told(order, waiting)

    assert (waiting.reason, order.attention_code) == ("ambiguous", "ambiguous")


@pytest.mark.parametrize("status", [Status.INVOICED, Status.PARTIALLY_INVOICED])
def test_a_cancellation_of_what_a_read_showed_as_invoiced_is_a_contradiction(status: Status) -> None:
    order = an_order()
    order.chain_orders[0].status = status

    last = told(order, a_cancellation())

    assert (last.state, order.attention_code) == ("conflict", "cancelled-after-invoice")
    assert order.chain_orders[0].status == status


def test_a_cancellation_after_an_invoice_of_nothing_is_a_contradiction() -> None:
    order = an_order()
    order.chain_orders[0].value_cents = 0

    last = told(order, an_invoice(value=0), a_cancellation())

    assert (last.state, order.chain_orders[0].status) == ("conflict", Status.INVOICED)


def test_a_read_that_shows_a_cancellation_after_an_invoice_is_a_contradiction() -> None:
    order = an_order()
    order.chain_orders[0].status = Status.INVOICED

    seen = SellerOrder(orderId="MKP-PER1-01", status="canceled")
    compare(order, order.chain_orders[0], seen, waited_long_enough=False)

    assert (order.chain_orders[0].status, order.attention_code) == (Status.INVOICED, "cancelled-after-invoice")


def test_what_only_an_older_release_understood_is_kept_and_asks_a_person() -> None:
    order = an_order()

    last = told(order, note("pvt/orders/PER1/vouchers", {}, "voucher"))

    assert (last.state, last.reason, order.attention_code) == ("parked", "path-unknown", "path-unknown")


@pytest.mark.parametrize(
    ("read_after", "state"),
    [(-timedelta(days=1), "parked"), (PATIENCE / 2, "parked"), (PATIENCE, "conflict")],
    ids=["before it was told", "too early to show", "late enough"],
)
def test_what_a_stranger_tells_is_disbelieved_by_a_read_that_came_late_enough(
    read_after: timedelta, state: str
) -> None:
    order, one = an_order(), a_cancellation()
    order.chain_orders[0].seller_read_at = one.received_at + read_after

    apply(order, one, trusted=False, patience=PATIENCE)

    assert (one.state, order.chain_orders[0].status) == (state, Status.AUTHORIZING)


def test_a_strangers_cancellation_that_the_seller_shows_contradicts_the_invoice_only() -> None:
    order, one = an_order(), a_cancellation()
    told(order, an_invoice())
    seen = SellerOrder(orderId="MKP-PER1-01", status="canceled")
    compare(order, order.chain_orders[0], seen, waited_long_enough=True)
    order.chain_orders[0].seller_read_at = one.received_at + PATIENCE

    apply(order, one, trusted=False, patience=PATIENCE)

    assert (one.state, one.contradicts) == ("conflict", "cancelled-after-invoice")
    assert {fact.data["code"] for fact in order.told if fact.type == "order.attention"} == {"cancelled-after-invoice"}


def test_a_change_that_makes_an_invoice_whole_ends_the_request_to_cancel() -> None:
    order = an_order()
    told(order, an_invoice(value=300))
    order.chain_orders[0].move(Status.CANCEL_REQUESTED)
    change = note("pvt/orders/PER1/changes", {"requestId": "c", "discountValue": 1000}, "change")
    change.policy = "accept"

    told(order, change)

    assert (order.status, order.chain_orders[0].status_before_request) == (Status.INVOICED, None)


def test_what_one_chain_order_was_over_invoiced_with_leaves_no_less_of_another() -> None:
    order = of_two()
    told(order, an_invoice("PER1-02", value=150))

    assert money(order) == {"total": 1400, "invoiced": 150, "returned": 0, "cancelled": 0, "remaining": 1300}
    for chain in order.chain_orders:
        chain.status = Status.CANCELLED
    assert money(order) == {"total": 1400, "invoiced": 150, "returned": 0, "cancelled": 1300, "remaining": 0}


def _read(order: Order, times: int, **shown: Any) -> list[str]:
    """Let the seller be read so often; what was told of it."""
    for _ in range(times):
        seen = SellerOrder(orderId="MKP-PER1-01", **shown) if shown else None
        compare(order, order.chain_orders[0], seen, waited_long_enough=False)
    return [fact.type for fact in order.told]


def test_a_contradiction_that_each_read_shows_is_told_once() -> None:
    order = an_order()
    order.chain_orders[0].status = Status.INVOICED

    assert _read(order, 3, status="canceled") == ["chain-order.cancellation-after-invoice", "order.attention"]


def test_another_value_of_an_invoice_that_a_read_shows_is_a_difference_and_no_news() -> None:
    order = an_order()
    told(order, an_invoice(value=300))
    before = [fact.type for fact in order.told]
    shown = {"packages": [{"invoiceNumber": "A", "invoiceValue": 400}]}

    assert _read(order, 3, status="handling", packageAttachment=shown) == before
    (found,) = differences(order.chain_orders[0], SellerOrder(orderId="MKP-PER1-01", packageAttachment=shown))
    tell(order, order.chain_orders[0], [found])

    assert found.reason == told(order, an_invoice(value=400)).reason
    assert (order.attention_code, order.chain_orders[0].invoiced_cents) == ("invoice-changed", 300)


@pytest.mark.parametrize(
    ("state", "shown", "differs"),
    [
        ("recorded", 1300, False), ("recorded", 800, False), ("recorded", 900, True), ("dismissed", 800, False),
        ("dismissed", 700, True), ("refused", 800, True), ("accepted", 800, True),
    ],
)  # fmt: skip
def test_what_a_person_knows_of_explains_another_value(state: str, shown: int, differs: bool) -> None:
    order = an_order()
    for cents in (300, 200):
        told(order, note("pvt/orders/PER1/changes", {"requestId": str(cents), "discountValue": cents}, "change"))
    for change in order.chain_orders[0].changes:
        change.state = state

    found = differences(order.chain_orders[0], SellerOrder(orderId="MKP-PER1-01", value=shown))

    assert [one.code for one in found] == ["value-differs"] * differs


@pytest.mark.parametrize(
    ("ours", "shown", "told"),
    [
        ("authorized", {"status": "payment-pending"}, ["not-authorized-at-seller"]),
        ("authorized", {"status": "payment-pending", "authorizedDate": "2026-03-04T12:00:00Z"}, []),
        ("authorized", {"status": "handling"}, []), ("authorized", {"status": "of-tomorrow"}, []),
        ("authorizing", {"status": "payment-pending"}, []), ("invoiced", {"status": "payment-pending"}, []),
    ],
)  # fmt: skip
def test_an_authorization_that_was_taken_and_is_not_shown_is_a_difference(
    ours: str, shown: dict[str, str], told: list[str]
) -> None:
    order = an_order()
    order.chain_orders[0].status = Status(ours)

    found = differences(order.chain_orders[0], SellerOrder(orderId="MKP-PER1-01", **shown))

    assert [one.code for one in found] == told


def test_an_invoice_that_one_read_shows_twice_is_known_once() -> None:
    order = an_order()
    package = {"invoiceNumber": "A", "invoiceValue": 300}

    _read(order, 1, status="handling", packageAttachment={"packages": [package, package]})

    assert [one.number for one in order.chain_orders[0].invoices] == ["A"]


@pytest.mark.parametrize("status", ["canceled", "handling"])
def test_of_what_is_cancelled_no_value_is_compared(status: str) -> None:
    order = an_order()
    if status == "handling":
        order.chain_orders[0].status = Status.CANCELLED

    shown = SellerOrder(orderId="MKP-PER1-01", status=status, value=0)

    assert differences(order.chain_orders[0], shown) == []


def test_what_the_seller_no_longer_shows_is_told_once() -> None:
    order = an_order()

    _read(order, 1)
    order.clear_attention("operator:one")

    assert _read(order, 2).count("order.attention") == 1


@pytest.mark.parametrize(
    ("shown", "status"),
    [
        ({"status": "payment-approved"}, Status.AUTHORIZED),
        ({"status": "handling", "authorizedDate": "2026-11-01T10:00:00Z"}, Status.AUTHORIZED),
        ({"status": "invoiced"}, Status.INVOICED),
        ({"status": "canceled"}, Status.CANCELLED),
        ({"status": "payment-pending"}, Status.AUTHORIZING),
    ],
)
def test_a_read_finds_what_nobody_told(shown: dict[str, Any], status: Status) -> None:
    order = an_order()

    told_of = _read(order, 2, **shown)

    assert order.chain_orders[0].status == status
    assert told_of.count(f"chain-order.{status}") == (status is not Status.AUTHORIZING)


def test_tracking_that_waited_does_not_override_what_came_after_it() -> None:
    order = an_order()
    notes = [
        note("pvt/orders/PER1/invoice/A", {"trackingNumber": "OLD", "courier": "Old"}, "tracking"),
        an_invoice(),
        note("pvt/orders/PER1/invoice/A", {"trackingNumber": "NEW"}, "tracking"),
    ]
    for nth, one in enumerate(notes, start=1):
        one.id = nth

    told(order, *notes, notes[0])

    (known,) = order.chain_orders[0].invoices
    assert (known.tracking_number, known.courier) == ("NEW", "Old")
    assert [one.state for one in notes] == ["applied"] * 3


def test_a_fact_says_what_had_been_applied_before_it() -> None:
    order = an_order()

    told(order, an_invoice(), an_invoice(number="B", value=1000))

    assert [fact.applied_seq for fact in order.told] == [1, 2]


def _meaning(path: str, body: dict[str, Any]) -> bytes:
    called = addresses.callback(path.split("/"))
    assert called is not None
    return read(called, json.dumps(body).encode())[1]


ITEM = {"id": "8", "quantity": 1, "price": 1200}
OTHER_CONTENT: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (
        "pvt/orders/X/invoice",
        invoice(items=[{**ITEM, "description": "a"}]),
        invoice(items=[{**ITEM, "description": "b"}]),
    ),
    ("pvt/orders/X/invoice", invoice(items=[{**ITEM, "unitMultiplier": 1}]), invoice(items=[ITEM])),
    ("pvt/orders/X/changes", {"requestId": 1.5}, {"requestId": 2.5}),
    ("pvt/orders/X/invoice/A/tracking", {"deliveredDate": "soon"}, {"deliveredDate": "later"}),
]


@pytest.mark.parametrize(("path", "one", "other"), OTHER_CONTENT)
def test_content_that_differs_anywhere_is_another_notification(
    path: str, one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert _meaning(path, one) != _meaning(path, other)


def test_another_spelling_of_the_same_content_is_the_same_notification() -> None:
    spelled = [{**ITEM, "id": 8, "price": "1200"}]

    one = _meaning("pvt/orders/X/invoice", invoice(items=[ITEM], courier=""))

    assert one == _meaning("pvt/orders/X/invoice", invoice(value="1300", items=spelled, courier=None))


@pytest.mark.parametrize("more", [{}, {"note": "x"}])
def test_the_order_of_names_means_nothing(more: dict[str, Any]) -> None:
    one = invoice(items=[{**ITEM, **more}], **more)
    other = dict(reversed({**one, "items": [dict(reversed(one["items"][0].items()))]}.items()))

    assert _meaning("pvt/orders/X/invoice", one) == _meaning("pvt/orders/X/invoice", other)


@pytest.mark.parametrize("length", [501, 40_000])
def test_a_number_that_no_index_holds_is_refused_and_named(length: int) -> None:
    with pytest.raises(Malformed) as refused:
        _meaning("pvt/orders/X/invoice", invoice("9" * length))

    assert [(fault.pointer, fault.code) for fault in refused.value.faults] == [("/invoiceNumber", "too-long")]


def test_a_change_that_was_refused_is_decided_by_the_policy_that_answers_it_now() -> None:
    order = an_order()
    body = {"requestId": "c", "discountValue": 300}
    refused, again = (note(f"{audience}/orders/PER1/changes", body, "change") for audience in ("pvt", "pub"))
    refused.policy, again.policy = "refuse", "accept"

    told(order, refused)
    assert order.chain_orders[0].value_cents == 1300
    told(order, again)

    (change,) = order.chain_orders[0].changes
    assert (order.chain_orders[0].value_cents, change.state) == (1000, "accepted")
