"""What reads of sellers showed, masked.

Works with the release now running: it knows nothing of the new table, and keeps no answers.

Revision: 0019, after 0018
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "seen",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("order_id", sa.Uuid(), nullable=False),
        sa.Column("chain_order_key", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.BigInteger(), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("first_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("times", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.ForeignKeyConstraint(["chain_order_key"], ["chain_orders.key"], name=op.f("seen_chain_order_key_fkey")),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("seen_order_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("seen_pkey")),
    )
    op.create_index("seen_chain_order_idx", "seen", ["chain_order_key", "id"], unique=False)
    op.create_index("seen_order_idx", "seen", ["order_id", "id"], unique=False)


def downgrade() -> None:
    op.drop_table("seen")
