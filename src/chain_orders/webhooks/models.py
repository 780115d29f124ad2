"""The table of subscriptions. What a subscription waits for are deliveries in its lane, and events after its cursor."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import CheckConstraint, Index, Text, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from ..database import Base

LANE = "subscription:"


class Subscription(Base):
    """An address that wants to be told of events. Its secrets are sealed; `position` is how far the feed was read."""

    __tablename__ = "subscriptions"
    __table_args__ = (
        CheckConstraint("concurrency between 1 and 100", name="concurrency"),
        CheckConstraint("rate_per_second > 0", name="rate_per_second"),
        CheckConstraint("cardinality(events) > 0", name="events"),
        CheckConstraint("(sealed_secret_before is null) = (before_until is null)", name="before"),
        CheckConstraint("enabled = (disabled_reason is null)", name="disabled"),
        Index("subscriptions_behind_idx", "position", postgresql_where=text("enabled")),
    )
    __mapper_args__ = {"eager_defaults": True}

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    url: Mapped[str]
    description: Mapped[str | None]
    events: Mapped[list[str]] = mapped_column(ARRAY(Text))
    """Types, or beginnings of types followed by `*`."""
    sellers: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    """Only events of these; all when null."""
    sealed_secret: Mapped[bytes]
    sealed_secret_before: Mapped[bytes | None]
    before_until: Mapped[datetime | None]
    """How long the secret that was rotated away signs beside the new one."""
    enabled: Mapped[bool] = mapped_column(server_default=text("true"))
    disabled_reason: Mapped[str | None]
    concurrency: Mapped[int] = mapped_column(server_default=text("1"))
    """With more than one under way, they arrive in any order."""
    rate_per_second: Mapped[float] = mapped_column(server_default=text("50"))
    position: Mapped[int]
    """The last position of the feed of which deliveries were made."""
    version: Mapped[int] = mapped_column(server_default=text("1"))
    created_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    updated_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))

    @property
    def lane(self) -> str:
        """The name of the queue of calls to this subscriber."""
        return f"{LANE}{self.id}"

    @property
    def paused(self) -> bool:
        return not self.enabled

    def wants(self, type_: str, seller_id: str | None) -> bool:
        """Whether an event of this type and seller is told. What concerns no seller goes to whoever asks for all."""
        if self.sellers is not None and seller_id not in self.sellers:
            return False
        return any(covers(pattern, type_) for pattern in self.events)


def covers(pattern: str, type_: str) -> bool:
    """Whether a type is one of those that a subscription asks for by this pattern."""
    return type_.startswith(pattern[:-1]) if pattern.endswith("*") else type_ == pattern
