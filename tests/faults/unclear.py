"""How long placements are unclear in a run: from the end of the first exchange whose outcome was ambiguous until it is
known whether that call had placed the order. Told in seconds of the service's default waits.

Kills and freezes stop everything for a lease, so orders that came before them are told apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from sqlalchemy import text

from chain_orders.database import Database

_SHARES = {"p50": 0.5, "p99": 0.99, "max": 1.0}

# It is known when the order is sent again, for then two reads have not found it; else when its delivery has ended.
_UNCLEAR = text(
    """
    select d.id, extract(epoch from coalesce(known.at, d.settled_at) - first.ended_at)::float8 as seconds
      from deliveries d
     cross join lateral (
           select a.number, a.at + make_interval(secs => coalesce(a.duration_ms, 0) / 1000.0) as ended_at
             from attempts a
            where a.delivery_id = d.id and a.phase = 'send' and a.outcome = 'ambiguous'
            order by a.number limit 1
     ) first
      left join lateral (
           select min(a.at) as at from attempts a
            where a.delivery_id = d.id and a.phase = 'send' and a.number > first.number
     ) known on true
     where d.kind = 'place' and d.settled_at is not null
    """
)


@dataclass(slots=True)
class Unclear:
    """Seconds as they passed, of the orders that came in the calm and of the others."""

    calm: list[float] = field(default_factory=list)
    under_fire: list[float] = field(default_factory=list)

    def told(self, factor: float) -> dict[str, dict[str, float]]:
        every = {"inTheCalm": self.calm, "underFire": self.under_fire}
        return {name: _spread(sorted(waits), factor) for name, waits in every.items() if waits}


def _spread(waits: list[float], factor: float) -> dict[str, float]:
    last = len(waits) - 1
    return {name: round(factor * waits[min(last, int(len(waits) * share))], 1) for name, share in _SHARES.items()}


async def unclear(database: Database, calm: Iterable[int]) -> Unclear:
    """`calm` are the deliveries of the calm."""
    early, found = set(calm), Unclear()
    async with database.transaction() as session:
        for row in await session.execute(_UNCLEAR):
            (found.calm if row.id in early else found.under_fire).append(row.seconds)
    return found
