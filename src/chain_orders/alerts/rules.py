"""When to raise an alert. Pure: measures in, findings out; nothing is asked of a clock or a table.

A measure says how many of something there are and how old the oldest is. A rule says how old it may get. Whatever
waits behind an open breaker, a pause or a disabled webhook is explained by that, and raises nothing of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Measure:
    """How many, and the age of the oldest. `subject` is a lane, or empty for the service itself."""

    code: str
    subject: str
    count: int
    oldest: timedelta = timedelta()
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """A measure that breaks its rule, in words."""

    code: str
    subject: str
    reason: str


@dataclass(frozen=True, slots=True)
class Rule:
    """`patience`: how old the oldest may get, in multiples of the service's; 0: none at all. `what` follows a number.
    `blocked`: nothing of its own while the subject is known to be blocked."""

    patience: float
    what: str
    do: str
    blocked: bool = False


_DAY, _WEEK = 96.0, 672.0  # in multiples of a quarter of an hour, the usual patience

_READ_ORDERS = "Look at these orders (GET /v1/orders?status=…&seller=…) and at their deliveries."
_ASK = "Ask the seller; its orders are listed by GET /v1/orders?status=…&seller=…."

RULES: Mapping[str, Rule] = {
    "breaker-open": Rule(
        0,
        "failures in a row; calls are stopped, save one probe at a time",
        "See GET /v1/stats and the latest attempts for why. If it is down, wait: calls go on by themselves once one is "
        "answered. If credentials are refused, give it new ones with PATCH /v1/sellers/{id}; if its certificate proves "
        "nothing, tell the seller.",
    ),
    "webhook-disabled": Rule(
        0,
        "webhook is disabled; what it is owed waits",
        "Find out why its owner answered 410, correct the address if need be, and enable it: PATCH /v1/webhooks/{id}.",
    ),
    "dead-deliveries": Rule(
        0,
        "calls are dead: nobody tries them again",
        "Read why (GET /v1/deliveries?state=dead), remove the cause, then POST /v1/deliveries/retry with a reason.",
    ),
    "conflicts": Rule(
        0,
        "notifications contradict what is known",
        "A person must decide: GET /v1/orders?attention=true, ask the seller which holds.",
    ),
    "differs-at-seller": Rule(
        0,
        "orders are not what the seller shows",
        "A person must decide: GET /v1/orders?attention=true, compare each with the seller's, then POST …/resolution.",
    ),
    "out-of-reach": Rule(
        0.1,
        "sellers or webhooks cannot be reached by one of the workers, and others reach them",
        "The worker's machine has no way out, or none to these: look at its network, its firewall and its names. Other "
        "workers make these calls; it goes on with everything else, and tries again by itself.",
    ),
    "bad-mac-burst": Rule(
        0,
        "calls in a quarter of an hour were refused for a wrong secret or too low a role",
        "Somebody may be guessing, or a seller uses an address that was changed on the way: the proxy's log says who "
        "calls. For an API key, ask its holder, and revoke it if need be.",
    ),
    "waiting-long": Rule(
        1,
        "calls wait",
        "See GET /v1/deliveries?state=retrying and state=ready. Is a worker running, is the rate limit too low, is the "
        "lane paused?",
        blocked=True,
    ),
    "unknown-long": Rule(
        1,
        "calls have an unknown outcome, and reading the seller has not cleared it",
        "See GET /v1/deliveries?state=unknown for what the reads came to. Nothing is sent again before it is clear.",
        blocked=True,
    ),
    "unread-long": Rule(
        4,
        "orders cannot be read at the seller",
        "A notification of theirs that is lost is not found meanwhile. The reason names the oldest of them, and what "
        "its reads came to: ask the seller, and look at what the key may do there. Each is read again every minute.",
        blocked=True,
    ),
    "behind-long": Rule(
        1,
        "events of the feed are not owed to the webhook yet",
        "Is a worker running? Its log says `fanout-failed`, with the webhook's lane, if it cannot.",
    ),
    "paused-long": Rule(
        _DAY,
        "calls wait behind a pause",
        "If the pause was forgotten: POST /v1/sellers/{id}/resume, or PATCH /v1/webhooks/{id} to enable it.",
    ),
    "parked-long": Rule(
        1,
        "notifications are parked",
        "Read the reasons (GET /v1/notifications?state=parked). Each is tried again by itself; give up what can never "
        "be applied: POST /v1/notifications/{id}/dismissal.",
    ),
    "unapplied-long": Rule(
        1, "notifications are stored and not applied", "Is a worker running? Its log says `apply-failed` if it cannot."
    ),
    "unnumbered-long": Rule(
        1, "events are not in the feed yet", "Is a worker running? Its log says `relay-failed` if it cannot."
    ),
    "stuck-accepted": Rule(1, "orders are not being placed", _READ_ORDERS, blocked=True),
    "stuck-placing": Rule(1, "orders are being placed and nothing moves", _READ_ORDERS, blocked=True),
    "stuck-placement-unknown": Rule(4, "orders may or may not be placed", _READ_ORDERS, blocked=True),
    "stuck-authorizing": Rule(4, "orders are being authorized and nothing moves", _READ_ORDERS, blocked=True),
    "stuck-placed": Rule(_DAY, "orders are placed and have had no authorization", "Authorize or cancel them."),
    "stuck-cancel-requested": Rule(_DAY, "cancellations are asked for and not answered", _ASK),
    "stuck-authorized": Rule(_WEEK, "orders are authorized and not invoiced", _ASK),
    "stuck-partially-invoiced": Rule(2 * _WEEK, "orders are invoiced in part only", _ASK),
}

_ONE: Mapping[str, str] = {
    "breaker-open": "failure in a row; calls are stopped, save one probe at a time",
    "dead-deliveries": "call is dead: nobody tries it again",
    "conflicts": "notification contradicts what is known",
    "differs-at-seller": "order is not what the seller shows",
    "out-of-reach": "seller or webhook cannot be reached by one of the workers, and others reach it",
    "waiting-long": "call waits",
    "unknown-long": "call has an unknown outcome, and reading the seller has not cleared it",
    "unread-long": "order cannot be read at the seller",
    "behind-long": "event of the feed is not owed to the webhook yet",
    "paused-long": "call waits behind a pause",
    "parked-long": "notification is parked",
    "unapplied-long": "notification is stored and not applied",
    "unnumbered-long": "event is not in the feed yet",
    "stuck-accepted": "order is not being placed",
    "stuck-placing": "order is being placed and nothing moves",
    "stuck-placement-unknown": "order may or may not be placed",
    "stuck-authorizing": "order is being authorized and nothing moves",
    "stuck-placed": "order is placed and has had no authorization",
    "stuck-cancel-requested": "cancellation is asked for and not answered",
    "stuck-authorized": "order is authorized and not invoiced",
    "stuck-partially-invoiced": "order is invoiced in part only",
}
"""The same of one alone."""

_BLOCKING = frozenset({"breaker-open", "webhook-disabled"})
_USUAL_PATIENCE = timedelta(minutes=15)


def judge(measures: Sequence[Measure], *, patience: timedelta = _USUAL_PATIENCE) -> list[Finding]:
    """The measures that break their rules, in their order."""
    blocked = {one.subject for one in measures if one.code in _BLOCKING and one.count}
    return [
        Finding(one.code, one.subject, _reason(one))
        for one in measures
        if one.count
        and not (RULES[one.code].blocked and one.subject in blocked)
        and one.oldest >= patience * RULES[one.code].patience
    ]


def _reason(measure: Measure) -> str:
    what = RULES[measure.code].what
    told = f"{measure.count} {_ONE.get(measure.code, what) if measure.count == 1 else what}"
    if measure.oldest:
        told += f", the oldest for {_words(measure.oldest)}"
    return f"{told}: {measure.detail}" if measure.detail else told


def _words(age: timedelta) -> str:
    seconds = age.total_seconds()
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} seconds"


@dataclass(frozen=True, slots=True)
class Open:
    """An alert that has been raised and is not over."""

    code: str
    subject: str
    quiet_since: datetime | None


@dataclass(frozen=True, slots=True)
class Changes:
    """What follows: raise these, and of the open ones, which fell quiet, which are back, which are over."""

    raised: Sequence[Finding]
    quiet: Sequence[Open]
    back: Sequence[Open]
    over: Sequence[Open]


def compare(found: Sequence[Finding], known: Sequence[Open], now: datetime, *, settle: timedelta) -> Changes:
    """An alert is over once its cause has not been seen for `settle`: what comes and goes is one alert."""
    seen = {(one.code, one.subject) for one in found}
    open_ = {(one.code, one.subject) for one in known}
    unseen = [one for one in known if (one.code, one.subject) not in seen]
    return Changes(
        raised=[one for one in found if (one.code, one.subject) not in open_],
        quiet=[one for one in unseen if one.quiet_since is None],
        back=[one for one in known if (one.code, one.subject) in seen and one.quiet_since is not None],
        over=[one for one in unseen if one.quiet_since is not None and now - one.quiet_since >= settle],
    )
