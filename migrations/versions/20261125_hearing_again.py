"""Hearing again: what each fact rests on, so that it is the same whenever everything is applied anew.

Works with the release now running: it writes none of the new columns, and each may be null or has a default. What a
seller calls a chain order that is there already is learnt at the next read.

Revision: 0014, after 0013
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("chain_orders", sa.Column("marketplace_order_id", sa.Text(), nullable=True))
    op.add_column(
        "invoices",
        sa.Column(
            "heard",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
        ),
    )
    op.add_column("events", sa.Column("applied_seq", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("events", "applied_seq")
    op.drop_column("invoices", "heard")
    op.drop_column("chain_orders", "marketplace_order_id")
