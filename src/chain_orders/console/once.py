"""A form is acted upon once, however often it is sent: by a double click, a reload, or somebody who loses patience.

A form that acts carries a name that was made with its page, so that the same act can be asked for again on purpose.
Who sends a form again while the first is under way waits for it. What was refused may be sent again.
"""

from __future__ import annotations

from hashlib import sha256

from sqlalchemy.ext.asyncio import AsyncSession

from ..errors import Conflict
from . import sessions
from .texts import _
from .visits import Visit


async def first(session: AsyncSession, visit: Visit) -> bool:
    """Whether this form has not been acted upon. With this transaction's commit, it has. Locks the session's row."""
    if await repeated(session, visit, lock=True):
        return False
    await sessions.remember(session, visit.session, last_act=_digest(visit))
    return True


async def repeated(session: AsyncSession, visit: Visit, *, lock: bool = False) -> bool:
    """Whether this very form was the last that was acted upon."""
    return await sessions.last_act(session, visit.session, lock=lock) == _digest(visit)


async def begin(visit: Visit) -> None:
    """Before an act of many transactions. Raises Conflict for a form that was acted upon."""
    async with visit.desk.database.transaction() as session:
        if not await first(session, visit):
            told = _("This form was acted upon a moment ago. Look at what came of it before you do it again.")
            raise Conflict("form-repeated", told)


async def check_unseen(session: AsyncSession, visit: Visit) -> None:
    """Before an act whose answer alone shows a secret. Raises Conflict for a form that was acted upon."""
    if not await first(session, visit):
        told = _("This form made one a moment ago, and that answer alone showed it. Not seen? Make another.")
        raise Conflict("form-repeated", told)


def _digest(visit: Visit) -> bytes:
    return sha256(repr((visit.request.url.path, sorted(visit.form.items()))).encode()).digest()
