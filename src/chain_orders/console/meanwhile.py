"""What became of a seller while somebody filled in its form: who changed what, and where the form differs by now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from pydantic.alias_generators import to_camel
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ..operators import audit
from ..operators.audit import Audit
from ..sellers.models import Seller
from . import auditing, sentences, story
from .texts import _

_MOST = 10


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
