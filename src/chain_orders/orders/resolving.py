"""What a person decides where the seller contradicts itself, and what the flag for attention was about.

The seller's facts stay as they came. What changes is what holds, and the timeline says who decided it and why. A
decision settles what it answers, of the chain order that it is about; only `dismiss` settles all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from ..errors import Conflict, Invalid, Sentence, Unknown
from . import attention, authorizing, changing, lookup, states
from .invoicing import too_high
from .models import ChainOrder, Order
from .states import Status

Decision = Literal["cancelled", "invoiced", "accept-change", "dismiss"]


@dataclass(frozen=True, slots=True)
class _Question:
    """What a decision about a chain order answers; every other question stays open."""

    contradictions: frozenset[tuple[str, str]]
    """Notifications, as (kind, code)."""
    others: frozenset[str] = frozenset()
    """Codes of attention beside theirs."""

    @property
    def codes(self) -> frozenset[str]:
        return self.others | {code for _, code in self.contradictions}


_CANCELLED_OR_NOT = _Question(
    frozenset({
        ("cancellation", "cancelled-after-invoice"), ("cancellation", "not-at-seller"),
        ("invoice", "invoiced-after-cancellation"),
    }),
    frozenset({
        "authorized-after-cancellation", "cancellation-denied", "cancellation-not-at-seller", "cancelled-at-seller",
    }),
)  # fmt: skip
_CHANGED_OR_NOT = _Question(frozenset({("change", "changed-after-cancellation")}), frozenset({"change-received"}))
_ANSWERS = {"cancelled": _CANCELLED_OR_NOT, "invoiced": _CANCELLED_OR_NOT, "accept-change": _CHANGED_OR_NOT}
_UPHELD = {"cancelled": "cancellation", "invoiced": "invoice", "accept-change": "change"}


async def resolve(
    session: AsyncSession, order: Order, decision: Decision, reason: str, actor: str, chain_order_id: str | None = None
) -> None:
    """Decide; `order` is locked. What the decision does not answer stays open, and wants attention next.

    `cancelled` and `invoiced` say which of two facts holds, `accept-change` lets the changes that were recorded move
    the value, `dismiss` leaves everything as it is and settles all. Raises Unknown for a `chain_order_id` that is not
    the order's, Invalid where one must be named, Conflict where there is nothing to decide.
    """
    order.applied_seq += 1
    if decision == "dismiss":
        await _dismiss(session, order)
        order.tell("order.resolved", actor, decision=decision, reason=reason, seq=order.applied_seq)
        order.clear_attention(actor)
    else:
        await _decide(session, order, _chosen(order, chain_order_id), decision, reason, actor)
    order.touch()
    await lookup.save_names(session, [order])


async def _decide(
    session: AsyncSession, order: Order, chain: ChainOrder, decision: str, reason: str, actor: str
) -> None:
    was_too_high = too_high(order)
    if decision == "accept-change":
        _accept_changes(order, chain, actor)
    else:
        await _move(session, order, chain, states.RESOLVED_TO[decision])
    order.settle_status()
    settled = await _settle(session, order, chain, decision)
    order.tell(
        "order.resolved", actor, chain_order=chain,
        decision=decision, reason=reason, seq=order.applied_seq, settled=sorted(settled),
    )  # fmt: skip
    await attention.decided(session, order, chain, actor, settled)
    await attention.settle(session, order, actor, *(was_too_high - too_high(order)))


async def _settle(session: AsyncSession, order: Order, chain: ChainOrder, decision: str) -> frozenset[str]:
    """Settle the contradictions that a decision answers; the codes of attention that are over with them."""
    question = _ANSWERS[decision]
    kinds, codes = zip(*sorted(question.contradictions), strict=True)
    about = {"order_id": order.id, "chain_order_key": chain.key}
    told = {"decision": decision, "upheld": _UPHELD[decision], "kinds": list(kinds), "codes": list(codes)}
    await session.execute(_SETTLE_CONFLICTS, {**about, **told})
    return question.codes - set(await session.scalars(_STILL_OPEN, about))


def _chosen(order: Order, chain_order_id: str | None) -> ChainOrder:
    chosen = [chain for chain in order.chain_orders if chain_order_id in {None, chain.chain_order_id}]
    if not chosen:
        if chain_order_id is None:
            raise Unknown("chain-order-unknown", "the order has no chain order yet")
        raise Unknown("chain-order-unknown", Sentence("the order has no chain order {id}", id=chain_order_id))
    if len(chosen) > 1:
        raise Invalid("chain-order-needed", "the order has several chain orders: say which one with chainOrderId")
    return chosen[0]


async def _move(session: AsyncSession, order: Order, chain: ChainOrder, outcome: Status) -> None:
    try:
        chain.move(outcome, resolution=True)
    except states.NotAllowed:
        told = Sentence("a chain order does not go from {before} to {after}", before=chain.status, after=outcome)
        raise Conflict("move-refused", told) from None
    await authorizing.overtake(session, order, chain, f"it was decided that it is {outcome}")


def _accept_changes(order: Order, chain: ChainOrder, actor: str) -> None:
    waiting = [change for change in chain.changes if change.state == "recorded"]
    if not waiting:
        raise Conflict("no-change", Sentence("no change of {id} waits to be decided", id=chain.chain_order_id))
    changing.accept_recorded(order, chain, actor)


async def _dismiss(session: AsyncSession, order: Order) -> None:
    waiting = [change for chain in order.chain_orders for change in chain.changes if change.state == "recorded"]
    undecided = (await session.execute(_DISMISS_CONFLICTS, {"order_id": order.id})).all()
    if order.attention_code is None and not waiting and not undecided:
        raise Conflict("nothing-to-resolve", "nothing about this order waits for a person")
    changing.dismiss(order)


# A contradiction that was decided is one no more: what says what was decided counts as applied, the rest as not.
_SETTLE_CONFLICTS = text(
    """
    update notifications
       set state = case when kind = :upheld then 'applied' else 'ignored' end,
           reason = concat('resolved: ', cast(:decision as text), '; ', reason)
     where order_id = :order_id and state = 'conflict' and chain_order_key = :chain_order_key
       and (kind, contradicts) in (select * from unnest(cast(:kinds as text[]), cast(:codes as text[])))
    """
)

_STILL_OPEN = text(
    """
    select distinct contradicts from notifications
     where order_id = :order_id and state = 'conflict' and chain_order_key = :chain_order_key
       and contradicts is not null
    """
)

_DISMISS_CONFLICTS = text(
    """
    update notifications set state = 'ignored', reason = concat('resolved: dismiss; ', reason)
     where order_id = :order_id and state = 'conflict'
    returning id
    """
)
