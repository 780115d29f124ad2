"""Indexes for the console's first page and for lists of one seller: what waits, what needs a person, what was told.

Works with the release now running: it may use them or not. Each holds few rows: open calls, orders that need a person,
notifications that came by a seller's token. A table cannot be written while its index is made, some seconds for each
million rows; concurrently would wait for the other replica that migrates, which waits for this one.

Revision: 0017, after 0016
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "deliveries_open_idx",
        "deliveries",
        ["state", "kind", "created_at"],
        unique=False,
        postgresql_where=sa.text("state in ('ready', 'retrying', 'unknown', 'sending', 'dead')"),
    )
    op.create_index(
        "orders_attention_seller_idx",
        "orders",
        ["seller_id", "id"],
        unique=False,
        postgresql_where=sa.text("attention_code is not null"),
    )
    op.create_index(
        "notifications_seller_idx",
        "notifications",
        ["seller_id", "id"],
        unique=False,
        postgresql_where=sa.text("seller_id is not null"),
    )


def downgrade() -> None:
    op.drop_index("notifications_seller_idx", table_name="notifications")
    op.drop_index("orders_attention_seller_idx", table_name="orders")
    op.drop_index("deliveries_open_idx", table_name="deliveries")
