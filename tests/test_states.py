"""The two tables of states, every pair of them, and what an order shows of its chain orders."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations_with_replacement, permutations, product

import pytest

from chain_orders.orders.states import (
    CHAIN_MOVES,
    ONLY_BY_RESOLUTION,
    ORDER_MOVES,
    RANK,
    NotAllowed,
    Status,
    Turn,
    after_invoice,
    aggregate,
    check_chain_move,
    check_order_move,
    turn,
)

# Written a second time, from decisions and not from the source. x: allowed; r: by an operator's resolution alone.
CHAIN_TABLE = """
                    placed authorizing authorized partially-invoiced invoiced cancel-requested cancelled
placed              -      x           x          x                  x        x                x
authorizing         x      -           x          x                  x        x                x
authorized          -      -           -          x                  x        x                x
partially-invoiced  -      -           -          -                  x        x                x
invoiced            -      -           -          -                  -        -                r
cancel-requested    x      x           x          x                  x        -                x
cancelled           -      -           -          -                  r        -                -
"""
ORDER_TABLE = """
                    accepted placing placement-unknown rejected placed cancel-requested cancelled
accepted            -        x       x                 x        x      -                x
placing             -        -       x                 x        x      x                x
placement-unknown   -        x       -                 x        x      x                x
rejected            x        -       -                 -        -      -                -
placed              -        -       -                 -        -      -                -
cancel-requested    -        -       -                 -        x      -                x
cancelled           -        -       -                 -        -      -                -
"""


def _pairs(table: str, marks: str) -> set[tuple[Status, Status]]:
    head, *rows = (line.split() for line in table.strip().splitlines())
    return {
        (Status(row[0]), Status(after))
        for row in rows
        for after, mark in zip(head, row[1:], strict=True)
        if mark in marks
    }


def _allowed(check: Callable[..., None], **how: bool) -> set[tuple[Status, Status]]:
    found = set()
    for before, after in product(Status, repeat=2):
        try:
            check(before, after, **how)
        except NotAllowed:
            continue
        found.add((before, after))
    return found


def test_a_chain_order_makes_exactly_the_moves_of_the_table() -> None:
    assert _allowed(check_chain_move) == _pairs(CHAIN_TABLE, "x")


def test_a_resolution_also_moves_between_invoiced_and_cancelled() -> None:
    assert _allowed(check_chain_move, resolution=True) == _pairs(CHAIN_TABLE, "xr")


def test_the_moves_of_a_resolution_are_named() -> None:
    assert _pairs(CHAIN_TABLE, "r") == ONLY_BY_RESOLUTION


def test_an_order_makes_exactly_the_moves_of_the_table() -> None:
    assert _allowed(check_order_move) == _pairs(ORDER_TABLE, "x")


@pytest.mark.parametrize("before", list(Status))
def test_nothing_moves_to_where_it_is(before: Status) -> None:
    assert before not in CHAIN_MOVES.get(before, frozenset()) | ORDER_MOVES.get(before, frozenset())


def test_a_chain_order_never_leaves_its_table() -> None:
    assert frozenset().union(*CHAIN_MOVES.values()) == frozenset(CHAIN_MOVES)


def test_an_order_leaves_its_table_only_for_states_of_chain_orders() -> None:
    left = frozenset().union(*ORDER_MOVES.values()) - frozenset(ORDER_MOVES)

    assert left == {Status.PLACED, Status.CANCELLED}
    assert left <= frozenset(CHAIN_MOVES)


def test_the_two_tables_share_only_a_requested_cancellation_and_cover_all() -> None:
    assert frozenset(CHAIN_MOVES) & frozenset(ORDER_MOVES) == {Status.CANCEL_REQUESTED}
    assert frozenset(CHAIN_MOVES) | frozenset(ORDER_MOVES) == frozenset(Status)


def test_the_way_forward_has_no_way_back() -> None:
    back = {(RANK[later], RANK[earlier]) for earlier, later in combinations_with_replacement(range(len(RANK)), 2)}

    assert _allowed(check_chain_move) & back == {(Status.AUTHORIZING, Status.PLACED)}


def test_a_refused_move_is_told_in_words() -> None:
    with pytest.raises(NotAllowed, match=r"^a chain order does not go from invoiced to placed$"):
        check_chain_move(Status.INVOICED, Status.PLACED)


EVERY_GROUP = [
    group for size in (1, 2, 3) for group in combinations_with_replacement(sorted(CHAIN_MOVES, key=str), size)
]


def test_an_order_shows_a_state_that_one_of_its_chain_orders_has() -> None:
    assert [group for group in EVERY_GROUP if aggregate(group) not in group] == []


def test_an_order_shows_the_same_in_whatever_sequence_its_chain_orders_come() -> None:
    shown = {group: {aggregate(shuffled) for shuffled in permutations(group)} for group in EVERY_GROUP}

    assert [group for group, statuses in shown.items() if len(statuses) != 1] == []


def test_an_order_is_cancelled_when_all_its_chain_orders_are() -> None:
    cancelled = [group for group in EVERY_GROUP if aggregate(group) is Status.CANCELLED]

    assert cancelled == [group for group in EVERY_GROUP if set(group) == {Status.CANCELLED}]


def test_one_requested_cancellation_is_shown() -> None:
    requested = [group for group in EVERY_GROUP if aggregate(group) is Status.CANCEL_REQUESTED]

    assert requested == [group for group in EVERY_GROUP if Status.CANCEL_REQUESTED in group]


def test_otherwise_the_least_advanced_that_is_not_cancelled_is_shown() -> None:
    plain = [group for group in EVERY_GROUP if set(group) & set(RANK) and Status.CANCEL_REQUESTED not in group]

    assert [group for group in plain if aggregate(group) is not next(step for step in RANK if step in group)] == []


def test_a_chain_order_that_advances_never_sets_its_order_back() -> None:
    steps = product(product(RANK, repeat=2), combinations_with_replacement(range(len(RANK)), 2))

    back = [
        (others, RANK[before], RANK[after])
        for others, (before, after) in steps
        if RANK.index(aggregate([*others, RANK[before]])) > RANK.index(aggregate([*others, RANK[after]]))
    ]

    assert back == []


TURNS = [
    (Status.ACCEPTED, Turn.US, Turn.US),
    (Status.PLACING, Turn.US, Turn.US),
    (Status.PLACEMENT_UNKNOWN, Turn.US, Turn.US),
    (Status.REJECTED, Turn.OPERATOR, Turn.OPERATOR),
    (Status.PLACED, Turn.OPERATOR, Turn.US),
    (Status.AUTHORIZING, Turn.US, Turn.US),
    (Status.AUTHORIZED, Turn.SELLER, Turn.SELLER),
    (Status.PARTIALLY_INVOICED, Turn.SELLER, Turn.SELLER),
    (Status.INVOICED, Turn.NOBODY, Turn.NOBODY),
    (Status.CANCEL_REQUESTED, Turn.SELLER, Turn.SELLER),
    (Status.CANCELLED, Turn.NOBODY, Turn.NOBODY),
]


def test_every_status_has_a_turn() -> None:
    told = [
        (
            status,
            turn(status, attention=False, has_receipt=False),
            turn(status, attention=False, has_receipt=True),
        )
        for status in Status
    ]

    assert told == TURNS


def test_what_wants_attention_is_an_operators_turn_whatever_the_status() -> None:
    turns = {turn(status, attention=True, has_receipt=has) for status in Status for has in (False, True)}

    assert turns == {Turn.OPERATOR}


@pytest.mark.parametrize(
    ("invoiced", "value", "leads_to"),
    [
        (1, 1300, Status.PARTIALLY_INVOICED),
        (1299, 1300, Status.PARTIALLY_INVOICED),
        (1300, 1300, Status.INVOICED),
        (1301, 1300, Status.INVOICED),
        (0, 0, Status.INVOICED),
    ],
)
def test_invoices_of_the_whole_value_make_it_invoiced(invoiced: int, value: int, leads_to: Status) -> None:
    assert after_invoice(invoiced, value) is leads_to
