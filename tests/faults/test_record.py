"""What comes on record of a fault run, and what is said of it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
from benchmarks import survived

from .importing import Plan, Said, Told
from .record import Ending, see_each
from .unclear import Unclear


def _a_run_of_four_lines() -> Told:
    """One that held: killed once when two orders were there, of which the next run said that they were."""
    told = Told(Plan(lines=4), seconds=7)
    results = [{"orderGroup": f"G{n}", "result": "exists" if n < 2 else "accepted"} for n in range(4)]
    told.broken_off, told.last, told.orders = [Said(3, [], "")], Said(0, results, ""), 4
    told.there = {"G0", "G1"}
    told.created.update(f"G{n}" for n in range(4))
    return told


def _ending(folder: Path, *, result: bool = True, sabotage: str | None = None) -> Ending:
    return Ending("import", argparse.Namespace(result=result, sabotage=sabotage), folder)


def test_a_run_that_held_is_told_with_its_counts_and_its_bound(tmp_path: Path) -> None:
    _ending(tmp_path).judge(_a_run_of_four_lines())

    assert json.loads((tmp_path / "faults-import.json").read_text())["atMost"]["lines of an import"] == 0.75
    line = survived.short(tmp_path).splitlines()[-1]
    assert line.startswith("| 4 lines of an import; 2 there before its last run | 1 kills of the service | doubled 0;")


def test_how_long_orders_were_unclear_is_told_in_the_services_own_waits() -> None:
    found = {"secondsToCertainty": Unclear(calm=[3.0, 3.1, 4.0], under_fire=[]).told(factor=20)}

    (line,) = survived._certainty(found["secondsToCertainty"])

    assert "before anything was killed or frozen: p50 62 s, p99 80 s, at most 80 s" in line


def test_a_run_in_which_something_was_lost_leaves_no_record(tmp_path: Path) -> None:
    told = _a_run_of_four_lines()
    del told.created["G3"]

    with pytest.raises(AssertionError, match="missing 1"):
        _ending(tmp_path).judge(told)
    assert list(tmp_path.iterdir()) == []


def test_a_run_leaves_a_record_only_where_that_is_asked_for(tmp_path: Path) -> None:
    _ending(tmp_path, result=False).judge(_a_run_of_four_lines())

    assert list(tmp_path.iterdir()) == []


def test_a_broken_build_does_not_come_on_record(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="broken build"):
        _ending(tmp_path, sabotage="repeat-places-again")


def test_a_broken_build_that_is_not_seen_fails_a_run_of_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="does not see: second, third"):
        see_each(["first", "second", "third"], lambda name: (name == "first", f"{name} played"))

    assert capsys.readouterr().out.splitlines() == [
        "caught: first played", "NOT CAUGHT: second played", "NOT CAUGHT: third played",
    ]  # fmt: skip
