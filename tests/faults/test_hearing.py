"""The short form of `make faults-hear`, and one broken build that it must see."""

from __future__ import annotations

from pathlib import Path

import pytest

from .hearing import Plan, run


async def test_what_was_acknowledged_is_stored_and_applied_once_whatever_breaks(tmp_path: Path) -> None:
    told = await run(Plan(notifications=1500, seed=7, per_second=400), tmp_path)

    print(told)
    told.hold()


async def test_a_build_that_loses_what_it_acknowledged_is_caught(tmp_path: Path) -> None:
    told = await run(Plan(notifications=600, seed=7, sabotage="answer-before-commit", per_second=200), tmp_path)

    with pytest.raises(AssertionError, match=r"acknowledged lost [1-9]"):
        told.hold()
