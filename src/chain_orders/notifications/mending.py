"""Where a stored order differs from what it should be, in words, and making it so. Pure: moves an order in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..money import written
from ..orders.models import ChainOrder, Change, Invoice, Order

_FACTS = (
    "value_cents", "courier", "tracking_number", "tracking_url", "url", "key", "issued_at", "delivered_at",
)  # fmt: skip
_CHANGE_FACTS = ("increment_cents", "discount_cents", "state")


def differences(stored: Order, replayed: Order) -> list[str]:
    """Where the two say different things, a line each."""
    found = []
    for is_, should in zip(stored.chain_orders, replayed.chain_orders, strict=True):
        name = is_.chain_order_id
        found += [f"{name}: {line}" for line in _other_facts(is_, should, ("status", "value_cents"))]
        have, want = _by_number(is_), _by_number(should)
        found += [f"{name}: invoice {number} is there and was never told" for _, number in sorted(have - want.keys())]
        found += [f"{name}: invoice {number} is missing" for _, number in sorted(want - have.keys())]
        for key in sorted(have.keys() & want.keys()):
            wrong = [fact for fact in _FACTS if _differ(have[key], want[key], fact)]
            found += [f"{name}: invoice {key[1]} has another {_named(fact)}" for fact in wrong]
        found += _differing_changes(is_, should)
    if stored.status != replayed.status:
        found.append(f"status is {stored.status}, should be {replayed.status}")
    return found


def _differing_changes(is_: ChainOrder, should: ChainOrder) -> list[str]:
    have, want = _by_digest(is_), _by_digest(should)
    found = [f"a change of {have[key].amounts} is there and was never told" for key in sorted(have - want.keys())]
    found += [f"a change of {want[key].amounts} is missing" for key in sorted(want - have.keys())]
    for key in sorted(have.keys() & want.keys()):
        found += [f"a change's {line}" for line in _other_facts(have[key], want[key], _CHANGE_FACTS)]
    return [f"{is_.chain_order_id}: {line}" for line in found]


def _other_facts(is_: ChainOrder | Change, should: ChainOrder | Change, facts: Sequence[str]) -> list[str]:
    """Where the two differ in these columns, with what they hold."""
    both = [(fact, getattr(is_, fact), getattr(should, fact)) for fact in facts]
    return [
        f"{_named(fact)} is {_told(fact, one)}, should be {_told(fact, other)}"
        for fact, one, other in both
        if one != other
    ]


def _named(fact: str) -> str:
    """A column as a person reads it."""
    return fact.removesuffix("_cents").replace("_", " ")


def _told(fact: str, value: Any) -> str:
    return written(value) if fact.endswith("_cents") else str(value)


def _differ(is_: Invoice, should: Invoice, fact: str) -> bool:
    """What a read added to an invoice that was told is no input of its own: it is taken as it stands."""
    if fact != "value_cents" and is_.confirmed_at is not None:
        return False
    return bool(getattr(is_, fact) != getattr(should, fact))


def repair(stored: Order, replayed: Order, found: Sequence[str]) -> list[Invoice | Change]:
    """Make the stored order what it should be, and tell it in its timeline. Returns what must go."""
    leave: list[Invoice | Change] = []
    for is_, should in zip(stored.chain_orders, replayed.chain_orders, strict=True):
        is_.status, is_.status_before_request = should.status, should.status_before_request
        is_.value_cents = should.value_cents
        have, want = _by_number(is_), _by_number(should)
        leave += [one for key, one in have.items() if key not in want]
        is_.invoices = [one for key, one in have.items() if key in want]
        for key, one in want.items():
            if key not in have:
                have[key] = _invoice(one)
                is_.invoices.append(have[key])
            for fact in _FACTS:
                if _differ(have[key], one, fact):
                    setattr(have[key], fact, getattr(one, fact))
        leave += _repair_changes(is_, should)
    stored.settle_status()
    stored.touch()
    stored.tell("order.rebuilt", "service", differences=list(found))
    return leave


def _repair_changes(is_: ChainOrder, should: ChainOrder) -> list[Change]:
    have, want = _by_digest(is_), _by_digest(should)
    is_.changes = [one for key, one in have.items() if key in want]
    for key, one in want.items():
        if key not in have:
            have[key] = Change(request_id=one.request_id, digest=one.digest, receipt=one.receipt)
            is_.changes.append(have[key])
        for fact in _CHANGE_FACTS:
            setattr(have[key], fact, getattr(one, fact))
    return [one for key, one in have.items() if key not in want]


def _by_digest(chain: ChainOrder) -> dict[bytes, Change]:
    return {one.digest: one for one in chain.changes}


def _by_number(chain: ChainOrder) -> dict[tuple[str, str], Invoice]:
    return {(one.type, one.number): one for one in chain.invoices}


def _invoice(one: Invoice) -> Invoice:
    return Invoice(
        type=one.type, number=one.number, items=one.items, receipt=one.receipt, source=one.source, heard=one.heard
    )
