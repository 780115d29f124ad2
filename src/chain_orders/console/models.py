"""The sessions of the console. Of a session's id only the SHA-256 is stored, as of an API key."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import ForeignKey, text
from sqlalchemy.orm import Mapped, mapped_column

from ..database import Base


class ConsoleSession(Base):
    """One browser that was signed in with an API key. It ends with the key, with idleness, and by its age."""

    __tablename__ = "console_sessions"

    digest: Mapped[bytes] = mapped_column(primary_key=True)
    key_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("api_keys.id", ondelete="CASCADE"), index=True)
    csrf: Mapped[str]
    """The secret that every form of the session carries."""
    created_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    seen_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    expires_at: Mapped[datetime] = mapped_column(index=True)
