"""The API keys, and the answers that are kept for a repeat of the same request.

Only a key's SHA-256 is stored: it has 256 random bits, so a slow hash would add nothing.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from ..database import Base


class ApiKey(Base):
    __tablename__ = "api_keys"
    __table_args__ = (
        CheckConstraint("role in ('viewer', 'operator', 'admin')", name="role"),
        CheckConstraint("digest_before is null or before_until is not null", name="before"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    role: Mapped[str]
    digest: Mapped[bytes] = mapped_column(unique=True)
    digest_before: Mapped[bytes | None] = mapped_column(unique=True)
    before_until: Mapped[datetime | None]
    """How long the key that was rotated away holds, or held."""
    created_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    """To the minute."""


class IdempotencyKey(Base):
    """The answer to a request that named a key. A placement's is its order, shown as it is when asked again."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (
        CheckConstraint("(body is null) <> (order_id is null)", name="answer"),
        Index("idempotency_keys_created_idx", "created_at"),
    )

    digest: Mapped[bytes] = mapped_column(primary_key=True)
    """SHA-256 of who asked, what for, and the key."""
    request_digest: Mapped[bytes]
    status: Mapped[int]
    headers: Mapped[dict[str, Any]]
    body: Mapped[bytes | None]
    order_id: Mapped[uuid.UUID | None]
    created_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
