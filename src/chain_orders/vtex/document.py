"""The shape of an order document: the types of the fields that are known, whatever else there is.

Strict where VTEX is: amounts are whole cents, quantities whole units. Each fault has a stable code and a sentence.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from .values import FEW, MAXIMUM_CENTS

_GROUP = re.compile(r"[\w.-]{1,100}", re.ASCII)


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


class Part(BaseModel):
    """Part of the order document: the types of known fields, whatever else there is."""

    model_config = ConfigDict(alias_generator=to_camel, extra="allow", strict=True, hide_input_in_errors=True)


class PriceTag(Part):
    name: str | None = None
    value: float | None = None
    raw_value: float | None = None
    is_percentual: bool | None = None
    identifier: str | None = None


class Bundle(Part):
    id: Annotated[str | int | None, PlainValidator(_text_or_number)] = None
    name: str | None = None
    type: str | None = None
    price: Cents | None = None


class Item(Part):
    id: Named
    quantity: Quantity
    seller: Named
    price: Cents
    price_tags: Annotated[list[PriceTag], FEW] | None = None
    bundle_items: Annotated[list[Bundle], FEW] | None = None
    item_attachment: dict[str, Any] | None = None
    attachments: list[Any] | None = None
    measurement_unit: str | None = None
    unit_multiplier: float | None = None
    is_gift: Annotated[bool | None, BeforeValidator(_gift)] = None
    commission: Cents | None = None
    freight_commission: Cents | None = None
    tax: Cents | None = None


class Profile(Part):
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


class Address(Part):
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


class Window(Part):
    start_date_utc: str | None = None
    end_date_utc: str | None = None
    price: Cents | None = None
    tax: Cents | None = None


class Logistics(Part):
    item_index: Annotated[int, Field(ge=0)]
    selected_sla: str | None = None
    selected_delivery_channel: Literal["delivery", "pickup-in-point"] | None = None
    price: Cents | None = None
    lock_ttl: Annotated[str | None, Field(alias="lockTTL")] = None
    shipping_estimate: str | None = None
    delivery_window: Window | None = None
    address_id: str | None = None
    delivery_ids: list[Any] | None = None
    name: str | None = None


class Shipping(Part):
    attachment_id: str | None = None
    address: Address | None = None
    selected_addresses: Annotated[list[Address], FEW] | None = None
    logistics_info: Annotated[list[Logistics], FEW]
    tracking_hints: list[Any] | None = None
    update_status: str | None = None


class Placement(Part):
    items: Annotated[list[Item], FEW]
    client_profile_data: Profile
    shipping_data: Shipping
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
