"""What a seller's answer means: by code, by status, by silence; and the list of codes itself."""

from __future__ import annotations

import json
import re
import tomllib
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from importlib import resources
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain_orders.deliveries.retry import Course, Dead, Policy, decide
from chain_orders.outbound import BAD_CERTIFICATE, TOO_LATE, Exchange
from chain_orders.outcome import (
    Again,
    AlreadyThere,
    Ambiguous,
    Denied,
    GivenBack,
    Outcome,
    Refused,
    Throttled,
    Untrusted,
)
from chain_orders.vtex import answers, codes
from chain_orders.vtex.answers import LONGEST_PAUSE, SHORTEST_PAUSE, Unread, asked_pause, found, read, retry_after
from chain_orders.vtex.messages import read_group, read_order

NOON = datetime(2026, 3, 4, 12, 0, 0, tzinfo=UTC)


def answered(status: int, code: str | None = None, body: bytes | None = None, **headers: str) -> Exchange:
    envelope = json.dumps({"fields": {}, "error": {"code": code, "message": "não", "exception": None}}).encode()
    return Exchange(status, (envelope if code else b"") if body is None else body, headers)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_a_success_is_the_callers_to_read(status: int) -> None:
    assert read(answered(status)) is None


# One status that says otherwise stands beside each code: the code is believed.
BY_CODE: list[tuple[str, int, Outcome]] = [
    ("CHK0085", 400, AlreadyThere("CHK0085")),
    ("FMT009", 500, AlreadyThere("FMT009")),
    ("CHK0086", 500, Refused(codes.describe("CHK0086"), "CHK0086", burnt=True)),
    ("FMT0060", 400, Refused(codes.describe("FMT0060"), "FMT0060", burnt=True)),
    ("ORD005", 500, Refused(codes.describe("ORD005"), "ORD005")),
    ("CHK0198", 503, Refused(codes.describe("CHK0198"), "CHK0198")),
    ("CHK0242", 500, Refused(codes.describe("CHK0242"), "CHK0242")),
    ("CHK0084", 400, Again(codes.describe("CHK0084"), "CHK0084")),
    ("CHK0229", 404, Again(codes.describe("CHK0229"), "CHK0229", answered=True)),
    ("CHK0201", 404, Again(codes.describe("CHK0201"), "CHK0201", answered=True)),
    ("ORD021.1", 500, Again(codes.describe("ORD021.1"), "ORD021.1")),
    ("ORD021.9", 500, Again(codes.describe("ORD021.9"), "ORD021.9")),
    ("CHK00310", 503, Throttled(codes.describe("CHK00310"), 60.0)),
    ("CHK0089", 429, Ambiguous(codes.describe("CHK0089"), "CHK0089", pause=60.0)),
    ("CHK0089", 503, Ambiguous(codes.describe("CHK0089"), "CHK0089", pause=60.0)),
    ("CHK0229", 429, Throttled(codes.describe("CHK0229"), 60.0)),
    ("CHK003", 400, Denied(codes.describe("CHK003"))),
    ("ORD021.5", 500, Denied(codes.describe("ORD021.5"))),
    ("ORD015.1", 400, Ambiguous(codes.describe("ORD015.1"), "ORD015.1")),
    ("CHK0291", 400, Ambiguous(codes.describe("CHK0291"), "CHK0291")),
    ("ord012", 400, Ambiguous(codes.describe("ORD012"), "ORD012")),
]


@pytest.mark.parametrize(("code", "status", "outcome"), BY_CODE)
def test_a_code_is_believed_before_the_status(code: str, status: int, outcome: Outcome) -> None:
    assert read(answered(status, code)) == outcome


BY_STATUS: list[tuple[int, str | None, Outcome]] = [
    (301, None, Ambiguous("the seller answered 301 without a known code: a redirect is not followed")),
    (304, None, Ambiguous("the seller answered 304 without a known code: a redirect is not followed")),
    (
        400,
        None,
        Refused(f"the seller answered 400 without a known code. {codes.UNLISTED}", "400"),
    ),
    (400, "XYZ999", Refused(f"the seller answered 400 XYZ999. {codes.UNLISTED}", "XYZ999")),
    (401, None, Denied("the seller answered 401: it refuses our credentials")),
    (403, "XYZ999", Denied("the seller answered 403 XYZ999")),
    (
        404,
        None,
        Refused(f"the seller answered 404 without a known code. {codes.UNLISTED}", "404"),
    ),
    (408, None, Ambiguous("the seller answered 408 without a known code")),
    (
        409,
        None,
        Refused(f"the seller answered 409 without a known code. {codes.UNLISTED}", "409"),
    ),
    (429, None, Throttled("the seller answered 429: it asks for fewer calls", 60.0)),
    (500, None, Ambiguous("the seller answered 500 without a known code")),
    (500, "XYZ999", Ambiguous("the seller answered 500 XYZ999", "XYZ999")),
    (502, None, Ambiguous("the seller's gateway answered 502 without a known code")),
    (503, None, Ambiguous("the seller answered 503: it is not available for now", pause=60.0)),
    (503, "XYZ999", Ambiguous("the seller answered 503 XYZ999", "XYZ999", pause=60.0)),
    (504, None, Ambiguous("the seller's gateway answered 504 without a known code")),
    (599, None, Ambiguous("the seller answered 599 without a known code")),
]


@pytest.mark.parametrize(("status", "code", "outcome"), BY_STATUS)
def test_without_a_known_code_the_status_speaks(status: int, code: str | None, outcome: Outcome) -> None:
    assert read(answered(status, code)) == outcome


@pytest.mark.parametrize("body", [b"<html>CHK0085</html>", b"", b'{"error":{"code":"1"}}', b'{"error":null}', b"\xff"])
def test_a_body_that_is_no_envelope_has_no_code(body: bytes) -> None:
    assert read(answered(500, body=body)) == Ambiguous("the seller answered 500 without a known code")


def test_the_sellers_own_words_are_not_repeated() -> None:
    body = json.dumps({"error": {"code": "s3cret", "message": "s3cret"}, "operationId": "s3cret"}).encode()

    assert [o for status in range(300, 600) if "s3cret" in repr(o := read(answered(status, body=body)))] == []


@pytest.mark.parametrize(
    ("exchange", "outcome"),
    [
        (Exchange(None, sent=True, error="deadline"), Ambiguous("no complete answer (deadline)")),
        (Exchange(None, sent=True, error="ReadError"), Ambiguous("no complete answer (ReadError)")),
        (Exchange(None, sent=True, error="answer-too-large"), Ambiguous("no complete answer (answer-too-large)")),
        (Exchange(None, sent=False, error="ConnectError"), Again("the request did not leave (ConnectError)")),
        (Exchange(None, sent=False, error="deadline"), Again("the request did not leave (deadline)")),
        (Exchange(None, sent=False, error=TOO_LATE), GivenBack()),
        (
            Exchange(None, sent=False, error=BAD_CERTIFICATE),
            Untrusted("the seller's certificate proves nothing; nothing was sent"),
        ),
    ],
)
def test_silence_is_unclear_only_when_a_byte_has_left(exchange: Exchange, outcome: Outcome) -> None:
    assert read(exchange) == outcome


RETRY_AFTER: list[tuple[str | None, float]] = [
    (None, 60.0),
    ("", 60.0),
    ("  ", 60.0),
    ("30", 30.0),
    (" 30 ", 30.0),
    ("0", SHORTEST_PAUSE),
    ("-5", SHORTEST_PAUSE),
    ("--5", 60.0),
    ("86400", LONGEST_PAUSE),
    ("9" * 18, LONGEST_PAUSE),
    ("9" * 400, 60.0),
    ("1.5", 60.0),
    ("²", 60.0),
    ("soon", 60.0),
    ("Wed, 04 Mar 2026 12:00:45 GMT", 45.0),
    ("Wed, 04 Mar 2026 09:00:45 -0300", 45.0),
    ("Wed, 04 Mar 2026 12:00:45", 45.0),
    ("Wed, 04 Mar 2026 11:00:00 GMT", SHORTEST_PAUSE),
    ("Wed, 04 Mar 2099 12:00:00 GMT", LONGEST_PAUSE),
    ("Wed, 99 Mar 2026 12:00:00 GMT", 60.0),
    ("Wed, 04 Mar 99999 12:00:00 GMT", 60.0),
    ("Wed, 04 Mar 2026 12:00:00 +9999999", 60.0),
]


@pytest.mark.parametrize(("header", "pause"), RETRY_AFTER)
def test_a_retry_after_is_seconds_or_a_date_within_bounds(header: str | None, pause: float) -> None:
    assert retry_after(header, NOON) == pause


@settings(max_examples=40, deadline=None)
@given(st.text(alphabet="0123456789-+:, .WedMarGMTé²", max_size=40))
def test_whatever_the_retry_after_the_pause_is_within_bounds(header: str) -> None:
    assert SHORTEST_PAUSE <= retry_after(header, NOON) <= LONGEST_PAUSE


def test_the_header_of_an_answer_is_heeded() -> None:
    outcome = read(Exchange(429, b"", {"retry-after": "7"}))

    assert outcome == Throttled("the seller answered 429: it asks for fewer calls", 7.0)


def test_a_date_in_the_header_counts_from_now() -> None:
    in_a_minute = (datetime.now(UTC) + timedelta(seconds=60)).strftime("%a, %d %b %Y %H:%M:%S GMT")

    outcome = read(Exchange(503, b"", {"retry-after": in_a_minute}))

    assert isinstance(outcome, Ambiguous)
    assert 55 <= (outcome.pause or 0) <= 60


DATES = st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)).map(lambda at: at.replace(microsecond=0, tzinfo=UTC))  # noqa: DTZ001


@settings(max_examples=40, deadline=None)
@given(DATES, st.integers(-100_000, 100_000))
def test_a_date_counts_from_the_answers_own_whatever_our_clock_says(sent: datetime, wait: int) -> None:
    headers = {"date": _http(sent), "retry-after": _http(sent + timedelta(seconds=wait))}

    assert asked_pause(headers) == min(max(wait, SHORTEST_PAUSE), LONGEST_PAUSE)


@pytest.mark.parametrize("date", ["", "yesterday", "Wed, 99 Mar 2026 12:00:00 GMT", "1772625600"])
def test_where_the_answers_own_date_is_none_ours_is_taken(date: str) -> None:
    in_a_minute = _http(datetime.now(UTC) + timedelta(seconds=60))

    assert 55 <= asked_pause({"date": date, "retry-after": in_a_minute}) <= 60


def _http(at: datetime) -> str:
    return format_datetime(at, usegmt=True)


def test_a_read_shows_what_is_there() -> None:
    shown = found(answered(200, body=b'{"orderId":"MKP-1-01"}'), read_order)

    assert shown is not None
    assert not isinstance(shown, Again)
    assert shown.order_id == "MKP-1-01"


@pytest.mark.parametrize("body", [b'{"error":{"code":"CHK0201"}}', b"<html>no</html>", b""])
def test_a_read_that_is_told_404_shows_nothing(body: bytes) -> None:
    assert found(answered(404, body=body), read_order) is None


@pytest.mark.parametrize(
    ("exchange", "why"),
    [
        (Exchange(None, error="deadline"), "deadline"),
        (Exchange(None, sent=False, error="ConnectError"), "ConnectError"),
        (Exchange(None, sent=False, error=BAD_CERTIFICATE), "certificate"),
        (answered(401), "401"),
        (answered(429), "429"),
        (answered(500), "500"),
        (answered(204), "204"),
        (answered(302), "302"),
        (answered(200, body=b"<html>"), "the answer is not JSON"),
        (answered(200, body=b"[{}]"), "lacks /orderId"),
        (answered(200, body=b"{}"), "not a list"),
    ],
)
def test_a_read_that_fails_says_nothing_about_what_is_there(exchange: Exchange, why: str) -> None:
    shown = found(exchange, read_group)

    assert isinstance(shown, Unread)
    assert why in shown.reason


@pytest.mark.parametrize(("body", "is_well"), [(b"<html>", False), (b"", False), (b"{}", True), (b"[{}]", True)])
def test_a_seller_whose_json_cannot_be_understood_is_well_itself(body: bytes, is_well: bool) -> None:
    shown = found(answered(200, body=body), read_group)

    assert isinstance(shown, Again)
    assert shown.answered is is_well


OUTCOME_OF: dict[str, type[Outcome]] = {
    "already-there": AlreadyThere,
    "burnt": Refused,
    "permanent": Refused,
    "state": Refused,
    "transient": Again,
    "not-yet": Again,
    "credentials": Denied,
    "ambiguous": Ambiguous,
}


def test_every_class_of_codes_has_an_outcome() -> None:
    assert set(OUTCOME_OF) == set(get_args(codes.Class)) == {code.class_ for code in codes.CODES.values()}


def test_every_code_leads_to_the_outcome_of_its_class() -> None:
    wrong = [
        code for code, known in codes.CODES.items() if type(read(answered(400, code))) is not OUTCOME_OF[known.class_]
    ]

    assert wrong == []


def test_only_a_burnt_code_burns_its_group() -> None:
    burnt = {c for c in codes.CODES if isinstance(o := read(answered(400, c)), Refused) and o.burnt}

    assert burnt == {"CHK0086", "FMT0060"}


def _listed() -> list[str]:
    return list(tomllib.loads(resources.files(answers.__package__).joinpath("codes.toml").read_text("utf-8")))


def test_the_list_of_codes_is_sorted() -> None:
    def place(code: str) -> tuple[str, int, int]:
        letters, number, sub = re.fullmatch(r"([A-Z]+)(\d+)(?:\.(\d+))?", code, re.ASCII).groups()  # type: ignore[union-attr]
        return letters, int(number), int(sub or 0)

    assert _listed() == sorted(_listed(), key=place)


def test_every_sub_code_has_its_family_in_the_list() -> None:
    assert [code for code in _listed() if code.partition(".")[0] not in codes.CODES] == []


@pytest.mark.parametrize(
    ("given", "listed"), [(" chk0085 ", "CHK0085"), ("ORD015.99", "ORD015"), ("ORD015.1", "ORD015.1")]
)
def test_a_code_is_looked_up_by_itself_and_then_by_its_family(given: str, listed: str) -> None:
    assert codes.lookup(given) == codes.CODES[listed]


@pytest.mark.parametrize("code", ["XYZ999", "", ".", "CHK", "CHK0085x"])
def test_a_code_that_is_not_listed_is_said_to_be_unknown(code: str) -> None:
    assert codes.lookup(code) is None
    assert codes.describe(code) == f"{code}: a code that is not in VTEX's published list."


def test_every_code_is_described_in_whole_sentences() -> None:
    assert [
        c for c in codes.CODES if not re.fullmatch(rf"{re.escape(c)}: [A-Z].+\. [A-Z].+\.", codes.describe(c))
    ] == []


@pytest.mark.parametrize("code", [c.code for c in codes.CODES.values() if c.class_ in {"transient", "not-yet"}])
def test_what_is_given_up_is_not_said_to_be_tried_again(code: str) -> None:
    outcome = read(answered(500, code))
    assert outcome is not None

    verdict = decide(outcome, Course(), Policy([], [timedelta()], lambda: 0.5))

    assert isinstance(verdict, Dead)
    assert code in verdict.reason
    assert "tried again" not in verdict.reason
    assert "Nobody needs to act" not in verdict.reason
