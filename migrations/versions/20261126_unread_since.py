"""Since when reads of an order at its seller come to nothing.

Works with the release now running: it knows nothing of the column, which stays empty until a worker of the next one has
something to tell. The index holds only what cannot be read.

Revision: 0026, after 0025
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("reads", sa.Column("failing_since", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "reads_failing_idx",
        "reads",
        ["lane", "failing_since"],
        unique=False,
        postgresql_where=sa.text("failing_since is not null"),
    )


def downgrade() -> None:
    op.drop_index("reads_failing_idx", table_name="reads")
    op.drop_column("reads", "failing_since")
