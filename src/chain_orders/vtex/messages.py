"""The bodies that travel: exact in what we send, lenient in what we are sent.

Sellers write ids as numbers, amounts as text, dates in four ways; what is meant is read, what cannot be meant is
refused with a pointer to the field. Nothing here knows a table.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from .. import strict_json
from .faults import faults
from .values import (
    FEW,
    MAXIMUM_ENTRIES,
    Address,
    Cents,
    Date,
    Identifier,
    Loose,
    Name,
    Optional,
    Quantity,
    cents,
    date,
    identifier,
    if_readable,
)


class Unreadable(Exception):
    """A seller's answer is not what the protocol says. The message holds no content."""


class NoJson(Unreadable):
    """It is not even JSON: who knows who answered."""


class _Message(BaseModel):
    """A wire body: camelCase names, unknown fields ignored (the raw bytes are kept elsewhere)."""

    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", hide_input_in_errors=True, frozen=True)


class InvoiceItem(_Message):
    """An item as an invoice lists it; what else is said of it tells one notification from another."""

    model_config = ConfigDict(extra="allow")

    id: Identifier
    quantity: Quantity
    price: Cents
    """Unit price: VTEX multiplies it by the quantity, whatever the seed page calls it."""


def _type(value: Any) -> Any:
    if value is None or (isinstance(value, str) and not value.strip()):
        return "Output"
    named = value.strip().capitalize() if isinstance(value, str) else value
    if named not in ("Output", "Input"):
        raise PydanticCustomError("type", "must be Output (a sale) or Input (a return)")
    return named


class Invoice(_Message):
    """Route 4: an invoice of a chain order, or its tracking sent later under the same number."""

    type: Annotated[Literal["Output", "Input"], BeforeValidator(_type)] = "Output"
    invoice_number: Identifier
    invoice_value: Cents
    issuance_date: Date
    invoice_url: Address = None
    invoice_key: Name = None
    courier: Name = None
    tracking_number: Name = None
    tracking_url: Address = None
    items: Annotated[list[InvoiceItem], FEW]


class Cancellation(_Message):
    """Route 3. `id` is the constant name of the notification; `sellerOrderId` the order's id at the seller."""

    id: Identifier
    seller_order_id: Identifier


class CancellationAsked(_Message):
    """The cancellation of one level: the path says which order. Nothing in it is needed, and there may be no body."""

    reason: Loose = None
    marketplace_order_id: Loose = None
    marketplace_order_group: Loose = None
    cancellation_request_id: Loose = None


class Tracking(_Message):
    """What is told of an invoice's parcel, under the number that the path holds."""

    courier: Name = None
    tracking_number: Name = None
    tracking_url: Address = None
    invoice_url: Address = None
    invoice_key: Name = None
    is_delivered: Annotated[bool, BeforeValidator(lambda v: v is True or str(v).strip().lower() == "true")] = False
    delivered_date: Annotated[datetime | None, BeforeValidator(lambda v: if_readable(date, v))] = None


class ChangedItem(_Message):
    """An item that a change adds or removes. Whether its price is of a unit or of the line VTEX's pages leave open."""

    model_config = ConfigDict(extra="allow")

    id: Annotated[str, BeforeValidator(identifier), Field(validation_alias=AliasChoices("id", "sellerItemId"))]


Amount = Annotated[int, BeforeValidator(lambda v: 0 if v is None else cents(v))]
Changed = Annotated[list[ChangedItem], FEW, BeforeValidator(lambda v: [] if v is None else v)]


class Change(_Message):
    """A change of a chain order: what it costs more or less, and which items come and go."""

    request_id: Loose = None
    reason: Loose = None
    discount_value: Amount = 0
    increment_value: Amount = 0
    items_added: Changed = Field(default_factory=list)
    items_removed: Changed = Field(default_factory=list)


class OrderItem(_Message):
    """An item as a seller shows it; what cannot be read is absent."""

    id: Identifier
    quantity: Quantity
    seller: Annotated[str | None, BeforeValidator(lambda v: if_readable(identifier, v))] = None
    price: Annotated[int | None, BeforeValidator(lambda v: if_readable(cents, v))] = None


class Package(_Message):
    """An invoice as a seller's order shows it."""

    type: Annotated[Literal["Output", "Input"], BeforeValidator(_type)] = "Output"
    invoice_number: Loose = None
    invoice_value: Cents
    issuance_date: Annotated[datetime | None, BeforeValidator(lambda v: if_readable(date, v))] = None
    invoice_url: Optional = None
    invoice_key: Optional = None
    courier: Optional = None
    tracking_number: Loose = None
    tracking_url: Optional = None


def _is_package(entry: Any) -> bool:
    try:
        Package.model_validate(entry)
    except ValidationError:
        return False
    return True


def _invoices(entries: Any) -> Any:
    """Without what is no invoice: it must not hide what else the order shows. Of too many none is looked at."""
    if not isinstance(entries, list) or len(entries) > MAXIMUM_ENTRIES:
        return entries
    return [entry for entry in entries if _is_package(entry)]


class _Packages(_Message):
    packages: Annotated[Annotated[list[Package], FEW] | None, BeforeValidator(_invoices)] = None


class CancellationRequest(_Message):
    """How a request to cancel fares at the seller."""

    denied_by_seller: bool | None = None


class SellerOrder(_Message):
    """A VTEX order as the answer to a placement or a read shows it. Statuses are an open set."""

    order_id: Identifier
    order_group: Loose = None
    seller_order_id: Loose = None
    marketplace_order_id: Loose = None
    marketplace_services_endpoint: Optional = None
    affiliate_id: Optional = None
    status: Optional = None
    value: Annotated[int | None, BeforeValidator(lambda v: None if v is None else cents(v))] = None
    is_completed: bool | None = None
    authorized_date: Optional = None
    items: Annotated[list[OrderItem], FEW, BeforeValidator(lambda v: [] if v is None else v)] = Field(
        default_factory=list
    )
    package_attachment: _Packages | None = None
    cancellation_requests: Annotated[list[CancellationRequest], FEW] | None = None

    @property
    def packages(self) -> list[Package]:
        return (self.package_attachment.packages if self.package_attachment else None) or []

    @property
    def cancellation_denied(self) -> bool:
        """Whether the latest request to cancel was denied."""
        requests = self.cancellation_requests or []
        return self.status == "cancellation-request-denied" or bool(requests and requests[-1].denied_by_seller)

    @property
    def cancellation_requested(self) -> bool:
        """Whether the seller knows of a request to cancel that it has not denied."""
        waiting = self.status in {"waiting-for-seller-decision", "request-cancel", "cancellation-requested"}
        return waiting or (bool(self.cancellation_requests) and not self.cancellation_denied)

    @property
    def authorized(self) -> bool:
        """Whether the marketplace's authorization is known to have arrived."""
        return self.authorized_date is not None or self.status in _PAST_AUTHORIZATION

    @property
    def awaits_authorization(self) -> bool:
        """Whether the seller says that the marketplace's authorization has not arrived."""
        return self.authorized_date is None and self.status in _BEFORE_AUTHORIZATION

    @property
    def cancelled(self) -> bool:
        return self.status in {"canceled", "cancelled", "cancel"}


_BEFORE_AUTHORIZATION = frozenset({"payment-pending", "waiting-for-mkt-authorization"})
_PAST_AUTHORIZATION = frozenset(
    {
        "approve-payment", "payment-approved", "invoice", "invoiced", "window-to-cancel", "ready-for-handling",
        "start-handling", "handling", "ready-for-invoicing", "waiting-seller-handling", "authorize-fulfillment",
        "release-to-fulfillment",
    }
)  # fmt: skip


def read_placed(body: bytes) -> list[SellerOrder]:
    """The orders in the answer to a placement, in the answer's order. Raises Unreadable when there are none."""
    document = _document(body)
    orders = document.get("orders") if isinstance(document, dict) else None
    if not isinstance(orders, list) or not orders:
        raise Unreadable("the answer lists no orders")
    return [_order(entry) for entry in orders]


def read_order(body: bytes) -> SellerOrder:
    """The order in the answer to a read. Raises Unreadable."""
    return _order(_document(body))


def reader_of(order_id: str) -> Callable[[bytes], SellerOrder]:
    """What reads the answer about one order. It raises Unreadable for another's too: a cache may mix them up."""

    def read(body: bytes) -> SellerOrder:
        found = read_order(body)
        if found.order_id.lower() != order_id.lower():
            raise Unreadable("the answer shows another order")
        return found

    return read


def read_group(body: bytes) -> list[SellerOrder]:
    """The orders in the answer to a read of a group; may be empty. Raises Unreadable."""
    document = _document(body)
    if not isinstance(document, list):
        raise Unreadable("the answer is not a list of orders")
    return [_order(entry) for entry in document]


def read_error(body: bytes) -> tuple[str | None, str | None]:
    """The code and operation id of an error envelope, old or new; (None, None) when it is none (HTML, nothing)."""
    try:
        document = _document(body)
    except Unreadable:
        return None, None
    if not isinstance(document, dict):
        return None, None
    error = document.get("error")
    code = error.get("code") if isinstance(error, dict) else None
    operation = document.get("operationId")
    known = code.strip().upper() if isinstance(code, str) else ""
    is_code = re.fullmatch(r"[A-Z]+[0-9]+(\.[0-9]+)?", known, re.ASCII) is not None
    return (known if is_code else None), (operation if isinstance(operation, str) else None)


def authorization(group: str, date: str, receipt: str, items: list[dict[str, Any]] | None) -> bytes:
    """Route 2's body, byte for byte the same whenever it is composed from the same values."""
    document: dict[str, Any] = {
        "marketplaceOrderGroup": group,
        "authorizationReceipt": {"date": date, "receipt": receipt},
    }
    if items is not None:
        document = {"items": items, **document}
    return strict_json.dump(document)


def cancellation_request(reason: str) -> bytes:
    """The body that asks a seller to cancel a chain order."""
    return strict_json.dump({"reason": reason, "requestedByUser": True})


def _document(body: bytes) -> Any:
    try:
        return strict_json.parse(body)
    except strict_json.NotJson as wrong:
        raise NoJson("the answer is not JSON") from wrong


_NAMED = 10


def _order(entry: Any) -> SellerOrder:
    try:
        return SellerOrder.model_validate(entry)
    except ValidationError as wrong:
        lacking = [fault.pointer or "/" for fault in faults(wrong)]
        more = f" and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else ""
        raise Unreadable("an order in the answer lacks " + ", ".join(lacking[:_NAMED]) + more) from wrong
