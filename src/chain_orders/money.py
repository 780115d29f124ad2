"""Money as people read it. Everywhere else amounts are whole cents, as VTEX writes them."""

from __future__ import annotations


def written(cents: int, currency: str | None = None) -> str:
    """Cents in their currency, where it is known: `BRL 1,300.00`."""
    sign, whole, rest = "-" if cents < 0 else "", abs(cents) // 100, abs(cents) % 100
    return f"{currency + ' ' if currency else ''}{sign}{whole:,}.{rest:02d}"
