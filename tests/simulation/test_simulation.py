"""Some hundred simulated orders, and broken builds that they must see. `make simulate` plays many more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from chain_orders.notifications import applying
from chain_orders.orders import invoicing
from chain_orders.orders.applied import Applied
from chain_orders.orders.models import ChainOrder, Order
from chain_orders.orders.states import Status

from ..faults import sabotage
from .course import Course
from .judged import always
from .runs import simulate, together
from .tables import found_in


def test_no_course_doubles_loses_or_forgets_anything() -> None:
    told = together(250, processes=2, part=125)

    assert (told.courses, told.broken) == (250, {})
    assert {"invoiced", "cancelled", "rejected"} <= told.ends.keys()


def test_the_same_seed_is_the_same_course() -> None:
    first, again = (_played(22) for _ in range(2))

    assert first == again
    assert len(first) > 5


def _played(seed: int) -> list[Any]:
    course = Course(seed, always)
    with found_in(lambda: course.tables):
        course.run()
    return [*(fact.type for fact in course.tables.facts), *(one.calls for one in course.tables.owed)]


def _cancels_what_is_invoiced(monkeypatch: pytest.MonkeyPatch) -> None:
    def record(order: Order, chain: ChainOrder, **_: Any) -> Applied:
        chain.status, chain.status_before_request = Status.CANCELLED, None
        order.settle_status()
        return Applied()

    monkeypatch.setattr(applying, "record_cancellation", record)


def _takes_a_part_for_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invoicing, "after_invoice", lambda *_: Status.INVOICED)


def _is_sabotaged(name: str) -> Callable[[pytest.MonkeyPatch], None]:
    def act(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sabotage, "replace", monkeypatch.setattr)
        sabotage.apply(name)

    return act


@pytest.mark.parametrize(
    ("build", "defect"),
    [
        (_is_sabotaged("resend-after-silence"), "placed 2 times"),
        (_is_sabotaged("resend-after-one-read"), "placed 2 times"),
        (_takes_a_part_for_the_whole, "is invoiced, and not whole"),
        (_cancels_what_is_invoiced, "invoiced and cancelled without a word"),
    ],
    ids=["resend-after-silence", "resend-after-one-read", "part-for-the-whole", "cancels-what-is-invoiced"],
)
def test_a_broken_build_is_caught(
    build: Callable[[pytest.MonkeyPatch], None], defect: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(monkeypatch)

    told = simulate(range(1, 2000), stop_at=1)

    assert defect in "".join(told.broken.values()), str(told)
