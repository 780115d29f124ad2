"""Which callback keys the sealed orders carry is found without reading them all: a key goes only when no order has it.

Works with the release now running: an index changes nothing that it sees.

Revision: 0016, after 0015
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_SEALED = sa.text("sealed_at is not null")


def upgrade() -> None:
    op.create_index("orders_sealed_kid_idx", "orders", ["kid"], unique=False, postgresql_where=_SEALED)


def downgrade() -> None:
    op.drop_index("orders_sealed_kid_idx", table_name="orders", postgresql_where=_SEALED)
