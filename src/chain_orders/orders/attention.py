"""Lowering the flag for a person, where something else may be waiting behind it.

An order shows one reason, the first; later ones are in its timeline only. Once the first is over, the next one that
nobody has settled takes its place: a contradiction does not vanish because a call was tried again, nor because another
one was decided.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from ..deliveries.retry import RETRIES_USED_UP
from .models import ChainOrder, Order

# What was asked for and not settled since: neither cleared, nor among what a decision says that it settled. A dismissal
# and a corrected body name nothing and settle everything. What names a chain order settles what is of that one; where
# there is but one, what names none is of it. Served by events_order_idx.
_WAITING = text(
    """
    select e.data ->> 'code' as code, e.data ->> 'reason' as reason, e.at
      from events e
     where e.order_id = :order_id and e.type = 'order.attention'
       and not exists (select 1 from events later
                        where later.order_id = e.order_id and later.id > e.id
                          and (later.type in ('order.resolved', 'order.corrected') and later.data -> 'settled' is null
                               or (later.chain_order_id is null or later.chain_order_id = e.chain_order_id
                                   or (e.chain_order_id is null and :sole))
                                  and (later.type = 'order.resolved'
                                       and later.data -> 'settled' @> (e.data -> 'code')
                                       or later.type = 'order.attention-cleared'
                                          and later.data ->> 'code' = e.data ->> 'code')))
     order by e.id
    """
)


async def settle(session: AsyncSession, order: Order, actor: str, *codes: str) -> None:
    """Nobody needs to look for one of these reasons any more. `order` is locked.

    One that waits behind the flag is taken from the queue; if it is the flag itself, the next one is raised.
    """
    if not order.attention:  # then nothing waits behind it
        return
    waiting = await _waiting(session, order)
    for code in {one.code for one in waiting if one.code in codes and one.code != order.attention_code}:
        order.tell("order.attention-cleared", actor, code=code)
    if order.attention_code in codes:
        order.clear_attention(actor)
        _raise_next(order, [one for one in waiting if one.code not in codes])


async def settle_dead(session: AsyncSession, order: Order, actor: str = "service", code: str = RETRIES_USED_UP) -> None:
    """A call that was given up is tried again, or has come to its end after all; nobody needs to look unless another
    one is dead for the same reason."""
    if order.attention and not await session.scalar(_ANY_DEAD, {"order_id": order.id, "code": code}):
        await settle(session, order, actor, code)


async def settle_parked(session: AsyncSession, order: Order) -> None:
    """What was parked has been applied after all; nobody needs to look unless another one waits for the same."""
    if order.attention:
        still = set(await session.scalars(_STILL_PARKED, {"order_id": order.id}))
        await settle(session, order, "service", *(_PARKED - still))


async def settle_dismissed(session: AsyncSession, order: Order, actor: str) -> None:
    """What waited was given up, and is written as such; nobody needs to look unless another one waits for the same."""
    if order.attention:
        still = set(await session.scalars(_STILL_WAITING, {"order_id": order.id}))
        await settle(session, order, actor, *(_DISMISSED - still))


_PARKED = frozenset({
    "ambiguous", "apply-failed", "foreign-id", "invoice-unknown", "path-unknown", "rejected-but-known",
})  # fmt: skip

_UNREADABLE = "notification-unreadable"
_DISMISSED = _PARKED | {"cancelled-but-known", _UNREADABLE}

# Served by deliveries_order_idx.
_ANY_DEAD = text(
    "select exists (select 1 from deliveries where order_id = :order_id and state = 'dead' and last_code = :code)"
)

# One that is tried again is `received` for that moment. Served by notifications_order_idx.
_STILL_PARKED = text(
    """
    select distinct reason from notifications
     where order_id = :order_id and state in ('parked', 'received') and reason is not null
    """
)


_STILL_WAITING = text(
    f"""
    select case when state = 'unreadable' then '{_UNREADABLE}' else reason end from notifications
     where order_id = :order_id and (state in ('parked', 'received') and reason is not null or state = 'unreadable')
    """  # noqa: S608
)


async def decided(session: AsyncSession, order: Order, chain: ChainOrder, actor: str, settled: Collection[str]) -> None:
    """A person decided these reasons, of one chain order, and its `order.resolved` is told. `order` is locked.

    If the flag is of them, the next one is raised; it may be of the same kind, and of another chain order.
    """
    if order.attention_code not in settled:
        return
    waiting = await _waiting(session, order)
    if any((one.code, one.reason) == (order.attention_code, order.attention_reason) for one in waiting):
        return
    order.clear_attention(actor, chain)
    _raise_next(order, waiting)


async def _waiting(session: AsyncSession, order: Order) -> Sequence[Any]:
    await session.flush()
    return (await session.execute(_WAITING, {"order_id": order.id, "sole": len(order.chain_orders) == 1})).all()


def _raise_next(order: Order, waiting: Sequence[Any]) -> None:
    if waiting:
        one = waiting[0]
        order.attention_code, order.attention_reason, order.attention_since = one.code, one.reason, one.at
