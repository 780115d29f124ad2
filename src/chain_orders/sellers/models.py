"""The sellers table."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from ..database import Base


class Seller(Base):
    """A VTEX account that this marketplace sells for, with the settings of its lane and of its answers."""

    __tablename__ = "sellers"
    __table_args__ = (
        CheckConstraint("callback_trust in ('base', 'always-verify')", name="callback_trust"),
        CheckConstraint("change_policy in ('record', 'accept', 'refuse')", name="change_policy"),
        CheckConstraint("authorization_group in ('group', 'chainOrderId')", name="authorization_group"),
        CheckConstraint("concurrency between 1 and 1000", name="concurrency"),
        CheckConstraint("rate_per_second > 0", name="rate_per_second"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    account_name: Mapped[str]
    base_url: Mapped[str]
    sales_channel: Mapped[str]
    affiliate_id: Mapped[str]
    sealed_app_key: Mapped[bytes]
    sealed_app_token: Mapped[bytes]
    currency: Mapped[str | None]
    strict_amounts: Mapped[bool] = mapped_column(server_default=text("false"))
    callback_base: Mapped[str | None]
    callback_trust: Mapped[str] = mapped_column(server_default="base")
    change_policy: Mapped[str] = mapped_column(server_default="record")
    authorization_group: Mapped[str] = mapped_column(server_default="group")
    omit_authorization_items: Mapped[bool] = mapped_column(server_default=text("false"))
    concurrency: Mapped[int] = mapped_column(server_default=text("10"))
    rate_per_second: Mapped[float] = mapped_column(server_default=text("50"))
    paused: Mapped[bool] = mapped_column(server_default=text("false"))
    version: Mapped[int] = mapped_column(server_default=text("1"))
    created_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    updated_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))

    @property
    def lane(self) -> str:
        """The name of the queue of calls to this seller."""
        return f"seller:{self.id}"
