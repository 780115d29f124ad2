"""One VTEX order is one order's: each chain order carries its seller, and a seller's id of it is unique.

Works with the release now running: what it stores has no seller, and is outside of the key. The new release finds
such rows by their names before it stores another.

Revision: 0011, after 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("chain_orders", sa.Column("seller_id", sa.Text(), nullable=True))
    op.create_index(
        "chain_orders_seller_key",
        "chain_orders",
        ["seller_id", "chain_order_id"],
        unique=True,
        postgresql_where=sa.text("seller_id is not null"),
    )


def downgrade() -> None:
    op.drop_index(
        "chain_orders_seller_key", table_name="chain_orders", postgresql_where=sa.text("seller_id is not null")
    )
    op.drop_column("chain_orders", "seller_id")
