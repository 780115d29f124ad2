"""What an event says beside its name, as people read it: money with its currency, moments of their zone, codes in
words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, tzinfo
from typing import Any

from . import rendering, sentences, words
from .texts import N_, _
from .words import Told

LABELS: Mapping[str, str] = Told(
    {
        "code": N_("code"),
        "reason": N_("reason"),
        "number": N_("number"),
        "type": N_("type"),
        "value": N_("value"),
        "before": N_("before"),
        "total": N_("total"),
        "increment": N_("more"),
        "discount": N_("less"),
        "receipt": N_("receipt"),
        "date": N_("date"),
        "courier": N_("courier"),
        "trackingNumber": N_("tracking number"),
        "warnings": N_("warnings"),
        "verified": N_("found by reading"),
        "sent": N_("sent to the seller"),
        "chainOrderIds": N_("chain orders"),
        "withoutItems": N_("left out, without items"),
        "notificationId": N_("notification"),
        "was": N_("it was"),
        "requestId": N_("request"),
        "kind": N_("kind"),
        "deliveryId": N_("delivery"),
        "source": N_("learnt from"),
        "decision": N_("decision"),
        "settled": N_("settled with it"),
        "differences": N_("what was set right"),
        "state": N_("hash of what is kept"),
        "placements": N_("documents removed"),
        "notifications": N_("notifications removed"),
        "attempts": N_("answers removed"),
    }
)
UNSAID = frozenset({"seq"})
"""What an event holds for programs: its place among what a rebuild replays."""
SOURCES: Mapping[str, str] = Told({"callback": N_("a notification"), "read": N_("reading the seller")})
DECISIONS: Mapping[str, str] = Told(
    {
        "dismiss": N_("left as it is"),
        "cancelled": N_("it is cancelled"),
        "invoiced": N_("it is invoiced"),
        "accept-change": N_("the change is accepted"),
    }
)
_MONEY = frozenset({"value", "before", "total", "increment", "discount"})
_SAID_WHEN_FALSE = frozenset({"sent"})


def of(data: Mapping[str, Any], currency: str | None, zone: tzinfo) -> list[tuple[str, str]]:
    """An event's data as labelled texts. What is not known is shown as it is."""
    return [
        (LABELS.get(name, name), _text(name, value, currency, zone))
        for name, value in data.items()
        if name not in UNSAID and _is_said(name, value)
    ]


def _is_said(name: str, value: object) -> bool:
    return value not in (None, "", []) and (value is not False or name in _SAID_WHEN_FALSE)


def _text(name: str, value: object, currency: str | None, zone: tzinfo) -> str:
    if isinstance(value, list):
        return ", ".join(_text(name, one, currency, zone) for one in value)
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if name in _MONEY and isinstance(value, int):
        return rendering.money(value, currency)
    if name == "date":
        return _moment(str(value), zone)
    if name in _SAID:
        return _SAID[name](str(value))
    return value if isinstance(value, str) else str(value)


def _moment(text: str, zone: tzinfo) -> str:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return text
    return rendering.clock(at, zone) if at.tzinfo is not None else text


def _code(name: str) -> str:
    """A code of ours as what it asks for; one of VTEX's as what it means."""
    ours = sentences.ATTENTION.get(name)
    return ours[0] if ours else words.code(name) or name


_SAID: Mapping[str, Callable[[str], str]] = {
    "type": lambda name: words.INVOICE_TYPES.get(name, name),
    "kind": lambda name: words.KINDS.get(name, name),
    "warnings": lambda name: words.WARNINGS.get(name, name),
    "was": lambda name: words.word(words.NOTIFICATION_STATES, name).label,
    "source": lambda name: SOURCES.get(name, name),
    "decision": lambda name: DECISIONS.get(name, name),
    "code": _code,
    "settled": _code,
}
