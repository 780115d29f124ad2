"""What follows an attempt: every outcome at every point of a delivery's course."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest

from chain_orders.deliveries.retry import (
    Course,
    Dead,
    Delivered,
    Policy,
    Rejected,
    Retry,
    Verdict,
    Verify,
    Withdrawn,
    decide,
    would_resend,
)
from chain_orders.outcome import (
    Absent,
    Again,
    AlreadyThere,
    Ambiguous,
    Answered,
    Conflicting,
    Denied,
    GivenBack,
    Outcome,
    Recalled,
    Refused,
    Throttled,
    Untrusted,
)
from chain_orders.settings import Settings


def seconds(*values: float) -> list[timedelta]:
    return [timedelta(seconds=value) for value in values]


SCHEDULE = seconds(5, 15, 30)
VERIFY_AT = seconds(5, 15, 60)
WINDOW = VERIFY_AT[-1]
DRAWS = (0.0, 0.999999)

SENDS: list[Outcome] = [
    Answered(),
    AlreadyThere("CHK0085"),
    Refused("no", "CHK0198"),
    Refused("no", "FMT0060", burnt=True),
    Refused("no"),
    Again("later", "CHK0084"),
    Throttled("busy"),
    Throttled("busy", 7.0),
    Denied("who?"),
    Untrusted("who are you?"),
    GivenBack(),
    Recalled("cancelled before it left"),
    Ambiguous("silence"),
    Ambiguous("silence", "CHK0291"),
]
READS: list[Outcome] = [*SENDS, Absent(), Conflicting("another"), Conflicting("incomplete", "incomplete-at-seller")]
POINTS = [
    Course(verifying=False, failures=failures, absences=absences, unclear_for=unclear_for)
    for failures, absences, unclear_for in product((0, 1, 3, 4), range(3), seconds(0, 5, 59.9, 60, 61, 3600))
]


def policy(draw: float = 0.5) -> Policy:
    return Policy(SCHEDULE, VERIFY_AT, lambda: draw)


def after_sends(*kinds: type) -> Iterator[tuple[Outcome, Course, Verdict]]:
    for outcome, course, draw in product(SENDS, POINTS, DRAWS):
        if not kinds or isinstance(outcome, kinds):
            yield outcome, course, decide(outcome, course, policy(draw))


def after_reads(*kinds: type) -> Iterator[tuple[Outcome, Course, Verdict]]:
    for outcome, course, draw in product(READS, POINTS, DRAWS):
        if not kinds or isinstance(outcome, kinds):
            course = replace(course, verifying=True)
            yield outcome, course, decide(outcome, course, policy(draw))


def test_what_was_answered_is_delivered() -> None:
    verdicts = [verdict for _, _, verdict in (*after_sends(Answered), *after_reads(Answered))]

    assert set(verdicts) == {Delivered()}


def test_nothing_else_is_delivered() -> None:
    delivered = {type(outcome) for outcome, _, verdict in (*after_sends(), *after_reads()) if verdict == Delivered()}

    assert delivered == {Answered}


def test_a_refusal_is_final() -> None:
    wrong = [
        (outcome, course, verdict)
        for outcome, course, verdict in after_sends(Refused)
        if isinstance(outcome, Refused) and verdict != Rejected(outcome.reason, outcome.code, outcome.burnt)
    ]

    assert wrong == []


def test_what_is_no_longer_wanted_is_withdrawn() -> None:
    verdicts = [verdict for _, _, verdict in (*after_sends(Recalled), *after_reads(Recalled))]

    assert set(verdicts) == {Withdrawn("cancelled before it left")}


def test_silence_is_never_resent() -> None:
    verdicts = [verdict for _, _, verdict in after_sends(Ambiguous)]

    assert {type(verdict) for verdict in verdicts} == {Verify}


def test_the_window_of_a_silence_begins_with_it() -> None:
    verdict = decide(Ambiguous("silence", "CHK0291"), Course(), policy())

    assert verdict == Verify(VERIFY_AT[0], "silence", fresh=True, code="CHK0291")


def test_what_is_said_to_be_there_is_read_at_once_before_it_is_believed() -> None:
    verdicts = [verdict for _, _, verdict in after_sends(AlreadyThere)]

    assert {(type(v), v.after, v.fresh, v.absent, v.code) for v in verdicts if isinstance(v, Verify)} == {
        (Verify, timedelta(), True, False, "CHK0085")
    }
    assert all(isinstance(verdict, Verify) for verdict in verdicts)


@pytest.mark.parametrize("failures", range(len(SCHEDULE)))
def test_what_was_not_done_is_sent_again_within_the_schedules_wait(failures: int) -> None:
    waits = []
    for draw in DRAWS:
        verdict = decide(Again("later", "CHK0084"), Course(failures=failures), policy(draw))
        assert isinstance(verdict, Retry)
        assert (verdict.burns, verdict.code) == (True, "CHK0084")
        waits.append(verdict.after)

    assert waits == [SCHEDULE[failures] * draw for draw in DRAWS]
    assert all(timedelta() <= wait < SCHEDULE[failures] for wait in waits)


def test_calls_that_failed_together_do_not_come_back_together() -> None:
    """2,000 of them, which wait ten minutes at most: no minute gets two minutes' share."""
    draw = random.Random(33).random
    minutes: Counter[int] = Counter()
    for _ in range(2000):
        verdict = decide(Again("away"), Course(), Policy(seconds(600), VERIFY_AT, draw))
        assert isinstance(verdict, Retry)
        minutes[int(verdict.after.total_seconds() // 60)] += 1

    assert len(minutes) == 10
    assert max(minutes.values()) <= 2 * 2000 / 10


@pytest.mark.parametrize("failures", [len(SCHEDULE), len(SCHEDULE) + 1])
def test_the_end_of_the_schedule_is_dead(failures: int) -> None:
    verdict = decide(Again("later"), Course(failures=failures), policy())

    assert verdict == Dead("the retry schedule is used up; the last failure: later", "retries-used-up")


def test_an_empty_schedule_never_sends_twice() -> None:
    verdict = decide(Again("later"), Course(), Policy([], VERIFY_AT, lambda: 0.5))

    assert isinstance(verdict, Dead)


def test_only_what_failed_for_good_is_dead() -> None:
    dead = {
        (type(outcome), course.failures >= len(SCHEDULE))
        for outcome, course, verdict in (*after_sends(), *after_reads())
        if isinstance(verdict, Dead)
    }

    assert dead == {(Again, True), (Absent, True), (Conflicting, True), (Conflicting, False)}


def test_a_peer_that_makes_us_wait_burns_nothing() -> None:
    verdicts = [verdict for _, _, verdict in after_sends(Throttled, Denied, Untrusted, GivenBack)]

    assert {(type(verdict), getattr(verdict, "burns", None)) for verdict in verdicts} == {(Retry, False)}


def test_a_peer_that_makes_us_wait_leaves_an_unclear_delivery_unclear() -> None:
    verdicts = [verdict for _, _, verdict in after_reads(Throttled, Denied, Untrusted, GivenBack)]

    assert {(type(v), getattr(v, "fresh", None), getattr(v, "absent", None)) for v in verdicts} == {
        (Verify, False, False)
    }


@pytest.mark.parametrize("outcome", [Throttled("busy"), Denied("who?")], ids=["throttled", "denied"])
@pytest.mark.parametrize("verifying", [False, True], ids=["sent", "read"])
def test_what_was_turned_away_to_the_end_is_known_undone_only_if_it_was_sent(outcome: Outcome, verifying: bool) -> None:
    verdict = decide(outcome, Course(verifying=verifying, failures=len(SCHEDULE), others_pass=True), policy())

    assert isinstance(verdict, Dead)
    assert would_resend(verdict) is not verifying


@pytest.mark.parametrize(
    ("outcome", "wait"),
    [(Throttled("busy", 7.0), 7), (Throttled("busy"), 0), (Denied("who?"), 0), (Untrusted("?"), 0), (GivenBack(), 0)],
)
@pytest.mark.parametrize("verifying", [False, True])
def test_only_a_named_pause_is_waited_for(outcome: Outcome, wait: float, verifying: bool) -> None:
    verdict = decide(outcome, Course(verifying=verifying), policy())

    assert isinstance(verdict, Retry | Verify)
    assert verdict.after == timedelta(seconds=wait)


def test_an_unclear_delivery_is_sent_again_only_after_two_absences_over_the_whole_window() -> None:
    resent = {
        (type(outcome), course.absences, course.unclear_for)
        for outcome, course, verdict in after_reads()
        if isinstance(verdict, Retry)
    }

    late = {unclear_for for _, _, unclear_for in resent}
    assert resent == {(Absent, absences, unclear_for) for absences in (1, 2) for unclear_for in late}
    assert late == set(seconds(60, 61, 3600))


@pytest.mark.parametrize(
    ("scheduled", "draw", "after"),
    [(15, 0.9, 0), (60, 0.9, 0), (600, 0.5, 240), (600, 0.0, 0), (28800, 0.25, 7140)],
)
def test_a_resend_waits_by_the_schedule_less_what_the_window_took_and_counts(
    scheduled: float, draw: float, after: float
) -> None:
    course = Course(verifying=True, failures=1, absences=1, unclear_for=WINDOW)

    verdict = decide(Absent(), course, Policy(seconds(5, scheduled), VERIFY_AT, lambda: draw))

    assert verdict == Retry(timedelta(seconds=after), "two reads did not find it")


def test_what_a_peer_can_tell_a_repeat_of_is_resent_at_once() -> None:
    verdict = decide(Absent(repeatable=True), Course(verifying=True, failures=1), policy(0.9))

    assert verdict == Retry(timedelta(), "not found at the seller")


@pytest.mark.parametrize("answer", [Ambiguous("a seller that answers 500"), Again("no connection")])
def test_an_outage_is_outlasted_for_a_day_whatever_the_seller_answers(answer: Outcome) -> None:
    """Played with the default schedule, at the draw's mean."""
    waits = Settings.model_fields["retry_schedule"].get_default(call_default_factory=True)
    calm = Policy(waits, VERIFY_AT, lambda: 0.5)
    clock, failures, absences, since = timedelta(), 0, 0, None
    while True:
        course = Course(since is not None, failures, absences, timedelta() if since is None else clock - since)
        verdict = decide(answer if since is None else Absent(), course, calm)
        match verdict:
            case Dead():
                break
            case Verify(after, fresh=True):
                since, absences = clock, 0
            case Verify(after):
                absences += 1
            case Retry(after):
                since, failures = None, failures + 1
            case _:
                raise AssertionError(verdict)
        clock += after

    assert timedelta(hours=20) < clock < timedelta(hours=28)


def test_a_resend_beyond_the_schedule_is_dead() -> None:
    course = Course(verifying=True, failures=len(SCHEDULE), absences=1, unclear_for=WINDOW)

    verdict = decide(Absent(), course, policy())

    assert isinstance(verdict, Dead)


@pytest.mark.parametrize(
    ("absences", "unclear_for", "after"),
    [(0, 5, 10), (0, 5.5, 9.5), (1, 15, 45), (1, 59.9, 0.1), (0, 60, 5), (0, 3600, 5), (0, 0, 5)],
)
def test_reads_keep_to_the_windows_times(absences: int, unclear_for: float, after: float) -> None:
    course = Course(verifying=True, absences=absences, unclear_for=timedelta(seconds=unclear_for))

    verdict = decide(Absent(), course, policy())

    assert verdict == Verify(timedelta(seconds=after), "not found at the seller", absent=True)


def test_a_read_that_shows_nothing_proves_no_absence() -> None:
    kinds = (Again, Ambiguous, Refused, AlreadyThere)

    verdicts = [verdict for _, _, verdict in after_reads(*kinds)]

    assert {(type(v), getattr(v, "fresh", None), getattr(v, "absent", None)) for v in verdicts} == {
        (Verify, False, False)
    }


@pytest.mark.parametrize("draw", DRAWS)
def test_a_failed_read_is_repeated_within_the_window(draw: float) -> None:
    verdict = decide(Again("later"), Course(verifying=True), policy(draw))

    assert isinstance(verdict, Verify)
    assert VERIFY_AT[0] <= verdict.after <= VERIFY_AT[0] + WINDOW


def test_a_contradiction_waits_for_a_person() -> None:
    verdicts = {(outcome, verdict) for outcome, _, verdict in after_reads(Conflicting)}

    assert {verdict for _, verdict in verdicts} == {
        Dead("another", "placement-conflict"),
        Dead("incomplete", "incomplete-at-seller"),
    }


def test_no_wait_is_negative() -> None:
    early = [
        (outcome, course, verdict)
        for outcome, course, verdict in (*after_sends(), *after_reads())
        if isinstance(verdict, Retry | Verify) and verdict.after < timedelta()
    ]

    assert early == []


def test_an_absence_cannot_follow_a_send() -> None:
    with pytest.raises(AssertionError, match="does not follow a send"):
        decide(Absent(), Course(), policy())


@pytest.mark.parametrize("outcome", [Denied("who?"), Throttled("busy", 60.0)], ids=["denied", "throttled"])
@pytest.mark.parametrize("verifying", [False, True], ids=["send", "read"])
def test_what_is_turned_away_while_others_pass_comes_to_an_end(outcome: Outcome, verifying: bool) -> None:
    course = Course(verifying=verifying, others_pass=True)
    waits = []
    while isinstance(verdict := decide(outcome, course, policy()), Retry | Verify):
        assert verdict.burns
        waits.append(verdict.after)
        course = replace(course, failures=course.failures + 1)

    assert (len(waits), isinstance(verdict, Dead)) == (len(SCHEDULE), True)
    assert all(after >= timedelta(seconds=getattr(outcome, "after", 0)) for after in waits)
