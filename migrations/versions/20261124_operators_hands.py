"""Idempotency keys, when a key was last used, and indexes of whose turn it is.

Works with the release now running: it reads and writes none of what is new.

Revision: 0003, after 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

OPEN_TURNS = {
    "operator": "attention_code is not null or status = 'rejected' or (status = 'placed' and receipt is null)",
    "us": "attention_code is null and (status in ('accepted', 'placing', 'placement-unknown', 'authorizing')"
    " or (status = 'placed' and receipt is not null))",
    "seller": "attention_code is null and status in ('authorized', 'partially-invoiced', 'cancel-requested')",
}


def upgrade() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("request_digest", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.BigInteger(), nullable=False),
        sa.Column("headers", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("order_id", sa.Uuid(), nullable=True),
        sa.Column(
            "created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("(body is null) <> (order_id is null)", name=op.f("idempotency_keys_answer_check")),
        sa.PrimaryKeyConstraint("digest", name=op.f("idempotency_keys_pkey")),
    )
    op.create_index("idempotency_keys_created_idx", "idempotency_keys", ["created_at"], unique=False)
    op.add_column("api_keys", sa.Column("last_used_at", sa.TIMESTAMP(timezone=True), nullable=True))
    for turn, condition in OPEN_TURNS.items():
        op.create_index(f"orders_turn_{turn}_idx", "orders", ["id"], unique=False, postgresql_where=sa.text(condition))


def downgrade() -> None:
    for turn in OPEN_TURNS:
        op.drop_index(f"orders_turn_{turn}_idx", table_name="orders")
    op.drop_column("api_keys", "last_used_at")
    op.drop_index("idempotency_keys_created_idx", table_name="idempotency_keys")
    op.drop_table("idempotency_keys")
