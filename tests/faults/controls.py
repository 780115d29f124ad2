"""The broken builds that a run of placements must see, and the mark that each leaves.

That something was doubled is not enough: it must have been doubled in the way that the build was broken. What each
call to the seller came to is on record, and the order of those calls tells the defects apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from sqlalchemy import text

from chain_orders.database import Database


@dataclass(frozen=True, slots=True)
class Call:
    """One attempt at an order's placement, as it was noted. `at` is in seconds."""

    phase: str
    outcome: str | None
    at: float

    @property
    def sent(self) -> bool:
        return self.phase == "send" and self.outcome != "given-back"


@dataclass(frozen=True, slots=True)
class Control:
    """A broken build: what has to happen to it before it shows, and how its calls for a doubled order look then.

    Without `shows` nothing is doubled: what is due is passed over.
    """

    by: Literal["seller", "freezes", "kills"]
    shows: Callable[[Sequence[Call], int, float], bool] | None


def _sent_again_after(outcome: str) -> Callable[[Sequence[Call], int, float], bool]:
    def shows(calls: Sequence[Call], _created: int, _lease: float) -> bool:
        return any(one.sent and one.outcome == outcome and other.sent for one, other in pairwise(calls))

    return shows


def _taken_under_a_lease(calls: Sequence[Call], _created: int, lease: float) -> bool:
    return any(
        one.sent and one.outcome == "abandoned" and other.sent and other.at - one.at < lease
        for one, other in pairwise(calls)
    )


def _done_and_undone(calls: Sequence[Call], _created: int, _lease: float) -> bool:
    return any(one.outcome == "answered" for one in calls[:-1])


def _created_without_an_attempt(calls: Sequence[Call], created: int, _lease: float) -> bool:
    return created > sum(one.sent for one in calls)


def _absences(calls: Sequence[Call]) -> Iterator[int]:
    """How many reads found nothing before each repeat of a call."""
    found, unclear = 0, False
    for one in calls:
        if one.sent:
            if unclear:
                yield found
            found, unclear = 0, one.outcome in {"ambiguous", "abandoned", None}
        found += one.outcome == "absent"


def _one_read_believed(calls: Sequence[Call], _created: int, _lease: float) -> bool:
    return 1 in _absences(calls)


def _reads_found_nothing(calls: Sequence[Call], _created: int, _lease: float) -> bool:
    return any(found >= 2 for found in _absences(calls))


SLOW_SELLER = "slow-seller"
"""No broken build: a seller that shows an order later than the window. What the promise depends on is not assumed."""

CONTROLS = {
    "resend-after-silence": Control("seller", _sent_again_after("again")),
    "resend-after-one-read": Control("seller", _one_read_believed),
    "claim-by-last-id": Control("seller", None),
    SLOW_SELLER: Control("seller", _reads_found_nothing),
    "no-fence": Control("freezes", _done_and_undone),
    "resend-after-crash": Control("kills", _sent_again_after("abandoned")),
    "early-ready": Control("kills", _taken_under_a_lease),
    "attempt-after-send": Control("kills", _created_without_an_attempt),
}

_CALLS = text(
    """
    select o.order_group, a.phase, a.outcome, extract(epoch from a.at)::float8 as at
      from orders o join deliveries d on d.order_id = o.id join attempts a on a.delivery_id = d.id
     where o.order_group = any(:groups)
     order by o.order_group, a.number
    """
)

# An honest queue takes first what has been due for longest.
_PASSED_OVER = text(
    """
    select o.order_group
      from deliveries d join orders o on o.id = d.order_id
     where d.state in ('ready', 'retrying', 'unknown') and d.next_at < clock_timestamp() - interval '1 second'
       and (select count(*) from attempts a where a.delivery_id > d.id and a.at > d.next_at + interval '1 second') >= 20
    """
)


async def marked(name: str, database: Database, created: dict[str, int], lease: float) -> list[str]:
    """The groups that show the defect of a broken build. `created` is how often the seller made each group, as it was
    before this is asked."""
    control = CONTROLS[name]
    async with database.transaction() as session:
        if control.shows is None:
            return list(await session.scalars(_PASSED_OVER))
        doubled = [group for group, times in created.items() if times > 1]
        calls: dict[str, list[Call]] = {group: [] for group in doubled}
        for row in await session.execute(_CALLS, {"groups": doubled}) if doubled else []:
            calls[row.order_group].append(Call(row.phase, row.outcome, row.at))
    return [group for group in doubled if control.shows(calls[group], created[group], lease)]
