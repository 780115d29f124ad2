"""What is wrong with a document or a parameter, in this service's own words.

The library that reads documents tells its faults in English of its own, with the names of our classes in it, and
changes both with its releases. Here each of its kinds of fault has a stable code and a sentence; nothing that was
written in the document is repeated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import core_schema

from ..errors import N_, Fault, Sentence

_WRONG = "wrong-type"
_KINDS: Mapping[str, tuple[str, str]] = {
    "missing": ("missing", N_("is missing")),
    "extra_forbidden": ("unknown-field", N_("is not known here")),
    "literal_error": ("unknown-value", N_("must be {expected}")),
    "enum": ("unknown-value", N_("must be {expected}")),
    "string_pattern_mismatch": ("malformed", N_("must fit the pattern {pattern}")),
    "string_too_short": ("blank", N_("must have at least {min_length} characters")),
    "string_too_long": ("too-long", N_("must have at most {max_length} characters")),
    "too_short": ("too-few", N_("must have at least {min_length} entries")),
    "too_long": ("too-many", N_("must have at most {max_length} entries")),
    "greater_than_equal": ("too-small", N_("must be at least {ge}")),
    "greater_than": ("too-small", N_("must be more than {gt}")),
    "less_than_equal": ("too-large", N_("must be at most {le}")),
    "less_than": ("too-large", N_("must be less than {lt}")),
    "int_parsing_size": ("too-large", N_("has too many digits")),
    "finite_number": (_WRONG, N_("must be a finite number")),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), (_WRONG, N_("must be a whole number"))),
    **dict.fromkeys(("float_type", "float_parsing"), (_WRONG, N_("must be a number"))),
    **dict.fromkeys(("bool_type", "bool_parsing"), (_WRONG, N_("must be true or false"))),
    **dict.fromkeys(("string_type", "string_sub_type", "string_unicode"), (_WRONG, N_("must be a text"))),
    **dict.fromkeys(("list_type", "tuple_type", "set_type"), (_WRONG, N_("must be a list"))),
    **dict.fromkeys(
        ("dict_type", "model_type", "model_attributes_type", "mapping_type"), (_WRONG, N_("must be a JSON object"))
    ),
    **dict.fromkeys(
        (
            "datetime_type", "datetime_parsing", "datetime_object_invalid", "datetime_from_date_parsing",
            "timezone_naive", "timezone_aware", "timezone_offset",
        ),
        ("malformed", N_("must be an ISO 8601 date or date and time")),
    ),
}  # fmt: skip
_OTHER = (_WRONG, N_("must be of another kind"))
_OF_ONE: Mapping[str, str] = {
    "must have at least {min_length} characters": N_("must have at least {min_length} character"),
    "must have at most {max_length} characters": N_("must have at most {max_length} character"),
    "must have at least {min_length} entries": N_("must have at least {min_length} entry"),
    "must have at most {max_length} entries": N_("must have at most {max_length} entry"),
}
_LIBRARYS = frozenset(get_args(core_schema.ErrorType))


def faults(wrong: ValidationError) -> list[Fault]:
    """The faults of a document, each with a JSON pointer."""
    return [
        _fault("".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in error["loc"]), error)
        for error in wrong.errors(include_url=False, include_input=False)
    ]


def of_parameters(wrong: Iterable[Mapping[str, Any]]) -> list[Fault]:
    """The faults of a request's parameters, each under the parameter's name."""
    found = [_fault(str(error["loc"][1] if len(error["loc"]) > 1 else error["loc"][0]), error) for error in wrong]
    return list(dict.fromkeys(found))  # one parameter that is given twice may be wrong twice in the same way


def told(found: Sequence[Fault]) -> str:
    """The first fault, where it is and what it is, and how many there are besides."""
    first, *others = found
    where = N_("{place}: {wrong}") if first.pointer else N_("the document: {wrong}")
    sentence = Sentence(where, place=first.pointer, wrong=first.detail)
    return Sentence("{wrong} (and {more} more)", wrong=sentence, more=len(others)) if others else sentence


def _fault(where: str, error: Mapping[str, Any]) -> Fault:
    kind = error["type"]
    if kind not in _LIBRARYS:  # one of ours: its words are in `messages`, `placement` and the like
        return Fault(where, kind, error["msg"])
    code, sentence = _KINDS.get(kind, _OTHER)
    given = error.get("ctx") or {}
    if 1 in given.values():
        sentence = _OF_ONE.get(sentence, sentence)
    return Fault(where, code, Sentence(sentence, **given))
