"""Authorizing an order: the marketplace's word that payment is approved, minted once and resent byte for byte.

One POST goes to each chain order. Given before the order is placed, the receipt waits with the order and is sent as
soon as there are chain orders to send it to.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ..database import Database, read_clock
from ..deliveries.models import Delivery
from ..deliveries.queue import Claimed
from ..deliveries.retry import RETRIES_USED_UP, Dead, Delivered, Rejected, Verdict, Verify
from ..deliveries.worker import Attempted
from ..errors import Conflict, Invalid, Unknown
from ..outbound import Wire
from ..outcome import Absent, Again, Answered, Conflicting, Outcome
from ..sellers.directory import client_of
from ..sellers.models import Seller
from ..sellers.vault import Vault
from ..vtex import addresses, answers
from ..vtex.messages import authorization, read_order
from . import attention, lookup
from .models import ChainOrder, Order
from .states import Status


@dataclass(frozen=True, slots=True)
class GivenReceipt:
    """What the operator gave; the service mints what is missing. `items` replaces the order's own in the call."""

    date: str | None = None
    receipt: str | None = None
    items: list[dict[str, Any]] | None = None


def give_receipt(order: Order, given: GivenReceipt, actor: str, minted_at: datetime | None = None) -> None:
    """Store the receipt, once. Raises Conflict when another one is stored."""
    if order.receipt is not None:
        differs = (given.receipt not in {None, order.receipt}) or (given.date not in {None, order.receipt_date})
        if differs or (given.items is not None and given.items != order.authorization_items):
            raise Conflict(
                "receipt-differs", "another authorization receipt is stored; a receipt is resent, never changed"
            )
        return
    order.receipt_date = given.date or (minted_at or datetime.now(UTC)).isoformat(timespec="milliseconds")
    order.receipt = given.receipt or secrets.token_hex(16)
    order.authorization_items = given.items
    order.touch()
    order.tell("order.authorization-given", actor, receipt=order.receipt, date=order.receipt_date)


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
    if Status(order.status) in {Status.REJECTED, Status.CANCELLED, Status.CANCEL_REQUESTED}:
        raise Conflict(f"order-{order.status}", f"an order that is {order.status} cannot be authorized")
    chosen = [c for c in order.chain_orders if chain_order_id in {None, c.chain_order_id}]
    if chain_order_id is not None and not chosen:
        raise Unknown("chain-order-unknown", f"the order has no chain order {chain_order_id}")
    give_receipt(order, given, actor, await read_clock(session))
    owe(order, seller, chosen)
    await session.flush()


def owe(order: Order, seller: Seller, chain_orders: Iterable[ChainOrder]) -> None:
    """Queue the authorization of every chain order that waits for it."""
    for chain in chain_orders:
        if chain.status != Status.PLACED:
            continue
        chain.move(Status.AUTHORIZING)
        order.deliveries.add(
            Delivery(
                lane=seller.lane,
                sequence=chain.sequence,
                kind="authorize",
                chain_order_key=chain.key,
                method="POST",
                target=addresses.authorization(chain.chain_order_id),
                body=_body(order, chain, seller),
            )
        )
    order.settle_status()


def _body(order: Order, chain: ChainOrder, seller: Seller) -> bytes:
    items: list[dict[str, Any]] | None = None
    if not seller.omit_authorization_items:
        items = order.authorization_items or [
            {"id": i["id"], "quantity": i["quantity"], "seller": i.get("seller"), "price": i.get("price")}
            for i in _priced(order, chain)
        ]
    group = chain.chain_order_id if seller.authorization_group == "chainOrderId" else order.order_group
    return authorization(group, order.receipt_date or "", order.receipt or "", items)


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
        raise Invalid("order-group-differs", f"marketplaceOrderGroup must be {order.order_group}")


class Authorize:
    """The handler of `authorize` deliveries."""

    def __init__(self, database: Database, wire: Wire, vault: Vault) -> None:
        self._database, self._wire, self._vault = database, wire, vault

    async def prepare(self, session: AsyncSession, claimed: Sequence[Claimed]) -> Sequence[Claimed]:
        return claimed

    async def send(self, claimed: Claimed, seller: Seller, in_time: Callable[[], bool]) -> Attempted:
        client = client_of(seller, self._wire, self._vault)
        exchange = await client.send(claimed.method, claimed.target, claimed.body or b"", in_time)
        if exchange.status == 404:  # VTEX may need a while before it shows a new order everywhere
            return Attempted(Again("the seller does not know the chain order yet"), exchange)
        return Attempted(answers.read(exchange) or Answered(), exchange)

    async def verify(self, claimed: Claimed, seller: Seller) -> Attempted:
        """Read the chain order: past the authorization means that the receipt has arrived."""
        async with self._database.transaction() as session:
            chain_order_id = await session.scalar(
                select(ChainOrder.chain_order_id).where(ChainOrder.key == claimed.chain_order_key)
            )
        exchange = await client_of(seller, self._wire, self._vault).read_order(chain_order_id or "")
        found = answers.found(exchange, read_order)
        if isinstance(found, answers.Unread):
            return Attempted(found, exchange)
        if found is None:
            return Attempted(Absent("the seller does not show the chain order"), exchange)
        if found.cancelled:
            return Attempted(Conflicting("the seller cancelled the chain order", "cancelled-at-seller"), exchange)
        outcome: Outcome = Answered() if found.authorized else Absent("the seller still waits for the authorization")
        return Attempted(outcome, exchange)

    async def record(self, session: AsyncSession, claimed: Claimed, outcome: Outcome, verdict: Verdict) -> None:
        match verdict:
            case Delivered() | Rejected() | Dead():
                order = await lookup.locked(session, claimed.order_id)
                chain = next(c for c in order.chain_orders if c.key == claimed.chain_order_key)
                if isinstance(verdict, Delivered):
                    await attention.settle(session, order, "service", RETRIES_USED_UP)
                self._apply(order, chain, verdict)
                order.settle_status()
            case Verify(fresh=True, reason=reason):
                order = await lookup.locked(session, claimed.order_id)
                order.tell("order.authorization-unknown", "service", reason=reason)
            case _:
                pass

    async def unclear(self, session: AsyncSession, order_ids: Sequence[uuid.UUID]) -> None:
        """Nothing is shown differently: the chain order stays authorizing until the seller has been read."""

    @staticmethod
    def _apply(order: Order, chain: ChainOrder, verdict: Delivered | Rejected | Dead) -> None:
        if isinstance(verdict, Delivered):
            if chain.advance(Status.AUTHORIZED):
                order.tell("chain-order.authorized", "seller", chain_order=chain)
            return
        waits = Status.AUTHORIZING in {chain.status, chain.status_before_request}
        if waits and isinstance(verdict, Rejected):
            chain.fall_back()
            order.tell("chain-order.authorization-refused", "seller", chain_order=chain, code=verdict.code)
            order.ask_attention("authorization-refused", verdict.reason)
        elif isinstance(verdict, Dead):
            order.ask_attention(verdict.code, verdict.reason)
