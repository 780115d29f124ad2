"""The table of alerts: what was raised, about whom, and when it was over."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Identity, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from ..database import Base


class Alert(Base):
    """Something that is wrong, or was. One row from when it is raised to when it is over; another if it comes back."""

    __tablename__ = "alerts"
    __table_args__ = (
        Index(
            "alerts_one_open_key", "code", "subject", unique=True, postgresql_where=text("recovered_at is null")
        ),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    code: Mapped[str]
    subject: Mapped[str]
    """The lane that it is about, `seller:…` or `subscription:…`; empty: the service itself."""
    reason: Mapped[str]
    raised_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    quiet_since: Mapped[datetime | None]
    """Since when the cause is not seen any more; it is over once that has lasted."""
    recovered_at: Mapped[datetime | None]
    raised_mailed_at: Mapped[datetime | None]
    recovered_mailed_at: Mapped[datetime | None]
    mail_until: Mapped[datetime | None]
    """Whoever mails it has claimed it until then."""

    @property
    def seller_id(self) -> str | None:
        return self._owner("seller")

    @property
    def webhook_id(self) -> str | None:
        return self._owner("subscription")

    def _owner(self, kind: str) -> str | None:
        whose, _, id_ = self.subject.partition(":")
        return id_ if whose == kind else None
