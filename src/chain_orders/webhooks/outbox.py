"""What is owed to subscribers, as deliveries: made in the transaction of whatever is told.

A delivery's `target` is its message's id, the same for every attempt and every subscriber; the address and the
secrets are the subscription's at the moment of sending.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from .. import strict_json
from ..deliveries.models import WAITING, Delivery
from ..events import types
from ..events.models import Event
from .models import Subscription

KIND = "webhook"
Message = tuple[str, bytes]
"""Its id and its body."""

# Ids ascend in the order that is given, and so do the times at which they are due: the order in which they are claimed.
_OWE = text(
    """
    insert into deliveries (lane, kind, method, target, body)
    select :lane, 'webhook', 'POST', m.id, m.body
      from unnest(cast(:ids as text[]), cast(:bodies as bytea[])) with ordinality as m (id, body, nth)
     order by m.nth
    returning id
    """
)


async def owe(session: AsyncSession, subscription: Subscription, messages: Sequence[Message]) -> list[int]:
    """Make a delivery of each message, in this order; their ids."""
    if not messages:
        return []
    ids, bodies = [message[0] for message in messages], [message[1] for message in messages]
    return list(await session.scalars(_OWE, {"lane": subscription.lane, "ids": ids, "bodies": bodies}))


def of_event(event: Event) -> Message:
    """The message of a numbered event: its body is what the feed shows."""
    return f"evt_{event.position}", strict_json.dump(view(event))


def view(event: Event) -> dict[str, Any]:
    """An event as the feed shows it: its id there is its position."""
    return {
        "id": event.position,
        "type": event.type,
        "at": moment(event.at),
        "orderId": str(event.order_id),
        "sellerId": event.seller_id,
        "orderGroup": event.order_group,
        "chainOrderId": event.chain_order_id,
        "actor": event.actor,
        "data": event.data,
    }


async def tell(
    session: AsyncSession, type_: str, at: datetime, seller_id: str | None, data: Mapping[str, Any], name: str
) -> None:
    """Tell what is no event of an order, and so has no position in the feed, to whoever asked for its type.

    `name` is what its message is known by: telling it again under the same name is a repeat.
    """
    message = name, strict_json.dump({"type": type_, "at": moment(at), "sellerId": seller_id, "data": dict(data)})
    for subscription in await session.scalars(select(Subscription).order_by(Subscription.id)):
        if subscription.wants(type_, seller_id):
            await owe(session, subscription, [message])


async def test(session: AsyncSession, subscription: Subscription, at: datetime) -> int:
    """Make the delivery of a message that says nothing; its id. Waits like any other while it is disabled."""
    data = {"subscriptionId": str(subscription.id)}
    body = {"type": types.TEST, "at": moment(at), "sellerId": None, "data": data}
    (delivery_id,) = await owe(session, subscription, [(f"test_{uuid7().hex}", strict_json.dump(body))])
    return delivery_id


# A message of the feed is named by its position. What is in flight is left to end.
_WITHDRAW = text(
    """
    update deliveries
       set state = 'withdrawn', settled_at = clock_timestamp(), last_error = :reason
     where lane = :lane and state in ('ready', 'retrying', 'unknown', 'dead')
       and (cast(:after as bigint) is null
            or case when target ~ '^evt_[0-9]+$' then cast(substring(target from 5) as bigint) end > :after)
    """
)


async def withdraw(session: AsyncSession, subscription: Subscription, reason: str, *, after: int | None = None) -> None:
    """Owe no more what waits or is dead; with `after`, only events after that position of the feed."""
    await session.execute(_WITHDRAW, {"lane": subscription.lane, "reason": reason, "after": after})


async def waiting(session: AsyncSession, subscription: Subscription) -> int:
    """How many messages wait for it. Served by deliveries_due_idx."""
    waits = select(func.count()).where(Delivery.lane == subscription.lane, Delivery.state.in_(WAITING))
    return await session.scalar(waits) or 0


async def failed(session: AsyncSession, subscription: Subscription) -> dict[str, int]:
    """How many messages are `dead` or `rejected`. Served by deliveries_failed_idx."""
    counted = select(Delivery.state, func.count().label("number")).where(
        Delivery.lane == subscription.lane, Delivery.state.in_(("dead", "rejected"))
    )
    found = {row.state: row.number for row in await session.execute(counted.group_by(Delivery.state))}
    return {"dead": 0, "rejected": 0, **found}


_DUE_NOW = text(
    """
    update deliveries set next_at = now()
     where lane = :lane and state in ('ready', 'retrying', 'unknown')
    """
)


async def due_now(session: AsyncSession, subscription: Subscription) -> None:
    """Let what waits go at once, in the order in which it was owed: all of it is due at the same moment."""
    await session.execute(_DUE_NOW, {"lane": subscription.lane})


def moment(at: datetime) -> str:
    """RFC 3339 in UTC, with microseconds."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def lane_owner(lane: str) -> uuid.UUID:
    """The subscription whose lane it is."""
    return uuid.UUID(lane.partition(":")[2])
