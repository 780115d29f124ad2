"""JSON read strictly: what is refused, that nothing is quoted, and that what was written is read again."""

from __future__ import annotations

import contextlib
import json
import string
import time
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain_orders.strict_json import MAX_DEPTH, MAX_DIGITS, NotJson, canonical, dump, parse

from .builders import sample

# A fixed alphabet with what is usually read wrongly: quotes, escapes, line separators, characters beyond 16 bits.
TEXT = st.text(alphabet=string.printable + "é\u2028\u2029\x7f\ufeff\uffff\U0001f600", max_size=12)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(10**MAX_DIGITS) + 1, 10**MAX_DIGITS - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
DOCUMENTS = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=12
)
quickly = settings(max_examples=30, deadline=None)


def nested(levels: int, opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    return opening * levels + b"1" + closing * levels


def backwards(value: Any) -> Any:
    """The same document with every object's names in the opposite order."""
    if isinstance(value, dict):
        return {name: backwards(inner) for name, inner in reversed(value.items())}
    return [backwards(inner) for inner in value] if isinstance(value, list) else value


@quickly
@given(DOCUMENTS)
def test_what_was_dumped_is_parsed_to_the_same(document: Any) -> None:
    assert parse(dump(document)) == document


@quickly
@given(DOCUMENTS)
def test_canonical_bytes_ignore_the_order_of_names(document: Any) -> None:
    assert canonical(backwards(document)) == canonical(document)


@quickly
@given(DOCUMENTS)
def test_canonical_bytes_hold_the_same_document(document: Any) -> None:
    assert json.loads(canonical(document)) == document


@quickly
@given(DOCUMENTS, DOCUMENTS)
def test_other_documents_have_other_canonical_bytes(one: Any, other: Any) -> None:
    # 1 == True in Python and is not in JSON.
    assert (canonical(one) == canonical(other)) == (repr_json(one) == repr_json(other))


def repr_json(value: Any) -> Any:
    """A document as something that compares as JSON does."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return (type(value), value)
    if isinstance(value, int | float):
        return ("number", value)
    if isinstance(value, list):
        return [repr_json(inner) for inner in value]
    return {name: repr_json(inner) for name, inner in value.items()}


@quickly
@given(st.binary(max_size=40))
def test_whatever_the_bytes_they_are_read_or_refused(raw: bytes) -> None:
    refused = object()
    value = refused
    with contextlib.suppress(NotJson):
        value = parse(raw)

    assert value is refused or value == json.loads(raw)


REFUSED: list[tuple[str, bytes, str]] = [
    ("nothing", b"", "the body is empty"),
    ("blanks", b" \r\n\t", "the body is empty"),
    ("not JSON", b"hello", "line 1, column 1: a value is expected here"),
    ("a name without quotes", b"{a:1}", "line 1, column 2: a field name in quotation marks"),
    ("single quotes", b"{'a':1}", "line 1, column 2: a field name in quotation marks"),
    ("a comment", b"/* */ 1", "a value is expected here"),
    ("a comma at an object's end", b'{"a":1,}', "column"),
    ("a comma at a list's end", b"[1,]", "column"),
    ("no colon", b'{"a" 1}', "a colon is expected after the field name"),
    ("no comma", b"[1\n 2]", "line 2, column 2: a comma or a closing bracket is expected"),
    ("no end", b'{"a":1', "line 1, column 7: the document ends before it is complete"),
    ("no value at the end", b'{"a":\n', "the document ends before it is complete"),
    ("no item at the end", b"[1, ", "the document ends before it is complete"),
    ("half a word at the end", b"[tru", "a value is expected here"),
    ("a text without end", b'{"a":"1}', "has no closing quotation mark"),
    ("a raw line break in a text", b'"a\nb"', "a line break or another control character"),
    ("two documents", b"{} {}", "nothing may follow the end"),
    ("a number with a plus", b"+1", "a value is expected"),
    ("a number with a leading zero", b"[01]", "a comma or a closing bracket is expected"),
    ("NaN", b"[NaN]", "NaN and Infinity"),
    ("Infinity", b"[Infinity]", "NaN and Infinity"),
    ("minus Infinity", b"[-Infinity]", "NaN and Infinity"),
    ("an infinite number", b"[1e400]", "too large or too long"),
    ("a minus infinite number", b"[-1e400]", "too large or too long"),
    ("the bomb of jsonb", b"[1e131000]", "too large or too long"),
    ("a long fraction", b"[0." + b"1" * 63 + b"]", "too large or too long"),
    ("20 digits", b"[" + b"9" * 20 + b"]", "more than 19 digits"),
    ("minus 20 digits", b"[-" + b"9" * 20 + b"]", "more than 19 digits"),
    ("a thousand digits", b"[" + b"9" * 1000 + b"]", "more than 19 digits"),
    ("more digits than Python converts", b"9" * 5000, "more than 19 digits"),
    ("a name twice", b'{"a":1,"a":1}', "an object names the field a twice"),
    ("a name twice, deeper", b'[{"x":{"a":1,"b":2,"b":3}}]', "names the field b twice"),
    ("a name twice, once escaped", b'{"a":1,"\\u0061":2}', "names the field a twice"),
    ("a value as a name twice", b'{"m@a.example":1,"m@a.example":1}', "an object names the same field twice"),
    ("33 levels", nested(33), "nested more than 32 levels deep"),
    ("33 levels of objects", nested(33, b'{"a":', b"}"), "nested more than 32 levels deep"),
    ("a NUL byte", b'{"a":"\0"}', "a NUL byte"),
    ("an escaped NUL", b'{"a":"\\u0000"}', "a NUL character"),
    ("an escaped NUL in a name", b'[{"\\u0000":1}]', "a NUL character"),
    ("the first half of a pair", b'"\\ud800"', "half of a surrogate pair"),
    ("the second half of a pair", b'["\\udc00"]', "half of a surrogate pair"),
    ("halves in the wrong order", b'"\\udc00\\ud800"', "half of a surrogate pair"),
    ("half a pair in a name", b'{"\\ud800":1}', "half of a surrogate pair"),
    ("an encoded surrogate", b'"\xed\xa0\x80"', "byte 2 is not UTF-8"),
    ("Latin-1", '{"a":"é"}'.encode("latin-1"), "byte 7 is not UTF-8"),
    ("an overlong slash", b'"\xc0\xaf"', "byte 2 is not UTF-8"),
    ("a UTF-8 byte-order mark", b"\xef\xbb\xbf{}", "byte-order mark"),
    ("UTF-16", "{}".encode("utf-16"), "byte-order mark"),
    ("UTF-16 big-endian", b"\xfe\xff" + "{}".encode("utf-16-be"), "byte-order mark"),
    ("UTF-16 without a mark", "{}".encode("utf-16-le"), "a NUL byte"),
    ("UTF-32", "{}".encode("utf-32"), "byte-order mark"),
    ("UTF-32 without a mark", "{}".encode("utf-32-be"), "a NUL byte"),
]


@pytest.mark.parametrize(("raw", "told"), [pytest.param(raw, told, id=name) for name, raw, told in REFUSED])
def test_what_is_no_strict_json_is_refused(raw: bytes, told: str) -> None:
    with pytest.raises(NotJson) as refused:
        parse(raw)

    assert told in str(refused.value)


def _broken_around(secret: bytes) -> Iterator[bytes]:
    yield b'{"a":"' + secret + b'","a":"' + secret + b'"}'
    yield b'{"' + secret + b' ":1,"' + secret + b' ":2}'
    yield b'["' + secret
    yield secret
    yield b'["' + secret + b'\\ud800"]'
    yield b'["' + secret + b'\\q"]'
    yield b'["\\u' + secret + b'"]'
    yield b'"' + secret + b'" "' + secret + b'"'
    yield b'{"a" "' + secret + b'"}'


@pytest.mark.parametrize("raw", list(_broken_around(b"s3cret")))
def test_a_refusal_quotes_nothing(raw: bytes) -> None:
    with pytest.raises(NotJson) as refused:
        parse(raw)

    assert "s3cret" not in str(refused.value)
    assert refused.value.__cause__ is None


ACCEPTED: list[tuple[bytes, Any]] = [
    (b"9" * 19, 10**19 - 1),
    (b"-" + b"9" * 19, 1 - 10**19),
    (b"0", 0),
    (b"-0", 0),
    (b"1e3", 1000.0),
    (b"1e-400", 0.0),
    (b"0." + b"1" * 62, float("0." + "1" * 62)),
    (nested(32), json.loads(nested(32))),
    (b'"' + b"[" * 1000 + b'"', "[" * 1000),
    (b'["' + b'\\"[' * 1000 + b'"]', ['"[' * 1000]),
    (b"[" + b"[]," * 1000 + b"1]", [[]] * 1000 + [1]),
    (b'"\\ud83d\\ude00"', "\U0001f600"),
    (b'"\\\\ud800"', "\\ud800"),
    (b'"\xef\xbb\xbf"', "\ufeff"),
    (b' {"a": null} \n', {"a": None}),
]


@pytest.mark.parametrize(("raw", "value"), ACCEPTED)
def test_what_is_odd_and_right_is_read(raw: bytes, value: Any) -> None:
    assert parse(raw) == value


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * 100_000,
        nested(100_000),
        nested(100_000, b'{"a":', b"}"),
        b"]" * 100_000 + b"[" * 100_000,
        b'["' + b"\\" * 100_000 + b"[" * 100_000,
        b'"' * 100_001 + b"[" * 100_000,
    ],
    ids=["open", "lists", "objects", "closed first", "backslashes", "quotation marks"],
)
def test_deep_nesting_is_refused_quickly(raw: bytes) -> None:
    started = time.perf_counter()

    with pytest.raises(NotJson):
        parse(raw)

    assert time.perf_counter() - started < 0.5


@pytest.mark.parametrize("character", ["x", "\\n", "\u00e9"], ids=["plain", "escaped", "wide"])
def test_a_long_text_among_many_brackets_takes_little_memory(character: str) -> None:
    raw = f'{{"embeddedInvoice": "{character * 500_000}", "items": [{"{}, " * 40}{{}}]}}'.encode()
    tracemalloc.start()
    try:
        parse(raw)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 8 * len(raw)


def test_the_limit_of_nesting_can_be_lowered() -> None:
    with pytest.raises(NotJson, match="more than 3 levels"):
        parse(nested(4), max_depth=3)


def test_the_limits_are_the_documented_ones() -> None:
    assert (MAX_DEPTH, MAX_DIGITS) == (32, 19)


def test_dump_is_compact_utf8_in_the_order_it_was_given() -> None:
    assert dump({"b": "é", "a": [1, None, True]}) == '{"b":"é","a":[1,null,true]}'.encode()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [float("-inf")]}])
def test_what_is_no_json_is_not_written(value: Any) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        dump(value)


@pytest.mark.parametrize("raw", [b'{"a":[1.0,-0.0,1e3]}', b'{"a":[1,0,1000]}', b' { "a" : [ 1.00, 0, 10e2 ] }'])
def test_canonical_bytes_spell_a_number_one_way(raw: bytes) -> None:
    assert canonical(parse(raw)) == b'{"a":[1,0,1000]}'


def test_the_seeds_order_survives_as_it_is() -> None:
    document = parse(sample("seed/order.json"))

    assert parse(dump(document)) == document == json.loads(sample("seed/order.json"))


@pytest.mark.parametrize("name", ["seed/invoice-broken.json", "seed/authorization-broken.json"])
def test_the_seeds_broken_samples_are_refused(name: str) -> None:
    with pytest.raises(NotJson, match=r"^line \d+, column \d+: "):
        parse(sample(name))
