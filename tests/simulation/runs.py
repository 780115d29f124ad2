"""Simulations by the thousand: `make simulate SEEDS=` plays many of them, `tests/simulation/test_simulation.py` some.
By several processes: a course of some ninety events takes three milliseconds, most of them the ORM's own attributes.

A seed that breaks something is printed; `make simulate SEED=` with it plays the same course again, and tells it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from .course import Course
from .judged import always, in_the_end
from .tables import Tables, found_in

_PART = 500
"""Courses that a process plays before it says what they came to."""


@dataclass(slots=True)
class Told:
    """What so many courses came to. `broken` is what broke, by seed; `ends` how often orders ended in each state."""

    courses: int = 0
    seconds: float = 0.0
    broken: dict[int, str] = field(default_factory=dict)
    ends: dict[str, int] = field(default_factory=dict)

    def add(self, other: Told) -> None:
        """What others came to meanwhile; the time is one's own."""
        self.courses += other.courses
        self.broken |= other.broken
        for status, number in other.ends.items():
            self.ends[status] = self.ends.get(status, 0) + number

    def __str__(self) -> str:
        ends = ", ".join(f"{status} {number}" for status, number in sorted(self.ends.items()))
        first = f"; seed {min(self.broken)}: {self.broken[min(self.broken)]}" if self.broken else ""
        return (
            f"{self.courses} courses, {self.courses / self.seconds:.0f} a second: {len(self.broken)} broken{first} "
            f"({ends})"
        )


def simulate(seeds: Iterable[int], *, stop_at: int | None = None) -> Told:
    """Play the courses of these seeds, until so many have broken something."""
    told, began, current = Told(), time.monotonic(), list[Tables]()
    with found_in(lambda: current[0]):
        for seed in seeds:
            course = Course(seed, always)
            current[:] = [course.tables]
            told.courses += 1
            try:
                course.run()
                in_the_end(course)
            except Exception as broken:  # an act that fails is broken as well
                told.broken[seed] = f"{type(broken).__name__}: {broken}"
                if len(told.broken) == stop_at:
                    break
            told.ends[course.order.status] = told.ends.get(course.order.status, 0) + 1
    told.seconds = time.monotonic() - began
    return told


def together(seeds: int, processes: int, part: int = _PART) -> Told:
    """Play the courses of the seeds from 1 on, by several processes, until one has broken something."""
    told, began = Told(), time.monotonic()
    parts = [range(first, min(first + part, seeds + 1)) for first in range(1, seeds + 1, part)]
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        for one in pool.map(partial(simulate, stop_at=1), parts):
            told.add(one)
            if told.broken:
                pool.shutdown(cancel_futures=True)
                break
    told.seconds = time.monotonic() - began
    return told


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seeds", type=int, default=100_000)
    options.add_argument("--processes", type=int, default=os.cpu_count())
    options.add_argument("--seed", type=int, default=None, help="play this one, and tell it")
    asked = options.parse_args()
    if asked.seed is not None:
        _tell(asked.seed)
        return
    told = together(asked.seeds, asked.processes)
    print(told, flush=True)
    if told.broken:
        raise SystemExit(f"play it again: make simulate SEED={min(told.broken)}")


def _tell(seed: int) -> None:
    course = Course(seed, always)
    with found_in(lambda: course.tables):
        try:
            course.run()
            in_the_end(course)
        finally:
            for one in course.tables.owed:
                print(f"{one.delivery.kind} {one.state}: {', '.join(map(str, one.calls))}")
            for note in course.tables.notes:
                print(f"{note.kind} {note.state}: {note.body.decode()} {note.reason or ''}")
            for fact in course.tables.facts:
                print(f"{fact.type} {fact.actor} {fact.data}")
            print(f"the seller: {[(one.chain_order_id, one.status, one.packages) for one in course.seller.orders]}")
            print(f"ours: {course.order.status} {course.order.attention_code or ''}")


if __name__ == "__main__":
    main()
