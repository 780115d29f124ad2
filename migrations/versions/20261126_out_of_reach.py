"""Which lanes a worker leaves to others, because it cannot reach their peers and others can.

Works with the release now running: it knows nothing of the table, which stays empty until a worker of the next one has
something to tell.

Revision: 0025, after 0024
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "out_of_reach",
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("worker", "lane", name=op.f("out_of_reach_pkey")),
    )


def downgrade() -> None:
    op.drop_table("out_of_reach")
