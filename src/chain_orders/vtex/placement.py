"""The rules for an order that is to be placed: what is refused, what is warned about and sent all the same.

Validation only reads. The document that goes to the seller is the caller's own JSON tree with one field set, so
that nothing is added, dropped or retyped on the way.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic.alias_generators import to_camel

from .. import strict_json
from ..errors import Fault, Sentence
from .document import Address, Placement, Profile
from .faults import faults
from .values import MAXIMUM_CENTS

ENDPOINT = "marketplaceServicesEndpoint"
RECEIPT = "authorizationReceipt"
_LONG_GROUP = 40
_FORBIDDEN_IN_ADDRESS = re.compile(r'[<>?+";%*]')
# What is written by people and may hold such characters without VTEX minding.
_FREE_TEXT = frozenset({"receiverName", "complement", "reference"})


@dataclass(frozen=True, slots=True)
class Warning_:
    """Something a person should know about an order that is sent all the same."""

    code: str
    detail: str
    pointer: str = ""

    def as_dict(self) -> dict[str, str]:
        return {"pointer": self.pointer, "code": self.code, "detail": self.detail}


@dataclass(frozen=True, slots=True)
class Examined:
    """What an order document says: its refusals (none: it may be sent), its warnings, its items and amounts."""

    refusals: tuple[Fault, ...]
    warnings: tuple[Warning_, ...] = ()
    order_group: str = ""
    items: tuple[dict[str, Any], ...] = ()
    total_cents: int = 0


def examine(document: Any) -> Examined:
    """Judge an order document. Never raises for its content."""
    if not isinstance(document, dict):
        return Examined((Fault("", "wrong-type", "the order must be a JSON object"),))
    try:
        order = Placement.model_validate(document)
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
    if fault.code == "too-small" and fault.pointer.endswith("/itemIndex"):
        return Fault(fault.pointer, "item-index-out-of-range", "must be the position of an item, counted from 0")
    if fault.code == "blank":
        return Fault(fault.pointer, "blank", "must not be empty")
    return fault if fault.code == "unknown-value" else Fault(fault.pointer, "wrong-type", fault.detail)


_STABLE = frozenset(
    {
        "wrong-type", "fractional-amount", "negative-amount", "amount-too-large", "quantity-below-one",
        "gift-not-supported", "order-group-invalid", "too-many",
    }
)  # fmt: skip


def _refusals_of_items(order: Placement) -> Iterator[Fault]:
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


def _refusals_of_logistics(order: Placement) -> Iterator[Fault]:
    seen: set[int] = set()
    for at, entry in enumerate(order.shipping_data.logistics_info):
        pointer = f"/shippingData/logisticsInfo/{at}/itemIndex"
        if entry.item_index >= len(order.items):
            told = Sentence("there are {many} items, counted from 0", many=len(order.items))
            yield Fault(pointer, "item-index-out-of-range", told)
        elif entry.item_index in seen:
            yield Fault(pointer, "item-index-repeated", "each item has one entry (CHK0041)")
        seen.add(entry.item_index)


def _refusals_of_addresses(order: Placement) -> Iterator[Fault]:
    for pointer, address in _addresses(order):
        for field in Address.model_fields:
            value, name = getattr(address, field), to_camel(field)
            if isinstance(value, str) and name not in _FREE_TEXT and _FORBIDDEN_IN_ADDRESS.search(value):
                yield Fault(
                    f"{pointer}/{name}", "forbidden-characters", 'must not hold < > ? + " ; % or * (CHK0040, CHK0126)'
                )


def _addresses(order: Placement) -> Iterator[tuple[str, Address]]:
    if order.shipping_data.address is not None:
        yield "/shippingData/address", order.shipping_data.address
    for at, address in enumerate(order.shipping_data.selected_addresses or []):
        yield f"/shippingData/selectedAddresses/{at}", address


def _total(order: Placement) -> int:
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


def _adjusted(order: Placement) -> int | None:
    """The total with taxes and price tags, which VTEX writes with their sign; None where a tag is a percentage."""
    tags = [tag for item in order.items for tag in item.price_tags or []]
    if any(tag.is_percentual or tag.value is None or not tag.value.is_integer() for tag in tags):
        return None
    return _total(order) + sum(item.tax or 0 for item in order.items) + sum(int(tag.value or 0) for tag in tags)


def _warnings(order: Placement) -> Iterable[Warning_]:
    yield from _warnings_of_group(order.marketplace_order_group)
    yield from _warnings_of_amounts(order)
    yield from _warnings_of_profile(order.client_profile_data)
    yield from _warnings_of_shipping(order)


def _warnings_of_group(group: str) -> Iterator[Warning_]:
    where = "/marketplaceOrderGroup"
    if len(group) > _LONG_GROUP:
        told = f"an order group over {_LONG_GROUP} characters may not fit VTEX's order id"
        yield Warning_("order-group-long", told, where)
    if "-" in group:
        told = "a '-' in the order group confuses programs that split VTEX's order ids"
        yield Warning_("order-group-hyphen", told, where)


def _warnings_of_amounts(order: Placement) -> Iterator[Warning_]:
    due, paid = _adjusted(order), order.marketplace_payment_value
    touched = [at for at, item in enumerate(order.items) if item.price_tags or item.tax]
    if touched:
        yield Warning_(
            "amounts-adjusted",
            "price tags or taxes change the order's value at VTEX; a final price in the item itself is safer",
            f"/items/{touched[0]}",
        )
    if due is not None and due != paid:
        parts = "items, freight, taxes and price tags" if touched else "items and freight"
        yield Warning_(
            "amounts-differ",
            f"marketplacePaymentValue is {paid}, {parts} add up to {due}; VTEX may refuse it (CHK0198)",
            "/marketplacePaymentValue",
        )
    times = Counter(item.id for item in order.items)
    again = [at for at, item in enumerate(order.items) if times[item.id] > 1][1:]
    if again:
        told = "VTEX merges lines of one SKU and gives them the first line's price"
        yield Warning_("sku-repeated", told, f"/items/{again[0]}/id")


def _warnings_of_profile(profile: Profile) -> Iterator[Warning_]:
    person = (profile.email, profile.document, profile.phone, profile.first_name, profile.last_name)
    company = (profile.email, profile.corporate_name, profile.corporate_document)
    if not all(company if profile.is_corporate else person):
        needed = "e-mail, corporateName and corporateDocument" if profile.is_corporate else "names, document and phone"
        yield Warning_(
            "profile-thin",
            f"clientProfileData is only enough for a shopper whom the seller knows: {needed} are needed otherwise "
            "(ORD007)",
            "/clientProfileData",
        )


def _warnings_of_shipping(order: Placement) -> Iterator[Warning_]:
    entries = order.shipping_data.logistics_info
    addresses = [address for _, address in _addresses(order)]
    told_of = {entry.item_index for entry in entries}
    untold = [at for at in range(len(order.items)) if at not in told_of]
    if untold:
        which = ", ".join(str(at) for at in untold[:10]) + (" and others" if len(untold) > 10 else "")
        told = f"no entry in logisticsInfo has the itemIndex {which}"
        yield Warning_("logistics-missing", told, f"/items/{untold[0]}")
    unlocked = [at for at, entry in enumerate(entries) if not entry.lock_ttl]
    if unlocked:
        told = "without lockTTL VTEX may refuse to reserve the stock (CHK0258)"
        yield Warning_("lock-ttl-missing", told, f"/shippingData/logisticsInfo/{unlocked[0]}/lockTTL")
    delivered = any(entry.selected_delivery_channel != "pickup-in-point" for entry in entries)
    if delivered and not any(a.postal_code or a.geo_coordinates for a in addresses):
        told = "a delivery needs a postal code or coordinates (CHK0119)"
        yield Warning_("postal-code-missing", told, "/shippingData/address/postalCode")
    collected = any(entry.selected_delivery_channel == "pickup-in-point" for entry in entries)
    if collected and not any((a.address_type or "").lower() == "pickup" for a in addresses):
        told = "a pickup needs an address of type pickup (ORD048)"
        yield Warning_("pickup-address-missing", told, "/shippingData/address/addressType")
