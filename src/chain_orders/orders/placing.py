"""Placing an order: taking it from the operator, sending the PUT, and reading whether it arrived.

Promises: an order and the delivery that places it are stored in one transaction; the bytes that are sent are the
bytes that were stored; after an unclear outcome the seller is read, and what is found is adopted only if it is
provably ours and says the same.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from ..capability import Keyring
from ..database import Database
from ..deliveries.models import Delivery
from ..deliveries.queue import Claimed
from ..deliveries.retry import Dead, Delivered, Rejected, Verdict, Verify
from ..deliveries.worker import Attempted
from ..errors import Conflict, Invalid
from ..outbound import Wire
from ..outcome import Absent, Again, Ambiguous, Answered, Conflicting, Outcome
from ..sellers.directory import client_of
from ..sellers.models import Seller
from ..sellers.vault import Vault
from ..vtex import addresses, answers
from ..vtex.messages import SellerOrder, Unreadable, read_group, read_placed
from ..vtex.messages import read_order as read_seller_order
from ..vtex.placement import ENDPOINT, Examined, Warning_, canonical, compose, examine
from . import authorizing, lookup
from .lookup import recheck
from .models import ChainOrder, Order, PlacementRevision
from .states import Status


@dataclass(frozen=True, slots=True)
class Taken:
    """An order that is ours to place. `created` is False for a repeat of an earlier one."""

    order_id: uuid.UUID
    created: bool


@dataclass(frozen=True, slots=True)
class Bases:
    """Where callbacks are answered."""

    public_url: str
    keyring: Keyring

    def of(self, seller: Seller, kid: str, ref: str) -> str:
        return self.keyring.base((seller.callback_base or self.public_url).rstrip("/"), kid, ref)


async def take(
    session: AsyncSession,
    seller: Seller,
    document: dict[str, Any],
    receipt: authorizing.GivenReceipt | None,
    bases: Bases,
    actor: str,
) -> Taken:
    """Store an order and the delivery that will place it. Nothing is sent here.

    Raises Invalid for a document that breaks a rule, Conflict when the group is taken by another document or the
    receipt contradicts the stored one.
    """
    examined, warnings = _examined(seller, document)
    digest = sha256(canonical(document)).digest()
    kid, ref, order_id = bases.keyring.minting, bases.keyring.new_ref(), uuid7()
    body = compose(document, bases.of(seller, kid, ref))
    inserted = await session.scalar(
        insert(Order)
        .values(
            id=order_id,
            seller_id=seller.id,
            affiliate_id=seller.affiliate_id,
            sales_channel=seller.sales_channel,
            order_group=examined.order_group,
            ref=ref,
            kid=kid,
            warnings=[warning.as_dict() for warning in warnings],
            items=list(examined.items),
            total_cents=examined.total_cents,
            placement_body=body,
            placement_digest=digest,
        )
        .on_conflict_do_nothing(index_elements=["seller_id", "affiliate_id", "order_group"])
        .returning(Order.id)
    )
    if inserted is None:
        return await _repeated(session, seller, examined.order_group, digest, receipt, actor)
    order = await lookup.locked(session, order_id)
    order.tell("order.accepted", actor, total=examined.total_cents, warnings=[w.code for w in warnings])
    order.new_names.update({("id", str(order.id)), ("order-group", order.order_group)})
    await lookup.save_names(session, [order])
    if receipt is not None:
        authorizing.give_receipt(order, receipt, actor)
    owe_placement(order, seller)
    return Taken(order_id, created=True)


def _examined(seller: Seller, document: Any) -> tuple[Examined, list[Warning_]]:
    examined = examine(document)
    warnings = list(examined.warnings)
    refusals = list(examined.refusals)
    if refusals:
        raise Invalid(refusals[0].code, "the order cannot be sent as it is", faults=refusals)
    if seller.strict_amounts and any(warning.code == "amounts-differ" for warning in warnings):
        detail = next(warning.detail for warning in warnings if warning.code == "amounts-differ")
        raise Invalid("amounts-differ", detail)
    if document.get(ENDPOINT):
        warnings.append(
            Warning_("endpoint-replaced", f"{ENDPOINT} was replaced: each order gets a callback address of its own")
        )
    return examined, warnings


async def _repeated(
    session: AsyncSession,
    seller: Seller,
    group: str,
    digest: bytes,
    receipt: authorizing.GivenReceipt | None,
    actor: str,
) -> Taken:
    """The group is known: the same document is the same order, another one is a contradiction."""
    found = await session.scalar(
        select(Order.id).where(
            Order.seller_id == seller.id, Order.affiliate_id == seller.affiliate_id, Order.order_group == group
        )
    )
    if found is None:  # committed meanwhile and not yet visible to us: let the caller repeat
        raise Conflict("order-group-busy", f"the order group {group} is being placed right now")
    order = await lookup.locked(session, found)
    if order.placement_digest != digest:
        raise Conflict(
            "order-group-taken",
            f"the order group {group} belongs to an order with another body; groups are never reused",
            extra={"orderId": str(order.id)},
        )
    if receipt is not None:
        await authorizing.authorize(session, order, seller, receipt, actor)
    return Taken(order.id, created=False)


def owe_placement(order: Order, seller: Seller) -> None:
    """Queue the PUT, with path and query as they are now: every resend uses the same."""
    query = addresses.placement_query(order.sales_channel, order.affiliate_id)
    order.deliveries.add(
        Delivery(
            lane=seller.lane,
            sequence=f"order:{order.id}",
            kind="place",
            method="PUT",
            target=f"{addresses.ORDERS}?{query}",
        )
    )


async def correct(
    session: AsyncSession, order: Order, seller: Seller, document: dict[str, Any], bases: Bases, actor: str
) -> None:
    """Give a refused order a corrected body under the same group; the earlier body is kept as a revision.

    `order` is locked. Call it after a read that found nothing at the seller. Raises Conflict unless the order is
    rejected and its id can still be used, Invalid for a document that breaks a rule or names another group.
    """
    if order.status != Status.REJECTED:
        raise Conflict("order-not-rejected", f"only a rejected order can be corrected; this one is {order.status}")
    if order.attention_code == "order-group-burnt":
        raise Conflict("order-group-burnt", "the seller will never accept this order group again; use a new one")
    examined, warnings = _examined(seller, document)
    if examined.order_group != order.order_group:
        raise Invalid("order-group-differs", f"marketplaceOrderGroup must stay {order.order_group}")
    earlier = (
        await session.execute(select(Order.placement_body, Order.placement_digest).where(Order.id == order.id))
    ).one()
    session.add(
        PlacementRevision(
            order_id=order.id,
            revision=order.version,
            placement_body=earlier.placement_body,
            placement_digest=earlier.placement_digest,
            replaced_by=actor,
        )
    )
    order.placement_body = compose(document, bases.of(seller, order.kid, order.ref))
    order.placement_digest = sha256(canonical(document)).digest()
    order.items, order.total_cents = list(examined.items), examined.total_cents
    order.warnings = [warning.as_dict() for warning in warnings]
    order.attention_code = order.attention_reason = order.attention_since = None
    order.move(Status.ACCEPTED)
    order.tell("order.corrected", actor, total=examined.total_cents)
    owe_placement(order, seller)


@dataclass(frozen=True, slots=True)
class Placed:
    """What the seller made of the PUT. `partial`: some items were still not shown at the end of the window."""

    orders: list[SellerOrder]
    partial: bool = False


class Place:
    """The handler of `place` deliveries."""

    def __init__(self, database: Database, wire: Wire, vault: Vault, bases: Bases, window: timedelta) -> None:
        self._database, self._wire, self._vault, self._bases = database, wire, vault, bases
        self._window = window

    async def prepare(self, session: AsyncSession, claimed: Sequence[Claimed]) -> Sequence[Claimed]:
        ids = [one.order_id for one in claimed]
        rows = await session.execute(select(Order.id, Order.placement_body).where(Order.id.in_(ids)))
        bodies = {row.id: row.placement_body for row in rows}
        await _show(session, ids, Status.PLACING, [Status.ACCEPTED])
        return [one.with_body(bodies[one.order_id] or b"") for one in claimed]

    async def send(self, claimed: Claimed, seller: Seller, in_time: Callable[[], bool]) -> Attempted:
        client = client_of(seller, self._wire, self._vault)
        exchange = await client.send(claimed.method, claimed.target, claimed.body or b"", in_time)
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
        if isinstance(first, Again):
            return Attempted(first, exchange)
        for group in (prefixed, order.order_group):
            exchange = await client.read_group(group)
            listed = answers.found(exchange, read_group)
            if isinstance(listed, Again):
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
                if order.status == Status.REJECTED:
                    return
                order.move(Status.REJECTED)
                order.tell("order.rejected", "seller", code=code, reason=reason)
                if burnt:
                    order.ask_attention("order-group-burnt", f"{reason} A new order group is needed.")
            case Verify(fresh=True, reason=reason):
                order = await lookup.locked(session, claimed.order_id)
                if Status(order.status) in {Status.ACCEPTED, Status.PLACING}:
                    order.move(Status.PLACEMENT_UNKNOWN)
                    order.tell("order.placement-unknown", "service", reason=reason)
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
        _ask_about_items(order, placed)
        await session.flush()
        if order.receipt is not None:
            authorizing.owe(order, await session.get_one(Seller, order.seller_id), order.chain_orders)
        await recheck(session, order.id)


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
