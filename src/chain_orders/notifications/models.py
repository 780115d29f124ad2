"""The tables of the intake. `receipts` remembers answers for ever; `notifications` holds what was said, raw."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import CheckConstraint, Identity, Index, LargeBinary, func, text
from sqlalchemy.orm import Mapped, column_property, defer, mapped_column, undefer

from ..database import Base
from ..deliveries.models import LISTED_BYTES

STATES = ("received", "applied", "parked", "conflict", "ignored", "unreadable")
DISMISSED = "dismissed: "
"""How the reason begins of what a person gave up. What it had waited for follows, or that it could not be read."""
# What people look for among millions that were applied.
_TROUBLED = "state in ('parked', 'conflict', 'unreadable')"


class Receipt(Base):
    """The answer to a notification, found by what it meant. Written by the intake only and never deleted."""

    __tablename__ = "receipts"
    __table_args__ = ({"postgresql_with": {"fillfactor": "90"}},)

    dedupe_key: Mapped[bytes] = mapped_column(primary_key=True)
    receipt: Mapped[str]
    answer: Mapped[bytes]
    repeats: Mapped[int] = mapped_column(server_default=text("0"))
    last_seen: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))


class Repeat(Base):
    """A repeat of a notification, to be looked at by the applier: it may say that the seller went back on its word."""

    __tablename__ = "repeats"

    dedupe_key: Mapped[bytes] = mapped_column(primary_key=True)
    ref: Mapped[str | None]
    """The order whose base it came to."""
    seen_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))


class Notification(Base):
    """One POST from a seller, as its bytes came. Its state says how far it has been applied."""

    __tablename__ = "notifications"
    __table_args__ = (
        CheckConstraint("state in ('" + "', '".join(STATES) + "')", name="state"),
        CheckConstraint("caller in ('base', 'token', 'open')", name="caller"),
        Index("notifications_received_idx", "order_id", "id", postgresql_where=text("state = 'received'")),
        Index("notifications_parked_idx", "next_at", "id", postgresql_where=text("state = 'parked'")),
        Index("notifications_order_idx", "order_id", "id"),
        Index("notifications_troubled_idx", "id", postgresql_where=text(_TROUBLED)),
        Index("notifications_ignored_idx", "id", postgresql_where=text("state = 'ignored'")),
        # What came by a seller's token; the intake of what comes to an order's own base does not write it.
        Index("notifications_seller_idx", "seller_id", "id", postgresql_where=text("seller_id is not null")),
        # What came to an order's own base is found among the order's.
        Index("notifications_repeated_idx", "dedupe_key", postgresql_where=text("caller <> 'base'")),
        {"postgresql_with": {"fillfactor": "80"}},
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    dedupe_key: Mapped[bytes]
    receipt: Mapped[str]
    kind: Mapped[str]
    caller: Mapped[str]
    """How the seller proved itself: the order's own `base`, its `token`, or not at all in an `open` service."""
    seller_id: Mapped[str | None]
    """Whose token it was."""
    policy: Mapped[str | None]
    """How a change was answered: the seller's `changePolicy` at that moment."""
    order_id: Mapped[uuid.UUID | None]
    path: Mapped[bytes]
    headers: Mapped[bytes] = mapped_column(deferred=True)
    body: Mapped[bytes] = mapped_column()
    state: Mapped[str] = mapped_column(server_default="received")
    reason: Mapped[str | None]
    contradicts: Mapped[str | None]
    """The code of what is to be decided, where it contradicts what is known."""
    chain_order_key: Mapped[int | None]
    """The chain order that is to be decided about."""
    tries: Mapped[int] = mapped_column(server_default=text("0"))
    next_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    applied_seq: Mapped[int | None]
    received_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    applied_at: Mapped[datetime | None]
    beginning: Mapped[bytes] = column_property(func.substring(body, 1, LISTED_BYTES, type_=LargeBinary), deferred=True)
    size: Mapped[int] = column_property(func.octet_length(body), deferred=True)

    @property
    def dismissed(self) -> bool:
        """Whether a person gave it up. It has moved nothing, and may be applied again."""
        return self.state == "ignored" and (self.reason or "").startswith(DISMISSED)

    @property
    def is_long(self) -> bool:
        """Whether the beginning of the body is not all of it."""
        return len(self.beginning) < self.size


LISTED = (defer(Notification.body), undefer(Notification.beginning), undefer(Notification.size))
"""Options of a query for many: 200 whole bodies could be 800 MiB."""
