"""Who is shown personal data: an admin who says why, and the reason stands in the audit. Everybody else sees a mask.

Every route that shows bodies asks here, so that there is one rule.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Query
from sqlalchemy.ext.asyncio import AsyncSession

from ..deliveries.models import Delivery
from ..errors import Forbidden, Invalid, Sentence
from ..notifications.models import Notification
from . import audit
from .access import Operator

READ = "personal-data.read"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a reader asks for."""

    whole: bool = False
    reason: str | None = None


MASKED = Wish()
"""What everybody sees who does not ask for more."""


def wish(whole: bool = False, reason: Annotated[str | None, Query(max_length=500)] = None) -> Wish:
    """A dependency: `whole=true` and a `reason`, for an admin; else what is shown is masked."""
    return Wish(whole, (reason or "").strip() or None)


def grant(session: AsyncSession, operator: Operator, wished: Wish, objects: Iterable[str], action: str = READ) -> bool:
    """Whether bodies are shown whole. If they are, each object has a row in the audit, with the reason.

    Raises Forbidden, Invalid. The answer may leave only after the commit.
    """
    if not wished.whole:
        return False
    if operator.role != "admin":
        told = Sentence("whole bodies need the role admin; the key has the role {role}", role=operator.role)
        raise Forbidden("role-too-low", told)
    if wished.reason is None:
        raise Invalid("reason-missing", "say with `reason` why personal data is needed")
    for name in dict.fromkeys(objects):
        audit.note(session, operator, action, name, reason=wished.reason)
    return True


def about(rows: Iterable[Notification | Delivery]) -> Iterable[str]:
    """Whose data rows hold: their order's; their own where they belong to none."""
    return (_about(row.order_id, row) for row in rows)


def _about(order_id: uuid.UUID | None, row: Notification | Delivery) -> str:
    return f"order:{order_id}" if order_id is not None else audit.name_of(row)
