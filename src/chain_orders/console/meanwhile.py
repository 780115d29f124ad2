"""What became of a seller or an order while somebody filled in a form of it.

Of a seller: who changed what, and where the form differs by now. Of an order: what happened since, and where it stands
otherwise than when the form was drawn. A form of an order carries that along as `seen`.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo

from pydantic.alias_generators import to_camel
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from ..events.models import Event
from ..operators import audit, schemas
from ..operators.audit import Audit
from ..orders.models import Order
from ..sellers.models import Seller
from . import auditing, rendering, sentences, story, words
from .texts import N_, _

_MOST = 10
_MONEY = {
    "total": N_("Total"),
    "invoiced": N_("Invoiced"),
    "returned": N_("Returned"),
    "cancelled": N_("Cancelled"),
    "remaining": N_("Remaining"),
}
_NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Act:
    """What somebody did: each setting with what it was and what it became."""

    what: str
    who: str
    at: datetime
    changes: list[tuple[str, str, str]]


@dataclass(frozen=True, slots=True)
class Meanwhile:
    """The acts since the form was opened, the latest first, and the settings in which the form differs by now: each
    with what is stored and what was typed."""

    acts: list[Act]
    differs: list[tuple[str, str, str]]


async def of_seller(
    session: AsyncSession, seller: Seller, opened: str, stored: Mapping[str, str], typed: Mapping[str, str]
) -> Meanwhile:
    """`opened`: the version that the form was of."""
    since = int(opened) if opened.isascii() and opened.isdigit() and len(opened) < 10 else 0
    query = select(Audit).where(Audit.object == audit.name_of(seller)).order_by(Audit.id.desc()).limit(_MOST)
    acts = [_act(one) for one in await session.scalars(query) if (one.after or {}).get("version", 0) > since]
    return Meanwhile(
        acts,
        [
            (label, _said(stored[name]), _said(typed[name]))
            for name, label in sentences.SELLER_FIELDS.items()
            if name in stored and name in typed and stored[name] != typed[name]
        ],
    )


def _act(act: Audit) -> Act:
    labels = sentences.SELLER_FIELDS
    named = [(to_camel(name), before, after) for name, before, after in auditing.changes(act)]
    changes = [(labels[name], _said(before), _said(after)) for name, before, after in named if name in labels]
    if (act.after or {}).get("credentialsReplaced"):
        changes.append((_("Credentials"), "", _("replaced")))
    return Act(sentences.ACTS.get(act.action, act.action), story.actor(act.actor), act.at, changes)


def _said(value: str) -> str:
    """A setting as people read it."""
    return sentences.SELLER_CHOICES.get({"True": "yes", "False": ""}.get(value, value), value) if value else ""


@dataclass(frozen=True, slots=True)
class Moved:
    """The events since the form was drawn, the latest first, and what differs: what it was then, and is now."""

    events: list[story.Entry]
    differs: list[tuple[str, str, str]]


async def latest(session: AsyncSession, order_id: uuid.UUID) -> int:
    """The order's latest event. Read it before the order: one that comes between is then told of once too often."""
    return await session.scalar(select(func.max(Event.id)).where(Event.order_id == order_id)) or 0


def seen(order: Order, event: int) -> str:
    """What a form shows of its order, for the form to carry."""
    view = schemas.order_view(order)
    money = [str(view["money"][name]) for name in _MONEY]
    return " ".join([str(event), view["status"], view["turn"], order.attention_code or _NOTHING, *money])


async def of_order(session: AsyncSession, order: Order, before: str, currency: str | None, zone: tzinfo) -> Moved:
    """`before`: what the form carries. One that says nothing of use is compared with nothing."""
    then, now = before.split(), seen(order, 0).split()
    if len(then) != len(now) or not (then[0].isascii() and then[0].isdigit() and len(then[0]) < 19):
        return Moved([], [])
    since = select(Event).where(Event.order_id == order.id, Event.id > int(then[0]))
    events = await session.scalars(since.order_by(Event.id.desc()).limit(_MOST))
    sides = zip(_standing(then[1:], currency), _standing(now[1:], currency), strict=True)
    return Moved(
        [story.of_event(one, currency, zone) for one in events],
        [(label, was, is_now) for (label, was), (_label, is_now) in sides if was != is_now],
    )


def _standing(told: list[str], currency: str | None) -> list[tuple[str, str]]:
    """What a form carries, as people read it."""
    status, turn, attention, *money = told
    return [
        (_("Status"), words.word(words.STATUSES, status).label),
        (_("Turn"), words.word(words.TURNS, turn).label),
        (_("Attention"), sentences.attention(attention)[0] if attention != _NOTHING else ""),
        *[(_(label), _cents(text, currency)) for label, text in zip(_MONEY.values(), money, strict=True)],
    ]


def _cents(text: str, currency: str | None) -> str:
    plain = text.removeprefix("-")
    return rendering.money(int(text), currency) if plain.isascii() and plain.isdigit() and len(plain) < 19 else text
