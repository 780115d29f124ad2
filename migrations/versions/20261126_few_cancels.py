"""Indexes for lists of what is rare: calls that cancel, and notifications that were ignored.

Works with the release now running: it may use them or not. Both hold few rows, and what goes well never writes them.
Each table cannot be written while its index is made, some seconds for each million rows; concurrently would wait for
the other replica that migrates, which waits for this one.

Revision: 0021, after 0020
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "deliveries_cancel_idx", "deliveries", ["id"], unique=False, postgresql_where=sa.text("kind = 'cancel'")
    )
    op.create_index(
        "notifications_ignored_idx",
        "notifications",
        ["id"],
        unique=False,
        postgresql_where=sa.text("state = 'ignored'"),
    )


def downgrade() -> None:
    op.drop_index("notifications_ignored_idx", table_name="notifications")
    op.drop_index("deliveries_cancel_idx", table_name="deliveries")
