"""Subscriptions to events, and deliveries of a fourth kind.

Works with the release now running: it reads and writes none of what is new. Its workers would not know what to do
with a delivery of the new kind, but none is made before somebody subscribes through the new release.

Revision: 0006, after 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_NOW = sa.text("clock_timestamp()")


def upgrade() -> None:
    op.create_table(
        "subscriptions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("events", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("sellers", postgresql.ARRAY(sa.Text()), nullable=True),
        sa.Column("sealed_secret", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_secret_before", sa.LargeBinary(), nullable=True),
        sa.Column("before_until", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("disabled_reason", sa.Text(), nullable=True),
        sa.Column("concurrency", sa.BigInteger(), server_default=sa.text("5"), nullable=False),
        sa.Column("rate_per_second", sa.Double(), server_default=sa.text("50"), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=_NOW, nullable=False),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), server_default=_NOW, nullable=False),
        sa.CheckConstraint(
            "(sealed_secret_before is null) = (before_until is null)", name=op.f("subscriptions_before_check")
        ),
        sa.CheckConstraint("cardinality(events) > 0", name=op.f("subscriptions_events_check")),
        sa.CheckConstraint("concurrency between 1 and 100", name=op.f("subscriptions_concurrency_check")),
        sa.CheckConstraint("enabled = (disabled_reason is null)", name=op.f("subscriptions_disabled_check")),
        sa.CheckConstraint("rate_per_second > 0", name=op.f("subscriptions_rate_per_second_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("subscriptions_pkey")),
    )
    op.create_index(
        "subscriptions_behind_idx",
        "subscriptions",
        ["position"],
        unique=False,
        postgresql_where=sa.text("enabled"),
    )
    _allow_kinds("'place', 'authorize', 'cancel', 'webhook'")


def downgrade() -> None:
    op.execute("delete from deliveries where kind = 'webhook'")
    _allow_kinds("'place', 'authorize', 'cancel'")
    op.drop_index("subscriptions_behind_idx", table_name="subscriptions", postgresql_where=sa.text("enabled"))
    op.drop_table("subscriptions")


def _allow_kinds(kinds: str) -> None:
    """The table is read once under its lock: some seconds for tens of millions of deliveries."""
    op.drop_constraint(op.f("deliveries_kind_check"), "deliveries", type_="check")
    op.create_check_constraint(op.f("deliveries_kind_check"), "deliveries", f"kind in ({kinds})")
