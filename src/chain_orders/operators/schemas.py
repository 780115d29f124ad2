"""The bodies of the operators' API: what it accepts, strictly, and how it shows what is stored. camelCase, cents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from .. import masking
from ..errors import Fault, Invalid
from ..events.models import Event
from ..orders import states
from ..orders.models import ChainOrder, Change, Invoice, Order
from ..orders.resolving import Decision
from ..orders.states import Status
from ..sellers.models import Seller
from ..webhooks import outbox
from . import holding
from .holding import Stuck
from .models import ApiKey
from .texts import Affiliate, Channel, Country, Currency, KeyName, Secret, SellerId


class _Body(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, extra="forbid", strict=True, hide_input_in_errors=True, validate_by_name=False
    )


class _SellerSettings(_Body):
    base_url: Annotated[str, StringConstraints(max_length=500)] | None = None
    currency: Currency | None = None
    strict_amounts: bool | None = None
    callback_base: Annotated[str, StringConstraints(max_length=500)] | None = None
    callback_trust: Literal["base", "always-verify"] | None = None
    change_policy: Literal["record", "accept", "refuse"] | None = None
    authorization_group: Literal["group", "chainOrderId"] | None = None
    omit_authorization_items: bool | None = None
    concurrency: Annotated[int, Field(ge=1, le=1000)] | None = None
    rate_per_second: Annotated[float, Field(ge=0.01, le=10000, strict=False)] | None = None


class NewSeller(_SellerSettings):
    """`POST /v1/sellers`. `sellerId` is ours to choose and is the account name unless given."""

    seller_id: SellerId | None = None
    account_name: SellerId
    sales_channel: Channel
    affiliate_id: Affiliate
    app_key: Secret
    app_token: Secret


class SellerChange(_SellerSettings):
    """`PATCH /v1/sellers/{sellerId}`: only what is given changes."""

    sales_channel: Channel | None = None
    affiliate_id: Affiliate | None = None
    app_key: Secret | None = None
    app_token: Secret | None = None


class ReceiptBody(_Body):
    """The marketplace's word that payment is approved. What is missing is minted by the service, once."""

    date: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None
    receipt: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = None


class AuthorizationItem(_Body):
    id: Annotated[str, StringConstraints(min_length=1)]
    quantity: Annotated[int, Field(ge=1)]
    seller: str
    price: Annotated[int, Field(ge=0)]


class AuthorizationBody(_Body):
    """`POST /v1/orders/{id}/authorization`: the seed's second body, with an optional chain order."""

    authorization_receipt: ReceiptBody = Field(default_factory=ReceiptBody)
    marketplace_order_group: str | None = None
    items: list[AuthorizationItem] | None = None
    chain_order_id: str | None = None


class CancellationBody(_Body):
    """`POST /v1/orders/{id}/cancellation`."""

    reason: Annotated[str, StringConstraints(min_length=1, max_length=500, strip_whitespace=True)]
    chain_order_id: str | None = None


class ResolutionBody(_Body):
    """`POST /v1/orders/{id}/resolution`."""

    decision: Decision
    chain_order_id: str | None = None
    reason: Annotated[str, StringConstraints(min_length=1, max_length=500, strip_whitespace=True)]


class NewKey(_Body):
    """`POST /v1/keys`."""

    name: KeyName
    role: Literal["viewer", "operator", "admin"]


class KeyRotation(_Body):
    """`POST /v1/keys/{id}/rotation`: for how long the key before holds as well, at most a week."""

    overlap_seconds: Annotated[int, Field(ge=0, le=7 * 86400)] = 86400


def key_view(key: ApiKey) -> dict[str, Any]:
    return {
        "id": str(key.id),
        "name": key.name,
        "role": key.role,
        "createdAt": moment(key.created_at),
        "lastUsedAt": moment(key.last_used_at),
        "keyBeforeUntil": moment(key.before_until),
        "revokedAt": moment(key.revoked_at),
    }


class CheckBody(_Body):
    """`POST /v1/sellers/{id}/check`: the SKU that a price is asked for. Any will do; one that is sold tells more."""

    sku: Annotated[str, StringConstraints(min_length=1, max_length=64)] = "1"
    seller: Annotated[str, StringConstraints(min_length=1, max_length=64)] = "1"


class SimulatedItem(_Body):
    id: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    quantity: Annotated[int, Field(ge=1, le=10**6)]
    seller: Annotated[str, StringConstraints(min_length=1, max_length=64)] = "1"


class SimulationBody(_Body):
    """`POST /v1/sellers/{id}/simulation`. `postalCode` and `country` go together."""

    items: Annotated[list[SimulatedItem], Field(min_length=1, max_length=300)]
    postal_code: Annotated[str, StringConstraints(min_length=1, max_length=20)] | None = None
    country: Country | None = None
    geo_coordinates: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None


def seller_view(seller: Seller) -> dict[str, Any]:
    """A seller without its credentials, which never come out."""
    return {
        "sellerId": seller.id,
        "accountName": seller.account_name,
        "baseUrl": seller.base_url,
        "salesChannel": seller.sales_channel,
        "affiliateId": seller.affiliate_id,
        "currency": seller.currency,
        "strictAmounts": seller.strict_amounts,
        "callbackBase": seller.callback_base,
        "callbackTrust": seller.callback_trust,
        "changePolicy": seller.change_policy,
        "authorizationGroup": seller.authorization_group,
        "omitAuthorizationItems": seller.omit_authorization_items,
        "concurrency": seller.concurrency,
        "ratePerSecond": seller.rate_per_second,
        "paused": seller.paused,
        "version": seller.version,
        "createdAt": moment(seller.created_at),
        "updatedAt": moment(seller.updated_at),
    }


def order_view(order: Order, stuck: Stuck | None = None) -> dict[str, Any]:
    """An order as scripts rely on it. Needs chain orders and invoices loaded. `stuck`: the call that it waits for."""
    return {
        "id": str(order.id),
        "sellerId": order.seller_id,
        "orderGroup": order.order_group,
        "affiliateId": order.affiliate_id,
        "status": order.status,
        "turn": states.turn(Status(order.status), attention=order.attention, has_receipt=order.receipt is not None),
        "attention": _attention(order),
        "lastError": _last_error(order, stuck),
        "warnings": [{"pointer": "", **warning} for warning in order.warnings],  # older ones have no pointer
        "money": money(order),
        "chainOrders": [_chain_view(chain) for chain in order.chain_orders],
        "authorizationReceipt": (
            {"date": order.receipt_date, "receipt": order.receipt} if order.receipt is not None else None
        ),
        "version": order.version,
        "createdAt": moment(order.created_at),
        "updatedAt": moment(order.updated_at),
    }


def _last_error(order: Order, stuck: Stuck | None) -> dict[str, Any] | None:
    why = holding.why(order, stuck)
    return {**why, "nextAttemptAt": moment(why["nextAttemptAt"])} if why is not None else None


def _attention(order: Order) -> dict[str, Any] | None:
    if order.attention_code is None:
        return None
    return {
        "code": order.attention_code,
        "reason": order.attention_reason,
        "since": moment(order.attention_since),
    }


def money(order: Order) -> dict[str, int]:
    """Cents. `remaining` is what may still be invoiced: what is not yet, nor cancelled; of a refused order nothing.

    Each chain order counts by itself: what one was invoiced with beyond its value leaves no less of another.
    """
    chains = order.chain_orders
    values = [(chain.status, chain.value_cents, chain.invoiced_cents) for chain in chains]
    values = values or [(order.status, order.total_cents, 0)]
    left = [(status, max(value - invoiced, 0)) for status, value, invoiced in values]
    return {
        "total": sum(value for _, value, _ in values),
        "invoiced": sum(invoiced for _, _, invoiced in values),
        "returned": sum(chain.returned_cents for chain in chains),
        "cancelled": sum(cents for status, cents in left if status == Status.CANCELLED),
        "remaining": sum(cents for status, cents in left if status not in {Status.CANCELLED, Status.REJECTED}),
    }


def _chain_view(chain: ChainOrder) -> dict[str, Any]:
    return {
        "chainOrderId": chain.chain_order_id,
        "sellerOrderId": chain.seller_order_id,
        "status": chain.status,
        "value": chain.value_cents,
        "items": chain.items,
        "invoices": [_invoice_view(invoice) for invoice in chain.invoices],
        "changes": [_change_view(change) for change in chain.changes],
    }


def _change_view(change: Change) -> dict[str, Any]:
    named = masking.mask_id(change.request_id) if change.request_id else None
    return {
        "requestId": named,
        "incrementValue": change.increment_cents,
        "discountValue": change.discount_cents,
        "state": change.state,
        "receipt": named or change.receipt,  # as it was answered
    }


def _invoice_view(invoice: Invoice) -> dict[str, Any]:
    return {
        "invoiceNumber": invoice.number,
        "type": invoice.type,
        "value": invoice.value_cents,
        "issuanceDate": moment(invoice.issued_at),
        "invoiceUrl": invoice.url,
        "invoiceKey": invoice.key,
        "courier": invoice.courier,
        "trackingNumber": invoice.tracking_number,
        "trackingUrl": invoice.tracking_url,
        "deliveredAt": moment(invoice.delivered_at),
        "receipt": invoice.receipt,
        "source": invoice.source,
        "items": invoice.items,
    }


def event_view(event: Event) -> dict[str, Any]:
    """An event among those of its order."""
    return {**outbox.view(event), "id": event.id}


class ReasonBody(_Body):
    """Of an act that tries again, or gives up, what stands still. The reason is kept for ever: name no person."""

    reason: Annotated[str, StringConstraints(min_length=1, max_length=500, strip_whitespace=True)]


class RetryBody(ReasonBody):
    """`POST /v1/deliveries/retry`: which ones, and why. What is left out does not restrict.

    Of more than `limit` the answer's `next` is the `cursor` to go on with."""

    state: Literal["ready", "retrying", "unknown", "dead"] = "dead"
    kind: Literal["place", "authorize", "cancel", "webhook"] | None = None
    seller_id: str | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    cursor: Annotated[str, StringConstraints(max_length=100)] | None = None


def moment(at: datetime | None) -> str | None:
    """RFC 3339 in UTC, with microseconds."""
    return outbox.moment(at) if at else None


def changes(body: BaseModel, *, nullable: Sequence[str] = ()) -> Mapping[str, Any]:
    """What a PATCH body gives. Raises Invalid for a null where there must be a value."""
    given = {name: getattr(body, name) for name in body.model_fields_set}
    nulls = [name for name, value in given.items() if value is None and name not in nullable]
    if nulls:
        found = [Fault(f"/{to_camel(name)}", "null", "cannot be null") for name in nulls]
        raise Invalid("null", "a setting cannot be null", faults=found)
    return given
