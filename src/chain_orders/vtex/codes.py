"""VTEX's error codes, as data: what each means for a delivery, who must act, and in plain words what to do.

The list is `codes.toml`. A sub-code such as `ORD015.1` that is not listed is read as its family `ORD015`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Literal, get_args

Class = Literal["already-there", "burnt", "permanent", "transient", "ambiguous", "credentials", "state", "not-yet"]
Owner = Literal["nobody", "us", "operator", "seller"]

CLASS_IN_WORDS: dict[str, str] = {
    "already-there": "The seller says that this was done before; it is read before it is believed.",
    "burnt": "This order group can never be used again.",
    "permanent": "The seller refuses the request as it is.",
    "transient": "A service at the seller was not available; it is tried again.",
    "ambiguous": "It may or may not have been done; the seller is read before anything is sent again.",
    "credentials": "The seller refuses the credentials.",
    "state": "The order's state at the seller does not allow this.",
    "not-yet": "The seller is not ready for this yet; it is tried again.",
}
NEXT: dict[str, str] = {
    "already-there": "The seller is read before it is believed.",
    "burnt": "It is not tried again.",
    "permanent": "It is not tried again.",
    "transient": "It is tried again.",
    "ambiguous": "The seller is read before anything is sent again.",
    "credentials": "Calls to the seller wait.",
    "state": "It is not tried again.",
    "not-yet": "It is tried again.",
}
_SAID = ("tried again", "is read", "new order group")
UNLISTED = "It is not tried again. An operator must act."
"""What becomes of a refusal whose code nobody has listed."""
_OWNER_IN_WORDS: dict[str, str] = {
    "nobody": "Nobody needs to act.",
    "us": "The service settles it by itself.",
    "operator": "An operator must act.",
    "seller": "The seller must act.",
}


@dataclass(frozen=True, slots=True)
class Code:
    """One code of VTEX's. `meaning` is empty for codes outside of chain orders."""

    code: str
    class_: Class
    owner: Owner
    meaning: str = ""


def _load() -> Mapping[str, Code]:
    raw = tomllib.loads(resources.files(__package__).joinpath("codes.toml").read_text("utf-8"))
    for code, entry in raw.items():
        if entry["class"] not in get_args(Class) or entry["owner"] not in get_args(Owner):
            raise ValueError(f"codes.toml: {code} has an unknown class or owner")
    return {code: Code(code, entry["class"], entry["owner"], entry.get("meaning", "")) for code, entry in raw.items()}


CODES = _load()


def lookup(code: str) -> Code | None:
    """The code, or its family's; None when neither is listed."""
    code = code.strip().upper()
    return CODES.get(code) or CODES.get(code.partition(".")[0])


def describe(code: str) -> str:
    """The code in a few sentences: what it means, whether it is tried again, and who must act."""
    known = lookup(code)
    if known is None:
        return f"{code}: a code that is not in VTEX's published list."
    return " ".join([f"{code}:", *meaning(known), _OWNER_IN_WORDS[known.owner]])


def cause(code: str) -> str:
    """What a code means, and nothing of what becomes of it."""
    known = lookup(code)
    means = (known.meaning or CLASS_IN_WORDS[known.class_]) if known is not None else ""
    return f"{code}: {means.partition('; it is tried again')[0].rstrip('.')}"


def meaning(known: Code) -> list[str]:
    """What a code means, and whether what it refuses is tried again: a sentence each."""
    means = known.meaning or CLASS_IN_WORDS[known.class_]
    return [means] if any(said in means for said in _SAID) else [means, NEXT[known.class_]]
