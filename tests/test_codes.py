"""VTEX's error codes that matter to a chain order are listed, each in the class that decides what follows."""

from __future__ import annotations

import re

import pytest

from chain_orders.vtex import codes

# From VTEX's pages by way of the protocol notes, section A.5; `a-b` are ranges. A code that stands in two rows there
# is here in the more careful one: "may exist" before "refused", "refused" before "tried again".
BY_CLASS: dict[str, str] = {
    "already-there": "CHK0085 CHK0055 FMT0064 FMT009 EOI007",
    "burnt": "FMT0060 CHK0086",
    "permanent": """
        CHK0144 CHK0145 CHK0146 CHK0120 FMT0021 FMT0088 CHK0161 FMT0036 CHK0092 CHK0095 ORD017 CHK0069 CHK0199 FMT0070
        FMT0071 CHK0022-0025 CHK0029-0033 CHK0041 CHK0042 CHK0107 CHK0108 CHK0045 CHK0266 CHK0062 FMT0104 CHK0162
        CHK0272 CHK0246 ORD023 ORD050 ORD005 ORD013 ORD024 ORD025 ORD027 ORD028 ORD055 ORD056 ORD058 FMT005
        FMT0038-0043 FMT0067 CHK0248 ORD006 ORD007 ORD044-048 ORD029-031 CHK0040 CHK0119 CHK0126 CHK0127 CHK0131
        CHK0171 FMT010 CHK0175 CHK0256 CHK0257 FMT003 FMT004 CHK0258 FMT017 CHK0259 FMT002 CHK0261 CHK0263 CHK0264
        ORD020 CHK0152 CHK0154 CHK0016 CHK0198 ORD009 ORD004 ORD002 ORD022 ORD063 ORD064 CHK0159 CHK0160 FMT007""",
    "transient": """
        CHK0084 CHK0292 CHK00310 CHK00311 CHK0012 CHK0020 CHK0026 CHK0027 CHK0028 CHK0039 CHK0043 CHK0044 CHK0048
        CHK0052 CHK0070 CHK0073 CHK0076 CHK0083 CHK0093 CHK0110 CHK0183 CHK0211 CHK0214 CHK0217 CHK0219 CHK0231
        CHK0233 CHK0262 CHK0265 CHK0268 CHK0270 CHK0279 CHK0289 CHK0290 CHK00299 CHK00301 CHK00312-00316 ORD003 ORD021
        ORD021.1 ORD021.2 ORD021.3 ORD021.4 ORD021.6 ORD021.7 ORD026 ORD041 ORD052 ORD053 ORD059 FMT0048-0051 EOI006
        EOI010""",
    "ambiguous": """
        ORD008 ORD012 ORD015 ORD015.1 ORD015.2 ORD015.3 ORD015.4 ORD015.5 ORD016 CHK0230 CHK0235 CHK0291 CHK0089""",
    "credentials": "CHK003 ORD062 ORD021.5 CHK002 CHK0013 CHK0280",
    "state": "ORD038 ORD039 CHK0200 CHK0242 EOI009",
    "not-yet": "CHK0201 CHK0229 ORD014 EOI008 EOI011",
}


def _named(text: str) -> set[str]:
    found = set()
    for word in text.split():
        letters, first, last = re.fullmatch(r"([A-Z]+)([\d.]+)(?:-(\d+))?", word).groups()  # type: ignore[union-attr]
        every = range(int(first), int(last) + 1) if last else ()
        found |= {f"{letters}{number:0{len(first)}d}" for number in every} or {letters + first}
    return found


def test_the_table_names_every_code_once() -> None:
    named = [code for text in BY_CLASS.values() for code in _named(text)]

    assert len(named) == len(set(named)) > 150


@pytest.mark.parametrize("class_", BY_CLASS)
def test_every_code_of_the_protocol_is_listed_in_its_class(class_: str) -> None:
    listed = {code: codes.CODES[code].class_ if code in codes.CODES else None for code in _named(BY_CLASS[class_])}

    assert {code: found for code, found in listed.items() if found != class_} == {}


@pytest.mark.parametrize(
    ("class_", "owners"),
    [
        ("already-there", {"us"}),
        ("ambiguous", {"us", "seller"}),
        ("burnt", {"operator"}),
        ("credentials", {"operator"}),
        ("not-yet", {"nobody"}),
        ("permanent", {"operator", "seller"}),
        ("state", {"operator"}),
        ("transient", {"nobody"}),
    ],
)
def test_who_must_act_follows_from_the_class(class_: str, owners: set[str]) -> None:
    assert {code.owner for code in codes.CODES.values() if code.class_ == class_} == owners


@pytest.mark.parametrize("code", sorted(codes.CODES))
def test_a_code_in_words_says_what_follows_and_who_acts(code: str) -> None:
    told = codes.describe(code)

    assert any(said in told for said in ("tried again", "is read", "new order group", "wait"))
    assert told.endswith(("must act.", "needs to act.", "by itself."))
