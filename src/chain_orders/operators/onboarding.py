"""Routes that put a seller to the test before orders depend on it: the callback doctor, and a price before placing."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from .. import strict_json
from ..errors import Invalid, Unavailable
from ..outbound import Exchange
from ..sellers import check, directory
from . import access, edges
from .access import Operator
from .schemas import CheckBody, SimulationBody

router = APIRouter(prefix="/v1/sellers/{seller_id}", tags=["sellers"])

Acting = Annotated[Operator, Depends(access.allow("operator"))]


@router.post("/check", openapi_extra=edges.described(CheckBody, optional=True))
async def check_seller(
    request: Request,
    _: Acting,
    seller_id: str,
    body: Annotated[CheckBody, Depends(edges.parsed(CheckBody, optional=True))],
) -> Response:
    """The callback doctor: tries our callback address, the credentials, the sales channel and the affiliate.

    Changes nothing, here or at the seller. `ok` is true when everything works; `detail` says what is wrong.
    """
    state = request.app.state
    async with state.database.transaction() as session:
        seller = await directory.get(session, seller_id)
    client = directory.client_of(seller, state.wire, state.vault)
    items = [{"id": body.sku, "quantity": 1, "seller": body.seller}]
    where = "callbackBase" if seller.callback_base else "CHAIN_ORDERS_PUBLIC_URL"
    findings = await asyncio.gather(
        check.callbacks(seller.callback_base or state.bases.public_url, where, state.wire, state.bases.keyring),
        check.credentials(seller, client),
        check.trade(seller, client, items),
    )
    view = {"sellerId": seller.id, "ok": all(one.ok for one in findings)}
    return edges.Answer({**view, "checks": [one.as_dict() for one in findings]})


@router.post("/simulation", openapi_extra=edges.described(SimulationBody))
async def simulate(
    request: Request,
    _: Acting,
    seller_id: str,
    body: Annotated[SimulationBody, Depends(edges.parsed(SimulationBody))],
) -> Response:
    """What the seller would charge, and how it would deliver, now. Nothing is stored here and nothing reserved there.

    `value` is the payment value that an order of these items would carry; `unavailable` names the SKUs that cannot be
    sold; `simulation` is the seller's own answer.
    """
    state = request.app.state
    async with state.database.transaction() as session:
        seller = await directory.get(session, seller_id)
    client = directory.client_of(seller, state.wire, state.vault)
    sent = strict_json.dump(body.model_dump(by_alias=True, exclude_unset=True))
    exchange = await client.simulate(seller.sales_channel, seller.affiliate_id, sent)
    answer = _answer(exchange)
    sold = {
        str(item.get("id"))
        for item in answer.get("items") or []
        if isinstance(item, dict) and item.get("availability") == "available"
    }
    totals = [total.get("value") for total in answer.get("totals") or [] if isinstance(total, dict)]
    return edges.Answer(
        {
            "sellerId": seller.id,
            "value": sum(value for value in totals if isinstance(value, int)),
            "unavailable": sorted({item.id for item in body.items} - sold),
            "simulation": answer,
        }
    )


def _answer(exchange: Exchange) -> dict[str, Any]:
    """Raises Unavailable for a seller that does not answer, Invalid for one that refuses."""
    if not exchange.answered or (exchange.status or 0) in {429, 502, 503, 504}:
        told = exchange.error or f"it answered {exchange.status}"
        raise Unavailable("seller-unreachable", f"the seller cannot be asked now: {told}", headers={"Retry-After": "5"})
    if exchange.status != 200:
        found = check.refusal("simulation", exchange)
        raise Invalid("seller-refused", found.detail, extra={"sellerCode": found.code, "sellerStatus": exchange.status})
    try:
        answer = strict_json.parse(exchange.body)
    except strict_json.NotJson:
        answer = None
    if not isinstance(answer, dict):
        raise Unavailable("seller-unreadable", "the seller's answer is not a simulation")
    return answer
