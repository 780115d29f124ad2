"""What a test may want the simulated seller to do, as the bodies of its controls. Everything is optional."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class _Control(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", validate_by_name=True)


class InvoiceOrder(_Control):
    """Everything optional: without it, what is not invoiced yet is invoiced whole."""

    value: int | None = Field(None, ge=0)
    items: list[dict[str, Any]] | None = None
    type: str = "Output"
    invoice_number: str | None = None
    courier: str | None = None
    tracking_number: str | None = None
    tracking_url: str | None = None
    times: int = Field(1, ge=0, le=1000)
    """How often the marketplace is told; 0 for a notification that is lost."""
    path: str = "api-oms-pvt"


class CancelOrder(_Control):
    times: int = Field(1, ge=0, le=1000)
    path: str = "seller-cancellation"
    seller_order_id: str | None = None


class TrackOrder(_Control):
    """Tracking of an invoice, the last one unless its number is given."""

    invoice_number: str | None = None
    courier: str | None = "Invented Couriers"
    tracking_number: str | None = None
    tracking_url: str | None = None
    delivered: bool = False
    times: int = Field(1, ge=0, le=1000)
    path: str = "invoice"
    method: str = "POST"


class ChangeOrder(_Control):
    request_id: str | None = None
    reason: str = "changed as asked for"
    increment_value: int = Field(0, ge=0)
    discount_value: int = Field(0, ge=0)
    items_added: list[dict[str, Any]] = Field(default_factory=list)
    items_removed: list[dict[str, Any]] = Field(default_factory=list)
    times: int = Field(1, ge=0, le=1000)
