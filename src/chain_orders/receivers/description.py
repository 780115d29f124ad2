"""The callbacks as OpenAPI describes them: what sellers may call below the base that each order carries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

from ..vtex.messages import Cancellation, CancellationAsked, Change, Invoice, Tracking


def describe() -> dict[str, Any]:
    """The callbacks as OpenAPI `webhooks`: what sellers may call below the base that each order carries."""
    answer = {
        "200": {
            "description": "Stored. A repeat of the same notification gets the same bytes.",
            "content": {"application/json": {"schema": _ANSWER}},
        },
        "400": {"description": "The body cannot be read; it is kept."},
        "404": {"description": "No such address, or a caller that cannot prove itself."},
        "413": {"description": "The body is too large."},
        "415": {"description": "The body is compressed."},
        "503": {"description": "It could not be stored; send it again."},
    }
    return {name: {"post": {**_DESCRIBED[name], "responses": answer | _OTHERWISE.get(name, {})}} for name in _DESCRIBED}


_ANSWER = {
    "type": "object",
    "required": ["date", "orderId", "receipt"],
    "properties": {
        "date": {"type": "string", "format": "date-time"},
        "orderId": {"type": "string"},
        "receipt": {"type": "string"},
    },
}


_OTHERWISE: dict[str, dict[str, Any]] = {
    "change": {
        "200": {
            "description": "Stored. `receipt` is the `requestId` where one was given.",
            "content": {
                "application/json": {"schema": {**_ANSWER, "required": ["orderId", "receipt"]}},
            },
        },
        "500": {"description": "Refused, as the seller's `changePolicy` says. It has no body."},
    }
}


def _described(summary: str, model: type[BaseModel], paths: list[str]) -> dict[str, Any]:
    schema: Callable[..., dict[str, Any]] = model.model_json_schema
    return {
        "summary": summary,
        "description": "Below the order's callback base:\n\n" + "\n".join(f"- `POST {path}`" for path in paths),
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": schema(ref_template="#/$defs/{model}")}},
        },
    }


_DESCRIBED = {
    "cancellation": _described(
        "A seller cancelled a chain order",
        Cancellation,
        [
            "/pvt/orders/order-group/{orderGroup}/notifications/seller-cancellation",
            "/pvt/orders/order-group/{orderGroup}/notifications",
        ],
    ),
    "invoice": _described(
        "A seller invoiced a chain order, wholly or in part, or tells its tracking",
        Invoice,
        [
            "/api/oms/pvt/orders/{orderId}/invoice",
            "/api/oms/pub/orders/{orderId}/invoice",
            "/pvt/orders/{orderId}/invoice",
            "/pub/orders/{orderId}/invoice",
            "/pvt/orders/order-group/{orderGroup}/invoice",
            "/pub/orders/order-group/{orderGroup}/invoice",
        ],
    ),
    "one-level-cancellation": _described(
        "A seller cancelled an order, in the form of sellers of one level",
        CancellationAsked,
        ["/pvt/orders/{orderId}/cancel", "/pub/orders/{orderId}/cancel"],
    ),
    "tracking": _described(
        "A seller tells where the parcel of an invoice is; `PATCH` and `PUT` are taken too",
        Tracking,
        [
            "/pvt/orders/{orderId}/invoice/{invoiceNumber}",
            "/pvt/orders/{orderId}/invoice/{invoiceNumber}/tracking",
        ],
    ),
    "change": _described(
        "A seller changes what a chain order holds and costs", Change, ["/pvt/orders/{orderGroup}/changes"]
    ),
}
