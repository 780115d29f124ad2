"""How many calls a worker may still begin, and on which lanes: what hangs must not take the room of the others. Pure.

A slot is held by a call that has not been under way for long. One that takes long holds none, up to so many times as
many calls as there are slots; and a lane of which as many hang as half the slots gets no more until one of them ends. A
lane that is only slow has room for so many slow calls, and for all that it begins within the first second.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

LONG = 1.0
"""Seconds after which a call holds no slot."""
BESIDE = 3
"""So many times as many calls as there are slots may be under way for long, beside those that hold one."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call that is under way. `began`, in seconds of the worker's clock."""

    lane: str
    began: float


@dataclass(frozen=True, slots=True)
class Room:
    """Slots that are free, and the lanes that may hold none of them."""

    slots: int
    full: frozenset[str] = frozenset()


def left(calls: Iterable[Call], slots: int, at: float) -> Room:
    """What is left of so many slots."""
    under_way = list(calls)
    hanging = Counter(call.lane for call in under_way if at - call.began >= LONG)
    held = len(under_way) - min(hanging.total(), slots * BESIDE)
    full = frozenset(lane for lane, many in hanging.items() if 2 * many >= slots)
    return Room(max(slots - held, 0), full)
