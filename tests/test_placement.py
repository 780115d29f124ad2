"""The rules for an order that is to be placed: each refusal and each warning, by the smallest change that causes it."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain_orders import strict_json
from chain_orders.errors import Fault
from chain_orders.vtex import placement
from chain_orders.vtex.placement import ENDPOINT, RECEIPT, compose, examine

from .builders import order, sample, seed_order

GONE = object()
ENDPOINT_GIVEN = "https://cb.harbor.example/cb/k1/ref/mac"
ITEM = order()["items"][0]
LINE = order()["shippingData"]["logisticsInfo"][0]
ADDRESS = order()["shippingData"]["address"]
LINES = "/shippingData/logisticsInfo"
FIRST = f"{LINES}/0"


def changed(*changes: tuple[str, Any], group: str = "HARBOR1") -> dict[str, Any]:
    """`order()` with other values at these pointers; GONE takes a field away."""
    document = copy.deepcopy(order(group))
    for pointer, value in changes:
        *way, last = [int(part) if part.isdigit() else part for part in pointer.split("/")[1:]]
        place: Any = document
        for part in way:
            place = place[part]
        if value is GONE:
            del place[last]
        elif isinstance(place, list) and last == len(place):
            place.append(value)
        else:
            place[last] = value
    return document


def refusals(document: Any) -> list[tuple[str, str]]:
    return [(fault.pointer, fault.code) for fault in examine(document).refusals]


def warnings(document: Any) -> list[str]:
    examined = examine(document)
    assert examined.refusals == ()
    return [warning.code for warning in examined.warnings]


WRONG_TYPES: list[tuple[str, Any]] = [
    ("/items", {}),
    ("/items/0", "8"),
    ("/items/0/id", 8),
    ("/items/0/quantity", "1"),
    ("/items/0/quantity", 1.0),
    ("/items/0/quantity", True),
    ("/items/0/seller", 1),
    ("/items/0/price", "1200"),
    ("/items/0/price", None),
    ("/items/0/price", True),
    ("/items/0/priceTags", {}),
    ("/items/0/isGift", "no"),
    ("/items/0/unitMultiplier", "1"),
    ("/items/0/attachments", {}),
    ("/items/0/itemAttachment", []),
    ("/clientProfileData", None),
    ("/clientProfileData/email", 1),
    ("/clientProfileData/isCorporate", "false"),
    ("/shippingData", []),
    ("/shippingData/address", "Rua Inventada"),
    ("/shippingData/address/number", 1),
    ("/shippingData/address/geoCoordinates", "-43.2"),
    ("/shippingData/selectedAddresses", {}),
    ("/shippingData/logisticsInfo", None),
    (f"{FIRST}/itemIndex", "0"),
    (f"{FIRST}/itemIndex", 0.0),
    (f"{FIRST}/lockTTL", 10),
    (f"{FIRST}/deliveryWindow", "morning"),
    ("/marketplaceOrderGroup", 847392476),
    ("/marketplaceOrderId", 847392476),
    ("/marketplacePaymentValue", "1300"),
    ("/marketplaceServicesEndpoint", 1),
    ("/isCreatedAsync", 1),
    ("/paymentData", []),
    ("/marketingData", "coupon"),
    ("/openTextField", 5),
    ("/customData", []),
]

REFUSED: list[tuple[dict[str, Any], str, str]] = [
    *((changed((pointer, value)), pointer, "wrong-type") for pointer, value in WRONG_TYPES),
    (
        changed(("/shippingData/address/geoCoordinates", ["1", 2])),
        "/shippingData/address/geoCoordinates/0",
        "wrong-type",
    ),
    (changed(("/items/0/priceTags", [1])), "/items/0/priceTags/0", "wrong-type"),
    (changed(("/items/0/priceTags", [{"value": "1"}])), "/items/0/priceTags/0/value", "wrong-type"),
    (changed(("/items/0/bundleItems", [{"id": 1.5}])), "/items/0/bundleItems/0/id", "wrong-type"),
    *(
        (changed((pointer, GONE)), pointer, "missing")
        for pointer in (
            "/items", "/items/0/id", "/items/0/quantity", "/items/0/seller", "/items/0/price", "/clientProfileData",
            "/shippingData", "/shippingData/logisticsInfo", f"{FIRST}/itemIndex", "/marketplaceOrderGroup",
            "/marketplacePaymentValue",
        )
    ),
    (changed(("/items", []), ("/shippingData/logisticsInfo", [])), "/items", "no-items"),
    (changed(("/items/0/quantity", 0)), "/items/0/quantity", "quantity-below-one"),
    (changed(("/items/0/quantity", -1)), "/items/0/quantity", "quantity-below-one"),
    (changed(("/items/0/id", "")), "/items/0/id", "blank"),
    (changed(("/items/0/seller", "")), "/items/0/seller", "blank"),
    *(
        (changed((pointer, value)), pointer, code)
        for pointer in (
            "/items/0/price", "/items/0/commission", "/items/0/tax", f"{FIRST}/price", "/marketplacePaymentValue",
            "/marketplacePaymentReferenceValue",
        )
        for value, code in [
            (-1, "negative-amount"), (12.5, "fractional-amount"), (12.0, "fractional-amount"),
            (10**12 + 1, "amount-too-large"),
        ]
    ),
    (changed(("/items/0/bundleItems", [{"price": -1}])), "/items/0/bundleItems/0/price", "negative-amount"),
    (changed((f"{FIRST}/deliveryWindow", {"price": 0.5})), f"{FIRST}/deliveryWindow/price", "fractional-amount"),
    (changed(("/items/0/quantity", 10**18)), "/items", "amount-too-large"),
    (changed((f"{FIRST}/itemIndex", 1)), f"{FIRST}/itemIndex", "item-index-out-of-range"),
    (changed((f"{FIRST}/itemIndex", -1)), f"{FIRST}/itemIndex", "item-index-out-of-range"),
    (
        changed(("/shippingData/logisticsInfo/1", LINE)),
        "/shippingData/logisticsInfo/1/itemIndex",
        "item-index-repeated",
    ),
    (
        changed(
            ("/items/1", ITEM), ("/shippingData/logisticsInfo/1", {**LINE, "itemIndex": 1, "selectedSla": "Express"})
        ),
        "/items/1/id",
        "sku-with-two-slas",
    ),
    (changed((f"{FIRST}/selectedDeliveryChannel", "drone")), f"{FIRST}/selectedDeliveryChannel", "unknown-value"),
    (changed(("/items/0/isGift", True)), "/items/0/isGift", "gift-not-supported"),
    *(
        (changed(("/shippingData/address/postalCode", bad)), "/shippingData/address/postalCode", "forbidden-characters")
        for bad in '<>?+";%*'
    ),
    *(
        (changed((f"/shippingData/address/{name}", "a;b")), f"/shippingData/address/{name}", "forbidden-characters")
        for name in ("addressType", "addressId", "city", "state", "country", "street", "number", "neighborhood")
    ),
    (
        changed(("/shippingData/selectedAddresses", [ADDRESS, {**ADDRESS, "city": "<b>"}])),
        "/shippingData/selectedAddresses/1/city",
        "forbidden-characters",
    ),
    *(
        (changed(group=group), "/marketplaceOrderGroup", "order-group-invalid")
        for group in ("a b", "a/b", "é", "a\n", "x" * 101, "٣")
    ),
    (changed(("/marketplaceOrderGroup", "")), "/marketplaceOrderGroup", "order-group-invalid"),
    # Of countless entries that are all wrong, one fault is told.
    *((changed((pointer, [0] * 1001)), pointer, "too-many") for pointer in ("/items", "/items/0/priceTags", LINES)),
]  # fmt: skip


def test_the_order_of_the_builders_is_sent_without_a_word() -> None:
    examined = examine(order("HARBOR1"))

    assert (examined.refusals, examined.warnings) == ((), ())
    assert (examined.order_group, examined.total_cents) == ("HARBOR1", 1300)
    assert examined.items == ({"id": "8", "quantity": 1, "seller": "1", "price": 1200},)


@pytest.mark.parametrize(("document", "pointer", "code"), REFUSED)
def test_a_refusal_names_field_and_rule(document: dict[str, Any], pointer: str, code: str) -> None:
    assert refusals(document) == [(pointer, code)]


@pytest.mark.parametrize("document", [None, [], [{}], "order", 1, True])
def test_a_document_that_is_no_object_is_refused_as_a_whole(document: Any) -> None:
    assert examine(document).refusals == (Fault("", "wrong-type", "the order must be a JSON object"),)


def test_every_fault_is_told_at_once() -> None:
    document = changed(("/items/0/quantity", 0), ("/items/0/isGift", True), ("/marketplaceOrderGroup", "a b"))

    assert refusals(document) == [
        ("/items/0/quantity", "quantity-below-one"),
        ("/items/0/isGift", "gift-not-supported"),
        ("/marketplaceOrderGroup", "order-group-invalid"),
    ]


def test_a_refusal_never_shows_what_was_sent() -> None:
    document = changed(("/clientProfileData/email", ["s3cret"]), ("/shippingData/address/city", {"s3cret": 1}))

    assert "s3cret" not in json.dumps([fault.as_dict() for fault in examine(document).refusals])


TAGGED = {"priceTags": [{"name": "discount@price", "value": -100, "rawValue": -1.0, "isPercentual": False}]}
TWO_LINES = (
    ("/items/1", ITEM),
    ("/shippingData/logisticsInfo/1", {**LINE, "itemIndex": 1, "price": 0}),
    ("/marketplacePaymentValue", 2500),
)
COLLECTED = (f"{FIRST}/selectedDeliveryChannel", "pickup-in-point")

WARNED: list[tuple[dict[str, Any], list[str]]] = [
    (changed(("/marketplacePaymentValue", 1299)), ["amounts-differ"]),
    (changed(("/items/0/quantity", 2)), ["amounts-differ"]),
    (changed(("/items/0/bundleItems", [{"id": "1", "price": 5}])), ["amounts-differ"]),
    (changed((f"{FIRST}/deliveryWindow", {"price": 5, "tax": 1})), ["amounts-differ"]),
    (changed(("/items/0", {**ITEM, **TAGGED}), ("/marketplacePaymentValue", 1200)), ["amounts-adjusted"]),
    (changed(("/items/0", {**ITEM, **TAGGED})), ["amounts-adjusted", "amounts-differ"]),
    (changed(("/items/0", {**ITEM, "priceTags": [{"value": 10, "isPercentual": True}]})), ["amounts-adjusted"]),
    (changed(("/items/0/tax", 10), ("/marketplacePaymentValue", 1310)), ["amounts-adjusted"]),
    (changed(("/items/0/tax", 10)), ["amounts-adjusted", "amounts-differ"]),
    (changed(("/clientProfileData", {"isCorporate": True})), ["profile-thin"]),
    (changed(("/clientProfileData", {"isCorporate": True, "email": "buyer@mail.example"})), ["profile-thin"]),
    (changed(("/shippingData/address/postalCode", GONE)), ["postal-code-missing"]),
    (changed(("/shippingData/address/postalCode", "")), ["postal-code-missing"]),
    (changed(("/shippingData/address", GONE)), ["postal-code-missing"]),
    (changed(COLLECTED), ["pickup-address-missing"]),
    (changed(COLLECTED, ("/shippingData/address", GONE)), ["pickup-address-missing"]),
    *(
        (changed((f"/clientProfileData/{name}", gone)), ["profile-thin"])
        for name in ("email", "firstName", "lastName", "document", "phone")
        for gone in (GONE, None, "")
    ),
    (changed((f"{FIRST}/lockTTL", GONE)), ["lock-ttl-missing"]),
    (changed((f"{FIRST}/lockTTL", "")), ["lock-ttl-missing"]),
    (changed(*TWO_LINES), ["sku-repeated"]),
    (changed(*TWO_LINES, (f"{FIRST}/selectedSla", GONE)), ["sku-repeated"]),
    (changed(("/shippingData/logisticsInfo", []), ("/marketplacePaymentValue", 1200)), ["logistics-missing"]),
    (changed(group="x" * 41), ["order-group-long"]),
    (changed(group="HARBOR-1"), ["order-group-hyphen"]),
    (changed(group="x" * 99 + "-"), ["order-group-long", "order-group-hyphen"]),
]


@pytest.mark.parametrize(("document", "codes"), WARNED)
def test_a_warning_names_its_rule_and_refuses_nothing(document: dict[str, Any], codes: list[str]) -> None:
    assert warnings(document) == codes


COMPANY = {
    "isCorporate": True,
    "email": "buyer@mail.example",
    "corporateName": "Invented Ltd.",
    "corporateDocument": "00000000000191",
}

SILENT: list[dict[str, Any]] = [
    changed(("/shippingData/address/postalCode", GONE), ("/shippingData/address/geoCoordinates", [-43.2, -22])),
    changed(("/shippingData/address", GONE), ("/shippingData/selectedAddresses", [ADDRESS])),
    changed(COLLECTED, ("/shippingData/address/addressType", "Pickup")),
    changed(COLLECTED, ("/shippingData/address", {"addressType": "pickup", "addressId": "shop-1"})),
    changed(("/clientProfileData", COMPANY)),
    changed(("/items/0/bundleItems", [{"id": 7, "price": 5}]), ("/marketplacePaymentValue", 1305)),
    changed(*((f"/shippingData/address/{name}", 'a "b"; 50%') for name in ("receiverName", "complement", "reference"))),
    changed(("/items/0/isGift", False), ("/items/0/unitMultiplier", 0.1), ("/items/0/measurementUnit", "kg")),
    changed(("/items/0/priceTags", []), ("/items/0/tax", 0)),
    changed(("/openTextField", "note"), ("/paymentData", None), ("/marketplaceServicesEndpoint", None)),
    changed(("/openTextField", {"value": "note"}), ("/marketplaceOrderId", "HARBOR1")),
    changed(("/tomorrow", {"any": [1]}), ("/items/0/tomorrow", 1), ("/shippingData/isFob", True)),
    changed(group="x" * 40),
    changed(group="A_b.9"),
    changed(("/items/0/price", 10**12 - 100), ("/marketplacePaymentValue", 10**12)),
]


@pytest.mark.parametrize("document", SILENT)
def test_what_vtex_takes_is_no_matter_for_a_warning(document: dict[str, Any]) -> None:
    assert warnings(document) == []


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        (changed(("/marketplacePaymentValue", 1299)), "/marketplacePaymentValue"),
        (changed((f"{FIRST}/lockTTL", GONE)), f"{FIRST}/lockTTL"),
        (changed(("/items/1", {**ITEM, "id": "9"}), ("/marketplacePaymentValue", 2500)), "/items/1"),
        (changed(*TWO_LINES), "/items/1/id"),
    ],
)
def test_a_warning_points_to_the_field(document: dict[str, Any], pointer: str) -> None:
    assert [warning.pointer for warning in examine(document).warnings] == [pointer]


def test_the_seeds_order_is_warned_about_and_sent() -> None:
    assert warnings(strict_json.parse(sample("seed/order.json"))) == [
        "amounts-differ",
        "profile-thin",
        "lock-ttl-missing",
        "postal-code-missing",
        "pickup-address-missing",
    ]


def test_examining_changes_nothing() -> None:
    document = seed_order()

    examine(document)

    assert document == seed_order()


TEXT = st.text(alphabet="aé \"'\\\n\U0001f600", max_size=5)
EXTRAS = st.dictionaries(TEXT, st.none() | st.booleans() | st.integers(-9, 9) | TEXT | st.lists(TEXT), max_size=4)


@settings(max_examples=30, deadline=None)
@given(EXTRAS, EXTRAS)
def test_unknown_fields_pass_untouched(extras: dict[str, Any], of_item: dict[str, Any]) -> None:
    document = {**order("HARBOR1"), **extras}
    document["items"] = [{**of_item, **ITEM}]

    sent = json.loads(compose(document, ENDPOINT_GIVEN))

    assert examine(document).refusals == ()
    assert sent == {**document, ENDPOINT: ENDPOINT_GIVEN}


def test_composing_replaces_the_endpoint_where_it_stands_and_nothing_else() -> None:
    given = seed_order()[ENDPOINT]

    assert compose(seed_order(), ENDPOINT_GIVEN) == strict_json.dump(seed_order()).replace(
        given.encode(), ENDPOINT_GIVEN.encode()
    )


def test_composing_takes_the_receipt_out_of_the_body_and_not_out_of_the_document() -> None:
    document = {**order("HARBOR1"), RECEIPT: {"receipt": "r-1"}}

    sent = compose(document, ENDPOINT_GIVEN)

    assert json.loads(sent) == {**order("HARBOR1"), ENDPOINT: ENDPOINT_GIVEN}
    assert document[RECEIPT] == {"receipt": "r-1"}


@pytest.mark.parametrize("document", [order("HARBOR1"), seed_order()])
def test_composing_the_same_gives_the_same_bytes(document: dict[str, Any]) -> None:
    assert compose(document, ENDPOINT_GIVEN) == compose(copy.deepcopy(document), ENDPOINT_GIVEN)


@pytest.mark.parametrize(
    "same",
    [
        dict(reversed(order("HARBOR1").items())),
        {**order("HARBOR1"), ENDPOINT: "https://other.example/cb"},
        {**order("HARBOR1"), RECEIPT: {"receipt": "r-1"}},
        {**order("HARBOR1"), "marketplacePaymentValue": 1300.0},
    ],
    ids=["order of names", "endpoint", "receipt", "spelling of a number"],
)
def test_the_same_order_has_the_same_canonical_form(same: dict[str, Any]) -> None:
    assert placement.canonical(same) == placement.canonical(order("HARBOR1"))


@pytest.mark.parametrize(
    "other",
    [
        changed(("/items/0/price", 1201)),
        changed(("/isCreatedAsync", None)),
        changed(("/tomorrow", 1)),
        changed(("/items/1", ITEM)),
        changed(group="HARBOR2"),
    ],
)
def test_another_order_has_another_canonical_form(other: dict[str, Any]) -> None:
    assert placement.canonical(other) != placement.canonical(order("HARBOR1"))
