"""The sessions of the console, and the forms that were acted upon in each.

Of a session's id only the SHA-256 is stored, as of an API key.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

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
    zone: Mapped[str | None]
    """The operator's time zone, as the browser or the operator says it; UTC until then."""
    flash: Mapped[str | None]
    """What was just done, for the one page that comes next to say it."""
    last_act: Mapped[bytes | None]
    """Unread: `console_acts` has every form. The release before this one still writes it."""
    draft: Mapped[dict[str, Any] | None]
    """What was typed into a form when an earlier session was over: `{path, fields}`."""


class ConsoleAct(Base):
    """A form that was acted upon: its SHA-256, so that sending it again is not acted upon. It goes with its session."""

    __tablename__ = "console_acts"

    session: Mapped[bytes] = mapped_column(ForeignKey("console_sessions.digest", ondelete="CASCADE"), primary_key=True)
    form: Mapped[bytes] = mapped_column(primary_key=True)
