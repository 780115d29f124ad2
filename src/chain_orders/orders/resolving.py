"""What a person decides where the seller contradicts itself, and what the flag for attention was about.

The seller's facts stay as they came. What changes is what holds, and the timeline says who decided it and why.
"""

from __future__ import annotations

from typing import Literal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from ..deliveries import queue
from ..errors import Conflict, Invalid, Unknown
from . import authorizing, changing, lookup, states
from .models import ChainOrder, Order
from .states import Status

Decision = Literal["cancelled", "invoiced", "accept-change", "dismiss"]


async def resolve(
    session: AsyncSession, order: Order, decision: Decision, reason: str, actor: str, chain_order_id: str | None = None
) -> None:
    """Decide; `order` is locked. Clears attention, whatever it was about.

    `cancelled` and `invoiced` say which of two facts holds, `accept-change` lets the changes that were recorded move
    the value, `dismiss` leaves everything as it is. Raises Unknown for a `chain_order_id` that is not the order's,
    Invalid where one must be named, Conflict where there is nothing to decide.
    """
    order.applied_seq += 1
    if decision == "dismiss":
        chain = None
        _dismiss(order)
    else:
        chain = _chosen(order, chain_order_id)
        if decision == "accept-change":
            _accept_changes(order, chain, actor)
        else:
            await _decide(session, order, chain, states.RESOLVED_TO[decision])
        order.settle_status()
    order.tell("order.resolved", actor, chain_order=chain, decision=decision, reason=reason, seq=order.applied_seq)
    order.clear_attention(actor)
    order.touch()
    await session.execute(_SETTLE_CONFLICTS, {"order_id": order.id, "decision": decision})
    await lookup.save_names(session, [order])


def _chosen(order: Order, chain_order_id: str | None) -> ChainOrder:
    chosen = [chain for chain in order.chain_orders if chain_order_id in {None, chain.chain_order_id}]
    if not chosen:
        raise Unknown("chain-order-unknown", f"the order has no chain order {chain_order_id or 'yet'}")
    if len(chosen) > 1:
        raise Invalid("chain-order-needed", "the order has several chain orders: say which one with chainOrderId")
    return chosen[0]


async def _decide(session: AsyncSession, order: Order, chain: ChainOrder, outcome: Status) -> None:
    try:
        chain.move(outcome, resolution=True)
    except states.NotAllowed as refused:
        raise Conflict("move-refused", str(refused)) from None
    reason = f"it was decided that it is {outcome}"
    await authorizing.overtake(session, order, chain, reason)
    await queue.withdraw_unsent(session, order.id, "cancel", reason, chain.key)


def _accept_changes(order: Order, chain: ChainOrder, actor: str) -> None:
    waiting = [change for change in chain.changes if change.state == "recorded"]
    if not waiting:
        raise Conflict("no-change", f"no change of {chain.chain_order_id} waits to be decided")
    changing.accept_recorded(order, chain, actor)


def _dismiss(order: Order) -> None:
    waiting = [change for chain in order.chain_orders for change in chain.changes if change.state == "recorded"]
    if order.attention_code is None and not waiting:
        raise Conflict("nothing-to-resolve", "nothing about this order waits for a person")
    changing.dismiss(order)


# A contradiction that was decided is one no more: what says what was decided counts as applied, the rest as not.
_SETTLE_CONFLICTS = text(
    """
    update notifications
       set state = case when (:decision, kind) in (('cancelled', 'cancellation'), ('invoiced', 'invoice'))
                        then 'applied' else 'ignored' end,
           reason = concat('resolved: ', :decision, '; ', reason)
     where order_id = :order_id and state = 'conflict'
    """
)
