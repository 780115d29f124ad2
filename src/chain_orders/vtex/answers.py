"""What a seller's answer means: by error code first, then by status, then by how far the exchange got.

VTEX's HTTP status is no reliable signal: a permanent refusal may come as 500 and a passing one as 400. Only what is
known not to have been done may be sent again; whatever may have been done is read before anything else happens.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from .. import strict_json
from ..outbound import BAD_CERTIFICATE, TOO_LATE, Exchange
from ..outcome import (
    Again,
    AlreadyThere,
    Ambiguous,
    Answered,
    Denied,
    GivenBack,
    Outcome,
    Refused,
    Throttled,
    Untrusted,
)
from . import codes
from .messages import NoJson, Unreadable, read_error

Facts = TypeVar("Facts")

SHORTEST_PAUSE, LONGEST_PAUSE = 1.0, 900.0
_DEFAULT_PAUSE = 60.0
_UNTRUSTED = Untrusted("the seller's certificate proves nothing; nothing was sent")


def read(exchange: Exchange) -> Outcome | None:
    """The outcome of a call that changes something; None for a 2xx, whose body is the caller's to read."""
    if not exchange.answered:
        return _silence(exchange)
    status = exchange.status or 0
    if 200 <= status < 300:
        return None
    code, _ = read_error(exchange.body)
    by_code = _by_code(code, exchange)
    return by_code if by_code is not None else _by_status(status, code, exchange)


def acknowledged(exchange: Exchange) -> Outcome:
    """What an answer says to a call that is done once it is taken: a body is not needed. A page of something else may
    be a gateway's, which never passed the call on."""
    outcome = read(exchange)
    if outcome is not None:
        return outcome
    try:
        if exchange.body.strip():
            strict_json.parse(exchange.body)
    except strict_json.NotJson:
        return Ambiguous(f"the seller answered {exchange.status}, but not with JSON")
    return Answered()


Unread = Again | Throttled | Denied | Untrusted
"""A read that says nothing, and why."""


def found(exchange: Exchange, reader: Callable[[bytes], Facts]) -> Facts | Unread | None:
    """What a read of the seller shows: its facts; None: there is no such thing."""
    if exchange.status == 404:
        return None
    if exchange.error == BAD_CERTIFICATE:
        return _UNTRUSTED
    if exchange.status in {401, 403}:
        return Denied(f"the seller answered {_named(exchange.status)}")
    if exchange.status in {429, 503}:
        return _throttled(exchange, f"the seller answered {_named(exchange.status)}")
    if exchange.status != 200:
        return Again(f"the seller cannot be read ({exchange.error or exchange.status})")
    try:
        return reader(exchange.body)
    except Unreadable as wrong:  # what is JSON the seller wrote itself: it is well, and only this cannot be understood
        return Again(f"the seller cannot be read: {wrong}", answered=not isinstance(wrong, NoJson))


def _silence(exchange: Exchange) -> Outcome:
    if exchange.error == TOO_LATE:
        return GivenBack()
    if exchange.error == BAD_CERTIFICATE:
        return _UNTRUSTED
    if exchange.sent:
        return Ambiguous(f"no complete answer ({exchange.error})")
    return Again(f"the request did not leave ({exchange.error})")


def _by_code(code: str | None, exchange: Exchange) -> Outcome | None:
    known = codes.lookup(code) if code else None
    if known is None or code is None:
        return None
    reason = codes.describe(code)
    match known.class_:
        case "already-there":
            return AlreadyThere(code)
        case "burnt":
            return Refused(reason, code, burnt=True)
        case "permanent" | "state":
            return Refused(reason, code)
        case "transient" | "not-yet":
            if exchange.status in {429, 503}:
                return _throttled(exchange, reason)
            return Again(reason, code, answered=known.class_ == "not-yet", cause=codes.cause(code))
        case "credentials":
            return Denied(reason)
        case _:
            return Ambiguous(reason, code, pause=_asked_pause(exchange) if exchange.status in {429, 503} else None)


def _by_status(status: int, code: str | None, exchange: Exchange) -> Outcome:
    named = _named(status, code)
    if status in {401, 403}:
        return Denied(f"the seller answered {named}")
    if status == 429:
        return _throttled(exchange, f"the seller answered {named}")
    if status == 503:  # it may come from what stands before the seller, or from half-way through the work
        return Ambiguous(f"the seller answered {named}", code, pause=_asked_pause(exchange))
    if status == 502 or status == 504:
        return Ambiguous(f"the seller's gateway answered {named}")
    if status >= 500:
        return Ambiguous(f"the seller answered {named}", code)
    if status == 408:
        return Ambiguous(f"the seller answered {named}", code)
    if status < 400:
        return Ambiguous(f"the seller answered {named}: a redirect is not followed", code)
    return Refused(f"the seller answered {named}. {codes.UNLISTED}", code or str(status))


_MEANINGS = {
    401: "it refuses our credentials",
    403: "it refuses our credentials",
    429: "it asks for fewer calls",
    503: "it is not available for now",
}


def _named(status: int, code: str | None = None) -> str:
    """A status that stands alone, with what it means where that is plain."""
    if code:
        return f"{status} {code}"
    return f"{status}: {_MEANINGS[status]}" if status in _MEANINGS else f"{status} without a known code"


def _throttled(exchange: Exchange, reason: str) -> Throttled:
    return Throttled(reason, _asked_pause(exchange))


def _asked_pause(exchange: Exchange) -> float:
    return asked_pause(exchange.headers)


def asked_pause(headers: Mapping[str, str]) -> float:
    """Seconds to wait by an answer's headers. A date is measured against the answer's own, where it has one: how wrong
    a clock is, theirs or ours, does not matter then."""
    return retry_after(headers.get("retry-after"), _moment(headers.get("date")) or datetime.now(UTC))


def retry_after(header: str | None, at: datetime) -> float:
    """Seconds to wait by a `Retry-After` of seconds or a date, between a second and a quarter of an hour."""
    text = (header or "").strip()
    if re.fullmatch(r"-?\d{1,18}", text, re.ASCII):
        seconds = float(text)
    else:
        moment = _moment(text)
        seconds = (moment - at).total_seconds() if moment is not None else _DEFAULT_PAUSE
    return min(max(seconds, SHORTEST_PAUSE), LONGEST_PAUSE)


def _moment(header: str | None) -> datetime | None:
    """A date of HTTP's; None for anything else."""
    try:
        moment = parsedate_to_datetime(header or "")
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
