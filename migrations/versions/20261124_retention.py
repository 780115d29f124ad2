"""Retention: since when an order is final, and what it was told after it was sealed.

Works with the release now running: the new columns may be null, and the job dates what that release makes final.

Revision: 0005, after 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_UNSEALED = sa.text("sealed_at is null and status in ('cancelled', 'invoiced', 'rejected')")
_TOLD_SINCE = sa.text("sealed_at is not null and applied_seq <> sealed_seq")


def upgrade() -> None:
    op.add_column("orders", sa.Column("final_at", sa.TIMESTAMP(timezone=True), nullable=True))
    op.add_column("orders", sa.Column("sealed_seq", sa.BigInteger(), nullable=True))
    op.create_index("orders_unsealed_idx", "orders", ["final_at"], unique=False, postgresql_where=_UNSEALED)
    op.create_index("orders_told_since_sealed_idx", "orders", ["id"], unique=False, postgresql_where=_TOLD_SINCE)
    op.create_index("orders_kid_idx", "orders", ["kid"], unique=False, postgresql_where=sa.text("sealed_at is null"))


def downgrade() -> None:
    op.drop_index("orders_kid_idx", table_name="orders", postgresql_where=sa.text("sealed_at is null"))
    op.drop_index("orders_told_since_sealed_idx", table_name="orders", postgresql_where=_TOLD_SINCE)
    op.drop_index("orders_unsealed_idx", table_name="orders", postgresql_where=_UNSEALED)
    op.drop_column("orders", "sealed_seq")
    op.drop_column("orders", "final_at")
