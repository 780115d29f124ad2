"""What a session of the console keeps: its zone, what was just done, and what was typed before it began.

Works with the release now running: it does not know the new columns, and all of them may be empty.

Revision: 0018, after 0017
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("console_sessions", sa.Column("zone", sa.Text(), nullable=True))
    op.add_column("console_sessions", sa.Column("flash", sa.Text(), nullable=True))
    op.add_column("console_sessions", sa.Column("last_act", sa.LargeBinary(), nullable=True))
    op.add_column("console_sessions", sa.Column("draft", postgresql.JSONB(astext_type=sa.Text()), nullable=True))


def downgrade() -> None:
    for name in ("draft", "last_act", "flash", "zone"):
        op.drop_column("console_sessions", name)
