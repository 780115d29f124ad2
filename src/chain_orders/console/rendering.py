"""Templates and their filters. Everything is escaped; what strangers wrote cannot even reorder the text around it."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping
from copy import copy
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from functools import cache, lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from babel import Locale
from babel.dates import format_date, format_time, format_timedelta, get_datetime_format
from babel.numbers import NumberPattern, format_decimal
from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse, Response

from .. import capability, masking
from . import assets, gates, sentences, texts, words
from .texts import _

_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
"""Characters that are not seen, or that turn the text around them: a stranger's text shows them as escapes."""


def told(text: object) -> str:
    """A stranger's text, with everything in it to be seen."""
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", str(text if text is not None else ""))


def brief(text: object, limit: int = 120) -> str:
    """The beginning of a stranger's text."""
    shown = str(text if text is not None else "")
    return told(shown if len(shown) <= limit else shown[:limit] + "…")


def money(cents: int | None, currency: str | None = None) -> str:
    """Cents in the seller's currency: `BRL 1,300.00`."""
    if cents is None:
        return ""
    amount = _numeral(Decimal(cents) / 100, 2)
    return f"{currency} {amount}" if currency else amount


def _numeral(number: float | Decimal, digits: int, *, share: bool = False) -> str:
    """A number, or a share of a whole, with so many digits behind the point."""
    locale = texts.locale()
    return str(_pattern(locale, digits, share).apply(number, locale))


@cache
def _pattern(locale: Locale, digits: int, share: bool) -> NumberPattern:
    pattern: NumberPattern = copy((locale.percent_formats if share else locale.decimal_formats)[None])
    pattern.frac_prec = (digits, digits)
    return pattern


@pass_context
def moment(context: Context, at: datetime | None, *, seconds: bool = False, zone: bool = True) -> Markup:
    """A moment for people, in the operator's zone and language, and for machines. Without the zone where the column's
    head says it."""
    if at is None:
        return Markup("")
    exact = at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    here = context["visit"].zone
    whole = clock(at, here, seconds=seconds or not zone)
    if zone:
        return Markup('<time datetime="{}">{}</time>').format(exact, whole)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        exact, whole, _written(at.astimezone(here), seconds)
    )


def clock(at: datetime, zone: tzinfo, *, seconds: bool = False) -> str:
    """A moment by the clock of a zone: `3 Nov 2026, 13:30 UTC`. A zone that is known by no letters is named by how far
    it is from UTC."""
    here = at.astimezone(zone)
    name = f"{here:%Z}"
    if name.startswith(("+", "-")):
        name = "UTC" + name.replace("-", "\u2212")  # after a hyphen the line may break
    return f"{_written(here, seconds)} {name}"


def _written(at: datetime, seconds: bool) -> str:
    return _day(at.date(), texts.locale()).replace("{0}", time_of_day(at, seconds=seconds))


@lru_cache(maxsize=1000)
def _day(day: date, locale: Locale) -> str:
    """A day, with a place for the time: a list has many moments of few days."""
    pattern = str(get_datetime_format("medium", locale)).replace("'", "")
    return pattern.replace("{1}", format_date(day, "medium", locale))


def time_of_day(at: datetime, *, seconds: bool = False) -> str:
    """By the clock of the zone that the moment is of: `13:30`."""
    return format_time(at, "medium" if seconds else "short", at.tzinfo, texts.locale())


@pass_context
def dated(context: Context, text: str | None) -> Markup | str:
    """A date that came as text: a moment where it is one, else the text."""
    try:
        at = datetime.fromisoformat(text or "")
    except ValueError:
        return told(text)
    return moment(context, at) if at.tzinfo is not None else told(text)


def span(seconds: float | timedelta | None) -> str:
    """A length of time in its two largest units: `2 h 5 min`."""
    if seconds is None:
        return ""
    left = int(seconds.total_seconds() if isinstance(seconds, timedelta) else seconds)
    parts: list[str] = []
    for size, unit in ((86400, _("%s d")), (3600, _("%s h")), (60, _("%s min")), (1, _("%s s"))):
        if left >= size:
            parts.append(unit % (left // size))
            left %= size
        elif parts:
            break
    return " ".join(parts[:2]) or _("under 1 s")


def exact(seconds: float) -> str:
    """A length of time as it was set: `2 min 30 s`, `0.05 s`."""
    return span(seconds) if seconds.is_integer() else _("%s s") % count(seconds)


def narrow(seconds: float) -> str:
    """A length of time where there is little room: `10m`."""
    return format_timedelta(timedelta(seconds=seconds), format="narrow", locale=texts.locale())


def ago(at: datetime | None) -> str:
    return _("%s ago") % span(datetime.now(UTC) - at) if at is not None else ""


def until(at: datetime | None) -> str:
    """When something is due, from now."""
    if at is None:
        return ""
    left = (at - datetime.now(UTC)).total_seconds()
    return _("in %s") % span(left) if left > 0 else _("now")


def ahead(at: datetime | str | None) -> bool:
    """Whether a moment is still to come."""
    found = datetime.fromisoformat(at) if isinstance(at, str) else at
    return found is not None and found > datetime.now(UTC)


def duration(milliseconds: int | None) -> str:
    if milliseconds is None:
        return ""
    if milliseconds < 1000:
        return _("%s ms") % milliseconds
    return _("%s s") % _numeral(milliseconds / 1000, 1)


def count(number: int | float | None) -> str:
    return format_decimal(number or 0, locale=texts.locale())


def percent(part: float, whole: float) -> str:
    """A part of a whole: `2.5%`."""
    return _numeral(part / whole, 1, share=True)


_HOST = re.compile(r"[a-z0-9.-]+", re.ASCII)
"""A host whose name every browser reads as it stands: no letters like others, no backslash, which is a `/`."""


def link(url: str | None) -> Markup | str:
    """A seller's URL: a link only over https, with its host shown and nothing handed on; text otherwise."""
    if not url:
        return ""
    try:
        parts = urlsplit(url)
        label = parts.hostname or ""
        safe = parts.scheme == "https" and bool(_HOST.fullmatch(label)) and told(url) == url and not parts.username
    except ValueError:
        safe = False
    if not safe:
        return brief(url, 80)
    pattern = '<a href="{}" rel="noopener noreferrer nofollow" target="_blank">{}<span class="unseen"> {}</span></a>'
    # The pattern is ours, and what is put into it is escaped.
    return Markup(pattern).format(url, label, _("(another site, in a new tab)"))  # noqa: S704


def text_of(raw: bytes | None, limit: int = 24_000) -> str:
    """Bytes as text to look at: what is not UTF-8 is shown as escapes, and nobody needs what proves a callback base.
    What would take more than `limit` bytes of the page is cut, and says so."""
    if not raw:
        return ""
    if masked := masking.UNREADABLE.fullmatch(raw):
        return _("[masked: %s bytes that are not JSON]") % count(int(masked[1]))
    text = told(capability.hide(raw)[:limit].decode("utf-8", "backslashreplace"))
    shown = within(text, limit)
    whole = len(raw) <= limit and len(shown) == len(text)
    return shown + ("" if whole else _("\n… cut here: there are %s bytes of it") % count(len(raw)))


def size(text: str) -> int:
    """How many bytes of a page a text takes: a quotation mark takes five."""
    return len(escape(text).encode())


def within(text: str, limit: int) -> str:
    """The beginning of a text that takes at most so many bytes of a page."""
    if size(text) <= limit:
        return text
    return text[: bisect_right(range(len(text)), limit, key=lambda end: size(text[:end])) - 1]


def dump(raw: bytes, limit: int = 512) -> str:
    """The first bytes as a hex dump."""
    lines = []
    for at in range(0, min(len(raw), limit), 16):
        part = raw[at : at + 16]
        seen = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"{at:04x}  {part.hex(' '):<47}  {seen}")
    return "\n".join(lines)


def query(parameters: Mapping[str, Any], **changes: Any) -> str:
    """The address's query with some of it changed; what is empty is left out."""
    pairs: list[tuple[str, str]] = []
    for name, value in {**parameters, **changes}.items():
        values = value if isinstance(value, list | tuple) else [value]
        pairs += [(name, str(one)) for one in values if one not in (None, "", False)]
    return "?" + urlencode(pairs) if pairs else ""


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    made.install_gettext_callables(texts._, texts.ngettext, newstyle=True)  # type: ignore[attr-defined]  # the extension's
    filters = (told, brief, money, moment, dated, span, ago, until, duration, count, percent, link, text_of, dump)
    made.filters.update({one.__name__: one for one in filters})
    made.tests["ahead"] = ahead
    made.tests["stored"] = lambda text: isinstance(text, words.Stored)
    made.globals.update(
        asset=assets.address,
        gates=gates,
        sentences=sentences,
        words=words,
        word=words.word,
        query=query,
        language=texts.language,
    )
    return made


_templates = _environment()


def render(template: str, status: int, context: Mapping[str, Any]) -> Response:
    """A page."""
    return HTMLResponse(_templates.get_template(template).render(context), status)
