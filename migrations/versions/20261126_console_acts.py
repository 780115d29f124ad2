"""The forms that were acted upon in a session of the console, each by its SHA-256.

Works with the release now running: it knows nothing of the new table, and goes on writing the last form alone. A form
that it acted upon is not known here: that ends with the sessions that began before. Rows go with their session, which
lives for half a day at most.

Revision: 0022, after 0021
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "console_acts",
        sa.Column("session", sa.LargeBinary(), nullable=False),
        sa.Column("form", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["session"], ["console_sessions.digest"], name=op.f("console_acts_session_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("session", "form", name=op.f("console_acts_pkey")),
    )


def downgrade() -> None:
    op.drop_table("console_acts")
