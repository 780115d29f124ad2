"""The receipt of an authorization, and the items that go with it: stored once, resent, never changed.

Of an order with several chain orders the items may be given for each by itself.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ..errors import Conflict, Fault, Invalid
from ..vtex.faults import told
from ..vtex.values import moment
from .models import Order
from .states import Status


@dataclass(frozen=True, slots=True)
class GivenReceipt:
    """What the operator gave; the service mints what is missing. `items` replaces the order's own in the call."""

    date: str | None = None
    receipt: str | None = None
    items: list[dict[str, Any]] | None = None


def give_receipt(order: Order, given: GivenReceipt, actor: str, minted_at: datetime | None = None) -> None:
    """Store the receipt, once. Raises Conflict when another one, or other items, are stored; Invalid for a date that
    is none: it could never be corrected."""
    if order.receipt is not None:
        if (given.receipt not in {None, order.receipt}) or (given.date not in {None, order.receipt_date}):
            detail = "another authorization receipt is stored; a receipt is resent, never changed"
            raise Conflict(
                "receipt-differs", detail, faults=[Fault("/authorizationReceipt", "receipt-differs", detail)]
            )
        if given.items is not None:
            _give_items(order, given.items)
        return
    _check_date(given.date)
    order.receipt_date = given.date or (minted_at or datetime.now(UTC)).isoformat(timespec="milliseconds")
    order.receipt = given.receipt or secrets.token_hex(16)
    order.authorization_items = given.items
    order.touch()
    order.tell("order.authorization-given", actor, receipt=order.receipt, date=order.receipt_date)


def _give_items(order: Order, given: list[dict[str, Any]]) -> None:
    """Keep the items of a chain order of which nothing was sent beside those of others. Raises Conflict for other ones
    than were given or sent."""
    stored, several = order.authorization_items or [], len(order.chain_orders) > 1
    own = [item for item in order.items if not several or str(item["id"]) not in skus_of(stored)]
    known = Counter(_listed([*stored, *own] if several else stored or own))
    if Counter(_listed(given)) == known or (several and not Counter(_listed(given)) - known):
        return
    sent = {sku for chain in order.chain_orders if chain.status != Status.PLACED for sku in skus_of(chain.items)}
    if not several or skus_of(given) & (skus_of(stored) | sent):
        wrong = "other items go with the authorization receipt; what was sent is resent, never changed"
        fault = Fault("/items", "authorization-items-differ", wrong)
        raise Conflict("authorization-items-differ", wrong, faults=[fault])
    order.authorization_items = [*stored, *given]


def skus_of(items: Iterable[Mapping[str, Any]]) -> set[str]:
    return {str(item["id"]) for item in items}


def _listed(items: Iterable[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Items as they are compared."""
    return [tuple(str(item.get(name)) for name in ("id", "quantity", "seller", "price")) for item in items]


def _check_date(date: str | None) -> None:
    if date is None:
        return
    try:
        moment(date)
    except ValueError as wrong:
        fault = Fault("/authorizationReceipt/date", "malformed", "must be an ISO 8601 date or date and time")
        raise Invalid(fault.code, told([fault]), faults=[fault]) from wrong
