"""Indexes for what matches few of many: the calls of one lane, the events of one type or one seller.

Works with the release now running: it may use them or not. Each table cannot be written while its index is made, some
seconds for each million rows; concurrently would wait for the other replica that migrates, which waits for this one.

Revision: 0015, after 0014
"""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("deliveries_lane_idx", "deliveries", ["lane", "id"], unique=False)
    op.create_index("events_type_idx", "events", ["type", "position"], unique=False)
    op.create_index("events_seller_idx", "events", ["seller_id", "position"], unique=False)


def downgrade() -> None:
    op.drop_index("events_seller_idx", table_name="events")
    op.drop_index("events_type_idx", table_name="events")
    op.drop_index("deliveries_lane_idx", table_name="deliveries")
