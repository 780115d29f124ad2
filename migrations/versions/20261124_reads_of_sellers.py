"""Reads of sellers.

Works with the release now running: it reads and writes none of what is new.

Revision: 0002, after 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "reads",
        sa.Column("order_id", sa.Uuid(), nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("next_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("asked_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("asked_reads", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["lane"], ["lanes.lane"], name=op.f("reads_lane_fkey")),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("reads_order_id_fkey")),
        sa.PrimaryKeyConstraint("order_id", name=op.f("reads_pkey")),
    )
    op.create_index("reads_due_idx", "reads", ["lane", "next_at"], unique=False)
    op.create_index("attempts_at_idx", "attempts", ["at"], unique=False, postgresql_using="brin")
    op.add_column("chain_orders", sa.Column("seller_status", sa.Text(), nullable=True))
    op.add_column("chain_orders", sa.Column("seller_read_at", sa.TIMESTAMP(timezone=True), nullable=True))
    op.add_column("invoices", sa.Column("confirmed_at", sa.TIMESTAMP(timezone=True), nullable=True))
    op.add_column("lanes", sa.Column("ramp", sa.BigInteger(), nullable=True))
    op.add_column("orders", sa.Column("cancellation_reason", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_index("attempts_at_idx", table_name="attempts", postgresql_using="brin")
    op.drop_column("orders", "cancellation_reason")
    op.drop_column("lanes", "ramp")
    op.drop_column("invoices", "confirmed_at")
    op.drop_column("chain_orders", "seller_read_at")
    op.drop_column("chain_orders", "seller_status")
    op.drop_index("reads_due_idx", table_name="reads")
    op.drop_table("reads")
