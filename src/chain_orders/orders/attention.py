"""Lowering the flag for a person, where something else may be waiting behind it.

An order shows one reason, the first; later ones are in its timeline only. Once the first is over, the next one that
nobody has settled takes its place: a contradiction does not vanish because a call was tried again.
"""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from .models import Order

# What was asked for and neither cleared since, nor settled by a decision or a corrected body, which settle everything.
# Served by events_order_idx.
_WAITING = text(
    """
    select e.data ->> 'code' as code, e.data ->> 'reason' as reason, e.at
      from events e
     where e.order_id = :order_id and e.type = 'order.attention'
       and not exists (select 1 from events later
                        where later.order_id = e.order_id and later.id > e.id
                          and (later.type in ('order.resolved', 'order.corrected')
                               or (later.type = 'order.attention-cleared'
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
    await session.flush()
    waiting = (await session.execute(_WAITING, {"order_id": order.id})).all()
    for code in {one.code for one in waiting if one.code in codes and one.code != order.attention_code}:
        order.tell("order.attention-cleared", actor, code=code)
    if order.attention_code not in codes:
        return
    order.clear_attention(actor)
    for one in waiting:
        if one.code not in codes:
            order.attention_code, order.attention_reason, order.attention_since = one.code, one.reason, one.at
            return
