"""Whether what a seller answers, or shows, is the order that was sent. Pure.

What proves an order ours is the random end of its callback base, which nobody else can know; where the seller shows
no base, its names and its items must be ours.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..money import written
from ..outcome import Absent, Again, Answered, Conflicting, Outcome
from ..vtex.messages import SellerOrder, Unreadable
from .models import Order


@dataclass(frozen=True, slots=True)
class Name:
    """What an order is called at the seller."""

    affiliate_id: str
    order_group: str

    def is_of(self, one: SellerOrder) -> bool:
        """Whether one of its ids is exactly this name's: letter case aside, with or without what VTEX adds."""
        group = self.order_group.lower()
        prefixed = f"{self.affiliate_id}-{group}".lower()
        return (
            (one.order_group or "").lower() in {group, prefixed}
            or re.fullmatch(re.escape(prefixed) + r"-\d{2}", one.order_id.lower(), re.ASCII) is not None
            or re.fullmatch(re.escape(group) + r"(-\d{2})?", (one.marketplace_order_id or "").lower(), re.ASCII)
            is not None
        )


@dataclass(frozen=True, slots=True)
class Placed:
    """What the seller made of the PUT. `partial`: some items were still not shown at the end of the window; `empty`:
    the ids of parts without items, VTEX's broken split, which are left out."""

    orders: list[SellerOrder]
    partial: bool = False
    empty: tuple[str, ...] = ()


def answered(listed: Sequence[SellerOrder], name: Name) -> Placed:
    """The orders that the answer to a PUT lists. Raises Unreadable for an answer that cannot be believed."""
    if any(one.is_completed is False for one in listed):
        raise Unreadable("an order in the answer is incomplete")
    if not all(name.is_of(one) for one in listed):
        raise Unreadable("an order in the answer is not named as ours is")
    by_id = {one.order_id: one for one in listed}
    if any(one != by_id[one.order_id] for one in listed):
        raise Unreadable("the answer names one order twice, and differently")
    return _whole(list(by_id.values()))


def shown(
    order: Order, proof: str, found: list[SellerOrder], *, window_over: bool, currency: str | None = None
) -> Outcome:
    """What a read of the seller shows of an order; `proof` is the end of its callback base."""
    if not found:
        return Absent()
    if not all(_is_ours(one, order, proof) for one in found):
        return Conflicting("another order with this group is at the seller; it does not carry our callback address")
    if any(one.is_completed is False for one in found):
        if not window_over:
            return Again("the order at the seller is incomplete so far", answered=True)
        return Conflicting("the order at the seller is incomplete and cannot be advanced", "incomplete-at-seller")
    if len({one.order_id for one in found}) < len(found):
        return Conflicting("the seller shows one order id twice")
    wanted, there = quantities(order.items), quantities(items(found))
    if wanted == there:
        return _of_our_value(order, found, currency)
    if all(there[sku] <= wanted.get(sku, 0) for sku in there):
        if window_over:
            return Answered(Placed(found, partial=True))
        return Again("the seller shows a part of it so far", answered=True)
    return Conflicting(f"the order at the seller is not the one that was sent: {difference(wanted, there)}")


def is_of_others(found: SellerOrder, order: Order, proof: str) -> bool:
    """Whether it is another marketplace's, which may number its orders as we do ours: it names another affiliate, and
    carries another base than ours and no id of ours."""
    affiliate, prefixed = found.affiliate_id or order.affiliate_id, f"{order.affiliate_id}-{order.order_group}"
    return (
        affiliate.lower() != order.affiliate_id.lower()
        and found.marketplace_services_endpoint is not None
        and not found.order_id.lower().startswith(prefixed.lower())
        and not _is_ours(found, order, proof)
    )


def _is_ours(found: SellerOrder, order: Order, proof: str) -> bool:
    base = found.marketplace_services_endpoint
    if base is not None:
        return base.rstrip("/").lower().endswith(proof)
    affiliate = found.affiliate_id or order.affiliate_id
    return affiliate.lower() == order.affiliate_id.lower() and Name(order.affiliate_id, order.order_group).is_of(found)


def _of_our_value(order: Order, found: list[SellerOrder], currency: str | None) -> Outcome:
    """Another value makes what is proven ours no stranger's; a person is told of it when it is placed."""
    value = other_value(order, found)
    if value is not None and any(one.marketplace_services_endpoint is None for one in found):
        return Conflicting(told_value(order, value, currency))
    return Answered(_whole(found))


def _whole(orders: list[SellerOrder]) -> Placed:
    """Without the parts that have no items, if others have some."""
    with_items = [one for one in orders if one.items]
    if not with_items:
        return Placed(orders)
    return Placed(with_items, empty=tuple(one.order_id for one in orders if not one.items))


def told_value(order: Order, value: int, currency: str | None) -> str:
    ours = written(order.total_cents, currency)
    return f"the order at the seller is worth {written(value, currency)}, ours {ours}"


def other_value(order: Order, found: Sequence[SellerOrder]) -> int | None:
    """What the order is worth at the seller, where that is another value than ours; None where it cannot be told."""
    values = [one.value for one in found if one.value is not None]
    adjusted = any(warning["code"] == "amounts-adjusted" for warning in order.warnings)
    if adjusted or len(values) < len(found) or sum(values) == order.total_cents:
        return None
    return sum(values)


def items(found: Sequence[SellerOrder]) -> list[dict[str, Any]]:
    return [{"id": item.id, "quantity": item.quantity} for one in found for item in one.items]


def quantities(items: Sequence[dict[str, Any]]) -> Counter[str]:
    units: Counter[str] = Counter()
    for item in items:
        units[str(item["id"])] += int(item["quantity"])
    return units


def difference(wanted: Counter[str], there: Counter[str]) -> str:
    skus = sorted(sku for sku in {*wanted, *there} if wanted[sku] != there[sku])
    return "quantities differ for SKU " + ", ".join(skus[:5])
