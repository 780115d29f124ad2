"""What a contradiction is about: the code of what is to be decided, and the chain order.

Works with the release now running: it neither reads nor writes the two columns, which are added without a look at the
table. What it stored is told apart here by its reason, whose words are fixed; what names no chain order,
of several, and what it stores from now on, is settled by `dismiss` alone. notifications_troubled_idx serves it.

Revision: 0024, after 0023
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

_TOLD = """
    update notifications n
       set contradicts = case
               when reason like 'somebody told us of %' then 'not-at-seller'
               when kind = 'cancellation' then 'cancelled-after-invoice'
               when kind = 'invoice' and reason like '% was cancelled' then 'invoiced-after-cancellation'
               when kind = 'invoice' then 'invoice-changed'
               when reason like '% with other content' then 'change-differs'
               else 'changed-after-cancellation' end,
           chain_order_key = (
               select min(key) from chain_orders c where c.order_id = n.order_id having count(*) = 1)
     where state = 'conflict'
"""


def upgrade() -> None:
    op.add_column("notifications", sa.Column("contradicts", sa.Text(), nullable=True))
    op.add_column("notifications", sa.Column("chain_order_key", sa.BigInteger(), nullable=True))
    op.execute(_TOLD)


def downgrade() -> None:
    op.drop_column("notifications", "chain_order_key")
    op.drop_column("notifications", "contradicts")
