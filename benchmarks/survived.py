"""What the service survived, as tables: made of what the fault runs left in `benchmarks/results/faults-*.json`.

A run that is not on record is not told of.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .common import RESULTS, machine_in_words

_NAMES = ("send", "steps", "hear", "import", "webhooks")
_TELLING = 0.1
"""A bound above it says nothing: after three kills without harm nearly every kill may still do some."""
_NOTHING = "No run at full length is on record.\n"


def short(folder: Path = RESULTS) -> str:
    """A line for each run."""
    rows = [f"| {' | '.join(_cells(found))} |" for found in _runs(folder).values()]
    if not rows:
        return _NOTHING
    head = "| what went through | what was done meanwhile | what went wrong | of which share at most, at 95 % |"
    return "\n".join([head, "| --- | --- | --- | --- |", *rows, ""])


def _cells(found: Mapping[str, Any]) -> list[str]:
    share = [f"{_percent(most)} of {what}" for what, most in found["atMost"].items() if most < _TELLING]
    counts = ["; ".join(f"{count:,} {what}" for what, count in found[part].items()) for part in ("tried", "broken")]
    return [*counts, "; ".join(f"{what} {count}" for what, count in found["wrong"].items()), "; ".join(share)]


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


def generated() -> str:
    """The same, and how each came about."""
    return "\n".join([short(), *(_how(name, found) for name, found in _runs().items())])


def _how(name: str, found: Mapping[str, Any]) -> str:
    seed = "" if found["seed"] is None else f" SEED={found['seed']}"
    took = f"`make faults-{name} RESULT=1{seed}` took {found['seconds']:,.0f} s on {machine_in_words(found)}.\n"
    return "\n".join([took, *_certainty(found.get("secondsToCertainty", {}))])


_PHASES = {"inTheCalm": "before anything was killed or frozen", "underFire": "while workers were killed and frozen"}


def _certainty(found: Mapping[str, Mapping[str, float]]) -> list[str]:
    """How long orders were unclear, where that was measured."""
    return [
        f"Until it was known whether an ambiguous placement had been done, {_PHASES[phase]}: p50 {waits['p50']:.0f} s, "
        f"p99 {waits['p99']:.0f} s, at most {waits['max']:.0f} s of the default waits.\n"
        for phase, waits in found.items()
    ]


def _runs(folder: Path = RESULTS) -> dict[str, dict[str, Any]]:
    paths = {name: folder / f"faults-{name}.json" for name in _NAMES}
    return {name: json.loads(path.read_text()) for name, path in paths.items() if path.exists()}
