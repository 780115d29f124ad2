"""The rules for an order that is to be placed: what is refused, what is warned about and sent all the same.

Validation only reads. The document that goes to the seller is the caller's own JSON tree with one field set, so
that nothing is added, dropped or retyped on the way.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from .. import strict_json
from ..errors import Fault
from .messages import MAXIMUM_CENTS, faults

ENDPOINT = "marketplaceServicesEndpoint"
RECEIPT = "authorizationReceipt"
_GROUP = re.compile(r"[\w.-]{1,100}", re.ASCII)
_LONG_GROUP = 40
_FORBIDDEN_IN_ADDRESS = re.compile(r'[<>?+";%*]')
# What is written by people and may hold such characters without VTEX minding.
_FREE_TEXT = frozenset({"receiverName", "complement", "reference"})


@dataclass(frozen=True, slots=True)
class Warning_:
    """Something a person should know about an order that is sent all the same."""

    code: str
    detail: str

    def as_dict(self) -> dict[str, str]:
        return {"code": self.code, "detail": self.detail}


@dataclass(frozen=True, slots=True)
class Examined:
    """What an order document says: its refusals (none: it may be sent), its warnings, its items and amounts."""

    refusals: tuple[Fault, ...]
    warnings: tuple[Warning_, ...] = ()
    order_group: str = ""
    items: tuple[dict[str, Any], ...] = ()
    total_cents: int = 0


def _cents(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PydanticCustomError("wrong-type", "must be a number: an amount in cents")
    if isinstance(value, float):
        raise PydanticCustomError("fractional-amount", "must be a whole number of cents; 24.99 is written 2499")
    if value < 0:
        raise PydanticCustomError("negative-amount", "must not be negative")
    if value > MAXIMUM_CENTS:
        raise PydanticCustomError("amount-too-large", "must be at most 1,000,000,000,000 cents")
    return value


def _quantity(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int):
        raise PydanticCustomError("wrong-type", "must be a whole number")
    if value < 1:
        raise PydanticCustomError("quantity-below-one", "must be at least 1")
    return value


def _gift(value: Any) -> Any:
    if value is True:
        raise PydanticCustomError("gift-not-supported", "VTEX refuses gifts in chain orders (ORD017)")
    return value


def _group(value: Any) -> Any:
    if not isinstance(value, str):
        raise PydanticCustomError("wrong-type", "must be a text")
    if not _GROUP.fullmatch(value) or not value.strip("."):
        raise PydanticCustomError(
            "order-group-invalid", "must be 1 to 100 letters, digits, '.', '_' or '-', not dots alone"
        )
    return value


# One check each instead of a union of types, whose branches pydantic would put into the pointer of a fault.
def _text_or_number(value: Any) -> Any:
    if value is None or (isinstance(value, str | int) and not isinstance(value, bool)):
        return value
    raise PydanticCustomError("wrong-type", "must be a text or a whole number")


def _text_or_object(value: Any) -> Any:
    if value is None or isinstance(value, str | dict):
        return value
    raise PydanticCustomError("wrong-type", "must be a text or an object")


Cents = Annotated[int, BeforeValidator(_cents)]
Quantity = Annotated[int, BeforeValidator(_quantity)]
Named = Annotated[str, Field(min_length=1)]


class _Part(BaseModel):
    """Part of the order document: the types of known fields, whatever else there is."""

    model_config = ConfigDict(alias_generator=to_camel, extra="allow", strict=True, hide_input_in_errors=True)


class _PriceTag(_Part):
    name: str | None = None
    value: float | None = None
    raw_value: float | None = None
    is_percentual: bool | None = None
    identifier: str | None = None


class _Bundle(_Part):
    id: Annotated[str | int | None, PlainValidator(_text_or_number)] = None
    name: str | None = None
    type: str | None = None
    price: Cents | None = None


class _Item(_Part):
    id: Named
    quantity: Quantity
    seller: Named
    price: Cents
    price_tags: list[_PriceTag] | None = None
    bundle_items: list[_Bundle] | None = None
    item_attachment: dict[str, Any] | None = None
    attachments: list[Any] | None = None
    measurement_unit: str | None = None
    unit_multiplier: float | None = None
    is_gift: Annotated[bool | None, BeforeValidator(_gift)] = None
    commission: Cents | None = None
    freight_commission: Cents | None = None
    tax: Cents | None = None


class _Profile(_Part):
    email: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    document_type: str | None = None
    document: str | None = None
    phone: str | None = None
    is_corporate: bool | None = None
    corporate_name: str | None = None
    trade_name: str | None = None
    corporate_document: str | None = None
    state_inscription: str | None = None
    corporate_phone: str | None = None
    user_profile_id: str | None = None


class _Address(_Part):
    address_type: str | None = None
    receiver_name: str | None = None
    address_id: str | None = None
    postal_code: str | None = None
    city: str | None = None
    state: str | None = None
    country: str | None = None
    street: str | None = None
    number: str | None = None
    neighborhood: str | None = None
    complement: str | None = None
    reference: str | None = None
    geo_coordinates: list[float] | None = None


class _Window(_Part):
    start_date_utc: str | None = None
    end_date_utc: str | None = None
    price: Cents | None = None
    tax: Cents | None = None


class _Logistics(_Part):
    item_index: Annotated[int, Field(ge=0)]
    selected_sla: str | None = None
    selected_delivery_channel: Literal["delivery", "pickup-in-point"] | None = None
    price: Cents | None = None
    lock_ttl: Annotated[str | None, Field(alias="lockTTL")] = None
    shipping_estimate: str | None = None
    delivery_window: _Window | None = None
    address_id: str | None = None
    delivery_ids: list[Any] | None = None
    name: str | None = None


class _Shipping(_Part):
    attachment_id: str | None = None
    address: _Address | None = None
    selected_addresses: list[_Address] | None = None
    logistics_info: list[_Logistics]
    tracking_hints: list[Any] | None = None
    update_status: str | None = None


class _Placement(_Part):
    items: list[_Item]
    client_profile_data: _Profile
    shipping_data: _Shipping
    marketplace_order_group: Annotated[str, BeforeValidator(_group)]
    marketplace_order_id: str | None = None
    marketplace_payment_value: Cents
    marketplace_payment_reference_value: Cents | None = None
    marketplace_services_endpoint: str | None = None
    is_created_async: bool | None = None
    save_personal_data: bool | None = None
    payment_data: dict[str, Any] | None = None
    marketing_data: dict[str, Any] | None = None
    open_text_field: Annotated[str | dict[str, Any] | None, PlainValidator(_text_or_object)] = None
    custom_data: dict[str, Any] | None = None
    invoice_data: dict[str, Any] | None = None


def examine(document: Any) -> Examined:
    """Judge an order document. Never raises for its content."""
    if not isinstance(document, dict):
        return Examined((Fault("", "wrong-type", "the order must be a JSON object"),))
    try:
        order = _Placement.model_validate(document)
    except ValidationError as wrong:
        return Examined(tuple(_own_words(fault) for fault in faults(wrong)))
    refusals = (*_refusals_of_items(order), *_refusals_of_logistics(order), *_refusals_of_addresses(order))
    return Examined(
        refusals,
        tuple(_warnings(order)),
        order.marketplace_order_group,
        tuple(
            {"id": item.id, "quantity": item.quantity, "seller": item.seller, "price": item.price}
            for item in order.items
        ),
        _total(order),
    )


def compose(document: dict[str, Any], endpoint: str) -> bytes:
    """The PUT's body: the caller's tree with the callback base set and the receipt taken out."""
    sent = {name: value for name, value in document.items() if name != RECEIPT}
    sent[ENDPOINT] = endpoint
    return strict_json.dump(sent)


def canonical(document: dict[str, Any]) -> bytes:
    """What makes two documents the same order: everything but the two fields that are not the order's."""
    return strict_json.canonical({k: v for k, v in document.items() if k not in {RECEIPT, ENDPOINT}})


def _own_words(fault: Fault) -> Fault:
    """pydantic's kinds of error under the stable codes of this service."""
    if "-" in fault.code and fault.code in _STABLE:
        return fault
    if fault.code == "missing":
        return fault
    if fault.code == "greater-than-equal" and fault.pointer.endswith("/itemIndex"):
        return Fault(fault.pointer, "item-index-out-of-range", "must be the position of an item, counted from 0")
    if fault.code == "blank":
        return Fault(fault.pointer, "blank", "must not be empty")
    return fault if fault.code == "unknown-value" else Fault(fault.pointer, "wrong-type", fault.detail)


_STABLE = frozenset(
    {
        "wrong-type", "fractional-amount", "negative-amount", "amount-too-large", "quantity-below-one",
        "gift-not-supported", "order-group-invalid",
    }
)  # fmt: skip


def _refusals_of_items(order: _Placement) -> Iterator[Fault]:
    if not order.items:
        yield Fault("/items", "no-items", "at least one item is needed")
    if _total(order) > MAXIMUM_CENTS:
        yield Fault("/items", "amount-too-large", "items and freight must add up to at most 1,000,000,000,000 cents")
    by_sku: dict[str, set[str]] = defaultdict(set)
    chosen = {e.item_index: e.selected_sla for e in order.shipping_data.logistics_info if e.selected_sla}
    for at, item in enumerate(order.items):
        by_sku[item.id].update({chosen[at]} if at in chosen else ())
        if len(by_sku[item.id]) > 1:
            yield Fault(
                f"/items/{at}/id", "sku-with-two-slas", "one SKU cannot be delivered by two SLAs in one order (CHK0042)"
            )


def _refusals_of_logistics(order: _Placement) -> Iterator[Fault]:
    seen: set[int] = set()
    for at, entry in enumerate(order.shipping_data.logistics_info):
        pointer = f"/shippingData/logisticsInfo/{at}/itemIndex"
        if entry.item_index >= len(order.items):
            yield Fault(pointer, "item-index-out-of-range", f"there are {len(order.items)} items, counted from 0")
        elif entry.item_index in seen:
            yield Fault(pointer, "item-index-repeated", "each item has one entry (CHK0041)")
        seen.add(entry.item_index)


def _refusals_of_addresses(order: _Placement) -> Iterator[Fault]:
    for pointer, address in _addresses(order):
        for field in _Address.model_fields:
            value, name = getattr(address, field), to_camel(field)
            if isinstance(value, str) and name not in _FREE_TEXT and _FORBIDDEN_IN_ADDRESS.search(value):
                yield Fault(
                    f"{pointer}/{name}", "forbidden-characters", 'must not hold < > ? + " ; % or * (CHK0040, CHK0126)'
                )


def _addresses(order: _Placement) -> Iterator[tuple[str, _Address]]:
    if order.shipping_data.address is not None:
        yield "/shippingData/address", order.shipping_data.address
    for at, address in enumerate(order.shipping_data.selected_addresses or []):
        yield f"/shippingData/selectedAddresses/{at}", address


def _total(order: _Placement) -> int:
    """Items, their services and freight in cents; the price tags of discounts are VTEX's to subtract."""
    items = sum(item.price * item.quantity for item in order.items)
    services = sum(bundle.price or 0 for item in order.items for bundle in item.bundle_items or [])
    freight = sum(entry.price or 0 for entry in order.shipping_data.logistics_info)
    windows = sum(
        (entry.delivery_window.price or 0) + (entry.delivery_window.tax or 0)
        for entry in order.shipping_data.logistics_info
        if entry.delivery_window is not None
    )
    return items + services + freight + windows


def _warnings(order: _Placement) -> Iterable[Warning_]:
    yield from _warnings_of_group(order.marketplace_order_group)
    total, paid = _total(order), order.marketplace_payment_value
    if any(item.price_tags or item.tax for item in order.items):
        yield Warning_(
            "amounts-adjusted",
            "price tags or taxes change the order's value at VTEX; a final price in the item itself is safer",
        )
    elif total != paid:
        yield Warning_(
            "amounts-differ",
            f"marketplacePaymentValue is {paid}, items and freight add up to {total}; VTEX may refuse it (CHK0198)",
        )
    repeated = [sku for sku, times in Counter(item.id for item in order.items).items() if times > 1]
    if repeated:
        yield Warning_("sku-repeated", "VTEX merges lines of one SKU and gives them the first line's price")
    profile = order.client_profile_data
    if not all((profile.email, profile.document, profile.phone, profile.first_name, profile.last_name)) and not (
        profile.is_corporate
    ):
        yield Warning_(
            "profile-thin",
            "clientProfileData is only enough for a shopper whom the seller knows: names, document and phone "
            "are needed otherwise (ORD007)",
        )
    yield from _warnings_of_shipping(order)


def _warnings_of_group(group: str) -> Iterator[Warning_]:
    if len(group) > _LONG_GROUP:
        yield Warning_("order-group-long", f"an order group over {_LONG_GROUP} characters may not fit VTEX's order id")
    if "-" in group:
        yield Warning_("order-group-hyphen", "a '-' in the order group confuses programs that split VTEX's order ids")


def _warnings_of_shipping(order: _Placement) -> Iterator[Warning_]:
    entries = order.shipping_data.logistics_info
    addresses = [address for _, address in _addresses(order)]
    if len({entry.item_index for entry in entries}) < len(order.items):
        yield Warning_("logistics-missing", "an item has no entry in logisticsInfo")
    if any(not entry.lock_ttl for entry in entries):
        yield Warning_("lock-ttl-missing", "without lockTTL VTEX may refuse to reserve the stock (CHK0258)")
    delivered = any(entry.selected_delivery_channel != "pickup-in-point" for entry in entries)
    if delivered and not any(a.postal_code or a.geo_coordinates for a in addresses):
        yield Warning_("postal-code-missing", "a delivery needs a postal code or coordinates (CHK0119)")
    collected = any(entry.selected_delivery_channel == "pickup-in-point" for entry in entries)
    if collected and not any((a.address_type or "").lower() == "pickup" for a in addresses):
        yield Warning_("pickup-address-missing", "a pickup needs an address of type pickup (ORD048)")
