"""Placing an order: sending the PUT, and reading whether it arrived.

Promises: the bytes that are sent are the bytes that were stored; after an unclear outcome the seller is read, and what
is found is adopted only if it is provably ours and says the same.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from ..capability import Keyring
from ..database import Database
from ..deliveries.queue import Claimed
from ..deliveries.retry import RETRIES_USED_UP, Dead, Delivered, Rejected, Verdict, Verify, Withdrawn
from ..deliveries.worker import Attempted
from ..outbound import Wire
from ..outcome import Absent, Again, Ambiguous, Answered, Conflicting, Outcome, Recalled
from ..sellers.directory import client_of
from ..sellers.models import Seller
from ..sellers.vault import Vault
from ..vtex import answers
from ..vtex.messages import SellerOrder, Unreadable, read_group, read_placed
from ..vtex.messages import read_order as read_seller_order
from . import attention, authorizing, cancelling, lookup, reads
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


@dataclass(frozen=True, slots=True)
class Placed:
    """What the seller made of the PUT. `partial`: some items were still not shown at the end of the window."""

    orders: list[SellerOrder]
    partial: bool = False


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
                outcome = Answered(Placed(_checked(read_placed(exchange.body))))
            except Unreadable as wrong:
                outcome = Ambiguous(f"the seller answered {exchange.status}, but {wrong}")
        return Attempted(outcome, exchange)

    async def verify(self, claimed: Claimed, seller: Seller) -> Attempted:
        """Find the order at the seller, and judge whether it is the one that was sent."""
        async with self._database.transaction() as session:
            order = await lookup.loaded(session, claimed.order_id)
        window_over = claimed.course.unclear_for >= self._window
        return await self.find(order, seller, window_over=window_over)

    async def find(self, order: Order, seller: Seller, *, window_over: bool) -> Attempted:
        """Read by the chain order id and by both forms of the group: Answered, Absent, Conflicting, or Again."""
        client = client_of(seller, self._wire, self._vault)
        prefixed = f"{order.affiliate_id}-{order.order_group}"
        exchange = await client.read_order(f"{prefixed}-01")
        first = answers.found(exchange, read_seller_order)
        if isinstance(first, answers.Unread):
            return Attempted(first, exchange)
        for group in (prefixed, order.order_group):
            exchange = await client.read_group(group)
            listed = answers.found(exchange, read_group)
            if isinstance(listed, answers.Unread):
                return Attempted(listed, exchange)
            if listed:
                return Attempted(self._judge(order, seller, listed, window_over), exchange)
        alone = [first] if first is not None else []
        return Attempted(self._judge(order, seller, alone, window_over), exchange)

    def _judge(self, order: Order, seller: Seller, found: list[SellerOrder], window_over: bool) -> Outcome:
        if not found:
            return Absent()
        ours = self._bases.of(seller, order.kid, order.ref).lower()
        if any(not _is_ours(one, order, ours) for one in found):
            return Conflicting("another order with this group is at the seller; it does not carry our callback address")
        if any(one.is_completed is False for one in found):
            return Conflicting("the order at the seller is incomplete and cannot be advanced", "incomplete-at-seller")
        wanted, there = _quantities(order.items), _quantities(_items(found))
        if wanted == there:
            return self._judge_value(order, found)
        if all(there[sku] <= wanted.get(sku, 0) for sku in there):
            return (
                Answered(Placed(found, partial=True)) if window_over else Again("the seller shows a part of it so far")
            )
        return Conflicting(f"the order at the seller is not the one that was sent: {_difference(wanted, there)}")

    @staticmethod
    def _judge_value(order: Order, found: list[SellerOrder]) -> Outcome:
        values = [one.value for one in found if one.value is not None]
        adjusted = any(warning["code"] == "amounts-adjusted" for warning in order.warnings)
        if not adjusted and len(values) == len(found) and sum(values) != order.total_cents:
            return Conflicting(f"the order at the seller is worth {sum(values)}, ours {order.total_cents}")
        return Answered(Placed(found))

    async def record(self, session: AsyncSession, claimed: Claimed, outcome: Outcome, verdict: Verdict) -> None:
        match verdict:
            case Delivered() if isinstance(outcome, Answered):
                await self._placed(session, claimed, outcome.facts)
            case Rejected(reason, code, burnt):
                order = await lookup.locked(session, claimed.order_id)
                if order.status == Status.CANCEL_REQUESTED:
                    order.move(Status.CANCELLED)
                elif order.status != Status.REJECTED:
                    order.move(Status.REJECTED)
                order.tell("order.rejected", "seller", code=code, reason=reason)
                if burnt:
                    order.ask_attention("order-group-burnt", reason)
            case Verify(fresh=True, reason=reason):
                order = await lookup.locked(session, claimed.order_id)
                if Status(order.status) in {Status.ACCEPTED, Status.PLACING}:
                    order.move(Status.PLACEMENT_UNKNOWN)
                    order.tell("order.placement-unknown", "service", reason=reason)
            case Withdrawn(reason):
                order = await lookup.locked(session, claimed.order_id)
                order.move(Status.CANCELLED)
                order.tell("order.cancelled", "service", reason=reason, sent=False)
            case Dead(reason, code):
                order = await lookup.locked(session, claimed.order_id)
                order.ask_attention(code, reason)
            case _:
                pass

    async def unclear(self, session: AsyncSession, order_ids: Sequence[uuid.UUID]) -> None:
        await _show(session, order_ids, Status.PLACEMENT_UNKNOWN, [Status.ACCEPTED, Status.PLACING])

    async def _placed(self, session: AsyncSession, claimed: Claimed, placed: Placed) -> None:
        order = await lookup.locked(session, claimed.order_id)
        if order.chain_orders:
            return
        recalled = order.status == Status.CANCEL_REQUESTED
        for position, one in enumerate(placed.orders, start=1):
            order.chain_orders.append(_chain_order(order, one, position, alone=len(placed.orders) == 1))
        order.settle_status()
        order.new_names.update(_names(placed.orders, order))
        await lookup.save_names(session, [order])
        order.tell(
            "order.placed",
            "seller",
            chainOrderIds=[chain.chain_order_id for chain in order.chain_orders],
            value=sum(chain.value_cents for chain in order.chain_orders),
            verified=claimed.course.verifying,
        )
        await attention.settle(session, order, "service", RETRIES_USED_UP)
        _ask_about_items(order, placed)
        await session.flush()
        await self._owe_what_waited(session, order, recalled)
        await reads.watch(session, order.id, claimed.lane, self._plan)
        await recheck(session, order.id)

    @staticmethod
    async def _owe_what_waited(session: AsyncSession, order: Order, recalled: bool) -> None:
        """What was asked for before the order was placed: to cancel it, or else to authorize it."""
        seller = await session.get_one(Seller, order.seller_id)
        if recalled:
            for chain in order.chain_orders:
                cancelling.owe(order, chain, seller, order.cancellation_reason or "", "service")
            order.settle_status()
        elif order.receipt is not None:
            authorizing.owe(order, seller, order.chain_orders)


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


def _checked(placed: list[SellerOrder]) -> list[SellerOrder]:
    """An order without items beside others is VTEX's broken split: it is dropped. Incomplete ones are not placed."""
    if any(one.is_completed is False for one in placed):
        raise Unreadable("an order in the answer is incomplete")
    with_items = [one for one in placed if one.items]
    return with_items if with_items and len(placed) > 1 else placed


def _is_ours(found: SellerOrder, order: Order, endpoint: str) -> bool:
    """The random callback base proves it; where VTEX does not show it, affiliate and group are compared."""
    shown = found.marketplace_services_endpoint
    if shown is not None:
        return shown.rstrip("/").lower() == endpoint
    return (found.affiliate_id or order.affiliate_id) == order.affiliate_id and order.order_group in found.order_id


def _items(found: Sequence[SellerOrder]) -> list[dict[str, Any]]:
    return [{"id": item.id, "quantity": item.quantity} for one in found for item in one.items]


def _quantities(items: Sequence[dict[str, Any]]) -> Counter[str]:
    units: Counter[str] = Counter()
    for item in items:
        units[str(item["id"])] += int(item["quantity"])
    return units


def _difference(wanted: Counter[str], there: Counter[str]) -> str:
    skus = sorted(sku for sku in {*wanted, *there} if wanted[sku] != there[sku])
    return "quantities differ for SKU " + ", ".join(skus[:5])


def _ask_about_items(order: Order, placed: Placed) -> None:
    """The order exists; what it holds is not what was sold. A person must look."""
    wanted, there = _quantities(order.items), _quantities(_items(placed.orders))
    if placed.partial:
        order.ask_attention(
            "split-incomplete", f"the seller shows a part of the order only: {_difference(wanted, there)}"
        )
    elif there and wanted != there:
        order.ask_attention("items-differ", f"the seller's answer lists other items: {_difference(wanted, there)}")


def _chain_order(order: Order, one: SellerOrder, position: int, *, alone: bool) -> ChainOrder:
    items = [item.model_dump(include={"id", "quantity", "seller", "price"}) for item in one.items]
    if alone and not items:
        items = list(order.items)
    value = one.value if one.value is not None else sum((i["price"] or 0) * i["quantity"] for i in items)
    if one.value is None and alone:
        value = order.total_cents
    return ChainOrder(
        position=position,
        chain_order_id=one.order_id,
        seller_order_id=one.seller_order_id,
        seller_order_group=one.order_group,
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
