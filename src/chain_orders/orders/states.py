"""The states of an order and of a chain order, and every move between them. Standard library only.

The two tables are the whole truth: the database's checks, the documentation's page and the tests are made from
them. An order shows what `aggregate` says of its chain orders, once it has any.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class Status(StrEnum):
    ACCEPTED = "accepted"
    PLACING = "placing"
    PLACEMENT_UNKNOWN = "placement-unknown"
    REJECTED = "rejected"
    PLACED = "placed"
    AUTHORIZING = "authorizing"
    AUTHORIZED = "authorized"
    PARTIALLY_INVOICED = "partially-invoiced"
    INVOICED = "invoiced"
    CANCEL_REQUESTED = "cancel-requested"
    CANCELLED = "cancelled"


class Turn(StrEnum):
    """Who has to act next."""

    US = "us"
    SELLER = "seller"
    OPERATOR = "operator"
    NOBODY = "nobody"


RANK = (Status.PLACED, Status.AUTHORIZING, Status.AUTHORIZED, Status.PARTIALLY_INVOICED, Status.INVOICED)
"""A chain order's way forward, least advanced first."""

FINAL = frozenset({Status.INVOICED, Status.CANCELLED, Status.REJECTED})
"""Nothing more is expected of such an order. It can still be told something, or moved by an operator."""

_FORWARD = {
    before: frozenset(RANK[at + 1 :]) | {Status.CANCEL_REQUESTED, Status.CANCELLED} for at, before in enumerate(RANK)
}

CHAIN_MOVES: dict[Status, frozenset[Status]] = {
    **_FORWARD,
    # Refused at the seller: the receipt is kept, a person is told.
    Status.AUTHORIZING: _FORWARD[Status.AUTHORIZING] | {Status.PLACED},
    # A full invoice closes the way to a cancellation, save by an operator's resolution.
    Status.INVOICED: frozenset({Status.CANCELLED}),
    # Denied, it goes back to where it came from, or to where an invoice has taken it meanwhile.
    Status.CANCEL_REQUESTED: frozenset({*RANK, Status.CANCELLED}),
    Status.CANCELLED: frozenset({Status.INVOICED}),
}
"""Every allowed move of a chain order. Those between invoiced and cancelled are an operator's alone."""

ONLY_BY_RESOLUTION = frozenset({(Status.INVOICED, Status.CANCELLED), (Status.CANCELLED, Status.INVOICED)})

RESOLVED_TO = {"cancelled": Status.CANCELLED, "invoiced": Status.INVOICED}
"""What an operator may decide that a chain order is."""

ORDER_MOVES: dict[Status, frozenset[Status]] = {
    Status.ACCEPTED: frozenset(
        {Status.PLACING, Status.PLACED, Status.PLACEMENT_UNKNOWN, Status.REJECTED, Status.CANCELLED}
    ),
    Status.PLACING: frozenset(
        {
            Status.PLACED,
            Status.PLACEMENT_UNKNOWN,
            Status.REJECTED,
            Status.CANCELLED,
            Status.CANCEL_REQUESTED,
        }
    ),
    Status.PLACEMENT_UNKNOWN: frozenset(
        {Status.PLACED, Status.PLACING, Status.REJECTED, Status.CANCELLED, Status.CANCEL_REQUESTED}
    ),
    # Nobody knows whether it was placed: what the seller shows decides, or that it was never sent.
    Status.CANCEL_REQUESTED: frozenset({Status.CANCELLED, Status.PLACED}),
    Status.REJECTED: frozenset({Status.ACCEPTED}),
}
"""Moves of an order that has no chain orders yet. Afterwards `aggregate` decides."""


class NotAllowed(Exception):
    """The table has no such move."""


def check_chain_move(before: Status, after: Status, *, resolution: bool = False) -> None:
    """Raise NotAllowed unless a chain order may go from `before` to `after`."""
    forbidden = (before, after) in ONLY_BY_RESOLUTION and not resolution
    if after not in CHAIN_MOVES.get(before, frozenset()) or forbidden:
        raise NotAllowed(f"a chain order does not go from {before} to {after}")


def check_order_move(before: Status, after: Status) -> None:
    """Raise NotAllowed unless an order without chain orders may go from `before` to `after`."""
    if after not in ORDER_MOVES.get(before, frozenset()):
        raise NotAllowed(f"an order does not go from {before} to {after}")


def aggregate(chain_orders: Iterable[Status]) -> Status:
    """What an order shows: the least advanced of its chain orders that is not cancelled. Needs at least one."""
    every = list(chain_orders)
    living = [status for status in every if status is not Status.CANCELLED]
    if not living:
        return Status.CANCELLED
    if Status.CANCEL_REQUESTED in living:
        return Status.CANCEL_REQUESTED
    return min(living, key=RANK.index)


def turn(status: Status, *, attention: bool, has_receipt: bool) -> Turn:
    """Whose turn it is."""
    if attention or status is Status.REJECTED or (status is Status.PLACED and not has_receipt):
        return Turn.OPERATOR
    if status in {Status.INVOICED, Status.CANCELLED}:
        return Turn.NOBODY
    if status in {Status.ACCEPTED, Status.PLACING, Status.PLACEMENT_UNKNOWN, Status.AUTHORIZING, Status.PLACED}:
        return Turn.US
    return Turn.SELLER


def after_invoice(invoiced_cents: int, value_cents: int) -> Status:
    """Where Output invoices that add up to `invoiced_cents` lead a chain order of `value_cents`."""
    return Status.INVOICED if invoiced_cents >= value_cents else Status.PARTIALLY_INVOICED
