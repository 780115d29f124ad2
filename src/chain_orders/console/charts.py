"""Pictures drawn by the server: geometry only, pure. Colours are the stylesheet's; every picture is also a table and
a sentence. The plot is stretched to its place, so nothing in it is text: labels stand around it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
Count = Callable[[int], Awaitable[defaultdict[int, Counter[str]]]]

WIDTH, HEIGHT = 600.0, 100.0
_GAP = 0.22
KEPT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Bar:
    x: float
    y: float
    width: float
    height: float
    tone: str


@dataclass(frozen=True, slots=True)
class Series:
    """One row of numbers with its name; `tone` is a class of the stylesheet."""

    label: str
    tone: str
    values: Sequence[int]
    line: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture, ready for its template. `ticks` stand below, `every` labels one row of the table each."""

    name: str
    title: str
    summary: str
    series: Sequence[Series]
    bars: Sequence[Bar]
    path: str
    top: int
    ticks: Sequence[str]
    every: Sequence[str]
    even: bool

    @property
    def empty(self) -> bool:
        return self.top == 0


def draw(
    name: str, title: str, summary: str, series: Sequence[Series], ticks: Sequence[str], every: Sequence[str],
    *, even: bool = False,
) -> Chart:  # fmt: skip
    """Bars stacked upon each other, and at most one line over them, all to one scale."""
    stacked = [one for one in series if not one.line]
    lines = [one for one in series if one.line]
    count = len(every)
    sums = [sum(one.values[at] for one in stacked) for at in range(count)]
    top = max([*sums, *(value for one in lines for value in one.values), 0])
    path = _line(lines[0].values, top) if lines else ""
    return Chart(name, title, summary, series, _stack(stacked, count, top), path, top, ticks, every, even)


def _stack(series: Sequence[Series], count: int, top: int) -> list[Bar]:
    bars: list[Bar] = []
    step = WIDTH / max(count, 1)
    for at in range(count):
        base = HEIGHT
        for one in series:
            height = HEIGHT * one.values[at] / top if top else 0
            if height:
                base -= height
                left = round(at * step + step * _GAP / 2, 2)
                bars.append(Bar(left, round(base, 2), round(step * (1 - _GAP), 2), round(height, 2), one.tone))
    return bars


def _line(values: Sequence[int], top: int) -> str:
    """A line of steps: each value holds for its whole step."""
    if not top:
        return ""
    step = WIDTH / max(len(values), 1)
    points = []
    for at, value in enumerate(values):
        y = round(HEIGHT - HEIGHT * value / top, 2)
        points.append(f"{'M' if at == 0 else 'L'}{round(at * step, 2)} {y}H{round((at + 1) * step, 2)}")
    return "".join(points)


def share(part: int, whole: int) -> float:
    """How wide a bar of a list is, of 100."""
    return round(100 * part / whole, 1) if whole else 0.0


@dataclass(frozen=True, slots=True)
class Counted:
    """What the overview's pictures show: by minutes ago, by hours since 1970, and lengths in seconds."""

    taken: dict[int, int]
    placed: dict[int, int]
    outcomes: Mapping[int, Counter[str]]
    seconds: list[float]


class Kept(Generic[T]):
    """What one process knows for a while: many look at it, it changes slowly, and one at a time finds it out."""

    def __init__(self) -> None:
        self._known: T | None = None
        self._until = 0.0
        self._finding = asyncio.Lock()

    async def get(self, find: Callable[[], Awaitable[T]]) -> T:
        async with self._finding:
            if self._known is None or self._until < time.monotonic():
                self._known = await find()
                self._until = time.monotonic() + KEPT_SECONDS
            return self._known


class Hours:
    """What one process has counted by the hour. An hour that is over for an hour does not change any more: it is
    counted once, so that looking at a day does not cost a day."""

    def __init__(self) -> None:
        self._over: dict[int, Counter[str]] = {}

    async def get(self, hours: Sequence[int], count: Count) -> Mapping[int, Counter[str]]:
        """These hours, the last of which has not ended. `count` is given the hour that it begins with."""
        since = next((hour for hour in hours[:-2] if hour not in self._over), hours[-2])
        counted = await count(since)
        found = {hour: counted[hour] if hour >= since else self._over[hour] for hour in hours}
        self._over = {hour: found[hour] for hour in hours[:-2]}
        return found
