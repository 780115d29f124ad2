"""What one attempt at a delivery came to, in words that need no HTTP.

The reading of an answer (`vtex.answers`) says one of these, the pure schedule (`deliveries.retry`) decides what
follows from it. The line that matters runs between "it was not done" and "it may have been done".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Answered:
    """It was done; `facts` is what the answer told, of a type that the delivery's kind knows."""

    facts: Any = None


@dataclass(frozen=True, slots=True)
class AlreadyThere:
    """The peer says that it was done before. What is there has to be read before it is believed."""

    code: str


@dataclass(frozen=True, slots=True)
class Refused:
    """It was not done and the same request never will be. `burnt`: its id can never be used again either."""

    reason: str
    code: str | None = None
    burnt: bool = False


@dataclass(frozen=True, slots=True)
class Again:
    """It was not done, and may be tried again later. `answered`: the peer said so of this one, and is well itself;
    `cause`: the reason, without what becomes of it and who must act."""

    reason: str
    code: str | None = None
    answered: bool = False
    cause: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Throttled:
    """It was not done: the peer asks everybody to wait. Costs no attempt; `after` is in seconds."""

    reason: str
    after: float | None = None


@dataclass(frozen=True, slots=True)
class Denied:
    """It was not done: we are not let in. Costs no attempt; the whole lane stops. `gone`: for good."""

    reason: str
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Untrusted:
    """It was not done: whoever answered cannot prove to be the peer. Costs no attempt; the whole lane stops."""

    reason: str


@dataclass(frozen=True, slots=True)
class GivenBack:
    """It was not begun, or not gone on with: the time for it was over before the first byte, or calls were stopped.
    Costs no attempt."""

    reason: str = "the lease would have ended before the exchange"


@dataclass(frozen=True, slots=True)
class Recalled:
    """It was not begun and is no longer wanted."""

    reason: str


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """It may have been done. Nothing is sent again before the peer has been read. `pause`: the peer asks everybody to
    wait as well, in seconds."""

    reason: str
    code: str | None = None
    pause: float | None = None


@dataclass(frozen=True, slots=True)
class Absent:
    """A verification read the peer and did not find it. `repeatable`: nothing was read, for the peer tells a repeat by
    its id; it may be sent at once."""

    reason: str = "not found at the seller"
    repeatable: bool = False


@dataclass(frozen=True, slots=True)
class Conflicting:
    """A verification found something that is not what was sent. A person must look."""

    reason: str
    code: str = "placement-conflict"


Outcome = (
    Answered
    | AlreadyThere
    | Refused
    | Again
    | Throttled
    | Denied
    | Untrusted
    | GivenBack
    | Recalled
    | Ambiguous
    | Absent
    | Conflicting
)

WELL = ("answered", "absent", "already-there")
"""Names of outcomes that told what was asked: an exchange that went well, whatever it found."""
UNSENT = ("given-back", "recalled")
"""Names of outcomes that tell nothing of the peer: nothing was sent that it should do."""


def name(outcome: Outcome) -> str:
    """The outcome's name as stored with the attempt: `answered`, `already-there`, …"""
    return {AlreadyThere: "already-there", GivenBack: "given-back"}.get(type(outcome), type(outcome).__name__.lower())
