"""How a seller's changes are answered. Read before the answer, since the answer depends on it."""

from __future__ import annotations

import asyncio

from sqlalchemy import select

from ..database import Database, is_passing
from ..errors import Unavailable
from ..orders import lookup
from ..orders.changing import RECORD
from ..orders.models import Order
from ..sellers.models import Seller


async def of_changes(database: Database, ref: str | None, seller_id: str | None, named: str, seconds: float) -> str:
    """The `changePolicy` of the seller who calls. In open mode it is the named order's seller's, if that is plain.

    Raises Unavailable when the database is away, or does not say it within so many seconds.
    """
    try:
        async with asyncio.timeout(seconds), database.intake_reading() as session:
            if ref is not None:
                query = select(Seller.change_policy).join(Order, Order.seller_id == Seller.id).where(Order.ref == ref)
            elif seller_id is not None:
                query = select(Seller.change_policy).where(Seller.id == seller_id)
            else:
                found = await lookup.orders_meant(session, lookup.spellings(named))
                query = select(Seller.change_policy).join(Order, Order.seller_id == Seller.id)
                query = query.where(Order.id.in_(found)).distinct()
            policies = (await session.scalars(query)).all()
    except Exception as failure:
        if is_passing(failure):
            raise Unavailable(
                "not-stored", "the notification could not be stored; send it again", headers={"Retry-After": "2"}
            ) from failure
        raise
    return policies[0] if len(policies) == 1 else RECORD
