"""When an alert is raised and when it is over: pure, without a clock or a table."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from chain_orders.alerts.rules import RULES, Finding, Measure, Open, compare, judge

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ACME = "seller:acme"


def codes(*measures: Measure) -> list[str]:
    return [finding.code for finding in judge(measures)]


@pytest.mark.parametrize("code", [code for code, rule in RULES.items() if rule.patience])
def test_what_waits_is_an_alert_when_its_patience_is_over_and_not_before(code: str) -> None:
    patience = RULES[code].patience * timedelta(minutes=15)

    assert codes(Measure(code, ACME, 1, patience - MINUTE)) == []
    assert codes(Measure(code, ACME, 1, patience)) == [code]


@pytest.mark.parametrize("code", [code for code, rule in RULES.items() if not rule.patience])
def test_what_cannot_wait_is_an_alert_at_once(code: str) -> None:
    assert codes(Measure(code, ACME, 1)) == [code]
    assert codes(Measure(code, ACME, 0)) == []


@pytest.mark.parametrize("blocking", ["breaker-open", "webhook-disabled"])
def test_what_waits_behind_a_known_block_is_no_alert_of_its_own(blocking: str) -> None:
    late = [Measure(code, ACME, 5, timedelta(days=30)) for code, rule in RULES.items() if rule.blocked]

    assert codes(Measure(blocking, ACME, 10), *late) == [blocking]
    assert codes(Measure(blocking, "seller:other", 10), *late) == [blocking, *(one.code for one in late)]


def test_the_dead_are_told_even_behind_an_open_breaker() -> None:
    assert codes(Measure("breaker-open", ACME, 10), Measure("dead-deliveries", ACME, 1)) == [
        "breaker-open",
        "dead-deliveries",
    ]


def test_the_reason_says_how_many_for_how_long_and_why() -> None:
    (waiting,) = judge([Measure("waiting-long", ACME, 12, timedelta(hours=3))])
    (broken,) = judge([Measure("breaker-open", ACME, 10, detail="the seller answered 500")])

    assert waiting.reason == "12 calls wait, the oldest for 3 hours"
    assert broken.reason.endswith("one probe at a time: the seller answered 500")


def test_one_is_told_as_one() -> None:
    found = judge([Measure("parked-long", ACME, 1, timedelta(hours=3)), Measure("breaker-open", ACME, 1)])

    assert [one.reason.split(",")[0] for one in found] == [
        "1 notification is parked",
        "1 failure in a row; calls are stopped",
    ]


@pytest.mark.parametrize("code", RULES)
def test_every_rule_says_what_to_do(code: str) -> None:
    assert RULES[code].do.endswith((".", "?"))


def test_the_page_lists_every_alert() -> None:
    page = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text()
    _, _, section = page.partition("## Alerts\n")
    listed = re.findall(r"^\| `([a-z-]+)`", section.partition("\n## ")[0], re.MULTILINE)

    assert listed == list(RULES)


FOUND = Finding("breaker-open", ACME, "10 failures")
SETTLE = timedelta(seconds=30)


def test_a_finding_is_raised_once() -> None:
    assert compare([FOUND], [], NOW, settle=SETTLE).raised == [FOUND]
    again = compare([FOUND], [Open("breaker-open", ACME, None)], NOW, settle=SETTLE)
    assert (again.raised, again.quiet, again.back, again.over) == ([], [], [], [])


def test_another_seller_is_another_alert() -> None:
    known = [Open("breaker-open", "seller:other", None)]

    assert compare([FOUND], known, NOW, settle=SETTLE).raised == [FOUND]


def test_it_is_over_once_it_has_been_quiet_for_long_enough() -> None:
    known = Open("breaker-open", ACME, None)
    assert compare([], [known], NOW, settle=SETTLE).quiet == [known]

    early, late = Open("breaker-open", ACME, NOW - SETTLE / 2), Open("breaker-open", ACME, NOW - SETTLE)
    assert compare([], [early], NOW, settle=SETTLE).over == []
    assert compare([], [late], NOW, settle=SETTLE).over == [late]


def test_what_comes_back_meanwhile_is_the_same_alert() -> None:
    known = Open("breaker-open", ACME, NOW - SETTLE * 5)

    changes = compare([FOUND], [known], NOW, settle=SETTLE)

    assert (changes.raised, changes.over, changes.back) == ([], [], [known])
