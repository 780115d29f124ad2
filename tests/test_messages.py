"""The wire's bodies: what sellers may write to us and how it is read, and what we write, byte for byte."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticCustomError

from chain_orders import strict_json
from chain_orders.vtex import values
from chain_orders.vtex.faults import faults
from chain_orders.vtex.messages import (
    Cancellation,
    Invoice,
    authorization,
)

from .builders import cancellation, invoice, sample

BRASILIA = timezone(timedelta(hours=-3))


def told(message: type[BaseModel], document: Any) -> list[tuple[str, str, str]]:
    """The faults of a body that cannot be meant: pointer, code, sentence."""
    with pytest.raises(ValidationError) as wrong:
        message.model_validate(document)
    return [(fault.pointer, fault.code, fault.detail) for fault in faults(wrong.value)]


@pytest.mark.parametrize(
    "value", [11480, "11480", " 11480 ", 11480.0, "0000000011480"], ids=["number", "text", "blanks", "float", "zeros"]
)
def test_an_amount_is_a_number_or_a_text_of_digits(value: Any) -> None:
    assert Invoice.model_validate(invoice(value=value)).invoice_value == 11480


@pytest.mark.parametrize(
    "value",
    ["114.80", "114,80", "R$ 114", "", " ", "-1", "1e3", "٣", "9" * 14, 114.5, -1, 10**12 + 1, True, None, [11480], {}],
)
def test_an_amount_that_is_not_whole_cents_is_refused(value: Any) -> None:
    ((pointer, code, detail),) = told(Invoice, invoice(value=value))

    assert (pointer, code) == ("/invoiceValue", "cents")
    assert "cents" in detail


@pytest.mark.parametrize(
    ("written", "read"),
    [("NF-88021", "NF-88021"), (" NF-88021 ", "NF-88021"), (7999972, "7999972"), (0, "0"), ("NF 8/1 #2", "NF 8/1 #2")],
)
def test_an_id_is_a_text_or_a_number(written: Any, read: str) -> None:
    assert Invoice.model_validate(invoice(number=written)).invoice_number == read


@pytest.mark.parametrize("written", ["", "  ", None, True, 1.5, [], {}])
def test_an_id_that_is_none_is_refused(written: Any) -> None:
    assert told(Invoice, invoice(number=written)) == [
        ("/invoiceNumber", "identifier", "must be a text or a number, and not blank")
    ]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2026-03-05T07:00:00-0300", datetime(2026, 3, 5, 7, tzinfo=BRASILIA)),
        ("2026-03-05T07:00:00-03:00", datetime(2026, 3, 5, 7, tzinfo=BRASILIA)),
        ("2026-03-05T07:00:00-03", datetime(2026, 3, 5, 7, tzinfo=BRASILIA)),
        ("2018-11-21T11:50:09.9994509-02:00", datetime(2018, 11, 21, 13, 50, 9, 999450, tzinfo=UTC)),
        ("2026-11-01T10:00:00.0000000-0300", datetime(2026, 11, 1, 13, tzinfo=UTC)),
        ("2019-02-07T02:00:00.000Z", datetime(2019, 2, 7, 2, tzinfo=UTC)),
        ("2019-02-07T02:00:00.5z", datetime(2019, 2, 7, 2, 0, 0, 500000, tzinfo=UTC)),
        ("2019-02-07T02:00:00,25Z", datetime(2019, 2, 7, 2, 0, 0, 250000, tzinfo=UTC)),
        ("2019-02-07T02:00:00", datetime(2019, 2, 7, 2, tzinfo=UTC)),
        ("2019-02-07 02:00", datetime(2019, 2, 7, 2, tzinfo=UTC)),
        (" 2019-02-07 ", datetime(2019, 2, 7, tzinfo=UTC)),
        ("0001-01-01T00:00:00", None), ("0001-01-01T00:00:00-03:00", None), ("9999-12-31T23:59:59.9999999Z", None),
        ("0001-01-01T00:00:00+01:00", None), ("9999-12-31T23:59:59.9999999-03:00", None),
    ],
)  # fmt: skip
def test_a_date_is_read_in_each_spelling(written: str, read: datetime | None) -> None:
    assert Invoice.model_validate(invoice(issuanceDate=written)).issuance_date == read


@pytest.mark.parametrize(
    ("written", "detail"),
    [
        ("", "must be an ISO 8601 date or date and time"),
        ("yesterday", "must be an ISO 8601 date or date and time"),
        ("07/02/2019", "must be an ISO 8601 date or date and time"),
        ("2019-02-07T02:00:00.Z", "must be an ISO 8601 date or date and time"),
        ("2019-02-07T02:00:00Z tomorrow", "must be an ISO 8601 date or date and time"),
        (20190207, "must be an ISO 8601 date or date and time"),
        (None, "must be an ISO 8601 date or date and time"),
        ("2019-02-30", "must be a date and time that exists"),
        ("2019-02-07T25:00", "must be a date and time that exists"),
        ("0000-01-01", "must be a date and time that exists"),
        ("2019-02-07T02:00:00+99:00", "must be a date and time that exists"),
    ],
)
def test_a_date_that_is_none_is_refused(written: Any, detail: str) -> None:
    assert told(Invoice, invoice(issuanceDate=written)) == [("/issuanceDate", "moment", detail)]


@settings(max_examples=100, deadline=None)
@given(st.from_regex(values._USUAL, fullmatch=True))
def test_a_date_in_the_usual_form_is_read_as_any_other(written: str) -> None:
    def read(text: str) -> datetime | str:
        try:
            return values.moment(text)
        except PydanticCustomError as refused:
            return refused.message()

    assert read(written) == read(f" {written}")


@settings(max_examples=30, deadline=None)
@given(st.text(alphabet="0123456789-+:.,TZz ٣", max_size=34))
def test_whatever_the_date_it_can_be_stored_or_is_refused(written: str) -> None:
    try:
        read = Invoice.model_validate(invoice(issuanceDate=written)).issuance_date
    except ValidationError:
        read = None

    assert read is None or read.astimezone(UTC).tzinfo is UTC


OPTIONAL = ["invoiceUrl", "invoiceKey", "courier", "trackingNumber", "trackingUrl"]


@pytest.mark.parametrize("blank", ["", "  ", None])
def test_a_blank_is_absent(blank: Any) -> None:
    read = Invoice.model_validate(invoice(**dict.fromkeys(OPTIONAL, blank)))

    assert read == Invoice.model_validate(invoice())
    assert {read.invoice_url, read.invoice_key, read.courier, read.tracking_number, read.tracking_url} == {None}


def test_a_tracking_number_may_be_a_number() -> None:
    assert Invoice.model_validate(invoice(trackingNumber=9997, courier=" Correio ")).tracking_number == "9997"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("Output", "Output"),
        ("output", "Output"),
        (" INPUT ", "Input"),
        ("input", "Input"),
        ("", "Output"),
        (None, "Output"),
    ],
)
def test_a_type_is_read_in_any_case_and_is_a_sale_unless_it_says_otherwise(written: Any, read: str) -> None:
    assert Invoice.model_validate(invoice(type=written)).type == read


def test_an_invoice_without_a_type_is_a_sale() -> None:
    document = invoice()
    del document["type"]

    assert Invoice.model_validate(document).type == "Output"


@pytest.mark.parametrize("written", ["Refund", 1, ["Output"]])
def test_another_type_is_refused(written: Any) -> None:
    assert told(Invoice, invoice(type=written)) == [("/type", "type", "must be Output (a sale) or Input (a return)")]


@pytest.mark.parametrize("quantity", [2, "2", 2.0])
def test_a_quantity_is_a_whole_number_in_any_spelling(quantity: Any) -> None:
    read = Invoice.model_validate(invoice(items=[{"id": 8, "quantity": quantity, "price": "1200"}]))

    assert read.items[0].model_dump() == {"id": "8", "quantity": 2, "price": 1200}


@pytest.mark.parametrize("quantity", [1.5, -1, "two", True, None, "1" * 10])
def test_a_quantity_that_is_none_is_refused_with_its_item(quantity: Any) -> None:
    items = [{"id": "8", "quantity": 1, "price": 1}, {"id": "9", "quantity": quantity, "price": 1}]

    assert told(Invoice, invoice(items=items)) == [("/items/1/quantity", "quantity", "must be a whole number of units")]


def test_what_is_missing_is_named_and_so_is_every_fault() -> None:
    assert told(Invoice, {"invoiceValue": 1.5, "items": [{}]}) == [
        ("/invoiceNumber", "missing", "is missing"),
        ("/invoiceValue", "cents", "must be a whole number of cents, as a number or a text of digits"),
        ("/issuanceDate", "missing", "is missing"),
        ("/items/0/id", "missing", "is missing"),
        ("/items/0/quantity", "missing", "is missing"),
        ("/items/0/price", "missing", "is missing"),
    ]


@pytest.mark.parametrize("document", [[], "text", 1, None])
def test_a_body_that_is_no_object_is_refused_as_a_whole(document: Any) -> None:
    assert [pointer for pointer, _, _ in told(Invoice, document)] == [""]


@pytest.mark.parametrize(
    ("field", "written", "code"),
    [
        ("courier", "x" * 501, "too-long"), ("invoiceKey", "x" * 501, "too-long"),
        ("invoiceUrl", "x" * 4001, "too-long"), ("trackingUrl", "x" * 4001, "too-long"),
        ("items", [0] * 1001, "too-many"),
    ],
)  # fmt: skip
def test_what_is_longer_than_anybody_could_list_is_one_fault(field: str, written: Any, code: str) -> None:
    """Also where every entry of a list is wrong: of a few megabytes the faults would fill the memory."""
    assert [fault[:2] for fault in told(Invoice, invoice(**{field: written}))] == [(f"/{field}", code)]


def test_a_pointer_escapes_what_pointers_escape() -> None:
    class Odd(BaseModel):
        there: dict[str, int]

    assert [pointer for pointer, _, _ in told(Odd, {"there": {"a/b~c": "x"}})] == ["/there/a~1b~0c"]


def test_a_fault_never_shows_what_was_sent() -> None:
    secret = {"invoiceNumber": ["s3cret"], "invoiceValue": "s3cret", "issuanceDate": "s3cret", "type": "s3cret"}

    assert "s3cret" not in json.dumps(told(Invoice, {**secret, "items": "s3cret", "courier": {"s3cret": 1}}))


def test_unknown_fields_are_no_fault() -> None:
    assert Invoice.model_validate(invoice(cfop="5.102", volumes=[])) == Invoice.model_validate(invoice())


@pytest.mark.parametrize("seller_order_id", ["7908010136043", 7908010136043, " 7908010136043 "])
def test_a_cancellation_names_its_order_by_text_or_number(seller_order_id: Any) -> None:
    read = Cancellation.model_validate({"id": "sellerOrderCancelled", "sellerOrderId": seller_order_id})

    assert (read.id, read.seller_order_id) == ("sellerOrderCancelled", "7908010136043")


def test_the_seeds_cancellation_is_read() -> None:
    read = Cancellation.model_validate(strict_json.parse(sample("seed/cancellation.json")))

    assert read == Cancellation.model_validate(cancellation("7908010136043"))


@pytest.mark.parametrize("field", ["id", "sellerOrderId"])
def test_a_cancellation_without_its_names_is_refused(field: str) -> None:
    document = cancellation("MKP-1-01")
    del document[field]

    assert told(Cancellation, document) == [(f"/{field}", "missing", "is missing")]


def test_an_authorization_is_these_bytes() -> None:
    assert authorization("HRB20419", "2026-03-04T12:05:00+00:00", "pay_7QmX2", None) == (
        b'{"marketplaceOrderGroup":"HRB20419",'
        b'"authorizationReceipt":{"date":"2026-03-04T12:05:00+00:00","receipt":"pay_7QmX2"}}'
    )


def test_an_authorization_with_items_is_these_bytes() -> None:
    items = [{"id": "5512", "quantity": 2, "seller": "acmeporto", "price": 4300}]

    assert (
        authorization("HRB20419", "2026-03-04", "ç", items)
        == (
            '{"items":[{"id":"5512","quantity":2,"seller":"acmeporto","price":4300}],"marketplaceOrderGroup":"HRB20419",'
            '"authorizationReceipt":{"date":"2026-03-04","receipt":"ç"}}'
        ).encode()
    )


def test_an_authorization_of_no_items_says_so() -> None:
    assert authorization("G", "d", "r", []).startswith(b'{"items":[],')
