"""What follows an attempt. Pure: it is given the outcome, the counters and the schedules, and returns a verdict.

A refusal is final, silence is not. What may have been done is verified by reading; it is sent again only after two
reads that found nothing, the last of them at the end of the window in which a seller must have shown it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from ..outcome import (
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

RETRIES_USED_UP = "retries-used-up"
ABSENCES_NEEDED = 2


@dataclass(frozen=True, slots=True)
class Delivered:
    """It is done."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """The peer will never accept it."""

    reason: str
    code: str | None = None
    burnt: bool = False


@dataclass(frozen=True, slots=True)
class Retry:
    """Send it again after a while. `burns`: the attempt counts against the schedule."""

    after: timedelta
    reason: str
    burns: bool = True
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Verify:
    """Read the peer after a while. `fresh`: the window begins now; `absent`: this read found nothing; `burns`: the
    attempt counts against the schedule."""

    after: timedelta
    reason: str
    fresh: bool = False
    absent: bool = False
    code: str | None = None
    burns: bool = False


@dataclass(frozen=True, slots=True)
class Dead:
    """Nobody will try again unless a person says so. `unclear`: it may have been done."""

    reason: str
    code: str
    unclear: bool = False


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """It is no longer owed."""

    reason: str


Verdict = Delivered | Rejected | Retry | Verify | Dead | Withdrawn


@dataclass(frozen=True, slots=True)
class Course:
    """How far a delivery has come. `unclear_for` is how long ago the unclear exchange ended; `others_pass`: its last
    attempt was turned away, and other calls to this peer have been answered since."""

    verifying: bool = False
    failures: int = 0
    absences: int = 0
    unclear_for: timedelta = timedelta()
    others_pass: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """The waits. `draw` returns a random number in [0, 1): full jitter."""

    schedule: Sequence[timedelta]
    verify_at: Sequence[timedelta]
    draw: Callable[[], float]


def would_resend(verdict: Verdict) -> bool:
    """Whether it is known not to have been done, and only waits to be sent again, or has waited in vain."""
    if isinstance(verdict, Dead):
        return verdict.code == RETRIES_USED_UP and not verdict.unclear
    return isinstance(verdict, Retry)


def decide(outcome: Outcome, course: Course, policy: Policy) -> Verdict:
    """Say what follows an attempt."""
    match outcome:
        case Answered():
            return Delivered()
        case Conflicting(reason, code):
            return Dead(reason, code)
        case Recalled(reason):
            return Withdrawn(reason)
        case Throttled(reason, after):
            return _turned_away(course, policy, timedelta(seconds=after or 0), reason)
        case Denied(reason) | Untrusted(reason):
            return _turned_away(course, policy, timedelta(), reason)
        case GivenBack(reason):
            return _wait(course, timedelta(), reason)
    return _after_read(outcome, course, policy) if course.verifying else _after_send(outcome, course, policy)


def _after_send(outcome: Outcome, course: Course, policy: Policy) -> Verdict:
    match outcome:
        case Refused(reason, code, burnt):
            return Rejected(reason, code, burnt)
        case Again(reason, code, cause=cause):
            return _again(course, policy, reason, code, cause=cause)
        case AlreadyThere(code):
            return Verify(timedelta(), "the seller says that it is already there", fresh=True, code=code)
        case Ambiguous(reason, code):
            return Verify(policy.verify_at[0], reason, fresh=True, code=code)
    raise AssertionError(f"{outcome} does not follow a send")


def _after_read(outcome: Outcome, course: Course, policy: Policy) -> Verdict:
    if not isinstance(outcome, Absent):
        # The read itself came to nothing; that says nothing about what is there.
        return Verify(
            policy.verify_at[-1] * policy.draw() + policy.verify_at[0], getattr(outcome, "reason", "no answer")
        )
    if outcome.repeatable:
        return _again(course, policy, outcome.reason, None, at_once=True)
    if course.absences + 1 >= ABSENCES_NEEDED and course.unclear_for >= policy.verify_at[-1]:
        return _again(course, policy, "two reads did not find it", None, spent=course.unclear_for)
    next_read = next((at for at in policy.verify_at if at > course.unclear_for), None)
    after = next_read - course.unclear_for if next_read is not None else policy.verify_at[0]
    return Verify(after, outcome.reason, absent=True)


def _again(
    course: Course,
    policy: Policy,
    reason: str,
    code: str | None,
    *,
    at_once: bool = False,
    spent: timedelta = timedelta(),
    cause: str | None = None,
) -> Retry | Dead:
    """The schedule's next wait, less what reading has already `spent` of it."""
    if course.failures >= len(policy.schedule):
        return Dead(f"the retry schedule is used up; the last failure: {cause or reason}", RETRIES_USED_UP)
    after = timedelta() if at_once else policy.schedule[course.failures] * policy.draw() - spent
    return Retry(max(after, timedelta()), reason, code=code)


def _turned_away(course: Course, policy: Policy, after: timedelta, reason: str) -> Verdict:
    """Who lets nobody in is waited for, at no cost. Who lets others in means this call: it must not go on for ever."""
    if not course.others_pass:
        return _wait(course, after, reason)
    again = _again(course, policy, reason, None)
    if isinstance(again, Dead):
        return replace(again, unclear=course.verifying)  # a read that is turned away tells nothing of what it was for
    after = max(after, again.after)
    return Verify(after, reason, burns=True) if course.verifying else Retry(after, reason)


def _wait(course: Course, after: timedelta, reason: str) -> Verdict:
    return Verify(after, reason) if course.verifying else Retry(after, reason, burns=False)
