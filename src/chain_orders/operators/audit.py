"""The audit: who did what to what, when, why, and what it was before and after. Append-only, by a trigger.

A write route calls `note` once, in the transaction of its act; so does a command that opens the database by itself.
What the object looks like is read then and again just
before the commit, without credentials or personal data; an act that fails leaves no row.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from sqlalchemy import Identity, Index, event, inspect, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, Session, SessionTransaction, mapped_column

from ..database import Base
from ..deliveries.models import Delivery
from ..orders.models import Order
from .access import Operator


class Audit(Base):
    """One act. `object` is `kind:id`; what was not there before, or is not there after, is null."""

    __tablename__ = "audit"
    __table_args__ = (
        Index("audit_actor_idx", "actor", "id"),
        Index("audit_object_idx", "object", "id"),
        Index("audit_at_idx", "at", "id"),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    actor: Mapped[str]
    """`operator:{key name}`, or `command:{name}`."""
    key_id: Mapped[uuid.UUID | None]
    action: Mapped[str]
    object: Mapped[str]
    reason: Mapped[str | None]
    before: Mapped[dict[str, Any] | None]
    after: Mapped[dict[str, Any] | None]


@dataclass(frozen=True, slots=True)
class Command:
    """A command that opens the database by itself: nobody's key stands behind it."""

    name: str
    key_id: None = None

    @property
    def actor(self) -> str:
        return f"command:{self.name}"


def note(
    session: AsyncSession,
    operator: Operator | Command,
    action: str,
    about: Base | str,
    *,
    reason: str | None = None,
    **facts: Any,
) -> None:
    """Write the act down with its transaction.

    `about` is the row that is acted upon, or its name as `kind:id` where no row is at hand. `facts` join what is
    shown of it afterwards.
    """
    before = state_of(about) if isinstance(about, Base) and inspect(about).persistent else None
    own = _innermost(session.sync_session)
    written = False

    @event.listens_for(session.sync_session, "before_commit")
    def _write(writing: Session) -> None:
        nonlocal written
        # A savepoint commits too: others are none of ours, and one that was rolled back never comes again.
        if written or _innermost(writing) is not own:
            return
        written = True
        after = {**(state_of(about) if isinstance(about, Base) and not _gone(about, writing) else {}), **facts}
        sides = {"before": before, "after": after}
        writing.add(
            Audit(
                actor=operator.actor,
                key_id=operator.key_id,
                action=action,
                object=about if isinstance(about, str) else name_of(about),
                reason=reason,
                **{side: state for side, state in sides.items() if state},
            )
        )


def _innermost(session: Session) -> SessionTransaction | None:
    return session.get_nested_transaction() or session.get_transaction()


def _gone(about: Base, session: Session) -> bool:
    seen = inspect(about)
    return about in session.deleted or seen.deleted or seen.detached


_KINDS = {"deliveries": "delivery", "api_keys": "key", "subscriptions": "webhook"}


def name_of(about: Base) -> str:
    """`kind:id`."""
    (identity,) = inspect(about).mapper.primary_key_from_instance(about)
    return named(type(about), identity)


def named(table: type[Base], identity: object) -> str:
    """`kind:id` of a row that need not be at hand."""
    name = table.__tablename__
    return f"{_KINDS.get(name, name.removesuffix('s'))}:{identity}"


_ORDER = ("status", "attention_code", "receipt", "total_cents", "version")
_DELIVERY = ("order_id", "kind", "state", "phase", "attempts", "last_code")
_HIDDEN = ("secret", "sealed", "token", "digest", "password", "key", "body", "headers")


def state_of(about: Base) -> dict[str, Any]:
    """What the audit shows of a row: plain values that are loaded, never a credential and never a body."""
    seen = inspect(about)
    if isinstance(about, Order):
        chains = {} if "chain_orders" in seen.unloaded else {c.chain_order_id: c.status for c in about.chain_orders}
        return {**_plain(about, _ORDER), "chainOrders": chains}
    names = _DELIVERY if isinstance(about, Delivery) else tuple(attribute.key for attribute in seen.mapper.column_attrs)
    return _plain(about, names)


def _plain(about: Base, names: tuple[str, ...]) -> dict[str, Any]:
    loaded = {name: value for name, value in inspect(about).dict.items() if name in names and name not in _TIMES}
    plain = {name: shown(loaded[name]) for name in names if name in loaded and not any(h in name for h in _HIDDEN)}
    return {name: value for name, value in plain.items() if value is not _LEFT_OUT}


_LEFT_OUT = object()
_TIMES = ("created_at", "updated_at", "last_used_at", "next_at", "lease_until")


def shown(value: Any) -> Any:
    """A value as the audit may show it."""
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, str):
        return _address(value) if "://" in value else str(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return value
    return _LEFT_OUT


def _address(url: str) -> str:
    """Without user, password, query and fragment: people put secrets there."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
