"""What the API's answers hold, for its description: the shapes of the views of `schemas` and `bodies`, said
a second time as types.

Nothing is rendered from these; a test holds what the service answers against them.
"""

from __future__ import annotations

import json
from datetime import datetime
from importlib import resources
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from pydantic.json_schema import models_json_schema


class _Answer(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)


class Seller(_Answer):
    """A seller without its credentials, which never come out."""

    seller_id: str
    account_name: str
    base_url: str
    sales_channel: str
    affiliate_id: str
    currency: str | None
    strict_amounts: bool
    callback_base: str | None
    callback_trust: Literal["base", "always-verify"]
    change_policy: Literal["record", "accept", "refuse"]
    authorization_group: Literal["group", "chainOrderId"]
    omit_authorization_items: bool
    concurrency: int
    rate_per_second: float
    paused: bool
    version: int
    created_at: datetime
    updated_at: datetime


class Warned(_Answer):
    """What a person should know of an order that was sent all the same."""

    pointer: str
    code: str
    detail: str


class Attention(_Answer):
    code: str
    reason: str | None
    since: datetime | None


class LastError(_Answer):
    """Why an order is not further, whether the call is tried again, and who must act.

    `nextAttemptAt` is null where nobody knows: it then goes on once the owner has acted.
    """

    code: str | None
    detail: str
    retried: bool
    owner: Literal["nobody", "us", "operator", "seller"]
    next_attempt_at: datetime | None


class Money(_Answer):
    """Cents. `remaining` is what may still be invoiced: what is not yet, nor cancelled; of a refused order nothing."""

    total: int
    invoiced: int
    returned: int
    cancelled: int
    remaining: int


class Invoice(_Answer):
    invoice_number: str
    type: Literal["Output", "Input"]
    value: int
    issuance_date: datetime | None
    invoice_url: str | None
    invoice_key: str | None
    courier: str | None
    tracking_number: str | None
    tracking_url: str | None
    delivered_at: datetime | None
    receipt: str | None
    source: Literal["callback", "read"]
    """Whether the seller told it, or a read of the seller found it first."""
    items: list[Any] | None


class Change(_Answer):
    request_id: str | None
    increment_value: int
    discount_value: int
    state: str
    receipt: str


class ChainOrder(_Answer):
    chain_order_id: str
    seller_order_id: str | None
    status: str
    value: int
    items: list[Any]
    invoices: list[Invoice]
    changes: list[Change]


class Receipt(_Answer):
    date: str | None
    receipt: str


class Order(_Answer):
    """An order. `id` is null in a dry run of a new one."""

    id: UUID | None
    seller_id: str
    order_group: str
    affiliate_id: str
    status: str
    turn: Literal["us", "seller", "operator", "nobody"]
    attention: Attention | None
    last_error: LastError | None
    warnings: list[Warned]
    money: Money
    chain_orders: list[ChainOrder]
    authorization_receipt: Receipt | None
    version: int
    created_at: datetime
    updated_at: datetime


class Attempt(_Answer):
    at: datetime
    phase: str
    duration_ms: int | None
    status: int | None
    code: str | None
    explanation: str | None
    outcome: str
    error: str | None
    response: str | None
    """As it came, or masked. In a list at most the first 16 KiB, and nothing of a longer one that is masked."""
    response_length: int
    """Bytes, as it came."""
    truncated: bool
    """Whether the answer is shown in part only; the call by itself has all of it."""


class Delivery(_Answer):
    """A call owed to a seller, or to a subscriber."""

    id: int
    order_id: UUID | None
    order_group: str | None
    seller_id: str | None
    webhook_id: UUID | None
    kind: str
    state: str
    method: str
    target: str
    attempts: list[Attempt]
    next_attempt_at: datetime | None
    held_by: Literal["calls-paused", "credentials-refused", "calls-stopped", "asked-to-wait"] | None
    last_error: str | None
    last_code: str | None
    created_at: datetime
    settled_at: datetime | None


class Notification(_Answer):
    """What a seller told us, as it came."""

    id: int
    order_id: UUID | None
    kind: str
    state: str
    reason: str | None
    receipt: str
    """Our number of it, which it was answered with. A change was answered with its `requestId` if it had one; one that
    was refused was not answered with any."""
    repeats: int
    path: str
    body: str
    """As it came, or masked. In a list at most the first 16 KiB, and nothing of a longer one that is masked."""
    body_length: int
    """Bytes, as it came."""
    truncated: bool
    """Whether the body is shown in part only; the notification by itself has all of it."""
    received_at: datetime
    applied_at: datetime | None


class Event(_Answer):
    """One fact about an order. In the feed, `id` is the position."""

    id: int
    type: str
    at: datetime
    order_id: UUID
    seller_id: str
    order_group: str
    chain_order_id: str | None
    actor: str
    data: dict[str, Any]


_SHOWN = (Seller, Order, Delivery, Notification, Event)
_ONE: dict[str, type[_Answer]] = {
    "POST /v1/sellers": Seller,
    "GET /v1/sellers/{seller_id}": Seller,
    "PATCH /v1/sellers/{seller_id}": Seller,
    "POST /v1/sellers/{seller_id}/pause": Seller,
    "POST /v1/sellers/{seller_id}/resume": Seller,
    "POST /v1/sellers/{seller_id}/orders": Order,
    "GET /v1/orders/{order_id}": Order,
    "POST /v1/orders/{order_id}/authorization": Order,
    "POST /v1/orders/{order_id}/cancellation": Order,
    "POST /v1/orders/{order_id}/resolution": Order,
    "POST /v1/orders/{order_id}/erasure": Order,
    "PUT /v1/orders/{order_id}/placement": Order,
    "GET /v1/deliveries/{delivery_id}": Delivery,
    "POST /v1/deliveries/{delivery_id}/retry": Delivery,
    "GET /v1/notifications/{notification_id}": Notification,
    "POST /v1/notifications/{notification_id}/replay": Notification,
    "POST /v1/notifications/{notification_id}/dismissal": Notification,
}
_PAGES: dict[str, type[_Answer]] = {
    "GET /v1/sellers": Seller,
    "GET /v1/orders": Order,
    "GET /v1/orders/{order_id}/timeline": Event,
    "GET /v1/orders/{order_id}/deliveries": Delivery,
    "GET /v1/orders/{order_id}/notifications": Notification,
    "GET /v1/deliveries": Delivery,
    "GET /v1/notifications": Notification,
    "GET /v1/events": Event,
}


_EXAMPLES: dict[str, Any] = json.loads(resources.files(__package__).joinpath("shown.json").read_text("utf-8"))
"""An answer of each shape, as the service gave it. A test compares them with what it gives now."""


def example(operation: str) -> dict[str, Any] | None:
    """What an operation may answer; None where that is not said."""
    if operation in _ONE:
        return dict(_EXAMPLES[_ONE[operation].__name__])
    if operation in _PAGES:
        item = _EXAMPLES[_PAGES[operation].__name__]
        page = {"items": [item], "next": None}
        return page if operation != "GET /v1/events" else {**page, "position": item["id"]}
    return None


def shapes() -> dict[str, Any]:
    """The schemas, by name."""
    _, found = models_json_schema(
        [(model, "serialization") for model in _SHOWN], ref_template="#/components/schemas/{model}"
    )
    return dict(found["$defs"])


def of(operation: str) -> dict[str, Any]:
    """The schema of what an operation, as `GET /v1/orders`, answers when it succeeds; {} where it is not said."""
    if operation in _ONE:
        return _named(_ONE[operation])
    if operation in _PAGES:
        following: dict[str, Any] = {"type": ["string", "integer", "null"], "description": "The next page's cursor."}
        return {
            "type": "object",
            "required": ["items", "next"],
            "properties": {"items": {"type": "array", "items": _named(_PAGES[operation])}, "next": following},
        }
    return {}


def _named(model: type[_Answer]) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}
