"""Whether a lane is stopped because its peer refuses our credentials: then a person must act, and is told so.

Works with the release now running: it never writes the column, whose default says nothing. The table is small, and a
column with a default is added at once.

Revision: 0023, after 0022
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("lanes", sa.Column("denied", sa.Boolean(), server_default=sa.text("false"), nullable=False))


def downgrade() -> None:
    op.drop_column("lanes", "denied")
