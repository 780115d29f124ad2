"""First tables.

Works with the release now running: there is none before it.

Revision: 0001, the first
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TABLES = (
    "api_keys",
    "lanes",
    "notifications",
    "receipts",
    "sellers",
    "deliveries",
    "orders",
    "attempts",
    "chain_orders",
    "events",
    "order_names",
    "placement_revisions",
    "invoices",
)


def upgrade() -> None:
    _api_keys()
    _lanes()
    _notifications()
    _receipts()
    _sellers()
    _deliveries()
    _orders()
    _attempts()
    _chain_orders()
    _events()
    _order_names()
    _placement_revisions()
    _invoices()


def _api_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column(
            "created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("revoked_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint("role in ('viewer', 'operator', 'admin')", name=op.f("api_keys_role_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("api_keys_pkey")),
        sa.UniqueConstraint("digest", name=op.f("api_keys_digest_key")),
        sa.UniqueConstraint("name", name=op.f("api_keys_name_key")),
    )


def _lanes() -> None:
    op.create_table(
        "lanes",
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("concurrency", sa.BigInteger(), server_default=sa.text("10"), nullable=False),
        sa.Column("rate_per_second", sa.Double(), server_default=sa.text("50"), nullable=False),
        sa.Column("tokens", sa.Double(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "refilled_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("paused", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("next_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("breaker", sa.Text(), server_default="closed", nullable=False),
        sa.Column("failures", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.CheckConstraint("breaker in ('closed', 'open')", name=op.f("lanes_breaker_check")),
        sa.PrimaryKeyConstraint("lane", name=op.f("lanes_pkey")),
    )


def _notifications() -> None:
    op.create_table(
        "notifications",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("dedupe_key", sa.LargeBinary(), nullable=False),
        sa.Column("receipt", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Uuid(), nullable=True),
        sa.Column("path", sa.LargeBinary(), nullable=False),
        sa.Column("headers", sa.LargeBinary(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), server_default="received", nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("tries", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("applied_seq", sa.BigInteger(), nullable=True),
        sa.Column(
            "received_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("applied_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint("caller in ('base', 'open')", name=op.f("notifications_caller_check")),
        sa.CheckConstraint(
            "state in ('received', 'applied', 'parked', 'conflict', 'ignored', 'unreadable')",
            name=op.f("notifications_state_check"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("notifications_pkey")),
        postgresql_with={"fillfactor": "80"},
    )
    op.create_index("notifications_order_idx", "notifications", ["order_id", "id"], unique=False)
    op.create_index(
        "notifications_parked_idx",
        "notifications",
        ["next_at", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'parked'"),
    )
    op.create_index(
        "notifications_received_idx",
        "notifications",
        ["order_id", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'received'"),
    )


def _receipts() -> None:
    op.create_table(
        "receipts",
        sa.Column("dedupe_key", sa.LargeBinary(), nullable=False),
        sa.Column("receipt", sa.Text(), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=False),
        sa.Column("repeats", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "last_seen", sa.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("dedupe_key", name=op.f("receipts_pkey")),
        postgresql_with={"fillfactor": "90"},
    )


def _sellers() -> None:
    op.create_table(
        "sellers",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("account_name", sa.Text(), nullable=False),
        sa.Column("base_url", sa.Text(), nullable=False),
        sa.Column("sales_channel", sa.Text(), nullable=False),
        sa.Column("affiliate_id", sa.Text(), nullable=False),
        sa.Column("sealed_app_key", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_app_token", sa.LargeBinary(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("strict_amounts", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("callback_base", sa.Text(), nullable=True),
        sa.Column("callback_trust", sa.Text(), server_default="base", nullable=False),
        sa.Column("change_policy", sa.Text(), server_default="record", nullable=False),
        sa.Column("authorization_group", sa.Text(), server_default="group", nullable=False),
        sa.Column("omit_authorization_items", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("concurrency", sa.BigInteger(), server_default=sa.text("10"), nullable=False),
        sa.Column("rate_per_second", sa.Double(), server_default=sa.text("50"), nullable=False),
        sa.Column("paused", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column(
            "created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column(
            "updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint(
            "authorization_group in ('group', 'chainOrderId')", name=op.f("sellers_authorization_group_check")
        ),
        sa.CheckConstraint("callback_trust in ('base', 'always-verify')", name=op.f("sellers_callback_trust_check")),
        sa.CheckConstraint("change_policy in ('record', 'accept', 'refuse')", name=op.f("sellers_change_policy_check")),
        sa.CheckConstraint("concurrency between 1 and 1000", name=op.f("sellers_concurrency_check")),
        sa.CheckConstraint("rate_per_second > 0", name=op.f("sellers_rate_per_second_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("sellers_pkey")),
    )


def _deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("sequence", sa.Text(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Uuid(), nullable=True),
        sa.Column("chain_order_key", sa.BigInteger(), nullable=True),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("state", sa.Text(), server_default="ready", nullable=False),
        sa.Column("phase", sa.Text(), server_default="send", nullable=False),
        sa.Column("attempts", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("failures", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("unclear_since", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("absences", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("last_code", sa.Text(), nullable=True),
        sa.Column(
            "created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("settled_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint("(state = 'sending') = (lease_until is not null)", name=op.f("deliveries_lease_check")),
        sa.CheckConstraint("kind in ('place', 'authorize', 'cancel')", name=op.f("deliveries_kind_check")),
        sa.CheckConstraint("phase in ('send', 'verify')", name=op.f("deliveries_phase_check")),
        sa.CheckConstraint(
            "state in ('ready', 'retrying', 'unknown', 'sending', 'delivered', 'rejected', 'dead', 'withdrawn')",
            name=op.f("deliveries_state_check"),
        ),
        sa.ForeignKeyConstraint(["lane"], ["lanes.lane"], name=op.f("deliveries_lane_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("deliveries_pkey")),
        postgresql_with={"fillfactor": "70"},
    )
    op.create_index(
        "deliveries_due_idx",
        "deliveries",
        ["lane", "next_at", "id"],
        unique=False,
        postgresql_where=sa.text("state in ('ready', 'retrying', 'unknown')"),
    )
    op.create_index(
        "deliveries_one_in_flight_per_order_key",
        "deliveries",
        ["order_id"],
        unique=True,
        postgresql_where=sa.text("state = 'sending'"),
    )
    op.create_index("deliveries_order_idx", "deliveries", ["order_id", "id"], unique=False)
    op.create_index(
        "deliveries_sending_idx",
        "deliveries",
        ["lane", "lease_until"],
        unique=False,
        postgresql_where=sa.text("state = 'sending'"),
    )
    op.create_index(
        "deliveries_sequence_idx",
        "deliveries",
        ["sequence", "id"],
        unique=False,
        postgresql_where=sa.text("state in ('ready', 'retrying', 'unknown', 'sending', 'dead')"),
    )


def _orders() -> None:
    op.create_table(
        "orders",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("seller_id", sa.Text(), nullable=False),
        sa.Column("affiliate_id", sa.Text(), nullable=False),
        sa.Column("sales_channel", sa.Text(), nullable=False),
        sa.Column("order_group", sa.Text(), nullable=False),
        sa.Column("ref", sa.Text(), nullable=False),
        sa.Column("kid", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="accepted", nullable=False),
        sa.Column("attention_code", sa.Text(), nullable=True),
        sa.Column("attention_reason", sa.Text(), nullable=True),
        sa.Column("attention_since", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column(
            "warnings", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'::jsonb"), nullable=False
        ),
        sa.Column("items", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("total_cents", sa.BigInteger(), nullable=False),
        sa.Column("receipt_date", sa.Text(), nullable=True),
        sa.Column("receipt", sa.Text(), nullable=True),
        sa.Column("authorization_items", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("placement_body", sa.LargeBinary(), nullable=True),
        sa.Column("placement_digest", sa.LargeBinary(), nullable=False),
        sa.Column("applied_seq", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column(
            "created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column(
            "updated_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("sealed_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint(
            "status in ('accepted', 'placing', 'placement-unknown', 'rejected', 'placed', 'authorizing', 'authorized', 'partially-invoiced', 'invoiced', 'cancel-requested', 'cancelled')",
            name=op.f("orders_status_check"),
        ),
        sa.CheckConstraint(
            "(attention_code is null) = (attention_reason is null)", name=op.f("orders_attention_check")
        ),
        sa.CheckConstraint("(receipt is null) = (receipt_date is null)", name=op.f("orders_receipt_check")),
        sa.ForeignKeyConstraint(["seller_id"], ["sellers.id"], name=op.f("orders_seller_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("orders_pkey")),
        sa.UniqueConstraint("ref", name=op.f("orders_ref_key")),
        sa.UniqueConstraint(
            "seller_id", "affiliate_id", "order_group", name=op.f("orders_seller_id_affiliate_id_order_group_key")
        ),
    )
    op.create_index(
        "orders_attention_idx",
        "orders",
        ["attention_since", "id"],
        unique=False,
        postgresql_where=sa.text("attention_code is not null"),
    )
    op.create_index("orders_seller_idx", "orders", ["seller_id", "id"], unique=False)
    op.create_index("orders_status_idx", "orders", ["status", "id"], unique=False)


def _attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("delivery_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("phase", sa.Text(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("at", sa.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("duration_ms", sa.BigInteger(), nullable=True),
        sa.Column("status", sa.BigInteger(), nullable=True),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("response", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["deliveries.id"], name=op.f("attempts_delivery_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("attempts_pkey")),
        sa.UniqueConstraint("delivery_id", "number", name=op.f("attempts_delivery_id_number_key")),
    )


def _chain_orders() -> None:
    op.create_table(
        "chain_orders",
        sa.Column("key", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("order_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("chain_order_id", sa.Text(), nullable=False),
        sa.Column("seller_order_id", sa.Text(), nullable=True),
        sa.Column("seller_order_group", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), server_default="placed", nullable=False),
        sa.Column("status_before_request", sa.Text(), nullable=True),
        sa.Column("value_cents", sa.BigInteger(), nullable=False),
        sa.Column(
            "items", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'::jsonb"), nullable=False
        ),
        sa.CheckConstraint(
            "(status = 'cancel-requested') = (status_before_request is not null)",
            name=op.f("chain_orders_status_before_request_check"),
        ),
        sa.CheckConstraint(
            "status in ('placed', 'authorizing', 'authorized', 'partially-invoiced', 'invoiced', 'cancel-requested', 'cancelled')",
            name=op.f("chain_orders_status_check"),
        ),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("chain_orders_order_id_fkey")),
        sa.PrimaryKeyConstraint("key", name=op.f("chain_orders_pkey")),
        sa.UniqueConstraint("order_id", "chain_order_id", name=op.f("chain_orders_order_id_chain_order_id_key")),
    )


def _events() -> None:
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=True),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("at", sa.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("order_id", sa.Uuid(), nullable=False),
        sa.Column("seller_id", sa.Text(), nullable=False),
        sa.Column("order_group", sa.Text(), nullable=False),
        sa.Column("chain_order_id", sa.Text(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column(
            "data", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("events_order_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("events_pkey")),
        sa.UniqueConstraint("position", name=op.f("events_position_key")),
    )
    op.create_index("events_order_idx", "events", ["order_id", "id"], unique=False)
    op.create_index(
        "events_unnumbered_idx", "events", ["id"], unique=False, postgresql_where=sa.text("position is null")
    )


def _order_names() -> None:
    op.create_table(
        "order_names",
        sa.Column("order_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("order_names_order_id_fkey")),
        sa.PrimaryKeyConstraint("order_id", "kind", "value", name=op.f("order_names_pkey")),
    )
    op.create_index(
        "order_names_value_idx",
        "order_names",
        [sa.literal_column("lower(value) text_pattern_ops"), "order_id"],
        unique=False,
    )


def _placement_revisions() -> None:
    op.create_table(
        "placement_revisions",
        sa.Column("order_id", sa.Uuid(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("placement_body", sa.LargeBinary(), nullable=True),
        sa.Column("placement_digest", sa.LargeBinary(), nullable=False),
        sa.Column("replaced_by", sa.Text(), nullable=False),
        sa.Column(
            "replaced_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("placement_revisions_order_id_fkey")),
        sa.PrimaryKeyConstraint("order_id", "revision", name=op.f("placement_revisions_pkey")),
    )


def _invoices() -> None:
    op.create_table(
        "invoices",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("chain_order_key", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("value_cents", sa.BigInteger(), nullable=False),
        sa.Column("issued_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("key", sa.Text(), nullable=True),
        sa.Column("courier", sa.Text(), nullable=True),
        sa.Column("tracking_number", sa.Text(), nullable=True),
        sa.Column("tracking_url", sa.Text(), nullable=True),
        sa.Column(
            "items", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'::jsonb"), nullable=False
        ),
        sa.Column("receipt", sa.Text(), nullable=True),
        sa.Column("source", sa.Text(), server_default="callback", nullable=False),
        sa.Column(
            "created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("source in ('callback', 'read')", name=op.f("invoices_source_check")),
        sa.CheckConstraint("type in ('Output', 'Input')", name=op.f("invoices_type_check")),
        sa.CheckConstraint("value_cents >= 0", name=op.f("invoices_value_cents_check")),
        sa.ForeignKeyConstraint(["chain_order_key"], ["chain_orders.key"], name=op.f("invoices_chain_order_key_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("invoices_pkey")),
        sa.UniqueConstraint("chain_order_key", "type", "number", name=op.f("invoices_chain_order_key_type_number_key")),
    )
    op.create_index(op.f("invoices_chain_order_key_idx"), "invoices", ["chain_order_key"], unique=False)


def downgrade() -> None:
    for table in _TABLES[::-1]:
        op.drop_table(table)
