"""Hearing the rest: callers with a seller's token, changes of chain orders, repeats that are looked at later.

Works with the release now running: its callers stay allowed, and it writes none of the new columns, which may be null.

Revision: 0008, after 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("notifications", sa.Column("seller_id", sa.Text(), nullable=True))
    op.add_column("notifications", sa.Column("policy", sa.Text(), nullable=True))
    op.add_column("invoices", sa.Column("delivered_at", sa.TIMESTAMP(timezone=True), nullable=True))
    op.drop_constraint(op.f("notifications_caller_check"), "notifications", type_="check")
    # Every row that is there was checked by the narrower rule: there is no need to hold the table and look again.
    op.create_check_constraint(
        op.f("notifications_caller_check"),
        "notifications",
        "caller in ('base', 'token', 'open')",
        postgresql_not_valid=True,
    )
    op.execute("alter table notifications validate constraint notifications_caller_check")
    op.create_index(
        "notifications_repeated_idx",
        "notifications",
        ["dedupe_key"],
        unique=False,
        postgresql_where=sa.text("caller <> 'base'"),
    )
    op.create_table(
        "repeats",
        sa.Column("dedupe_key", sa.LargeBinary(), nullable=False),
        sa.Column("ref", sa.Text(), nullable=True),
        sa.Column("seen_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("dedupe_key", name=op.f("repeats_pkey")),
    )
    op.create_table(
        "changes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("chain_order_key", sa.BigInteger(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("increment_cents", sa.BigInteger(), nullable=False),
        sa.Column("discount_cents", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("receipt", sa.Text(), nullable=False),
        sa.Column(
            "created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("increment_cents >= 0 and discount_cents >= 0", name=op.f("changes_cents_check")),
        sa.CheckConstraint(
            "state in ('recorded', 'accepted', 'refused', 'dismissed')", name=op.f("changes_state_check")
        ),
        sa.ForeignKeyConstraint(["chain_order_key"], ["chain_orders.key"], name=op.f("changes_chain_order_key_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("changes_pkey")),
        sa.UniqueConstraint("chain_order_key", "digest", name=op.f("changes_chain_order_key_digest_key")),
    )


def downgrade() -> None:
    op.drop_table("changes")
    op.drop_table("repeats")
    op.drop_index(
        "notifications_repeated_idx", table_name="notifications", postgresql_where=sa.text("caller <> 'base'")
    )
    op.execute("delete from notifications where caller = 'token'")
    op.drop_constraint(op.f("notifications_caller_check"), "notifications", type_="check")
    op.create_check_constraint(op.f("notifications_caller_check"), "notifications", "caller in ('base', 'open')")
    op.drop_column("invoices", "delivered_at")
    op.drop_column("notifications", "policy")
    op.drop_column("notifications", "seller_id")
