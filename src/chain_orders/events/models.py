"""The events table: append-only, one row a fact."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Identity, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from ..database import Base


class Event(Base):
    """One fact about an order. `data` holds ids, money, states, what sellers tell of invoices and why operators acted:
    no text that is meant for a person's data, and no other text of a seller's.

    `position` is the feed's: given later, in one numbering that no late commit can slip behind.
    """

    __tablename__ = "events"
    __table_args__ = (
        Index("events_order_idx", "order_id", "id"),
        Index("events_type_idx", "type", "position"),
        Index("events_seller_idx", "seller_id", "position"),
        Index("events_unnumbered_idx", "id", postgresql_where=text("position is null")),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    position: Mapped[int | None] = mapped_column(unique=True)
    type: Mapped[str]
    at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    order_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("orders.id"))
    seller_id: Mapped[str]
    order_group: Mapped[str]
    chain_order_id: Mapped[str | None]
    actor: Mapped[str]
    """`operator:{key name}`, `seller` or `service`."""
    applied_seq: Mapped[int | None]
    """Of the order when it was told: what had been applied to it by then."""
    data: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
