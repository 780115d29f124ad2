"""A seller's answers: the orders they list, the order they show, the errors they name, and what is none of these."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chain_orders.vtex.messages import SellerOrder, Unreadable, read_error, read_group, read_order, read_placed

# An answer as VTEX's pages show it, with fewer fields: protocol A.3.
ENTRY: dict[str, Any] = {
    "orderId": "HRB-HRB20419-01",
    "orderGroup": "HRB-HRB20419",
    "sellerOrderId": "PRT-HRB-HRB20419-01",
    "state": None,
    "value": 11480,
    "items": [],
    "totals": [{"id": "Items", "name": "Items", "value": 10590}],
    "isCompleted": True,
    "creationDate": "2026-03-04T12:00:01.1234567Z",
}


def raw(document: Any) -> bytes:
    return json.dumps(document).encode()


@pytest.mark.parametrize("transaction", [None, {"merchantTransactions": [], "receiverUri": None}])
def test_a_placements_answer_lists_its_orders(transaction: Any) -> None:
    second = {**ENTRY, "orderId": "HRB-HRB20419-02", "items": [{"id": 5512, "quantity": 2, "seller": "acmeporto"}]}

    placed = read_placed(raw({"orderForm": None, "transactionData": transaction, "orders": [ENTRY, second]}))

    assert [order.order_id for order in placed] == ["HRB-HRB20419-01", "HRB-HRB20419-02"]
    assert [order.value for order in placed] == [11480, 11480]
    assert [item.model_dump() for item in placed[1].items] == [
        {"id": "5512", "quantity": 2, "seller": "acmeporto", "price": None}
    ]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "is not JSON"),
        (b"<html>moved</html>", "is not JSON"),
        (b'{"orders":[', "is not JSON"),
        (b"[]", "lists no orders"),
        (b"{}", "lists no orders"),
        (b'{"orders":null}', "lists no orders"),
        (b'{"orders":[]}', "lists no orders"),
        (b'{"orders":{}}', "lists no orders"),
        (b'{"orders":[{}]}', "lacks /orderId"),
        (b'{"orders":[{"orderId":"  "}]}', "lacks /orderId"),
        (b'{"orders":["MKP-1-01"]}', "lacks /"),
        (raw({"orders": [{**ENTRY, "items": [{"quantity": 1}]}]}), "lacks /items/0/id"),
        (raw({"orders": [{**ENTRY, "value": "s3cret"}]}), "lacks /value"),
        (raw({"orders": [{**ENTRY, "value": 10**18}]}), "lacks /value"),
        (raw({"orders": [{**ENTRY, "value": -1}]}), "lacks /value"),
    ],
)
def test_an_answer_without_readable_orders_is_unreadable(body: bytes, why: str) -> None:
    with pytest.raises(Unreadable) as unreadable:
        read_placed(body)

    assert why in str(unreadable.value)
    assert "s3cret" not in str(unreadable.value)


def test_an_answer_of_countless_faults_is_told_in_a_few_words() -> None:
    for items in ([0] * 200_000, [{}] * 900):
        with pytest.raises(Unreadable) as wrong:
            read_placed(json.dumps({"orders": [{"orderId": "MKP-X-01", "items": items}]}).encode())

        assert len(str(wrong.value)) < 400


def test_a_read_order_shows_what_matters() -> None:
    document = {
        **ENTRY,
        "marketplaceOrderId": "HRB20419",
        "marketplaceServicesEndpoint": "https://cb.harbor.example/cb/k1/r/m",
        "affiliateId": "HRB",
        "status": "payment-pending",
        "authorizedDate": None,
        "packageAttachment": {"packages": [{"invoiceNumber": "1", "invoiceValue": 11480, "issuanceDate": ""}]},
    }

    read = read_order(raw(document))

    assert (read.status, read.authorized, read.cancelled) == ("payment-pending", False, False)
    assert read.marketplace_services_endpoint == "https://cb.harbor.example/cb/k1/r/m"
    assert read.package_attachment is not None
    assert [package.invoice_value for package in read.package_attachment.packages or []] == [11480]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"items": None},
        {"items": [{"id": "1", "quantity": 1, "price": 1.5, "seller": {"id": "1"}}]},
        {"value": None},
        {"value": "11480"},
        {"status": None},
        {"status": "a-status-of-tomorrow"},
        {"isCompleted": None},
        {"packageAttachment": None},
        {"packageAttachment": {}},
        {"packageAttachment": {"packages": None}},
        {"packageAttachment": {"packages": [{"invoiceNumber": None, "invoiceValue": "1", "type": "input"}]}},
        {"packageAttachment": {"packages": [{"invoiceNumber": "1", "invoiceValue": 1, "issuanceDate": "soon"}]}},
    ],
)
def test_a_read_order_may_leave_much_open(changes: dict[str, Any]) -> None:
    assert read_order(raw({**ENTRY, **changes})).order_id == "HRB-HRB20419-01"


@pytest.mark.parametrize("odd", [{}, None, "NF-2", {"invoiceValue": None}, {"invoiceValue": 1, "type": "Gift"}])
def test_a_package_that_is_no_invoice_hides_nothing_else(odd: Any) -> None:
    good = {"invoiceNumber": "1", "invoiceValue": 7}

    read = read_order(raw({**ENTRY, "status": "canceled", "packageAttachment": {"packages": [odd, good]}}))

    assert read.cancelled
    assert [package.invoice_value for package in read.packages] == [7]


@pytest.mark.parametrize(
    ("status", "authorized", "cancelled"),
    [
        ("waiting-for-mkt-authorization", False, False),
        ("payment-pending", False, False),
        ("payment-approved", True, False),
        ("invoice", True, False),
        ("invoiced", True, False),
        ("canceled", False, True),
        ("cancelled", False, True),
        ("cancel", False, True),
        (None, False, False),
    ],
)
def test_a_status_tells_how_far_the_order_is(status: str | None, authorized: bool, cancelled: bool) -> None:
    read = SellerOrder.model_validate({"orderId": "MKP-1-01", "status": status})

    assert (read.authorized, read.cancelled) == (authorized, cancelled)


def test_an_authorization_date_proves_the_authorization() -> None:
    assert SellerOrder.model_validate({"orderId": "1", "authorizedDate": "2026-03-04T12:05:00Z"}).authorized


def test_a_group_is_a_list_that_may_be_empty() -> None:
    assert read_group(b"[]") == []
    assert [order.order_id for order in read_group(raw([ENTRY]))] == ["HRB-HRB20419-01"]


@pytest.mark.parametrize("body", [b"{}", b"null", b"", b'{"orders":[]}', b"[null]", b"[{}]"])
def test_a_group_that_is_no_list_of_orders_is_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        read_group(body)


ERROR = {"code": "CHK0145", "message": "o valor não confere", "exception": None}


@pytest.mark.parametrize(
    ("body", "code", "operation"),
    [
        (raw({"fields": {}, "error": ERROR, "operationId": "0d6f"}), "CHK0145", "0d6f"),
        (raw({"error": ERROR}), "CHK0145", None),
        (raw({"error": {**ERROR, "code": " chk0145 "}}), "CHK0145", None),
        (raw({"error": {"code": "ORD015.1"}}), "ORD015.1", None),
        (raw({"error": {"code": "CHK00310"}}), "CHK00310", None),
        (raw({"error": {"code": "1", "message": "", "exception": None}}), None, None),
        (raw({"error": {"code": 1}, "operationId": 7}), None, None),
        (raw({"error": {"code": None}, "operationId": "0d6f"}), None, "0d6f"),
        (raw({"error": {"code": "CHK0145; drop"}}), None, None),
        (raw({"error": {"code": "CHK٣"}}), None, None),
        (raw({"error": "CHK0145"}), None, None),
        (raw({"error": None}), None, None),
        (raw({"message": "CHK0145"}), None, None),
        (raw([{"error": ERROR}]), None, None),
        (raw("CHK0145"), None, None),
        (b"<html><body>404 CHK0145</body></html>", None, None),
        (b"", None, None),
        (b'{"error":{"code":"CHK0145"}', None, None),
    ],
)
def test_an_error_is_read_from_every_envelope(body: bytes, code: str | None, operation: str | None) -> None:
    assert read_error(body) == (code, operation)
