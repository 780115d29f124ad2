"""Finding orders and chain orders by the many names they go by.

`locked` loads an order with what an act needs, its row locked; the rest is pure: which chain order of an order a
seller means by an id.
"""

from __future__ import annotations

import re
import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from ..errors import Sentence, Unknown
from .models import ChainOrder, Order, OrderName

_SUFFIX = re.compile(r"-\d{2}$", re.ASCII)
_PREFIX = re.compile(r"^[A-Z0-9]{2,3}-", re.ASCII)

KINDS = ("chain-order", "marketplace-order", "seller-order", "order-group", "seller-order-group")
"""The kinds of names by which a seller may call an order, the most telling first."""

WHOLE = selectinload(Order.chain_orders).options(selectinload(ChainOrder.invoices), selectinload(ChainOrder.changes))


async def locked(session: AsyncSession, order_id: uuid.UUID) -> Order:
    """The order with its chain orders and invoices, its row locked until the commit. Raises Unknown."""
    return (await all_locked(session, [order_id]))[order_id]


async def all_locked(session: AsyncSession, order_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, Order]:
    """The orders as `locked` loads one, by id; locked in the order of their ids. Raises Unknown."""
    wanted = set(order_ids)
    found = await session.scalars(
        select(Order)
        .where(Order.id.in_(wanted))
        .options(WHOLE)
        .order_by(Order.id)
        .with_for_update(of=Order, key_share=True)
        .execution_options(populate_existing=True)
    )
    orders = {order.id: order for order in found}
    for missing in wanted - orders.keys():
        raise unknown(missing)
    return orders


async def lock_free(session: AsyncSession, order_ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
    """Lock those of the orders that nobody holds; says which."""
    return set(await session.scalars(_LOCK_FREE, {"orders": list(order_ids)})) if order_ids else set()


_LOCK_FREE = text(
    """
    select id from orders where id = any(cast(:orders as uuid[])) order by id for no key update skip locked
    """
)


async def loaded(session: AsyncSession, order_id: uuid.UUID) -> Order:
    """The order with its chain orders and invoices, to be read. Raises Unknown."""
    order = await session.scalar(select(Order).where(Order.id == order_id).options(WHOLE))
    if order is None:
        raise unknown(order_id)
    return order


def unknown(order_id: object) -> Unknown:
    return Unknown("order-unknown", Sentence("there is no order {id}", id=order_id))


async def owners(session: AsyncSession, chain_order_ids: Iterable[str]) -> defaultdict[tuple[str, str], set[uuid.UUID]]:
    """Whose these chain orders are, by seller and by their ids in small letters. Served by order_names_value_idx."""
    ids = sorted({id_.lower() for id_ in chain_order_ids})
    found: defaultdict[tuple[str, str], set[uuid.UUID]] = defaultdict(set)
    for row in await session.execute(_OWNERS, {"ids": ids}) if ids else []:
        found[row.seller_id, row.id].add(row.order_id)
    return found


_OWNERS = text(
    """
    select o.seller_id, lower(n.value) as id, n.order_id
      from order_names n join orders o on o.id = n.order_id
     where lower(n.value) = any(cast(:ids as text[])) and n.kind = 'chain-order'
    """
)


async def orders_meant(session: AsyncSession, forms: Sequence[str], seller_id: str | None = None) -> set[uuid.UUID]:
    """The orders that go by the first of these forms by which any goes, and by it as the most telling kind of name.

    Letter case is ignored; of one seller where it is named. Served by order_names_value_idx.
    """
    rank = {form.lower(): nth for nth, form in reversed(list(enumerate(forms)))}
    query = select(func.lower(OrderName.value), OrderName.kind, OrderName.order_id).where(
        func.lower(OrderName.value).in_(rank), OrderName.kind.in_(KINDS)
    )
    if seller_id is not None:
        query = query.join(Order, Order.id == OrderName.order_id).where(Order.seller_id == seller_id)
    found: dict[tuple[int, int], set[uuid.UUID]] = defaultdict(set)
    for value, kind, order_id in await session.execute(query.limit(1000)):
        found[rank[value], KINDS.index(kind)].add(order_id)
    return found[min(found)] if found else set()


async def save_names(session: AsyncSession, orders: Iterable[Order]) -> None:
    """Make the orders findable by the names they gained. A name that is known stays."""
    names = sorted((order.id, *name) for order in orders for name in order.new_names)
    if names:
        ids, kinds, values = zip(*names, strict=True)
        await session.execute(_SAVE_NAMES, {"ids": list(ids), "kinds": list(kinds), "values": list(values)})
    for order in orders:
        order.new_names.clear()


_SAVE_NAMES = text(
    """
    insert into order_names (order_id, kind, value)
    select * from unnest(cast(:ids as uuid[]), cast(:kinds as text[]), cast(:values as text[]))
        on conflict do nothing
    """
)


async def recheck(session: AsyncSession, order_ids: Sequence[uuid.UUID], reason: str | None = None) -> bool:
    """Wake what was parked because these orders were not ready for it: all, or what waits for `reason`. Says whether
    there was any.

    A sweep would find them anyway, later. This try is not counted.
    """
    return bool((await session.execute(_RECHECK, {"orders": list(order_ids), "reason": reason})).all())


_RECHECK = text(
    """
    update notifications set state = 'received', tries = greatest(tries - 1, 0)
     where order_id = any(cast(:orders as uuid[])) and state = 'parked' and reason = coalesce(:reason, reason)
    returning id
    """
)


def spellings(named: str) -> list[str]:
    """The forms in which an id may be known: as given, without a split's `-01`, without an affiliate's `AFF-`, bare."""
    tails = [named, _SUFFIX.sub("", named)]
    forms = [*tails, *(_PREFIX.sub("", tail) for tail in tails)]
    return list(dict.fromkeys(form for form in forms if form))


def belongs(order: Order, named: str) -> bool:
    """Whether an id in a callback's path can be tied to this order, once that has chain orders."""
    return bool(_called(order, named))


def meant(order: Order, names: Sequence[str | None], skus: Iterable[str] = ()) -> list[ChainOrder]:
    """The chain orders of `order` that `names` (most telling first) mean; by SKUs where names leave several.

    One: that is it. Several: ambiguous; a group means all of its chain orders. None: a name with the `-01` of a chain
    order is no name of any here, so that it speaks of another one. A name that is merely unknown says nothing.
    """
    left = list(order.chain_orders)
    for named in filter(None, names):
        called = _called(order, named)
        if not called and _SUFFIX.search(named):
            return []
        if called and len(called) < len(left):
            left = called
            break
    wanted = set(skus)
    by_items = [chain for chain in left if wanted and wanted <= {str(item["id"]) for item in chain.items}]
    return by_items if len(by_items) == 1 else left


def _called(order: Order, named: str) -> list[ChainOrder]:
    """The chain orders that go by this name, with or without an affiliate before it; all of a group by the group's."""
    for form in (named.lower(), _PREFIX.sub("", named).lower()):
        for names in (_names, _groups):
            chains = [chain for chain in order.chain_orders if form in names(order, chain)]
            if chains:
                return chains
    return []


def _names(order: Order, chain: ChainOrder) -> set[str]:
    """What one chain order alone goes by: its ids, and its number behind its groups and behind ids that have none."""
    groups, alias = _groups(order, chain), _forms(chain.marketplace_order_id)
    own = _forms(chain.chain_order_id) | _forms(chain.seller_order_id)
    if not alias & groups:  # it is often the group's name, and may be shown of one only
        own |= alias
    suffix = _SUFFIX.search(chain.chain_order_id)
    number = suffix.group() if suffix else f"-{chain.position:02d}"
    whole = {name for name in own if not _SUFFIX.search(name)} | groups
    return own | {f"{name}{number}" for name in whole}


def _forms(name: str | None) -> set[str]:
    """An id as it is compared, with and without an affiliate before it."""
    return {name.lower(), _PREFIX.sub("", name).lower()} if name else set()


def _groups(order: Order, chain: ChainOrder) -> set[str]:
    """What all chain orders of a group go by."""
    return {name.lower() for name in (order.order_group, chain.seller_order_group) if name}
