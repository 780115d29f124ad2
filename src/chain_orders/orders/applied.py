"""What applying something a seller told us came to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Applied:
    """It moved the order."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """It said nothing new."""

    reason: str


@dataclass(frozen=True, slots=True)
class Contradicts:
    """It contradicts what is known. Both facts are kept, and a person decides."""

    code: str
    reason: str
    chain_order_key: int | None
    """Of the chain order that it is about: a decision about another one leaves it as it is."""


Result = Applied | Ignored | Contradicts
