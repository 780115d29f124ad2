"""A seller put to the test: the callback doctor's findings, its callback token, which keys orders carry."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from ..operators import audit
from ..sellers import check, directory
from ..sellers.check import Finding
from ..sellers.models import Seller
from .visits import Visit

_SKU = "1"
_COUNTED = 10_000


@dataclass(frozen=True, slots=True)
class CallbackKey:
    """A key of `CHAIN_ORDERS_CALLBACK_KEYS`, or one that is carried and lacking, and how many orders carry it."""

    kid: str
    mints: bool
    known: bool
    orders: int

    @property
    def more(self) -> bool:
        return self.orders > _COUNTED


async def show(visit: Visit) -> Response:
    """What will be tried."""
    return visit.render("check.html", seller=await _seller(visit), findings=None, sku=visit.typed("sku") or _SKU)


async def run(visit: Visit) -> Response:
    """Try the callback address, the credentials, and the price of an item. Changes nothing anywhere."""
    seller, sku = await _seller(visit), visit.typed("sku", _SKU)[:60] or _SKU
    return visit.render("check.html", seller=seller, findings=await _findings(visit, seller, sku), sku=sku)


async def _findings(visit: Visit, seller: Seller, sku: str) -> Sequence[Finding]:
    desk = visit.desk
    client = directory.client_of(seller, desk.wire, desk.vault)
    where = "callbackBase" if seller.callback_base else "CHAIN_ORDERS_PUBLIC_URL"
    address = seller.callback_base or desk.bases.public_url
    return await asyncio.gather(
        check.callbacks(address, where, desk.wire, desk.bases.keyring),
        check.credentials(seller, client),
        check.trade(seller, client, [{"id": sku, "quantity": 1, "seller": "1"}]),
    )


async def show_token(visit: Visit) -> Response:
    """What the token is for."""
    return visit.render("callback_token.html", seller=await _seller(visit), token="")


async def make_token(visit: Visit) -> Response:
    """The seller's token, in this one answer."""
    async with visit.desk.database.transaction() as session:
        seller = await directory.get(session, visit.request.path_params["seller_id"])
        audit.note(session, visit.operator, "seller.callback-token", seller)
    return visit.render("callback_token.html", seller=seller, token=visit.desk.bases.keyring.token(seller.id))


async def _seller(visit: Visit) -> Seller:
    async with visit.desk.database.transaction() as session:
        return await directory.get(session, visit.request.path_params["seller_id"])


async def callback_keys(session: AsyncSession, visit: Visit) -> list[CallbackKey]:
    """The keys, the one that mints first, then those that are lacking."""
    keyring = visit.desk.bases.keyring
    carried = {row.kid: row.orders for row in await session.execute(_CARRIED, {"most": _COUNTED + 1})}
    kids = [*keyring.keys, *sorted(set(carried) - set(keyring.keys))]
    return [CallbackKey(kid, kid == keyring.minting, kid in keyring.keys, carried.get(kid, 0)) for kid in kids]


# Each kid that is carried, by jumping from one to the next, and how many carry it, up to a bound: orders_kid_idx.
_CARRIED = text(
    """
    with recursive kids as (
        (select kid from orders where sealed_at is null order by kid limit 1)
        union all
        select (select o.kid from orders o where o.sealed_at is null and o.kid > k.kid order by o.kid limit 1)
          from kids k where k.kid is not null
    )
    select k.kid, (select count(*) from (select from orders o where o.sealed_at is null and o.kid = k.kid
                                          limit :most) counted) as orders
      from kids k where k.kid is not null
    """
)
