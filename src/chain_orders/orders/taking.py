"""Taking an order from the operator: examined, and stored with the delivery that will place it. Nothing is sent here.

Promises: an order and its delivery are stored in one transaction; one group is one order for ever, and the same
document again is the same order.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from ..deliveries.models import Delivery
from ..errors import Conflict, Fault, Invalid, Sentence
from ..sellers.models import Seller
from ..vtex import addresses, codes
from ..vtex.faults import told
from ..vtex.placement import ENDPOINT, Examined, Warning_, canonical, compose, examine
from . import authorizing, lookup
from .models import Order, PlacementRevision
from .placing import Bases
from .receipts import GivenReceipt, give_receipt
from .states import Status


@dataclass(frozen=True, slots=True)
class Taken:
    """An order that is ours to place. `created` is False for a repeat of an earlier one."""

    order_id: uuid.UUID
    created: bool


async def take(
    session: AsyncSession,
    seller: Seller,
    document: dict[str, Any],
    receipt: GivenReceipt | None,
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
    order.new_names.update({("id", str(order.id)), ("order-group", order.order_group), *_skus(examined)})
    await lookup.save_names(session, [order])
    if receipt is not None:
        give_receipt(order, receipt, actor)
    owe_placement(order, seller)
    return Taken(order_id, created=True)


def _skus(examined: Examined) -> set[tuple[str, str]]:
    return {("sku", str(item["id"])) for item in examined.items}


def _examined(seller: Seller, document: Any) -> tuple[Examined, list[Warning_]]:
    examined = examine(document)
    warnings = list(examined.warnings)
    refusals = list(examined.refusals)
    if refusals:
        wrong = Sentence("the order cannot be sent as it is: {wrong}", wrong=told(refusals))
        raise Invalid(refusals[0].code, wrong, faults=refusals)
    differ = next((warning for warning in warnings if warning.code == "amounts-differ"), None)
    if seller.strict_amounts and differ is not None:
        raise Invalid("amounts-differ", differ.detail, faults=[Fault(differ.pointer, differ.code, differ.detail)])
    if document.get(ENDPOINT):
        replaced = f"{ENDPOINT} was replaced: each order gets a callback address of its own"
        warnings.append(Warning_("endpoint-replaced", replaced, f"/{ENDPOINT}"))
    return examined, warnings


async def _repeated(
    session: AsyncSession,
    seller: Seller,
    group: str,
    digest: bytes,
    receipt: GivenReceipt | None,
    actor: str,
) -> Taken:
    """The group is known: the same document is the same order, another one is a contradiction."""
    found = await session.scalar(
        select(Order.id).where(
            Order.seller_id == seller.id, Order.affiliate_id == seller.affiliate_id, Order.order_group == group
        )
    )
    if found is None:  # committed meanwhile and not yet visible to us: let the caller repeat
        raise Conflict("order-group-busy", Sentence("the order group {group} is being placed right now", group=group))
    order = await lookup.locked(session, found)
    if order.placement_digest != digest:
        raise Conflict(
            "order-group-taken",
            Sentence(
                "the order group {group} belongs to an order with another body; groups are never reused", group=group
            ),
            faults=[Fault("/marketplaceOrderGroup", "order-group-taken", "belongs to an order with another body")],
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
    session: AsyncSession,
    order: Order,
    seller: Seller,
    document: dict[str, Any],
    receipt: GivenReceipt | None,
    bases: Bases,
    actor: str,
) -> None:
    """Give a refused order a corrected body under the same group; the earlier body is kept as a revision.

    `order` is locked. Call it after a read that found nothing at the seller. Raises Conflict unless the order is
    rejected and its id can still be used, and for another receipt than a stored one; Invalid for a document that
    breaks a rule or names another group.
    """
    if order.status != Status.REJECTED:
        raise not_rejected(order)
    if order.sealed_at is not None:
        raise Conflict("order-sealed", "the order's personal data was erased; place it under a new group")
    if await _is_burnt(session, order):
        raise Conflict("order-group-burnt", "the seller will never accept this order group again; use a new one")
    examined, warnings = _examined(seller, document)
    if examined.order_group != order.order_group:
        raise authorizing.other_group(Sentence("must stay {group}", group=order.order_group))
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
    if order.items != list(examined.items):
        order.authorization_items = None  # they were given for the earlier body
    order.items, order.total_cents = list(examined.items), examined.total_cents
    order.warnings = [warning.as_dict() for warning in warnings]
    order.attention_code = order.attention_reason = order.attention_since = None
    order.move(Status.ACCEPTED)
    order.new_names.update(_skus(examined))
    await lookup.save_names(session, [order])
    order.tell("order.corrected", actor, total=examined.total_cents)
    if receipt is not None:
        give_receipt(order, receipt, actor)
    owe_placement(order, seller)


def not_rejected(order: Order) -> Conflict:
    """What to raise for a correction of an order that is not rejected."""
    told = Sentence("only a rejected order can be corrected; this one is {status}", status=order.status)
    return Conflict("order-not-rejected", told)


async def _is_burnt(session: AsyncSession, order: Order) -> bool:
    """Whether the seller refused the last body in words that no other body will change, whoever has seen to that."""
    placements = select(Delivery.last_code).where(Delivery.order_id == order.id, Delivery.kind == "place")
    refused = codes.lookup(await session.scalar(placements.order_by(Delivery.id.desc()).limit(1)) or "")
    return refused is not None and refused.class_ == "burnt"
