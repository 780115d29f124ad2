"""The console's one source of translations. English for now; every string already passes through here."""

from __future__ import annotations

from gettext import NullTranslations

translations = NullTranslations()


def _(message: str) -> str:
    """The message in the operator's language."""
    return translations.gettext(message)
