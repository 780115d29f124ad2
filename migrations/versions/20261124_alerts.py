"""Alerts.

Works with the release now running: it knows nothing of the new table.

Revision: 0009, after 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_OPEN = sa.text("recovered_at is null")


def upgrade() -> None:
    op.create_table(
        "alerts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column(
            "raised_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("quiet_since", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("recovered_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("raised_mailed_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("recovered_mailed_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("mail_until", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("alerts_pkey")),
    )
    op.create_index("alerts_one_open_key", "alerts", ["code", "subject"], unique=True, postgresql_where=_OPEN)


def downgrade() -> None:
    op.drop_index("alerts_one_open_key", table_name="alerts", postgresql_where=_OPEN)
    op.drop_table("alerts")
