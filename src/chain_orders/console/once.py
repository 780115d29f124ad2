"""A form is acted upon once, however often it is sent: by a double click, a reload, or somebody who loses patience.

A form that acts carries a name that was made with its page, so that the same act can be asked for again on purpose.
Who sends a form again while the first is under way waits for it. What was refused may be sent again. What was acted
upon is known for as long as its session lives; afterwards the form is of no session, and refused for that.
"""

from __future__ import annotations

from hashlib import sha256

from sqlalchemy import exists, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from ..errors import Conflict
from .models import ConsoleAct
from .texts import N_
from .visits import Visit


async def first(session: AsyncSession, visit: Visit) -> bool:
    """Whether this form has not been acted upon. With this transaction's commit, it has."""
    act = insert(ConsoleAct).values(session=visit.session.digest, form=_digest(visit))
    return await session.scalar(act.on_conflict_do_nothing().returning(ConsoleAct.form)) is not None


async def repeated(session: AsyncSession, visit: Visit) -> bool:
    """Whether this very form was acted upon."""
    known = exists().where(ConsoleAct.session == visit.session.digest, ConsoleAct.form == _digest(visit))
    return bool(await session.scalar(select(known)))


async def begin(visit: Visit) -> None:
    """Before an act of many transactions. Raises Conflict for a form that was acted upon."""
    async with visit.desk.database.transaction() as session:
        if not await first(session, visit):
            told = N_("This form was acted upon before. Look at what came of it before you do it again.")
            raise Conflict("form-repeated", told)


async def check_unseen(session: AsyncSession, visit: Visit) -> None:
    """Before an act whose answer alone shows a secret. Raises Conflict for a form that was acted upon."""
    if not await first(session, visit):
        told = N_("This form made one before, and that answer alone showed it. Not seen? Make another.")
        raise Conflict("form-repeated", told)


def _digest(visit: Visit) -> bytes:
    return sha256(repr((visit.request.url.path, sorted(visit.form.items()))).encode()).digest()
