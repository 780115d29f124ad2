"""What stands for the database in a simulation: one order, what is owed for it, and the few statements that the acts
and the handlers make, each done in memory as its SQL says. A statement that is not known here raises.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from sqlalchemy import Select
from sqlalchemy.orm.attributes import get_history

from chain_orders.deliveries import lanes, queue
from chain_orders.deliveries.models import Delivery
from chain_orders.notifications.models import Notification
from chain_orders.orders import attention, authorizing, cancelling, lookup, patience, placing, reads
from chain_orders.orders.models import Order

_BEGINNING = datetime(2026, 11, 5, 12, tzinfo=UTC)
HOLDING = frozenset({"ready", "retrying", "unknown", "sending", "dead"})
_MAY_HAVE_LEFT = frozenset({None, "ambiguous", "abandoned", "already-there", "answered"})


@dataclass(slots=True)
class Owed:
    """A row of `deliveries`, with the outcomes of its attempts. Times are seconds of the simulation."""

    id: int
    delivery: Delivery
    next_at: float
    state: str = "ready"
    phase: str = "send"
    failures: int = 0
    absences: int = 0
    unclear_since: float | None = None
    lease_until: float = 0.0
    calls: list[str | None] = field(default_factory=list)

    @property
    def settled(self) -> bool:
        return self.state in {"delivered", "rejected", "dead", "withdrawn"}


class Rows(list[Any]):
    def all(self) -> Rows:
        return self

    def scalar_one(self) -> Any:
        (one,) = self
        return one


class Tables:
    """`now` is the simulation's clock; `confirm` is called when a read of the seller is asked for."""

    def __init__(self, order: Order, seller: Any, now: Callable[[], float], confirm: Callable[[], None]) -> None:
        self.order, self._seller, self._now, self._confirm = order, seller, now, confirm
        self.owed: list[Owed] = []
        self.notes: list[Notification] = []
        self.facts: list[Any] = []
        self._seen: set[int] = set()

    @property
    def moment(self) -> datetime:
        return _BEGINNING + timedelta(seconds=self._now())

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Tables]:
        yield self

    def write(self) -> None:
        """What a flush does: keys are given, and what was told and is owed becomes rows."""
        for chain in self.order.chain_orders:
            chain.key = chain.key or chain.position
        self.facts.extend(self.order.told)
        self.order.told.clear()
        for delivery in get_history(self.order, "deliveries").added:
            if id(delivery) not in self._seen:
                self._seen.add(id(delivery))
                self.owe(delivery)

    def owe(self, delivery: Delivery) -> None:
        self.owed.append(Owed(len(self.owed) + 1, delivery, self._now()))

    # What a session is asked for.

    async def flush(self) -> None:
        self.write()

    async def get_one(self, kind: type, key: Any) -> Any:
        if kind is Delivery:
            return next(one.delivery for one in self.owed if one.id == key)
        if kind.__name__ == "ChainOrder":
            return next(chain for chain in self.order.chain_orders if chain.key == key)
        return self._seller

    async def scalar(self, statement: Any, values: Any = None) -> Any:
        if statement is patience._SAID_FOR:
            return None
        if statement is lanes._LETS_THROUGH:
            return True
        if statement is cancelling._ASKED_BEFORE:
            return False  # nobody asks twice
        if statement is attention._ANY_DEAD:
            return any(one.state == "dead" for one in self.owed)
        if statement is placing._SAID_TO_BE_THERE:
            return any("already-there" in one.calls for one in self.owed if one.id == values["id"])
        raise LookupError(f"the simulation does not know {statement}")

    async def scalars(self, statement: Any, values: Any) -> Rows:
        if statement is authorizing._OWED:
            owed = [one.delivery for one in self.owed if one.delivery.kind == "authorize"]
            return Rows(delivery.chain_order_key for delivery in owed)
        raise LookupError(f"the simulation does not know {statement}")

    async def execute(self, statement: Any, values: Any = None) -> Rows:
        if isinstance(statement, Select):  # the clock
            return Rows([self.moment])
        return Rows(self._statements()[statement](**values))

    def _statements(self) -> dict[Any, Callable[..., Iterable[Any]]]:
        return {
            queue._WITHDRAW: self._withdraw,
            queue._READ_FIRST: self._read_first,
            attention._WAITING: self._waiting,
            reads._CONFIRM: self._asked,
            reads._WATCH: lambda **_: [],
            lookup._OWNERS: lambda **_: [],
            lookup._SAVE_NAMES: lambda **_: [],
            lookup._RECHECK: self._recheck,
        }

    def _of(self, kind: str, chain_order_key: int | None) -> Iterator[Owed]:
        for one in self.owed:
            meant = one.delivery.kind == kind and chain_order_key in {None, one.delivery.chain_order_key}
            if meant and one.state in {"ready", "retrying", "dead"}:
                yield one

    def _withdraw(self, kind: str, chain_order_key: int | None, **_: Any) -> list[int]:
        gone = [one for one in self._of(kind, chain_order_key) if not _MAY_HAVE_LEFT & set(one.calls)]
        for one in gone:
            one.state = "withdrawn"
        return [one.id for one in gone]

    def _read_first(self, kind: str, chain_order_key: int | None, **_: Any) -> list[int]:
        for one in self._of(kind, chain_order_key):
            one.state, one.phase, one.failures, one.absences = "unknown", "verify", 0, 0
            one.unclear_since = one.next_at = self._now()
        return []

    def _waiting(self, **_: Any) -> list[Any]:
        """No person decides anything here: what was asked for and not cleared since."""
        asked = [(n, fact) for n, fact in enumerate(self.facts) if fact.type == "order.attention"]
        cleared = [(n, fact) for n, fact in enumerate(self.facts) if fact.type == "order.attention-cleared"]
        return [
            SimpleNamespace(code=fact.data["code"], reason=fact.data["reason"], at=self.moment)
            for nth, fact in asked
            if not any(n > nth and later.data["code"] == fact.data["code"] for n, later in cleared)
        ]

    def _asked(self, **_: Any) -> list[Any]:
        self._confirm()
        return []

    def _recheck(self, reason: str | None, **_: Any) -> list[int]:
        woken = [note for note in self.notes if note.state == "parked" and reason in {None, note.reason}]
        for note in woken:
            note.state, note.tries = "received", max(note.tries - 1, 0)
        return [note.id for note in woken]


@contextlib.contextmanager
def found_in(holder: Callable[[], Tables]) -> Iterator[None]:
    """Let orders be looked up in the tables of whatever simulation is under way."""

    async def all_locked(_: Any, ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, Order]:
        return {holder().order.id: holder().order for _ in set(ids)}

    async def loaded(_: Any, __: uuid.UUID) -> Order:
        return holder().order

    with patch.object(lookup, "all_locked", all_locked), patch.object(lookup, "loaded", loaded):
        yield
