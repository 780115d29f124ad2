"""The audit of operators' acts, append-only.

Works with the release now running: it reads and writes none of what is new.

Revision: 0007, after 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", sa.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Uuid(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("object", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("before", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("after", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("audit_pkey")),
    )
    op.create_index("audit_actor_idx", "audit", ["actor", "id"], unique=False)
    op.create_index("audit_object_idx", "audit", ["object", "id"], unique=False)
    op.create_index("audit_at_idx", "audit", ["at", "id"], unique=False)
    op.execute(
        """
        create function audit_is_append_only() returns trigger language plpgsql as $$
        begin
            raise exception 'the audit is append-only: % is refused', tg_op using errcode = 'insufficient_privilege';
        end
        $$
        """
    )
    op.execute(
        "create trigger audit_append_only before update or delete or truncate on audit "
        "for each statement execute function audit_is_append_only()"
    )


def downgrade() -> None:
    op.drop_table("audit")
    op.execute("drop function audit_is_append_only()")
