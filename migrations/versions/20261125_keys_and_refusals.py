"""A key that was rotated away holds for a while; calls that were refused are counted; a webhook is called in order.

Works with the release now running: it knows nothing of the new table and columns, which may be null, and takes the new
default for webhooks that it makes without naming a concurrency. Until it is replaced it refuses a key that was rotated.

Revision: 0013, after 0012
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_BEFORE = "digest_before is null or before_until is not null"


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("digest_before", sa.LargeBinary(), nullable=True))
    op.add_column("api_keys", sa.Column("before_until", sa.TIMESTAMP(timezone=True), nullable=True))
    op.create_unique_constraint(op.f("api_keys_digest_before_key"), "api_keys", ["digest_before"])
    op.create_check_constraint(op.f("api_keys_before_check"), "api_keys", _BEFORE)
    op.create_table(
        "refusals",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("minute", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("kind in ('bad-mac', 'bad-token', 'denied')", name="kind"),
        sa.CheckConstraint("calls > 0", name="calls"),
        sa.PrimaryKeyConstraint("minute", "kind", "subject", name=op.f("refusals_pkey")),
    )
    op.alter_column("subscriptions", "concurrency", server_default=sa.text("1"))


def downgrade() -> None:
    op.alter_column("subscriptions", "concurrency", server_default=sa.text("5"))
    op.drop_table("refusals")
    op.drop_constraint(op.f("api_keys_before_check"), "api_keys")
    op.drop_constraint(op.f("api_keys_digest_before_key"), "api_keys")
    op.drop_column("api_keys", "before_until")
    op.drop_column("api_keys", "digest_before")
