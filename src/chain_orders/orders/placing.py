"""Placing an order: sending the PUT, and reading whether it arrived.

Promises: the bytes that are sent are the bytes that were stored; after an unclear outcome the seller is read, and what
is found is adopted only if it is provably ours and says the same.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from .. import strict_json, tracing
from ..capability import Keyring
from ..database import Database
from ..deliveries import lanes
from ..deliveries.queue import Claimed
from ..deliveries.retry import RETRIES_USED_UP, Dead, Delivered, Rejected, Verdict, Verify, Withdrawn, would_resend
from ..deliveries.settling import Contradiction, Ended, Recorded
from ..deliveries.worker import Attempted
from ..outbound import Wire
from ..outcome import Ambiguous, Answered, Conflicting, GivenBack, Recalled
from ..sellers.directory import client_of
from ..sellers.models import Seller
from ..sellers.vault import Vault
from ..vtex import answers
from ..vtex.messages import SellerOrder, Unreadable, read_group, read_placed
from ..vtex.messages import read_order as read_seller_order
from . import attention, authorizing, cancelling, judging, lookup, reads
from .judging import Placed
from .lookup import recheck
from .models import ChainOrder, Order
from .states import Status


@dataclass(frozen=True, slots=True)
class Bases:
    """Where callbacks are answered."""

    public_url: str
    keyring: Keyring

    def of(self, seller: Seller, kid: str, ref: str) -> str:
        return self.keyring.base((seller.callback_base or self.public_url).rstrip("/"), kid, ref)

    def proof(self, kid: str, ref: str) -> str:
        """The end of an order's base, which no change of the settings or of the seller moves."""
        return self.keyring.base("", kid, ref).lower()


class Place:
    """The handler of `place` deliveries."""

    def __init__(
        self, database: Database, wire: Wire, vault: Vault, bases: Bases, window: timedelta, plan: reads.Plan
    ) -> None:
        self._database, self._wire, self._vault, self._bases = database, wire, vault, bases
        self._window, self._plan = window, plan

    async def prepare(self, session: AsyncSession, claimed: Sequence[Claimed]) -> Sequence[Claimed]:
        ids = [one.order_id for one in claimed]
        rows = await session.execute(select(Order.id, Order.placement_body, Order.status).where(Order.id.in_(ids)))
        # Without a body it is not sent: somebody asked to cancel before it was ever known to be placed.
        bodies = {row.id: None if row.status == Status.CANCEL_REQUESTED else row.placement_body for row in rows}
        await _show(session, ids, Status.PLACING, [Status.ACCEPTED])
        return [one.with_body(bodies[one.order_id]) for one in claimed]

    async def send(self, claimed: Claimed, seller: Seller, in_time: Callable[[], bool]) -> Attempted:
        if claimed.body is None:
            return Attempted(Recalled("it was cancelled before it was placed"))
        client = client_of(seller, self._wire, self._vault)
        exchange = await client.send(claimed.method, claimed.target, claimed.body, in_time)
        outcome = answers.read(exchange)
        if outcome is None:
            try:
                outcome = Answered(judging.answered(read_placed(exchange.body), _name(claimed)))
            except Unreadable as wrong:
                outcome = Ambiguous(f"the seller answered {exchange.status}, but {wrong}")
        return Attempted(outcome, exchange)

    async def verify(self, claimed: Claimed, seller: Seller) -> Attempted:
        """Find the order at the seller, and judge whether it is the one that was sent."""
        async with self._database.transaction() as session:
            order = await lookup.loaded(session, claimed.order_id)
        window_over = claimed.course.unclear_for >= self._window
        return await self.find(order, seller, window_over=window_over, gate=claimed.lane)

    async def find(self, order: Order, seller: Seller, *, window_over: bool, gate: str | None = None) -> Attempted:
        """Read by the chain order id and by both forms of the group: Answered, Absent, Conflicting, or what tells
        nothing. With a `gate`, no further read is made once that is closed."""
        client = client_of(seller, self._wire, self._vault)
        prefixed = f"{order.affiliate_id}-{order.order_group}"
        proof = self._bases.proof(order.kid, order.ref)
        shown = partial(judging.shown, order, proof, window_over=window_over, currency=seller.currency)
        exchange = await client.read_order(f"{prefixed}-01")
        first = answers.found(exchange, read_seller_order)
        if isinstance(first, answers.Unread):
            return Attempted(first, exchange)
        for group in (prefixed, order.order_group):
            if gate is not None and not await self._is_open(gate):
                return Attempted(GivenBack(lanes.CLOSED), exchange)
            exchange = await client.read_group(group)
            listed = answers.found(exchange, read_group)
            if isinstance(listed, answers.Unread):
                return Attempted(listed, exchange)
            mine = [one for one in listed or [] if not judging.is_of_others(one, order, proof)]
            if mine:
                return Attempted(shown(mine), exchange)
        alone = [first] if first is not None else []
        return Attempted(shown(alone), exchange)

    async def _is_open(self, gate: str) -> bool:
        async with self._database.transaction() as session:
            return await lanes.lets_through(session, gate)

    async def record(self, session: AsyncSession, ended: Sequence[Ended]) -> Recorded:
        orders = await lookup.all_locked(session, (one.claimed.order_id for one in ended))
        withdrawn = {}
        for one in ended:
            if (unwanted := _unwanted(orders[one.claimed.order_id], one)) is not None:
                withdrawn[one.claimed.id] = unwanted
        placed = []
        for one in ended:
            order, verdict = orders[one.claimed.order_id], withdrawn.get(one.claimed.id, one.verdict)
            if not isinstance(verdict, Delivered):
                await _record(session, order, verdict, one)
            elif isinstance(one.outcome, Answered) and not order.chain_orders:
                placed.append(_New(order, one.outcome.facts, one))
        woken = bool(placed) and await self._placed(session, placed)
        return Recorded(withdrawn, ("orders", "notifications") if woken else ("orders",))

    async def unclear(self, session: AsyncSession, order_ids: Sequence[uuid.UUID]) -> None:
        await _show(session, order_ids, Status.PLACEMENT_UNKNOWN, [Status.ACCEPTED, Status.PLACING])

    async def _placed(self, session: AsyncSession, placed: Sequence[_New]) -> bool:
        """Give the orders the chain orders that the seller made of them, and owe what waited for that; says whether
        sellers had told something of them already."""
        orders = [one.order for one in placed]
        await _check_owners(session, placed)
        recalled = [order for order in orders if order.status == Status.CANCEL_REQUESTED]
        for order, made, ended in placed:
            _receive(order, made, verified=ended.claimed.course.verifying)
            await attention.settle(session, order, "service", RETRIES_USED_UP)
            differs = judging.other_value(order, made.orders) is not None
            _ask_about(order, made, await _currency(session, order) if differs else None)
        await lookup.save_names(session, orders)
        await session.flush()
        for one in placed:
            with tracing.below(one.ended.traceparent):
                await _owe_what_waited(session, one.order, recalled=one.order in recalled)
        await reads.watch(session, [(one.order.id, one.ended.claimed.lane) for one in placed], self._plan)
        return await recheck(session, [order.id for order in orders])


class _New(NamedTuple):
    """An order, and what the seller made of it when this delivery was sent or read."""

    order: Order
    placed: Placed
    ended: Ended


def _unwanted(order: Order, ended: Ended) -> Withdrawn | None:
    """What becomes of a placement that is to be cancelled and was not done, or is not what the seller has."""
    if order.status != Status.CANCEL_REQUESTED:
        return None
    if isinstance(ended.outcome, Conflicting):
        return Withdrawn(ended.outcome.reason)
    return Withdrawn("it was cancelled before it was placed") if would_resend(ended.verdict) else None


async def _record(session: AsyncSession, order: Order, verdict: Verdict, ended: Ended) -> None:
    """What follows for an order that was not placed."""
    match verdict:
        case Rejected(reason, code, burnt):
            await attention.settle(session, order, "service", RETRIES_USED_UP)
            order.tell("order.rejected", "seller", code=code, reason=reason)
            if order.status == Status.CANCEL_REQUESTED:
                order.move(Status.CANCELLED)
                order.tell("order.cancelled", "service", reason="the seller refused to place it")
            elif order.status != Status.REJECTED:
                order.move(Status.REJECTED)
            if burnt:
                order.ask_attention("order-group-burnt", reason)
        case Verify(fresh=True, reason=reason):
            if Status(order.status) in {Status.ACCEPTED, Status.PLACING}:
                order.move(Status.PLACEMENT_UNKNOWN)
                order.tell("order.placement-unknown", "service", reason=reason)
        case Withdrawn(reason):
            await attention.settle(session, order, "service", RETRIES_USED_UP)
            await _withdrawn(session, order, reason, ended)
        case Dead(reason, code):
            order.ask_attention(code, reason)
        case _:
            pass


async def _withdrawn(session: AsyncSession, order: Order, reason: str, ended: Ended) -> None:
    """It is cancelled, and not sent again. A person is asked where the seller has another order of the group, or has
    said that it has one: no read proves the contrary."""
    order.move(Status.CANCELLED)
    if isinstance(ended.outcome, Conflicting):
        order.tell("order.cancelled", "service", reason=reason)
        await attention.settle(session, order, "service", ended.outcome.code)
        order.ask_attention(ended.outcome.code, f"{reason}; {_PERHAPS_NOT}")
    elif await session.scalar(_SAID_TO_BE_THERE, {"id": ended.claimed.id}):
        order.tell("order.cancelled", "service", reason=reason)
        told = "the seller said that it has an order of this group, and shows none"
        order.ask_attention("said-to-be-there", f"{told}; {_PERHAPS_NOT}")
    else:
        order.tell("order.cancelled", "service", reason=reason, sent=False)


_PERHAPS_NOT = "it is cancelled here, and there perhaps not"


_SAID_TO_BE_THERE = text("select exists (select 1 from attempts where delivery_id = :id and outcome = 'already-there')")


def _receive(order: Order, placed: Placed, *, verified: bool) -> None:
    for position, one in enumerate(placed.orders, start=1):
        order.chain_orders.append(_chain_order(order, one, position, alone=len(placed.orders) == 1))
    order.settle_status()
    order.new_names.update(_names(placed.orders, order))
    empty: dict[str, Any] = {"withoutItems": list(placed.empty)} if placed.empty else {}
    order.tell(
        "order.placed",
        "seller",
        chainOrderIds=[chain.chain_order_id for chain in order.chain_orders],
        value=sum(chain.value_cents for chain in order.chain_orders),
        verified=verified,
        **empty,
    )


async def _owe_what_waited(session: AsyncSession, order: Order, *, recalled: bool) -> None:
    """What was asked for before the order was placed: to cancel it, or else to authorize it."""
    if recalled:
        seller = await session.get_one(Seller, order.seller_id)
        for chain in order.chain_orders:
            cancelling.owe(order, chain, seller, order.cancellation_reason or "", "service")
        order.settle_status()
    elif order.receipt is not None:
        authorizing.owe(order, await session.get_one(Seller, order.seller_id), order.chain_orders)


async def _show(
    session: AsyncSession, order_ids: Sequence[uuid.UUID], status: Status, before: Sequence[Status]
) -> None:
    """Show a status without waiting for anybody who holds an order: the next settlement shows the truth anyway."""
    free = (
        select(Order.id)
        .where(Order.id.in_(order_ids), Order.status.in_(before))
        .with_for_update(skip_locked=True, key_share=True)
        .cte("free")
    )
    await session.execute(
        update(Order)
        .where(Order.id.in_(select(free.c.id)))
        .values(status=status, version=Order.version + 1)
        .execution_options(synchronize_session=False)
    )


def _name(claimed: Claimed) -> judging.Name:
    """What the order is called in the bytes and the query that were sent."""
    (affiliate,) = parse_qs(urlsplit(claimed.target).query)["affiliateId"]
    return judging.Name(affiliate, strict_json.parse(claimed.body or b"")["marketplaceOrderGroup"])


async def _check_owners(session: AsyncSession, placed: Sequence[_New]) -> None:
    """Raise Contradiction for a VTEX order that is another order's already; the unique key holds against a race."""
    named = [(one.order, made.order_id) for one in placed for made in one.placed.orders]
    owners = await lookup.owners(session, [id_ for _, id_ in named])
    for order, id_ in named:
        owners[order.seller_id, id_.lower()].add(order.id)
    if any(len(owners[order.seller_id, id_.lower()]) > 1 for order, id_ in named):
        raise Contradiction("the seller names an order that belongs to another order here", "placement-conflict")


def _ask_about(order: Order, placed: Placed, currency: str | None) -> None:
    """The order exists; what it holds, or what it is worth, is not what was sold. A person must look."""
    wanted, there = judging.quantities(order.items), judging.quantities(judging.items(placed.orders))
    value = judging.other_value(order, placed.orders)
    if placed.partial:
        told = judging.difference(wanted, there)
        order.ask_attention("split-incomplete", f"the seller shows a part of the order only: {told}")
    elif there and wanted != there:
        told = judging.difference(wanted, there)
        order.ask_attention("items-differ", f"the seller's answer lists other items: {told}")
    elif value is not None:
        order.ask_attention("value-differs", judging.told_value(order, value, currency))


async def _currency(session: AsyncSession, order: Order) -> str | None:
    return await session.scalar(select(Seller.currency).where(Seller.id == order.seller_id))


def _chain_order(order: Order, one: SellerOrder, position: int, *, alone: bool) -> ChainOrder:
    items = [item.model_dump(include={"id", "quantity", "seller", "price"}) for item in one.items]
    if alone and not items:
        items = list(order.items)
    value = one.value if one.value is not None else sum((i["price"] or 0) * i["quantity"] for i in items)
    if one.value is None and alone:
        value = order.total_cents
    return ChainOrder(
        seller_id=order.seller_id,
        position=position,
        chain_order_id=one.order_id,
        seller_order_id=one.seller_order_id,
        seller_order_group=one.order_group,
        marketplace_order_id=one.marketplace_order_id,
        status=Status.PLACED,
        value_cents=value,
        items=items,
        invoices=[],
        changes=[],
    )


def _names(placed: list[SellerOrder], order: Order) -> set[tuple[str, str]]:
    names: set[tuple[str, str]] = set()
    for one in placed:
        names.add(("chain-order", one.order_id))
        if one.seller_order_id:
            names.add(("seller-order", one.seller_order_id))
        if one.order_group and one.order_group != order.order_group:
            names.add(("seller-order-group", one.order_group))
        if one.marketplace_order_id and one.marketplace_order_id != order.order_group:
            names.add(("marketplace-order", one.marketplace_order_id))
    return names
