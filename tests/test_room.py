"""How much room a worker has beside calls that hang: pure, without a clock."""

from __future__ import annotations

import pytest

from chain_orders.deliveries.room import BESIDE, LONG, Call, Room, left

SLOTS = 64


def calls(lane: str, many: int, age: float) -> list[Call]:
    return [Call(lane, -age)] * many


@pytest.mark.parametrize("many", [0, 1, SLOTS - 1, SLOTS, SLOTS + 5])
def test_a_call_that_has_just_begun_holds_a_slot(many: int) -> None:
    assert left(calls("a", many, LONG / 2), SLOTS, 0.0) == Room(max(SLOTS - many, 0))


def test_a_call_that_takes_long_holds_none() -> None:
    slow = [call for lane in "abcdefgh" for call in calls(lane, 10, LONG)]

    assert left(slow, SLOTS, 0.0) == Room(SLOTS)
    assert left([*slow, *calls("i", 4, 0.0)], SLOTS, 0.0) == Room(SLOTS - 4)


def test_a_lane_that_hangs_gets_no_more_than_half() -> None:
    half = SLOTS // 2

    assert left(calls("a", half - 1, LONG), SLOTS, 0.0) == Room(SLOTS)
    assert left([*calls("a", half, LONG), *calls("b", 1, LONG)], SLOTS, 0.0) == Room(SLOTS, frozenset("a"))


def test_a_lane_of_calls_that_end_in_time_may_hold_all() -> None:
    assert left(calls("a", SLOTS - 1, LONG / 2), SLOTS, 0.0) == Room(1)


def test_there_is_an_end_to_what_may_hang() -> None:
    hanging = [call for n in range(100) for call in calls(f"lane{n}", 1, LONG)]
    all_there_are = (hanging * SLOTS)[: SLOTS * BESIDE]

    assert left(all_there_are, SLOTS, 0.0).slots == SLOTS
    assert left([*all_there_are, *calls("z", 7, LONG)], SLOTS, 0.0).slots == SLOTS - 7


def test_one_slot_is_enough() -> None:
    assert left(calls("a", 1, LONG), 1, 0.0) == Room(1, frozenset("a"))
