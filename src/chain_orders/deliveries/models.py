"""The tables of the outbox: lanes, deliveries, attempts. The constraints hold what the worker promises."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, LargeBinary, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, column_property, defer, mapped_column, undefer

from .. import tracing
from ..database import Base

KINDS = ("place", "authorize", "cancel", "webhook")
WAITING = ("ready", "retrying", "unknown")
ENDED = ("delivered", "rejected", "dead", "withdrawn")
STATES = (*WAITING, "sending", *ENDED)
LISTED_BYTES = 16 * 1024
"""How much of a body is shown where there are many: all of most, and little of one with a fiscal document in it."""

_WAITING = "state in ('ready', 'retrying', 'unknown')"
# What a follower waits for: everything of its sequence that has not ended well. A dead call holds its followers.
_HOLDING = "state in ('ready', 'retrying', 'unknown', 'sending', 'dead')"
# What people look for among millions that went well.
_FAILED = "state in ('dead', 'rejected', 'withdrawn')"


class Lane(Base):
    """The gate in front of one seller: what may be in flight, how fast, and whether at all. Fleet-wide."""

    __tablename__ = "lanes"
    __table_args__ = (CheckConstraint("breaker in ('closed', 'open')", name="breaker"),)

    lane: Mapped[str] = mapped_column(primary_key=True)
    concurrency: Mapped[int] = mapped_column(server_default=text("10"))
    rate_per_second: Mapped[float] = mapped_column(server_default=text("50"))
    tokens: Mapped[float] = mapped_column(server_default=text("0"))
    refilled_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    paused: Mapped[bool] = mapped_column(server_default=text("false"))
    next_at: Mapped[datetime | None]
    """Nothing is claimed before this moment: set by Retry-After and by the breaker."""
    breaker: Mapped[str] = mapped_column(server_default="closed")
    failures: Mapped[int] = mapped_column(server_default=text("0"))
    """Failures in a row; reset by a success only while it is not zero."""
    denied: Mapped[bool] = mapped_column(server_default=text("false"))
    """Whether refused credentials opened the breaker: nothing but new ones helps."""
    ramp: Mapped[int | None]
    """How many may be in flight while the lane recovers; doubled by each success until it is the lane's own cap."""
    reason: Mapped[str | None]


class Delivery(Base):
    """One call owed to a seller, or an event owed to a subscriber.

    `sequence` names the deliveries that must happen strictly one after the other, by id. `method`, `target` and
    `body` are frozen when the delivery is made; a placement's body is its order's, so that it is stored once.
    """

    __tablename__ = "deliveries"
    __table_args__ = (
        CheckConstraint("state in ('" + "', '".join(STATES) + "')", name="state"),
        CheckConstraint("kind in ('" + "', '".join(KINDS) + "')", name="kind"),
        CheckConstraint("phase in ('send', 'verify')", name="phase"),
        CheckConstraint("(state = 'sending') = (lease_until is not null)", name="lease"),
        Index("deliveries_due_idx", "lane", "next_at", "id", postgresql_where=text(_WAITING)),
        Index("deliveries_sequence_idx", "sequence", "id", postgresql_where=text(_HOLDING)),
        Index(
            "deliveries_one_in_flight_per_order_key",
            "order_id",
            unique=True,
            postgresql_where=text("state = 'sending'"),
        ),
        Index("deliveries_sending_idx", "lane", "lease_until", postgresql_where=text("state = 'sending'")),
        Index("deliveries_order_idx", "order_id", "id"),
        Index("deliveries_lane_idx", "lane", "id"),
        # Holds all that the numbers of the queues are made of: what waits is counted without looking at it.
        Index("deliveries_open_idx", "state", "kind", "created_at", postgresql_where=text(_HOLDING)),
        Index("deliveries_failed_idx", "state", "id", postgresql_where=text(_FAILED)),
        # The one kind of which there are few.
        Index("deliveries_cancel_idx", "id", postgresql_where=text("kind = 'cancel'")),
        {"postgresql_with": {"fillfactor": "70"}},
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    lane: Mapped[str] = mapped_column(ForeignKey("lanes.lane"))
    sequence: Mapped[str | None]
    kind: Mapped[str]
    order_id: Mapped[uuid.UUID | None]
    chain_order_key: Mapped[int | None]
    method: Mapped[str]
    target: Mapped[str]
    body: Mapped[bytes | None]
    state: Mapped[str] = mapped_column(server_default="ready")
    phase: Mapped[str] = mapped_column(server_default="send")
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    """Exchanges begun, reads included. Also the fencing number: an attempt settles only while it is the latest."""
    failures: Mapped[int] = mapped_column(server_default=text("0"))
    """Attempts that count against the schedule."""
    next_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    worker: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    unclear_since: Mapped[datetime | None]
    absences: Mapped[int] = mapped_column(server_default=text("0"))
    last_error: Mapped[str | None]
    last_code: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    settled_at: Mapped[datetime | None]
    traceparent: Mapped[str | None] = mapped_column(default=tracing.current)
    """The step of a trace that owed it."""


class OutOfReach(Base):
    """A lane that a worker leaves to others: it cannot reach the peer, and others can."""

    __tablename__ = "out_of_reach"

    worker: Mapped[str] = mapped_column(primary_key=True)
    lane: Mapped[str] = mapped_column(primary_key=True)
    since: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    seen_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))


class Attempt(Base):
    """One exchange of a delivery, committed before its first byte leaves; completed when it is settled."""

    __tablename__ = "attempts"
    __table_args__ = (
        UniqueConstraint("delivery_id", "number"),
        Index("attempts_at_idx", "at", postgresql_using="brin", postgresql_with={"autosummarize": "on"}),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    delivery_id: Mapped[int] = mapped_column(ForeignKey("deliveries.id", ondelete="CASCADE"))
    number: Mapped[int]
    phase: Mapped[str]
    worker: Mapped[str]
    at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    duration_ms: Mapped[int | None]
    status: Mapped[int | None]
    code: Mapped[str | None]
    outcome: Mapped[str | None]
    error: Mapped[str | None]
    response: Mapped[bytes | None] = mapped_column()
    beginning: Mapped[bytes | None] = column_property(
        func.substring(response, 1, LISTED_BYTES, type_=LargeBinary), deferred=True
    )
    size: Mapped[int | None] = column_property(func.octet_length(response), deferred=True)


LISTED = (defer(Attempt.response), undefer(Attempt.beginning), undefer(Attempt.size))
"""Options of a query for the attempts of many calls: each answer may be 1 MiB."""
