"""JSON read strictly, so that what is stored can be read again, and everybody reads the same.

Refused beyond what is no JSON at all: NaN and infinities, names that repeat, numbers that no column holds, nesting
beyond a limit, NUL characters, halves of surrogate pairs, byte-order marks, and encodings other than UTF-8.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import Any

MAX_DEPTH = 32
MAX_DIGITS = 19


class NotJson(ValueError):
    """The bytes are not the JSON that is accepted. The message says where and why, and quotes no value."""


def parse(raw: bytes, *, max_depth: int = MAX_DEPTH) -> Any:
    """The value that `raw` holds. Raises NotJson."""
    text = _decode(raw)
    _check_depth(text, max_depth)
    try:
        value = (_CAREFUL if _LONG in raw.translate(_DIGITS_ALIKE) else _DECODER).decode(text)
    except json.JSONDecodeError as wrong:
        raise NotJson(_explain(wrong)) from None
    if "\\u" in text:
        _check_characters(value)
    return value


def dump(value: Any) -> bytes:
    """Compact UTF-8, names in the order they have. The same value gives the same bytes."""
    return _DUMPER.encode(value).encode()


def text(value: str) -> str:
    """A text as JSON, in quotation marks."""
    return _DUMPER.encode(value)


def canonical(value: Any) -> bytes:
    """Compact UTF-8 with sorted names and one spelling a number: equal documents give equal bytes."""
    return _SORTING_DUMPER.encode(_plain(value)).encode()


# Made once: `json.dumps` would make one for every call.
_DUMPER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_SORTING_DUMPER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True)


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind is float:
        return int(value) if value.is_integer() else value
    if kind is dict:
        return {name: _plain(inner) if type(inner) in _MAY_HOLD else inner for name, inner in value.items()}
    if kind is list:
        return [_plain(inner) if type(inner) in _MAY_HOLD else inner for inner in value]
    return value


_MAY_HOLD = frozenset({float, dict, list})


def _decode(raw: bytes) -> str:
    if not raw or raw.isspace():
        raise NotJson("the body is empty")
    if raw.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise NotJson("it starts with a byte-order mark; send plain UTF-8")
    if b"\0" in raw:
        raise NotJson("it holds a NUL byte; send plain UTF-8")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as wrong:
        raise NotJson(f"byte {wrong.start + 1} is not UTF-8") from None


# Possessive: to go back into a text of some megabytes, the matcher would remember each of its characters.
_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_BRACKET = re.compile(r"[\[\]{}]")


def _check_depth(text: str, limit: int) -> None:
    """Refuse deep nesting before the parser recurses into it. Most bodies have too few brackets to look closer."""
    if text.count("[") + text.count("{") <= limit:
        return
    depth = 0
    for bracket in _BRACKET.findall(_STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > limit:
            raise NotJson(f"it is nested more than {limit} levels deep")


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS + digits.startswith("-"):
        raise NotJson(f"it holds a whole number of more than {MAX_DIGITS} digits")
    return int(digits)


def _fraction(digits: str) -> float:
    number = float(digits)
    if math.isinf(number) or len(digits) > 64:
        raise NotJson("it holds a number that is too large or too long")
    return number


def _constant(_: str) -> Any:
    raise NotJson("NaN and Infinity are not JSON numbers")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        raise NotJson(f"an object names {f'the field {twice}' if NAME.fullmatch(twice) else 'the same field'} twice")
    return found


NAME = re.compile(r"[A-Za-z][\w-]{0,40}", re.ASCII)
"""The name of a field as it may be shown: somebody may have put a value where a name should be."""


# Most documents have no run of digits that is too long, and are read without being asked of each number.
_LONG = b"0" * (MAX_DIGITS + 1)
_DIGITS_ALIKE = bytes.maketrans(b"123456789", b"0" * 9)
_DECODER = json.JSONDecoder(parse_float=_fraction, parse_constant=_constant, object_pairs_hook=_unique)
_CAREFUL = json.JSONDecoder(
    parse_int=_integer, parse_float=_fraction, parse_constant=_constant, object_pairs_hook=_unique
)


def _check_characters(value: Any) -> None:
    if isinstance(value, str):
        if "\0" in value:
            raise NotJson("a text holds a NUL character")
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise NotJson("a text holds half of a surrogate pair")
    elif isinstance(value, dict):
        for name, inner in value.items():
            _check_characters(name)
            _check_characters(inner)
    elif isinstance(value, list):
        for inner in value:
            _check_characters(inner)


_IN_WORDS = {
    "Expecting value": "a value is expected here; a text must start with a quotation mark",
    "Expecting property name enclosed in double quotes": "a field name in quotation marks is expected here",
    "Illegal trailing comma before end of object": "a comma may not stand before the end of an object",
    "Illegal trailing comma before end of array": "a comma may not stand before the end of a list",
    "Expecting ':' delimiter": "a colon is expected after the field name",
    "Expecting ',' delimiter": "a comma or a closing bracket is expected here",
    "Unterminated string starting at": "a text that starts here has no closing quotation mark",
    "Invalid control character at": "a text holds a line break or another control character",
    "Extra data": "nothing may follow the end of the document",
}


def _explain(wrong: json.JSONDecodeError) -> str:
    if wrong.pos >= len(wrong.doc.rstrip()):
        return f"line {wrong.lineno}, column {wrong.colno}: the document ends before it is complete"
    told = next((words for start, words in _IN_WORDS.items() if wrong.msg.startswith(start)), wrong.msg)
    return f"line {wrong.lineno}, column {wrong.colno}: {told}"
