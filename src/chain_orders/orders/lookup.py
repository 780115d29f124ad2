"""Finding orders and chain orders by the many names they go by.

`locked` loads an order with what an act needs, its row locked; the rest is pure: which chain order of an order a
seller means by an id.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Sequence

from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from ..errors import Unknown
from .models import ChainOrder, Order, OrderName

_SUFFIX = re.compile(r"-\d{2}$", re.ASCII)
_PREFIX = re.compile(r"^[A-Z0-9]{2,3}-", re.ASCII)

KINDS = ("order-group", "chain-order", "seller-order", "seller-order-group", "marketplace-order")
"""The kinds of names by which a seller may call an order."""

WHOLE = selectinload(Order.chain_orders).options(selectinload(ChainOrder.invoices), selectinload(ChainOrder.changes))


async def locked(session: AsyncSession, order_id: uuid.UUID) -> Order:
    """The order with its chain orders and invoices, its row locked until the commit. Raises Unknown."""
    order = await session.scalar(
        select(Order)
        .where(Order.id == order_id)
        .options(WHOLE)
        .with_for_update(of=Order, key_share=True)
        .execution_options(populate_existing=True)
    )
    if order is None:
        raise unknown(order_id)
    return order


async def loaded(session: AsyncSession, order_id: uuid.UUID) -> Order:
    """The order with its chain orders and invoices, to be read. Raises Unknown."""
    order = await session.scalar(select(Order).where(Order.id == order_id).options(WHOLE))
    if order is None:
        raise unknown(order_id)
    return order


def unknown(order_id: object) -> Unknown:
    return Unknown("order-unknown", f"there is no order {order_id}")


async def orders_named(
    session: AsyncSession, names: Iterable[str], kinds: Sequence[str], seller_id: str | None = None
) -> set[uuid.UUID]:
    """Every order that one of these names leads to, letter case ignored; of one seller where it is named.

    Served by order_names_value_idx.
    """
    query = select(OrderName.order_id).where(
        func.lower(OrderName.value).in_([name.lower() for name in names]), OrderName.kind.in_(kinds)
    )
    if seller_id is not None:
        query = query.join(Order, Order.id == OrderName.order_id).where(Order.seller_id == seller_id)
    return set(await session.scalars(query.limit(100)))


async def save_names(session: AsyncSession, orders: Iterable[Order]) -> None:
    """Make the orders findable by the names they gained. A name that is known stays."""
    names = sorted((order.id, *name) for order in orders for name in order.new_names)
    if names:
        rows = [{"order_id": order_id, "kind": kind, "value": value} for order_id, kind, value in names]
        await session.execute(insert(OrderName).values(rows).on_conflict_do_nothing())
    for order in orders:
        order.new_names.clear()


async def recheck(session: AsyncSession, order_id: uuid.UUID, reason: str = "not-placed") -> None:
    """Wake what was parked because this order was not ready for it. The sweep would find them anyway."""
    await session.execute(_RECHECK, {"order_id": order_id, "reason": reason})


_RECHECK = text(
    """
    update notifications set state = 'received'
     where order_id = :order_id and state = 'parked' and reason = :reason
    """
)


def spellings(named: str) -> list[str]:
    """The forms in which an id may be known: as given, without a split's `-01`, without an affiliate's `AFF-`, bare."""
    tails = [named, _SUFFIX.sub("", named)]
    forms = [*tails, *(_PREFIX.sub("", tail) for tail in tails)]
    return list(dict.fromkeys(form for form in forms if form))


def belongs(order: Order, named: str) -> bool:
    """Whether an id in a callback's path can be tied to this order."""
    own = {order.order_group, *(name for chain in order.chain_orders for name in _names(chain))}
    known = {name.lower() for name in own if name}
    return any(form.lower() in known for form in spellings(named))


def meant(order: Order, names: Sequence[str | None], skus: Iterable[str] = ()) -> list[ChainOrder]:
    """The chain orders of `order` that `names` (most telling first) mean; by SKUs where names leave several.

    One: that is it. Several: ambiguous. None: the names speak of nothing here. An order's group means all of them.
    """
    for named in filter(None, names):
        exact = [chain for chain in order.chain_orders if named.lower() in {n.lower() for n in _names(chain) if n}]
        if exact:
            return exact
    if len(order.chain_orders) <= 1:
        return list(order.chain_orders)
    wanted = set(skus)
    by_items = [chain for chain in order.chain_orders if wanted and wanted <= {str(item["id"]) for item in chain.items}]
    return by_items if len(by_items) == 1 else list(order.chain_orders)


def _names(chain: ChainOrder) -> tuple[str | None, ...]:
    """The ids of one chain order, also without its affiliate's prefix."""
    return (chain.chain_order_id, chain.seller_order_id, _PREFIX.sub("", chain.chain_order_id))
