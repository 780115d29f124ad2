"""How a seller's changes are answered. Read before the answer, since the answer depends on it.

To refuse a change is no answer that stands: the same change is taken when it comes again under another policy. So what
is refused means something else to the intake than what is taken.
"""

from __future__ import annotations

import asyncio
from hashlib import sha256

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from ..database import Database, is_passing
from ..errors import Unavailable
from ..orders import lookup
from ..orders.changing import RECORD, REFUSE
from ..orders.models import Order
from ..sellers.models import Seller
from .models import Receipt

_REFUSED = b"\0refused"


async def of_change(
    database: Database, ref: str | None, seller_id: str | None, named: str, meaning: bytes, seconds: float
) -> tuple[str, bytes]:
    """The `changePolicy` of the seller who tells a change, and what the change means under it.

    Raises Unavailable when the database is away, or does not say it within so many seconds.
    """
    try:
        async with asyncio.timeout(seconds), database.intake_reading() as session:
            policy = await _of_seller(session, ref, seller_id, named)
            if policy == REFUSE and not await _taken(session, meaning):
                meaning += _REFUSED
            return policy, meaning
    except Exception as failure:
        if is_passing(failure):
            raise Unavailable(
                "not-stored", "the notification could not be stored; send it again", headers={"Retry-After": "2"}
            ) from failure
        raise


async def _of_seller(session: AsyncSession, ref: str | None, seller_id: str | None, named: str) -> str:
    """In open mode it is the named order's seller's, if that is plain."""
    if ref is not None:
        query = select(Seller.change_policy).join(Order, Order.seller_id == Seller.id).where(Order.ref == ref)
    elif seller_id is not None:
        query = select(Seller.change_policy).where(Seller.id == seller_id)
    else:
        found = await lookup.orders_meant(session, lookup.spellings(named))
        query = select(Seller.change_policy).join(Order, Order.seller_id == Seller.id)
        query = query.where(Order.id.in_(found)).distinct()
    policies = (await session.scalars(query)).all()
    return policies[0] if len(policies) == 1 else RECORD


async def _taken(session: AsyncSession, meaning: bytes) -> bool:
    """Whether it was answered before with anything but a refusal: that answer stands."""
    key = sha256(meaning).digest()
    answered = select(Receipt.dedupe_key).where(Receipt.dedupe_key == key, func.length(Receipt.answer) > 0)
    return await session.scalar(answered) is not None
