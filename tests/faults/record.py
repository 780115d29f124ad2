"""What fault runs came to, on record beside the benchmarks: `benchmarks/results/faults-*.json`, from which
`python -m benchmarks.page` makes what README says that the service survives.

Only the build as it is comes on record, and only a run that held and put to the test what it says.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from benchmarks.common import RESULTS, machine, write


@dataclass(frozen=True, slots=True)
class Figures:
    """`tried` is what went through the run, its subject first; `broken` what was done to it meanwhile; `wrong` each
    promise, and how often it did not hold."""

    tried: Mapping[str, int]
    broken: Mapping[str, int]
    wrong: Mapping[str, int]
    seconds: float
    seed: int | None = None
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def subject(self) -> str:
        return next(iter(self.tried))


class Told(Protocol):
    @property
    def figures(self) -> Figures: ...

    def hold(self) -> None: ...


def bound(tried: int) -> float:
    """The share that goes wrong at most, at 95 % certainty, where none of so many did."""
    return 3 / tried if tried else 1.0


class Ending:
    """The end of a run: told, judged and, where that was asked for, kept. Made before the run, for how busy the machine
    was then is a part of the record."""

    def __init__(self, name: str, asked: argparse.Namespace, folder: Path = RESULTS) -> None:
        if asked.result and asked.sabotage:
            raise SystemExit("a broken build does not come on record")
        self._name, self._folder = f"faults-{name}", folder
        self._kept, self._before = asked.result, machine()

    def judge(self, told: Told) -> None:
        print(told, flush=True)
        told.hold()
        if self._kept:
            write(self._name, {"before": self._before, **_record(told.figures)}, self._folder)


def _record(figures: Figures) -> dict[str, Any]:
    judged = {figures.subject: figures.tried[figures.subject], **figures.broken}
    return {
        "seed": figures.seed,
        "seconds": round(figures.seconds, 1),
        "tried": dict(figures.tried),
        "broken": dict(figures.broken),
        "wrong": dict(figures.wrong),
        "atMost": {what: bound(count) for what, count in judged.items()},
        **figures.more,
    }


def add_options(options: argparse.ArgumentParser, *, controls: bool = False) -> None:
    """`controls`: the harness has broken builds that it must see."""
    options.add_argument("--sabotage", default=None)
    options.add_argument("--result", action="store_true", help="write what it came to to benchmarks/results")
    if controls:
        options.add_argument("--controls", action="store_true", help="every sabotaged build must fail")


def see_each(builds: Iterable[str], played: Callable[[str], tuple[bool, object]]) -> None:
    """Play every broken build, and end with 1 unless each is seen for what it is. `played` says so, and what it came
    to."""
    blind = []
    for name in builds:
        caught, told = played(name)
        print(f"{'caught' if caught else 'NOT CAUGHT'}: {told}", flush=True)
        if not caught:
            blind.append(name)
    if blind:
        raise SystemExit(f"the harness does not see: {', '.join(blind)}")
