"""Every path of the protocol: how callbacks may be spelled, and what we call at a seller."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain_orders.vtex.addresses import (
    Callback,
    Kind,
    authorization,
    callback,
    order,
    order_group,
    placement_query,
    split,
)

CANCELLED = Callback(Kind.CANCELLATION, order_group="HRB20419")
INVOICED = Callback(Kind.INVOICE, order_id="HRB20419")
INVOICED_GROUP = Callback(Kind.INVOICE, order_group="HRB20419")

SPELLINGS: list[tuple[str, Callback]] = [
    (f"{root}/{audience}/orders/{rest}", meant)
    for root in ("", "/api/oms")
    for audience in ("pvt", "pub")
    for rest, meant in (
        ("order-group/HRB20419/notifications/seller-cancellation", CANCELLED),
        ("order-group/HRB20419/notifications", CANCELLED),
        ("order-group/HRB20419/invoice", INVOICED_GROUP),
        ("HRB20419/invoice", INVOICED),
        ("HRB20419/cancel", Callback(Kind.CANCELLATION, order_id="HRB20419")),
        ("HRB20419/changes", Callback(Kind.CHANGE, order_group="HRB20419")),
    )
]


POST_PATCH, POST_PUT = frozenset({"POST", "PATCH"}), frozenset({"POST", "PUT"})


def read(path: str | bytes) -> Callback | None:
    return callback(split(path.encode() if isinstance(path, str) else path))


@pytest.mark.parametrize(("path", "meant"), SPELLINGS)
def test_each_spelling_of_a_callback_is_understood(path: str, meant: Callback) -> None:
    assert read(path) == meant


@pytest.mark.parametrize(("path", "meant"), SPELLINGS)
def test_doubled_and_trailing_slashes_and_a_query_change_nothing(path: str, meant: Callback) -> None:
    assert read("/" + path.replace("/", "///") + "//?an=acme&x=/pvt/orders") == meant


@pytest.mark.parametrize(
    ("written", "named"),
    [
        ("HRB-HRB20419-01", "HRB-HRB20419-01"),
        ("a%2Fb", "a/b"),
        ("a%2fb%2F", "a/b/"),
        ("%2F", "/"),
        ("a%252Fb", "a%2Fb"),
        ("a%3Fb", "a?b"),
        ("%C3%A9", "é"),
        ("a+b", "a+b"),
        ("a%20b", "a b"),
        ("100%", "100%"),
        ("%zz", "%zz"),
        ("order-group", "order-group"),
        ("invoice", "invoice"),
    ],
)
def test_an_id_is_decoded_once_and_stays_in_its_part(written: str, named: str) -> None:
    assert read(f"/pub/orders/{written}/invoice") == Callback(Kind.INVOICE, order_id=named)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/pvt",
        "/pvt/orders",
        "/pvt/orders/%FF/invoice",
        "/pvt/orders/HRB%0020419/invoice",
        "/pvt/orders/HRB20419/invoice/%ed%a0%80",
        "/pvt/orders/HRB20419/invoice/tracking",
        "/pvt/orders/HRB20419/invoice/%20",
        "/pvt/orders/HRB20419/cancel/now",
        "/pvt/orders/HRB20419/changes/chg-1",
        "/pvt/orders/HRB20419",
        "/pvt/orders/HRB20419/invoices",
        "/pvt/orders/HRB20419/Invoice",
        "/pvt/orders/order-group/HRB20419",
        "/pvt/orders/order-group/notifications",
        "/pvt/orders/order-group/HRB20419/notifications/seller-invoice",
        "/pvt/orders/order-group/HRB20419/notifications/seller-cancellation/more",
        "/priv/orders/HRB20419/invoice",
        "/pvt/order/HRB20419/invoice",
        "/api/pvt/orders/HRB20419/invoice",
        "/oms/pvt/orders/HRB20419/invoice",
        "/api/oms",
        "/api/oms/api/oms/pvt/orders/HRB20419/invoice",
        "/more/pvt/orders/HRB20419/invoice",
        "/pvt%2Forders/HRB20419/invoice",
        "/pvt/orders?/HRB20419/invoice",
    ],
)
def test_an_unknown_path_is_none(path: str) -> None:
    assert read(path) is None


@pytest.mark.parametrize(
    ("written", "number", "methods"),
    [
        ("NF-1", "NF-1", POST_PATCH),
        ("NF-1/tracking", "NF-1", POST_PUT),
        ("NF%2F1", "NF/1", POST_PATCH),
        ("NF/1", "NF/1", POST_PATCH),
        ("NF/1/tracking/", "NF/1", POST_PUT),
        ("%20NF%208%231%20", "NF 8#1", POST_PATCH),
        ("NF-1/Tracking", "NF-1/Tracking", POST_PATCH),
        ("tracking/tracking", "tracking", POST_PUT),
        ("invoice", "invoice", POST_PATCH),
    ],
)
@pytest.mark.parametrize(
    ("order", "named"), [("HRB-01", {"order_id": "HRB-01"}), ("order-group/HRB", {"order_group": "HRB"})]
)
def test_tracking_is_named_by_all_that_follows_the_invoice(
    order: str, named: dict[str, str], written: str, number: str, methods: frozenset[str]
) -> None:
    found = read(f"/pub/orders/{order}/invoice/{written}")

    assert found == Callback(Kind.TRACKING, **named, invoice_number=number, methods=methods)


@pytest.mark.parametrize("path", [path for path, _ in SPELLINGS[:4]])
def test_a_callback_says_what_it_names(path: str) -> None:
    found = read(path)

    assert found is not None
    assert found.named == "HRB20419"


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=60) | st.text(alphabet="/%2Fabpvtorders?\xe9\0", max_size=60).map(str.encode))
def test_splitting_never_fails(raw_path: bytes) -> None:
    parts = split(raw_path)

    assert all(isinstance(part, str) and part for part in parts)
    found = callback(parts)
    assert found is None or (found.order_group is None) != (found.order_id is None)


@settings(max_examples=20, deadline=None)
@given(st.text(alphabet="aZ9/%?#&=+ é\0\U0001f600-", min_size=1, max_size=12))
def test_an_id_that_was_quoted_is_read_back(named: str) -> None:
    assert split(f"/pvt/orders/{quote(named, safe='')}/invoice".encode()) == ["pvt", "orders", named, "invoice"]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (
            authorization("HRB-HRB20419-01"),
            "/api/checkout/pvt/orders/HRB-HRB20419-01/receipts/marketplace-order-authorization",
        ),
        (order("HRB-HRB20419-01"), "/api/oms/pvt/orders/HRB-HRB20419-01"),
        (order_group("HRB-HRB20419"), "/api/oms/pvt/orders/order-group/HRB-HRB20419"),
        (order("../a?b#c"), "/api/oms/pvt/orders/..%2Fa%3Fb%23c"),
        (order_group("a/b"), "/api/oms/pvt/orders/order-group/a%2Fb"),
        (authorization("a/b"), "/api/checkout/pvt/orders/a%2Fb/receipts/marketplace-order-authorization"),
        (placement_query("1", "MKP"), "sc=1&affiliateId=MKP"),
        (placement_query("1&x=2", "M KP"), "sc=1%26x%3D2&affiliateId=M+KP"),
    ],
)
def test_what_we_call_is_spelled_exactly(address: str, expected: str) -> None:
    assert address == expected
