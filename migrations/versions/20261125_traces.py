"""Where an order's trace and a delivery's began.

Works with the release now running: it names the columns that it writes and reads, and these may be null. Adding them
rewrites nothing.

Revision: 0010, after 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("orders", "deliveries"):
        op.add_column(table, sa.Column("traceparent", sa.Text(), nullable=True))


def downgrade() -> None:
    for table in ("orders", "deliveries"):
        op.drop_column(table, "traceparent")
