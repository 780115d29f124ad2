"""The console's one source of translations: whatever a person reads passes through `_`, in the language of the visit.

The language is the first that the browser asks for and that there is a catalogue of: `locale/{language}/LC_MESSAGES/
console.mo` beside this file. Without one it is English. What is said before a visit is there is marked with `N_`, and
translated when it is shown. Numbers and dates are written as the language writes them, by Babel's `Locale`.
"""

from __future__ import annotations

from contextvars import ContextVar
from functools import cache
from gettext import GNUTranslations, NullTranslations
from pathlib import Path

from babel import Locale, UnknownLocaleError

from ..errors import N_

__all__ = ["N_", "_", "language", "locale", "ngettext", "speak"]

OWN = "en-GB"
_FOLDER = Path(__file__).parent / "locale"


def _catalogues() -> dict[str, NullTranslations]:
    found: dict[str, NullTranslations] = {OWN: NullTranslations()}
    for path in sorted(_FOLDER.glob("*/LC_MESSAGES/console.mo")):
        with path.open("rb") as file:
            found[path.parts[-3].replace("_", "-")] = GNUTranslations(file)
    return found


CATALOGUES = _catalogues()
_language: ContextVar[str] = ContextVar("language", default=OWN)


def speak(accepted: str) -> None:
    """Choose the language for the visit that is going on, by its `Accept-Language`."""
    _language.set(_chosen(accepted))


def language() -> str:
    """The language tag of the visit."""
    return _language.get()


def locale() -> Locale:
    """How the language of the visit writes numbers and dates."""
    return _locale(_language.get())


@cache
def _locale(tag: str) -> Locale:
    try:
        return Locale.parse(tag, sep="-")
    except (UnknownLocaleError, ValueError):
        return Locale.parse(OWN, sep="-")


def _chosen(accepted: str) -> str:
    asked = sorted((_asked(part) for part in accepted.split(",")[:20]), key=lambda one: -one[1])
    for wanted, weight in asked:
        for tag in CATALOGUES:
            if (
                weight
                and wanted
                and (tag.lower() == wanted or tag.lower().partition("-")[0] == wanted.partition("-")[0])
            ):
                return tag
    return OWN


def _asked(part: str) -> tuple[str, float]:
    tag, _semicolon, weight = part.strip().lower().partition(";q=")
    try:
        return tag, float(weight or 1)
    except ValueError:
        return tag, 0.0


def _(message: str) -> str:
    """The message in the operator's language."""
    return CATALOGUES[_language.get()].gettext(message) if message else ""


def ngettext(one: str, many: str, number: int) -> str:
    """The message for a number of things."""
    return CATALOGUES[_language.get()].ngettext(one, many, number)
