"""Authorizing an order: the marketplace's word that payment is approved, minted once and resent byte for byte.

One POST goes to each chain order. Given before the order is placed, the receipt waits with the order and is sent as
soon as there are chain orders to send it to.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from .. import tracing
from ..database import Database, read_clock
from ..deliveries import lanes, queue
from ..deliveries.models import Delivery
from ..deliveries.queue import Claimed
from ..deliveries.retry import (
    RETRIES_USED_UP,
    Dead,
    Delivered,
    Rejected,
    Retry,
    Verify,
    Withdrawn,
    would_resend,
)
from ..deliveries.settling import Ended, Recorded
from ..deliveries.worker import Attempted
from ..errors import Conflict, Fault, Invalid, Sentence, Unknown
from ..outbound import Wire
from ..outcome import Absent, Again, Answered, Conflicting, GivenBack, Outcome, Recalled, Refused
from ..sellers.directory import client_of
from ..sellers.models import Seller
from ..sellers.vault import Vault
from ..vtex import addresses, answers
from ..vtex.messages import SellerOrder, authorization, reader_of
from . import attention, lookup, reads, states
from .models import ChainOrder, Order
from .patience import NOT_THERE_YET, lose_patience, not_there_yet
from .receipts import GivenReceipt, give_receipt, skus_of
from .states import Status

_UNWANTED = frozenset({Status.CANCEL_REQUESTED, Status.CANCELLED})
_REFUSED = "authorization-refused"
_DENIED = "cancellation-denied"
_OVER = (RETRIES_USED_UP, NOT_THERE_YET, _REFUSED)
"""Codes of attention that are over with an authorization's end; what its end asks for is asked anew."""
_WAITING = frozenset({Status.PLACED, Status.AUTHORIZING})
_INVOICED = frozenset({Status.PARTIALLY_INVOICED, Status.INVOICED})
CANCELLED_TOO = "cancelled-too"
"""What a read tells of an authorization that has arrived at a chain order which is cancelled by now."""
_UNSETTLED = frozenset({Status.AUTHORIZING, Status.CANCEL_REQUESTED})


async def authorize(
    session: AsyncSession,
    order: Order,
    seller: Seller,
    given: GivenReceipt,
    actor: str,
    chain_order_id: str | None = None,
) -> None:
    """Store the receipt and queue its POSTs; `order` is locked. A repeat with the same receipt is a success.

    Raises Conflict for an order that is rejected or cancelled, or that has another receipt; Unknown for a
    `chain_order_id` that is not the order's.
    """
    if order.status == Status.REJECTED:
        raise Conflict("order-rejected", "an order that is rejected cannot be authorized")
    chosen = [c for c in order.chain_orders if chain_order_id in {None, c.chain_order_id}]
    if chain_order_id is not None and not chosen:
        raise Unknown("chain-order-unknown", Sentence("the order has no chain order {id}", id=chain_order_id))
    # What is judged is what was chosen: one chain order may be authorized while another is being cancelled.
    statuses = [Status(chain.status) for chain in chosen] or [Status(order.status)]
    if _UNWANTED.issuperset(statuses):
        shown = states.aggregate(statuses)
        told = Sentence("an order that is {status} cannot be authorized", status=shown)
        raise Conflict(f"order-{shown}", told)
    give_receipt(order, given, actor, await read_clock(session))
    owe(order, seller, chosen)
    await session.flush()
    await _owe_what_is_invoiced(session, order, seller, chosen)


def owe(order: Order, seller: Seller, chain_orders: Iterable[ChainOrder]) -> None:
    """Queue the authorization of every chain order that waits for it."""
    for chain in chain_orders:
        if chain.status == Status.PLACED:
            chain.move(Status.AUTHORIZING)
            order.deliveries.add(_delivery(order, chain, seller))
    order.settle_status()


async def _owe_what_is_invoiced(
    session: AsyncSession, order: Order, seller: Seller, chain_orders: Iterable[ChainOrder]
) -> None:
    """An invoice proves the authorization, and may be a mistake: a receipt that comes after it is sent only if the
    seller, when it is read, still waits for one."""
    invoiced = [chain for chain in chain_orders if chain.status in _INVOICED]
    owed = set(await session.scalars(_OWED, {"order_id": order.id})) if invoiced else set()
    for chain in invoiced:
        if chain.key not in owed:
            order.deliveries.add(_delivery(order, chain, seller))
            await session.flush()
            await queue.read_first(session, order.id, "authorize", chain.key)


_OWED = text("select chain_order_key from deliveries where order_id = :order_id and kind = 'authorize'")


def _delivery(order: Order, chain: ChainOrder, seller: Seller) -> Delivery:
    return Delivery(
        lane=seller.lane,
        sequence=chain.sequence,
        kind="authorize",
        chain_order_key=chain.key,
        method="POST",
        target=addresses.authorization(chain.chain_order_id),
        body=_body(order, chain, seller),
        traceparent=tracing.current(),
    )


def is_overtaken(order: Order, chain: ChainOrder, before: str) -> bool:
    """Whether a chain order has moved past a call of ours, or past what a person was asked for because of one."""
    return chain.status != before and (before in _UNSETTLED or order.attention)


async def overtake(session: AsyncSession, order: Order, chain: ChainOrder, reason: str) -> None:
    """Settle the authorization of a chain order that has moved past it; `order` is locked.

    Of what is cancelled it is withdrawn if it never left. Otherwise the seller is read before anything is sent. The
    same becomes of a request to cancel that nothing can come of any more.
    """
    status = Status(chain.status)
    if status is not Status.CANCEL_REQUESTED:
        await _withdraw_request(session, order, chain, reason)
    if status in _WAITING:
        return
    if status is not Status.CANCEL_REQUESTED:
        await _settle_attention(session, order, chain, _REFUSED)
    if all(other.status == Status.CANCELLED for other in order.chain_orders):
        await attention.settle(session, order, "service", _DENIED)
    if status in _UNWANTED and await queue.withdraw_unsent(session, order.id, "authorize", reason, chain.key):
        await _settle_attention(session, order, chain, *_OVER)
        _withdrawn(order, chain, reason)
    await queue.read_first(session, order.id, "authorize", chain.key)


async def _withdraw_request(session: AsyncSession, order: Order, chain: ChainOrder, reason: str) -> None:
    if await queue.withdraw_unsent(session, order.id, "cancel", reason, chain.key):
        await attention.settle_dead(session, order)
    await queue.read_first(session, order.id, "cancel", chain.key)


async def _settle_attention(session: AsyncSession, order: Order, chain: ChainOrder, *codes: str) -> None:
    """Nobody needs to look at this authorization any more; at another chain order's, which still waits, maybe."""
    if not any(other.status in _WAITING for other in order.chain_orders if other is not chain):
        await attention.settle(session, order, "service", *codes)


def _withdrawn(order: Order, chain: ChainOrder, reason: str) -> None:
    """A cancellation that is denied now leads back to before the authorization."""
    if chain.status == Status.CANCEL_REQUESTED and chain.fall_back():
        order.tell("chain-order.authorization-withdrawn", "service", chain_order=chain, reason=reason)


def _body(order: Order, chain: ChainOrder, seller: Seller) -> bytes:
    items: list[dict[str, Any]] | None = None
    if not seller.omit_authorization_items:
        items = _given(order, chain) or [
            {"id": i["id"], "quantity": i["quantity"], "seller": i.get("seller"), "price": i.get("price")}
            for i in _priced(order, chain)
        ]
    group = chain.chain_order_id if seller.authorization_group == "chainOrderId" else order.order_group
    return authorization(group, order.receipt_date or "", order.receipt or "", items)


def _given(order: Order, chain: ChainOrder) -> list[dict[str, Any]]:
    """What the operator gave, of several chain orders the items of this one."""
    given, skus = order.authorization_items or [], skus_of(chain.items)
    return given if len(order.chain_orders) == 1 else [item for item in given if str(item["id"]) in skus]


def _priced(order: Order, chain: ChainOrder) -> list[dict[str, Any]]:
    """The chain order's items; what the seller's answer left out of them is taken from the order as sold."""
    sold = {str(item["id"]): item for item in order.items}
    return [
        {**sold.get(str(item["id"]), {}), **{name: value for name, value in item.items() if value is not None}}
        for item in chain.items
    ]


def check_group(order: Order, group: str | None) -> None:
    """The seed's body names the order group: it must be this order's, or a chain order's id as some callers send."""
    if group is not None and group not in {order.order_group, *(c.chain_order_id for c in order.chain_orders)}:
        raise other_group(Sentence("must be {group}", group=order.order_group))


def other_group(rule: str) -> Invalid:
    """What to raise for a body that names another order group than the order's."""
    fault = Fault("/marketplaceOrderGroup", "order-group-differs", rule)
    return Invalid("order-group-differs", Sentence("marketplaceOrderGroup: {wrong}", wrong=rule), faults=[fault])


class Authorize:
    """The handler of `authorize` deliveries."""

    def __init__(self, database: Database, wire: Wire, vault: Vault, patience: timedelta) -> None:
        self._database, self._wire, self._vault = database, wire, vault
        self._patience = patience

    async def prepare(self, session: AsyncSession, claimed: Sequence[Claimed]) -> Sequence[Claimed]:
        """Without a body it is not simply sent: the chain order has moved past its authorization."""
        keys = [one.chain_order_key for one in claimed]
        rows = await session.execute(select(ChainOrder.key, ChainOrder.status).where(ChainOrder.key.in_(keys)))
        waiting = {row.key for row in rows if row.status in _WAITING}
        return [one if one.chain_order_key in waiting else one.with_body(None) for one in claimed]

    async def send(self, claimed: Claimed, seller: Seller, in_time: Callable[[], bool]) -> Attempted:
        if claimed.body is None:
            return await self._look_first(claimed, seller, in_time)
        return await self._send(claimed, claimed.body, seller, in_time)

    async def _look_first(self, claimed: Claimed, seller: Seller, in_time: Callable[[], bool]) -> Attempted:
        """What is cancelled needs no authorization. An invoice proves it, unless the seller still waits."""
        async with self._database.transaction() as session:
            chain = await session.get_one(ChainOrder, claimed.chain_order_key)
            owed = await session.get_one(Delivery, claimed.id)
        if chain.status in _UNWANTED:
            return Attempted(Recalled("the chain order was cancelled"))
        read = await self._look(chain, seller)
        if not isinstance(read.outcome, Absent):
            return read
        if not await self._is_open(claimed):
            return Attempted(GivenBack(lanes.CLOSED), read.exchange)
        return await self._send(claimed, owed.body or b"", seller, in_time)

    async def _send(self, claimed: Claimed, body: bytes, seller: Seller, in_time: Callable[[], bool]) -> Attempted:
        client = client_of(seller, self._wire, self._vault)
        exchange = await client.send(claimed.method, claimed.target, body, in_time)
        sent = Attempted(not_there_yet(exchange) or answers.acknowledged(exchange), exchange)
        # Sent again, or given to the seller otherwise, it may be refused because it has arrived.
        if not isinstance(sent.outcome, Refused) or not in_time() or not await self._is_open(claimed):
            return sent
        read = await self.verify(claimed, seller)
        return read if isinstance(read.outcome, Answered) else sent

    async def _is_open(self, claimed: Claimed) -> bool:
        async with self._database.transaction() as session:
            return await lanes.lets_through(session, claimed.lane)

    async def verify(self, claimed: Claimed, seller: Seller) -> Attempted:
        """Read the chain order: past the authorization means that the receipt has arrived."""
        async with self._database.transaction() as session:
            chain = await session.get_one(ChainOrder, claimed.chain_order_key)
        return await self._look(chain, seller)

    async def _look(self, chain: ChainOrder, seller: Seller) -> Attempted:
        exchange = await client_of(seller, self._wire, self._vault).read_order(chain.chain_order_id)
        found = answers.found(exchange, reader_of(chain.chain_order_id))
        if isinstance(found, answers.Unread):
            return Attempted(found, exchange)
        if found is None:
            return Attempted(Absent("the seller does not show the chain order"), exchange)
        return Attempted(self._judge(chain, found), exchange)

    @staticmethod
    def _judge(chain: ChainOrder, found: SellerOrder) -> Outcome:
        if found.cancelled and found.authorized_date is None:
            if chain.status in _UNWANTED:
                return Recalled("the seller cancelled the chain order")
            return Conflicting("the seller cancelled the chain order", "cancelled-at-seller")
        if not found.authorized:
            return Absent("the seller still waits for the authorization")
        return Answered(CANCELLED_TOO if found.cancelled else None)

    async def record(self, session: AsyncSession, ended: Sequence[Ended]) -> Recorded:
        orders = await lookup.all_locked(session, (one.claimed.order_id for one in ended))
        withdrawn = {}
        for one in ended:
            order = orders[one.claimed.order_id]
            chain = next(c for c in order.chain_orders if c.key == one.claimed.chain_order_key)
            if would_resend(one.verdict) and chain.status in _UNWANTED:
                withdrawn[one.claimed.id] = Withdrawn("the chain order was cancelled")
            verdict = withdrawn.get(one.claimed.id, one.verdict)
            await self._record(session, order, chain, replace(one, verdict=verdict))
        return Recorded(withdrawn)

    async def _record(self, session: AsyncSession, order: Order, chain: ChainOrder, ended: Ended) -> None:
        claimed, outcome, verdict = ended.claimed, ended.outcome, ended.verdict
        match verdict:
            case Delivered() | Rejected() | Dead() | Withdrawn():
                over = (NOT_THERE_YET,) if isinstance(verdict, Dead) else _OVER
                await _settle_attention(session, order, chain, *over)
                contradicted = self._apply(order, chain, verdict, outcome)
                order.settle_status()
                if order.sealed_at is not None:  # it is found again by this, and gives up what the seller has shown
                    order.applied_seq += 1
                if contradicted or (claimed.course.verifying and isinstance(verdict, Dead | Withdrawn)):
                    await reads.confirm(session, order.id, claimed.lane)
            case Retry() if isinstance(outcome, Again) and outcome.answered:
                await lose_patience(session, order, claimed, outcome.reason, self._patience)
            case Verify(fresh=True, reason=reason):
                order.tell("order.authorization-unknown", "service", reason=reason)
            case _:
                pass

    async def unclear(self, session: AsyncSession, order_ids: Sequence[uuid.UUID]) -> None:
        """Nothing is shown differently: the chain order stays authorizing until the seller has been read."""

    @staticmethod
    def _apply(
        order: Order, chain: ChainOrder, verdict: Delivered | Rejected | Dead | Withdrawn, outcome: Outcome
    ) -> bool:
        """Says whether the seller contradicts itself, so that it has to be read."""
        match verdict:
            case Delivered() if chain.advance(Status.AUTHORIZED):
                order.tell("chain-order.authorized", "seller", chain_order=chain)
            case Delivered() if chain.status == Status.CANCELLED:
                return _taken_after_all(order, chain, outcome)
            case Rejected(reason, code):
                _refused(order, chain, reason, code)
            case Withdrawn(reason):
                _withdrawn(order, chain, reason)
            case Dead(reason, code):
                order.ask_attention(code, reason, chain)
        return False


def _refused(order: Order, chain: ChainOrder, reason: str, code: str | None) -> None:
    """A person must see to it, unless the chain order was cancelled while it was under way: a refusal says the same."""
    waited = chain.fall_back()
    if waited or chain.status == Status.CANCELLED:
        order.tell("chain-order.authorization-refused", "seller", chain_order=chain, code=code)
    if waited:
        order.ask_attention(_REFUSED, reason)


def _taken_after_all(order: Order, chain: ChainOrder, outcome: Outcome) -> bool:
    """The seller cancelled while the authorization was under way, and has taken it. That contradicts the cancellation,
    save where a read shows both. Says whether it does."""
    order.tell("chain-order.authorized-after-cancellation", "seller", chain_order=chain)
    if isinstance(outcome, Answered) and outcome.facts == CANCELLED_TOO:
        return False
    told = f"the seller took the authorization of {chain.chain_order_id}, which it had cancelled"
    order.ask_attention("authorized-after-cancellation", told, chain)
    return True
