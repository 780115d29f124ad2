"""Cancelling: what sellers tell us of, and what an operator asks a seller for.

Asking is not cancelling. The seller may agree to the call and deny the wish later, so a chain order stays
`cancel-requested` until a notification or a read says how it ended.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from .. import tracing
from ..database import Database
from ..deliveries import lanes, queue
from ..deliveries.models import Delivery
from ..deliveries.queue import Claimed
from ..deliveries.retry import RETRIES_USED_UP, Dead, Delivered, Rejected, Retry, Withdrawn, would_resend
from ..deliveries.settling import Ended, Recorded
from ..deliveries.worker import Attempted
from ..errors import Conflict, Sentence, Unknown
from ..outbound import Exchange, Wire
from ..outcome import Absent, Again, Answered, Outcome, Refused
from ..sellers.directory import client_of
from ..sellers.models import Seller
from ..sellers.vault import Vault
from ..vtex import addresses, answers
from ..vtex.messages import SellerOrder, cancellation_request, reader_of
from . import attention, authorizing, lookup, reads
from .applied import Applied, Contradicts, Ignored, Result
from .models import ChainOrder, Order
from .patience import NOT_THERE_YET, lose_patience, not_there_yet
from .states import Status

CANCELLED_BY_SELLER = "sellerOrderCancelled"
_INVOICED = frozenset({Status.PARTIALLY_INVOICED, Status.INVOICED})
_UNDECIDED = frozenset({Status.ACCEPTED, Status.PLACING, Status.PLACEMENT_UNKNOWN})


def record_cancellation(order: Order, chain: ChainOrder, *, source: str = "callback") -> Result:
    """The seller, or the franchise behind it, cancelled this chain order. After an invoice it is a contradiction."""
    status = Status(chain.status)
    if status is Status.CANCELLED:
        return Ignored("it is cancelled already")
    if chain.invoiced_cents or _INVOICED & {status, chain.status_before_request}:
        reason = f"the seller cancelled {chain.chain_order_id} after it was {status}"
        order.tell("chain-order.cancellation-after-invoice", "seller", chain_order=chain, source=source)
        order.ask_attention("cancelled-after-invoice", reason, chain)
        return Contradicts("cancelled-after-invoice", reason, chain.key)
    chain.move(Status.CANCELLED)
    order.tell("chain-order.cancelled", "seller", chain_order=chain, source=source)
    order.settle_status()
    return Applied()


async def request(
    session: AsyncSession, order: Order, seller: Seller, reason: str, actor: str, chain_order_id: str | None = None
) -> None:
    """Ask the seller to cancel; `order` is locked. A repeat is a success and asks for nothing new.

    An order of which nothing has left is cancelled here and now. Raises Conflict for one that is rejected or
    invoiced, Unknown for a `chain_order_id` that is not the order's.
    """
    if order.status == Status.REJECTED:
        raise Conflict("order-rejected", "the seller refused the order: there is nothing to cancel")
    if not order.chain_orders:
        await _before_it_is_placed(session, order, reason, actor)
        return
    chosen = [chain for chain in order.chain_orders if chain_order_id in {None, chain.chain_order_id}]
    if not chosen:
        raise Unknown("chain-order-unknown", Sentence("the order has no chain order {id}", id=chain_order_id))
    invoiced = [chain.chain_order_id for chain in chosen if chain.status == Status.INVOICED]
    if invoiced:
        told = "{ids}: what is invoiced is returned by an Input invoice, not cancelled"
        raise Conflict("order-invoiced", Sentence(told, ids=", ".join(invoiced)))
    for chain in chosen:
        if chain.status not in {Status.CANCELLED, Status.CANCEL_REQUESTED}:
            owe(order, chain, seller, reason, actor)
            await authorizing.overtake(session, order, chain, "a cancellation was asked for")
    order.settle_status()


async def _before_it_is_placed(session: AsyncSession, order: Order, reason: str, actor: str) -> None:
    if Status(order.status) not in _UNDECIDED:
        return
    if await queue.withdraw_unsent(session, order.id, "place", "a cancellation was asked for"):
        order.move(Status.CANCELLED)
        order.tell("order.cancelled", actor, reason=reason, sent=False)
        await attention.settle(session, order, "service", RETRIES_USED_UP)
        return
    if order.status == Status.ACCEPTED:
        order.move(Status.PLACING)
    order.move(Status.CANCEL_REQUESTED)
    order.cancellation_reason = reason
    order.tell("order.cancellation-asked", actor, reason=reason)
    await queue.read_first(session, order.id, "place")


def owe(order: Order, chain: ChainOrder, seller: Seller, reason: str, actor: str) -> None:
    """Queue the call that asks the seller to cancel a chain order."""
    chain.move(Status.CANCEL_REQUESTED)
    order.tell("chain-order.cancellation-asked", actor, chain_order=chain, reason=reason)
    order.deliveries.add(
        Delivery(
            lane=seller.lane,
            sequence=chain.sequence,
            kind="cancel",
            chain_order_key=chain.key,
            method="POST",
            target=addresses.cancellation(chain.chain_order_id),
            body=cancellation_request(reason),
            traceparent=tracing.current(),
        )
    )


def deny(order: Order, chain: ChainOrder, reason: str) -> None:
    """The seller does not cancel: the chain order goes back to where it was, and a person is told."""
    if chain.status != Status.CANCEL_REQUESTED:
        return
    chain.deny_request()
    order.tell("chain-order.cancellation-denied", "seller", chain_order=chain, reason=reason)
    order.ask_attention("cancellation-denied", reason, chain)
    order.settle_status()


class Cancel:
    """The handler of `cancel` deliveries."""

    def __init__(self, database: Database, wire: Wire, vault: Vault, patience: timedelta) -> None:
        self._database, self._wire, self._vault = database, wire, vault
        self._patience = patience

    async def prepare(self, session: AsyncSession, claimed: Sequence[Claimed]) -> Sequence[Claimed]:
        return claimed

    async def send(self, claimed: Claimed, seller: Seller, in_time: Callable[[], bool]) -> Attempted:
        client = client_of(seller, self._wire, self._vault)
        exchange = await client.send(claimed.method, claimed.target, claimed.body or b"", in_time)
        sent = Attempted(not_there_yet(exchange) or answers.acknowledged(exchange), exchange)
        # What is being cancelled already cannot be cancelled: that is no denial.
        if not isinstance(sent.outcome, Refused) or not in_time() or not await self._is_open(claimed):
            return sent
        exchange, found = await self._look(claimed, seller)
        if isinstance(found, SellerOrder) and (found.cancelled or found.cancellation_requested):
            return Attempted(Answered(), exchange)
        return sent

    async def _is_open(self, claimed: Claimed) -> bool:
        async with self._database.transaction() as session:
            return await lanes.lets_through(session, claimed.lane)

    async def verify(self, claimed: Claimed, seller: Seller) -> Attempted:
        """Read the chain order: cancelled, or known to be asked for, means that the request has arrived."""
        exchange, found = await self._look(claimed, seller)
        if isinstance(found, answers.Unread):
            return Attempted(found, exchange)
        arrived = found is not None and (
            found.cancelled
            or found.cancellation_requested
            or (found.cancellation_denied and not await self._was_asked_before(claimed))
        )
        outcome: Outcome = Answered() if arrived else Absent("the seller does not show the request")
        return Attempted(outcome, exchange)

    async def _was_asked_before(self, claimed: Claimed) -> bool:
        """Whether what the seller has denied may be an earlier request."""
        asked = {"order_id": claimed.order_id, "chain_order_key": claimed.chain_order_key, "id": claimed.id}
        async with self._database.transaction() as session:
            return bool(await session.scalar(_ASKED_BEFORE, asked))

    async def _look(self, claimed: Claimed, seller: Seller) -> tuple[Exchange, SellerOrder | answers.Unread | None]:
        async with self._database.transaction() as session:
            chain = await session.get_one(ChainOrder, claimed.chain_order_key)
        exchange = await client_of(seller, self._wire, self._vault).read_order(chain.chain_order_id)
        return exchange, answers.found(exchange, reader_of(chain.chain_order_id))

    async def record(self, session: AsyncSession, ended: Sequence[Ended]) -> Recorded:
        orders = await lookup.all_locked(session, (one.claimed.order_id for one in ended))
        withdrawn = {}
        for one in ended:
            order = orders[one.claimed.order_id]
            chain = next(c for c in order.chain_orders if c.key == one.claimed.chain_order_key)
            if would_resend(one.verdict) and chain.status != Status.CANCEL_REQUESTED:
                withdrawn[one.claimed.id] = Withdrawn(f"the chain order is {chain.status} by now")
                await attention.settle_dead(session, order)
                continue
            match one.verdict:
                case Delivered():
                    await attention.settle(session, order, "service", NOT_THERE_YET)
                    await attention.settle_dead(session, order)
                    order.tell("chain-order.cancellation-requested", "seller", chain_order=chain)
                    await reads.confirm(session, order.id, one.claimed.lane)
                case Rejected(reason=reason):
                    await attention.settle(session, order, "service", NOT_THERE_YET)
                    await attention.settle_dead(session, order)
                    deny(order, chain, reason)
                case Dead(reason, code):
                    await attention.settle(session, order, "service", NOT_THERE_YET)
                    order.ask_attention(code, reason)
                case Retry() if isinstance(one.outcome, Again) and one.outcome.answered:
                    await lose_patience(session, order, one.claimed, one.outcome.reason, self._patience)
                case _:
                    pass
        return Recorded(withdrawn, ("orders", reads.TOPIC))

    async def unclear(self, session: AsyncSession, order_ids: Sequence[uuid.UUID]) -> None:
        """Nothing is shown differently: it stays requested until the seller has been read."""


# Served by deliveries_order_idx.
_ASKED_BEFORE = text(
    """
    select exists (select 1 from deliveries
                    where order_id = :order_id and kind = 'cancel' and chain_order_key = :chain_order_key
                      and id < :id and state = 'delivered')
    """
)
