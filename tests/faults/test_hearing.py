"""The short form of `make faults-hear`, and one broken build that it must see."""

from __future__ import annotations

from .heard import Plan
from .hearing import run


async def test_what_was_acknowledged_is_stored_and_applied_once_whatever_breaks() -> None:
    told = await run(Plan(notifications=1500, seed=7, per_second=400))

    print(told)
    told.hold()


async def test_a_build_that_loses_what_it_acknowledged_is_caught() -> None:
    told = await run(Plan(notifications=600, seed=7, sabotage="answer-before-commit", per_second=200))

    assert told.shows("lost"), f"void: {told.void}; {told}"


async def test_the_kills_are_what_makes_that_build_lose_something() -> None:
    plan = Plan(100, seed=7, sabotage="answer-before-commit", per_second=200, replica_kills=0, server_kills=0)

    told = await run(plan)

    assert told.void is None
    assert told.lost == 0, str(told)
