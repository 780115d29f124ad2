"""An index for the newest orders that need a person, however many there are.

Works with the release now running: it may use it or not. It holds few rows, and what goes well never writes it. The
table cannot be written while the index is made, some seconds for each million rows; concurrently would wait for the
other replica that migrates, which waits for this one.

Revision: 0020, after 0019
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "orders_attention_newest_idx",
        "orders",
        ["id"],
        unique=False,
        postgresql_where=sa.text("attention_code is not null"),
    )


def downgrade() -> None:
    op.drop_index("orders_attention_newest_idx", table_name="orders")
