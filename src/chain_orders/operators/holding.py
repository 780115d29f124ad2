"""Why an order is not further: its call failed, or waits at the seller's gate. Who must act, and when it goes on.

A call may be due and yet not leave: the seller is paused, its breaker is open, or it asked everybody to wait. Whoever
shows a call looks at the gate first. Pure, but for `look`, `at_gate` and `at_gates`, which read what
is stored.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from ..deliveries.models import WAITING, Delivery, Lane
from ..orders.models import Order
from ..orders.states import Status
from ..vtex import codes

Code = Literal["calls-paused", "credentials-refused", "calls-stopped", "asked-to-wait"]

_DETAILS: dict[Code, str] = {
    "calls-paused": "calls to the seller are paused; this one leaves once they are resumed",
    "credentials-refused": "the seller refuses our credentials, and calls to it are stopped until it is given new ones",
    "calls-stopped": "calls to the seller are stopped, save one probe at a time; they go on once one is answered",
    "asked-to-wait": "the seller asked us to wait",
}
_UNDER_WAY = frozenset(
    {Status.ACCEPTED, Status.PLACING, Status.PLACEMENT_UNKNOWN, Status.REJECTED, Status.AUTHORIZING, Status.PLACED}
)


@dataclass(frozen=True, slots=True)
class Held:
    """What holds every call to a seller back. `until`: when the gate is tried next; None where nobody knows."""

    code: Code
    owner: Literal["nobody", "operator", "seller"]
    until: datetime | None = None
    reason: str | None = None

    @property
    def detail(self) -> str:
        return f"{_DETAILS[self.code]}: {self.reason}" if self.reason else _DETAILS[self.code]

    def next_at(self, due: datetime) -> datetime | None:
        """When a call that is due then may leave."""
        return max(self.until, due) if self.until is not None else None


@dataclass(frozen=True, slots=True)
class Stuck:
    """The latest call of an order that has not done what it should, and what holds it back."""

    call: Delivery
    held: Held | None = None


def held(lane: Lane, at: datetime) -> Held | None:
    """What holds back the calls behind this gate; None while they may leave."""
    if lane.paused:
        return Held("calls-paused", "operator")
    until = lane.next_at if lane.next_at is not None and lane.next_at > at else None
    if lane.breaker == "open" and lane.denied:
        return Held("credentials-refused", "operator", until, lane.reason)
    if lane.breaker == "open":
        return Held("calls-stopped", "seller", until, lane.reason)
    return Held("asked-to-wait", "nobody", until, lane.reason) if until is not None else None


async def at_gate(session: AsyncSession, lane: str) -> Held | None:
    """What holds back whatever is behind this gate."""
    found = await session.scalar(select(Lane).where(Lane.lane == lane))
    return held(found, datetime.now(UTC)) if found is not None else None


async def at_gates(session: AsyncSession, calls: Iterable[Delivery]) -> dict[int, Held]:
    """What holds back those of the calls that wait, by their ids."""
    waiting = [call for call in calls if call.state in WAITING]
    query = select(Lane).where(Lane.lane.in_({call.lane for call in waiting}))
    now = datetime.now(UTC)
    gates = {lane.lane: held(lane, now) for lane in await session.scalars(query)} if waiting else {}
    found = {call.id: gates.get(call.lane) for call in waiting}
    return {id_: one for id_, one in found.items() if one is not None}


async def look(session: AsyncSession, order_id: uuid.UUID) -> Stuck | None:
    """What an order waits for. A call that was made anew since is over. Served by deliveries_order_idx."""
    anew = aliased(Delivery)
    made_anew = select(anew.id).where(
        anew.order_id == order_id,
        anew.kind == Delivery.kind,
        anew.chain_order_key.is_not_distinct_from(Delivery.chain_order_key),
        anew.id > Delivery.id,
    )
    call = await session.scalar(
        select(Delivery)
        .where(Delivery.order_id == order_id, Delivery.state.not_in(("delivered", "withdrawn")), ~made_anew.exists())
        .order_by(Delivery.id.desc())
        .limit(1)
    )
    return Stuck(call, (await at_gates(session, [call])).get(call.id)) if call is not None else None


def why(order: Order, stuck: Stuck | None) -> dict[str, Any] | None:
    """Why the order is not further, whether its call is tried again and when, and who must act."""
    if stuck is None:
        return None
    call = stuck.call
    if stuck.held is not None:
        return _told(stuck.held.code, stuck.held.detail, True, stuck.held.owner, stuck.held.next_at(call.next_at))
    retried = call.state in {*WAITING, "sending"}
    asking = order.status == Status.CANCEL_REQUESTED and (retried or call.state == "dead")
    if call.last_error is None or not (asking or Status(order.status) in _UNDER_WAY):
        return None
    known = codes.lookup(call.last_code) if call.last_code else None
    owner = known.owner if known else ("nobody" if retried else "operator")
    return _told(call.last_code, call.last_error, retried, owner, call.next_at if retried else None)


def _told(code: str | None, detail: str, retried: bool, owner: str, next_at: datetime | None) -> dict[str, Any]:
    return {"code": code, "detail": detail, "retried": retried, "owner": owner, "nextAttemptAt": next_at}
