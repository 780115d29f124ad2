"""Counts of orders, kept by a trigger; indexes for what the console lists and counts.

Works with the release now running: it knows nothing of the new table, and its own moves of orders are counted by the
trigger. Each table cannot be written while it is read for that, some seconds for each million rows. An index made
concurrently would wait for the other replica that migrates, which waits for this one.

Revision: 0012, after 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "order_counts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("attention", sa.Boolean(), nullable=False),
        sa.Column("has_receipt", sa.Boolean(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("order_counts_pkey")),
    )
    op.execute(
        """
        create function orders_are_counted() returns trigger language plpgsql as $$
        begin
            if tg_op <> 'INSERT' then
                insert into order_counts (status, attention, has_receipt, number)
                values (old.status, old.attention_code is not null, old.receipt is not null, -1);
            end if;
            if tg_op <> 'DELETE' then
                insert into order_counts (status, attention, has_receipt, number)
                values (new.status, new.attention_code is not null, new.receipt is not null, 1);
            end if;
            return null;
        end
        $$
        """
    )
    # Two triggers, so that the many updates that move nothing cost a comparison and no call.
    op.execute(
        "create trigger orders_counted after insert or delete on orders for each row "
        "execute function orders_are_counted()"
    )
    op.execute(
        "create trigger orders_recounted after update on orders for each row "
        "when ((old.status, old.attention_code is null, old.receipt is null) is distinct from "
        "(new.status, new.attention_code is null, new.receipt is null)) execute function orders_are_counted()"
    )
    op.execute(
        "insert into order_counts (status, attention, has_receipt, number) "
        "select status, attention_code is not null, receipt is not null, count(*) from orders group by 1, 2, 3"
    )
    op.create_index("orders_updated_idx", "orders", ["updated_at", "id"], unique=False)
    op.create_index("orders_total_idx", "orders", ["total_cents", "id"], unique=False)
    op.create_index(
        "deliveries_failed_idx",
        "deliveries",
        ["state", "id"],
        unique=False,
        postgresql_where=sa.text("state in ('dead', 'rejected', 'withdrawn')"),
    )
    op.create_index(
        "notifications_troubled_idx",
        "notifications",
        ["id"],
        unique=False,
        postgresql_where=sa.text("state in ('parked', 'conflict', 'unreadable')"),
    )
    # Without it the latest attempts, the ones that are asked for, stay outside the index until the next vacuum.
    op.execute("alter index attempts_at_idx set (autosummarize = on)")


def downgrade() -> None:
    op.execute("alter index attempts_at_idx reset (autosummarize)")
    op.drop_index("notifications_troubled_idx", table_name="notifications")
    op.drop_index("deliveries_failed_idx", table_name="deliveries")
    op.drop_index("orders_total_idx", table_name="orders")
    op.drop_index("orders_updated_idx", table_name="orders")
    op.execute("drop trigger orders_recounted on orders")
    op.execute("drop trigger orders_counted on orders")
    op.execute("drop function orders_are_counted()")
    op.drop_table("order_counts")
