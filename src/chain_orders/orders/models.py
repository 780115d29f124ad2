"""The tables of orders. The ORM classes are the domain classes: they hold the rules of their own data.

Relationships never load by themselves (`lazy="raise"`). Events are told by the order, and every flush appends them to
the timeline: no move goes untold.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from functools import cached_property
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, UniqueConstraint, event, func, text
from sqlalchemy.orm import Mapped, Session, WriteOnlyMapped, mapped_column, relationship
from sqlalchemy.orm.attributes import flag_dirty, get_history

from .. import tracing
from ..database import Base, now
from ..deliveries.models import Delivery
from ..events import timeline
from ..events.timeline import Fact
from ..money import written
from . import states
from .states import RANK, Status

_STATUSES = ", ".join(f"'{status}'" for status in Status)
# Whose turn it is, as `states.turn` says: each condition is an index's, and a query that repeats it is served by it.
TURNS = {
    "operator": "attention_code is not null or status = 'rejected' or (status = 'placed' and receipt is null)",
    "us": "attention_code is null and (status in ('accepted', 'placing', 'placement-unknown', 'authorizing')"
    " or (status = 'placed' and receipt is not null))",
    "seller": "attention_code is null and status in ('authorized', 'partially-invoiced', 'cancel-requested')",
    "nobody": "attention_code is null and status in ('invoiced', 'cancelled')",
}
_FINAL = ", ".join(f"'{status}'" for status in sorted(states.FINAL))
_CHAIN_STATUSES = ", ".join(f"'{status}'" for status in states.CHAIN_MOVES)


class Order(Base):
    """One purchase sent to one seller with one PUT; named by the marketplace's order group, for ever."""

    __tablename__ = "orders"
    __table_args__ = (
        UniqueConstraint("seller_id", "affiliate_id", "order_group"),
        CheckConstraint(f"status in ({_STATUSES})", name="status"),
        CheckConstraint("(receipt is null) = (receipt_date is null)", name="receipt"),
        CheckConstraint("(attention_code is null) = (attention_reason is null)", name="attention"),
        Index("orders_attention_idx", "attention_since", "id", postgresql_where=text("attention_code is not null")),
        Index("orders_attention_seller_idx", "seller_id", "id", postgresql_where=text("attention_code is not null")),
        Index("orders_attention_newest_idx", "id", postgresql_where=text("attention_code is not null")),
        Index("orders_status_idx", "status", "id"),
        Index("orders_seller_idx", "seller_id", "id"),
        Index("orders_updated_idx", "updated_at", "id"),
        Index("orders_total_idx", "total_cents", "id"),
        Index("orders_unsealed_idx", "final_at", postgresql_where=text(f"sealed_at is null and status in ({_FINAL})")),
        Index(
            "orders_told_since_sealed_idx",
            "id",
            postgresql_where=text("sealed_at is not null and applied_seq <> sealed_seq"),
        ),
        Index("orders_kid_idx", "kid", postgresql_where=text("sealed_at is null")),
        Index("orders_sealed_kid_idx", "kid", postgresql_where=text("sealed_at is not null")),
        *(Index(f"orders_turn_{t}_idx", "id", postgresql_where=text(TURNS[t])) for t in ("operator", "us", "seller")),
    )
    # The database's clock is read back with the update that sets it.
    __mapper_args__ = {"eager_defaults": True}

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    seller_id: Mapped[str] = mapped_column(ForeignKey("sellers.id"))
    affiliate_id: Mapped[str]
    sales_channel: Mapped[str]
    order_group: Mapped[str]
    ref: Mapped[str] = mapped_column(unique=True)
    """The random name in the order's callback base."""
    kid: Mapped[str]
    """The key that signed the base."""
    status: Mapped[str] = mapped_column(server_default=Status.ACCEPTED)
    attention_code: Mapped[str | None]
    attention_reason: Mapped[str | None]
    attention_since: Mapped[datetime | None]
    warnings: Mapped[list[dict[str, Any]]] = mapped_column(server_default=text("'[]'::jsonb"))
    items: Mapped[list[dict[str, Any]]]
    """The items as sold, without personal data: `{id, seller, quantity, price}`."""
    total_cents: Mapped[int]
    """Items and freight as sent."""
    receipt_date: Mapped[str | None]
    receipt: Mapped[str | None]
    authorization_items: Mapped[list[dict[str, Any]] | None]
    cancellation_reason: Mapped[str | None]
    """Why an operator asked to cancel before the order was known to be placed."""
    placement_body: Mapped[bytes | None] = mapped_column(deferred=True)
    """The exact bytes of the PUT; holds personal data."""
    placement_digest: Mapped[bytes]
    """SHA-256 of the caller's document in canonical form, to tell a repeat from another order."""
    applied_seq: Mapped[int] = mapped_column(server_default=text("0"))
    version: Mapped[int] = mapped_column(server_default=text("1"))
    created_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    updated_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    final_at: Mapped[datetime | None]
    """Since when its status is final."""
    sealed_at: Mapped[datetime | None]
    """When its personal data became hashes."""
    sealed_seq: Mapped[int | None]
    """Its `applied_seq` then; another one means that it was told something since."""
    traceparent: Mapped[str | None] = mapped_column(default=tracing.current)
    """The step of a trace that took it: what its seller calls back belongs there."""

    chain_orders: Mapped[list[ChainOrder]] = relationship(lazy="raise", order_by="ChainOrder.position", cascade="all")
    deliveries: WriteOnlyMapped[Delivery] = relationship(
        primaryjoin="Order.id == foreign(Delivery.order_id)", passive_deletes=True
    )

    @cached_property
    def new_names(self) -> set[tuple[str, str]]:
        """Ids and numbers, as (kind, value), that the order can be found by once `lookup.save_names` has run."""
        return set()

    @cached_property
    def told(self) -> list[Fact]:
        """What the next flush appends to the timeline."""
        return []

    @property
    def attention(self) -> bool:
        return self.attention_code is not None

    def tell(self, type_: str, actor: str, *, chain_order: ChainOrder | None = None, **data: Any) -> None:
        """Append a fact to the order's timeline."""
        chain_order_id = chain_order.chain_order_id if chain_order else None
        self.told.append(
            Fact(type_, actor, self.seller_id, self.order_group, self.id, chain_order_id, self.applied_seq, data)
        )
        flag_dirty(self)

    def move(self, after: Status) -> None:
        """Move an order that has no chain orders yet. Raises `states.NotAllowed`."""
        if self.status != after:
            states.check_order_move(Status(self.status), after)
            self._set_status(after)

    def settle_status(self) -> None:
        """Show what the chain orders say. One that moved is a change of the order, also where the whole stays."""
        if not self.chain_orders:
            return
        before = self.version
        self._set_status(states.aggregate(Status(chain.status) for chain in self.chain_orders))
        if self.version == before and any(get_history(one, "status").has_changes() for one in self.chain_orders):
            self.touch()

    def ask_attention(self, code: str, reason: str, chain_order: ChainOrder | None = None) -> None:
        """Flag the order for a person, in plain words; the first reason stands. With a chain order, told of each."""
        if self.attention_code == code and (chain_order is None or self.attention_reason == reason):
            return
        if self.attention_code is None:
            self.attention_code, self.attention_reason = code, reason
            self.attention_since = now()
            self.touch()
        self.tell("order.attention", "service", chain_order=chain_order, code=code, reason=reason)

    def clear_attention(self, actor: str, chain_order: ChainOrder | None = None) -> None:
        """Nobody needs to look any more, or for nothing of this chain order. For one reason only: `attention`."""
        if self.attention_code is None:
            return
        self.tell("order.attention-cleared", actor, chain_order=chain_order, code=self.attention_code)
        self.attention_code = self.attention_reason = self.attention_since = None
        self.touch()

    def touch(self) -> None:
        """The order changed in a way its readers see."""
        self.version += 1
        self.updated_at = now()

    def _set_status(self, after: Status) -> None:
        if self.status != after:
            self.status = after
            self.final_at = now() if after in states.FINAL else None
            self.touch()


@event.listens_for(Session, "after_flush")
def _append_told(session: Session, _: object) -> None:
    """Write what orders told, together with whatever else the session writes. As an object of the session's, an event
    would cost several times as much."""
    orders = [one for one in (*session.new, *session.dirty) if isinstance(one, Order) and one.told]
    if orders:
        timeline.append(session.connection(), [fact for order in orders for fact in order.told])
    for order in orders:
        order.told.clear()


class ChainOrder(Base):
    """One VTEX order that the PUT created; authorized, invoiced and cancelled by itself."""

    __tablename__ = "chain_orders"
    __table_args__ = (
        UniqueConstraint("order_id", "chain_order_id"),
        Index(
            "chain_orders_seller_key",
            "seller_id",
            "chain_order_id",
            unique=True,
            postgresql_where=text("seller_id is not null"),
        ),
        CheckConstraint(f"status in ({_CHAIN_STATUSES})", name="status"),
        CheckConstraint(
            "(status = 'cancel-requested') = (status_before_request is not null)", name="status_before_request"
        ),
    )

    key: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    order_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("orders.id"))
    seller_id: Mapped[str | None]
    """Its order's seller, so that a VTEX order is one order's; null for what an earlier release stored."""
    position: Mapped[int]
    chain_order_id: Mapped[str]
    seller_order_id: Mapped[str | None]
    seller_order_group: Mapped[str | None]
    marketplace_order_id: Mapped[str | None]
    """What the seller calls our side of it."""
    status: Mapped[str] = mapped_column(server_default=Status.PLACED)
    status_before_request: Mapped[str | None]
    """Where a cancellation that is denied leads back to; moves on with what is learnt meanwhile."""
    seller_status: Mapped[str | None]
    """The seller's own word for it at the last read: an open set."""
    seller_read_at: Mapped[datetime | None]
    value_cents: Mapped[int]
    items: Mapped[list[dict[str, Any]]] = mapped_column(server_default=text("'[]'::jsonb"))

    invoices: Mapped[list[Invoice]] = relationship(lazy="raise", order_by="Invoice.id", cascade="all")
    changes: Mapped[list[Change]] = relationship(lazy="raise", order_by="Change.id", cascade="all")

    @property
    def sequence(self) -> str:
        """The deliveries of one chain order happen one after the other."""
        return f"chain:{self.key}"

    @property
    def invoiced_cents(self) -> int:
        return sum(invoice.value_cents for invoice in self.invoices if invoice.type == "Output")

    @property
    def returned_cents(self) -> int:
        return sum(invoice.value_cents for invoice in self.invoices if invoice.type == "Input")

    def move(self, after: Status, *, resolution: bool = False) -> None:
        """Move along the table. Raises `states.NotAllowed`."""
        before = Status(self.status)
        if before is after:
            return
        states.check_chain_move(before, after, resolution=resolution)
        self.status_before_request = before if after is Status.CANCEL_REQUESTED else None
        self.status = after

    def advance(self, after: Status) -> bool:
        """Move forward along the rank; never back. Says whether it moved."""
        if self.status == Status.CANCEL_REQUESTED:
            return self._remember(after)
        before = Status(self.status)
        if before not in RANK or RANK.index(after) <= RANK.index(before):
            return False
        self.move(after)
        return True

    def fall_back(self) -> bool:
        """The seller refused the authorization: it waits for one again. Says whether it waited for that one."""
        if Status.AUTHORIZING not in {self.status, self.status_before_request}:
            return False
        if self.status == Status.CANCEL_REQUESTED:
            self.status_before_request = Status.PLACED
        else:
            self.move(Status.PLACED)
        return True

    def deny_request(self) -> None:
        """The seller does not cancel: back to where it came from."""
        if self.status == Status.CANCEL_REQUESTED:
            self.move(Status(self.status_before_request or Status.PLACED))

    def _remember(self, after: Status) -> bool:
        before = Status(self.status_before_request or Status.PLACED)
        if RANK.index(after) <= RANK.index(before):
            return False
        self.status_before_request = after
        return True


class Invoice(Base):
    """One invoice of a chain order, with the tracking that came with it or after it. Never erased by an empty one."""

    __tablename__ = "invoices"
    __table_args__ = (
        UniqueConstraint("chain_order_key", "type", "number"),
        CheckConstraint("type in ('Output', 'Input')", name="type"),
        CheckConstraint("value_cents >= 0", name="value_cents"),
        CheckConstraint("source in ('callback', 'read')", name="source"),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    chain_order_key: Mapped[int] = mapped_column(ForeignKey("chain_orders.key"), index=True)
    type: Mapped[str]
    number: Mapped[str]
    value_cents: Mapped[int]
    issued_at: Mapped[datetime | None]
    url: Mapped[str | None]
    key: Mapped[str | None]
    courier: Mapped[str | None]
    tracking_number: Mapped[str | None]
    tracking_url: Mapped[str | None]
    items: Mapped[list[dict[str, Any]]] = mapped_column(server_default=text("'[]'::jsonb"))
    receipt: Mapped[str | None]
    heard: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    """Which notification each detail is of, so that an earlier one that is applied later does not override it."""
    source: Mapped[str] = mapped_column(server_default="callback")
    confirmed_at: Mapped[datetime | None]
    """When a read of the seller showed it."""
    delivered_at: Mapped[datetime | None]
    """When the parcel reached the shopper, as the seller tells it."""
    created_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))


CHANGE_STATES = ("recorded", "accepted", "refused", "dismissed")


class Change(Base):
    """A change of a chain order's value that a seller told us. `recorded` waits for a person."""

    __tablename__ = "changes"
    __table_args__ = (
        UniqueConstraint("chain_order_key", "digest"),
        CheckConstraint("increment_cents >= 0 and discount_cents >= 0", name="cents"),
        CheckConstraint("state in ('" + "', '".join(CHANGE_STATES) + "')", name="state"),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    chain_order_key: Mapped[int] = mapped_column(ForeignKey("chain_orders.key"))
    request_id: Mapped[str | None]
    digest: Mapped[bytes]
    """SHA-256 of the content in canonical form: by it the same change is known under another address."""
    increment_cents: Mapped[int]
    discount_cents: Mapped[int]
    state: Mapped[str]
    receipt: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))

    @property
    def amounts(self) -> str:
        return f"+{written(self.increment_cents)} and -{written(self.discount_cents)}"


class Read(Base):
    """When an order is read at the seller next. One row an order; none once nothing more is to be learnt."""

    __tablename__ = "reads"
    __table_args__ = (
        Index("reads_due_idx", "lane", "next_at"),
        Index("reads_failing_idx", "lane", "failing_since", postgresql_where=text("failing_since is not null")),
    )

    order_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("orders.id"), primary_key=True)
    lane: Mapped[str] = mapped_column(ForeignKey("lanes.lane"))
    next_at: Mapped[datetime]
    asked_at: Mapped[datetime | None]
    """Since when something that a seller told us waits to be confirmed."""
    asked_reads: Mapped[int] = mapped_column(server_default=text("0"))
    last_error: Mapped[str | None]
    failing_since: Mapped[datetime | None]
    """Since when no read of it has said anything."""


class OrderName(Base):
    """Every id and number that an order can be found by."""

    __tablename__ = "order_names"

    order_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("orders.id"), primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str] = mapped_column(primary_key=True)


Index(
    "order_names_value_idx",
    func.lower(OrderName.value).label("lower_value"),
    OrderName.order_id,
    postgresql_ops={"lower_value": "text_pattern_ops"},
)


class PlacementRevision(Base):
    """An earlier PUT body of a refused order that was corrected. Holds personal data, like `placement_body`."""

    __tablename__ = "placement_revisions"

    order_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("orders.id"), primary_key=True)
    revision: Mapped[int] = mapped_column(primary_key=True)
    placement_body: Mapped[bytes | None]
    placement_digest: Mapped[bytes]
    replaced_by: Mapped[str]
    replaced_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
