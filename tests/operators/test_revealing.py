"""Bodies are masked for everybody; an admin who says why sees them, and that is audited."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from chain_orders.operators import access

from ..builders import Marketplace, SimulatedSeller, invoice, order
from ..retention.planted import holds, plant

LISTS = ["/v1/orders/{id}/notifications", "/v1/orders/{id}/deliveries", "/v1/notifications", "/v1/deliveries"]


async def asked(marketplace: Marketplace, path: str, role: Any, **params: Any) -> httpx.Response:
    async with marketplace.database.transaction() as session:
        key = await access.create_key(session, f"{role}{path}{params}", role)
    return await marketplace.client.get(path, params=params, headers={"Authorization": f"Bearer {key}"})


async def test_nobody_sees_a_person_without_saying_why(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    sold = await plant(marketplace, simulated, "SHOW1")

    for path in LISTS:
        answer = await asked(marketplace, path.format(id=sold["id"]), "viewer")
        assert answer.json()["items"]
        assert not holds(answer.text), path


async def test_an_admin_who_says_why_sees_it_and_that_is_audited(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    sold = await plant(marketplace, simulated, "SHOW2")

    for number, path in enumerate(LISTS):
        answer = await asked(marketplace, path.format(id=sold["id"]), "admin", whole=True, reason=f"dispute {number}")
        assert holds(answer.text), path

    acts = (await marketplace.client.get("/v1/audit", params={"object": f"order:{sold['id']}"})).json()["items"]
    read = [act["reason"] for act in acts if act["action"] == "personal-data.read"]
    assert sorted(read) == [f"dispute {number}" for number in range(len(LISTS))]


@pytest.mark.parametrize("path", LISTS)
async def test_whole_bodies_need_an_admin_and_a_reason(marketplace: Marketplace, path: str) -> None:
    placed = await marketplace.place()
    path = path.format(id=placed["id"])

    refused = await asked(marketplace, path, "operator", whole=True, reason="x")
    unreasoned = await asked(marketplace, path, "admin", whole=True, reason=" ")

    assert (refused.status_code, refused.json()["code"]) == (403, "role-too-low")
    assert (unreasoned.status_code, unreasoned.json()["code"]) == (422, "reason-missing")


async def test_what_proves_a_callback_base_is_shown_to_nobody(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("PROOF1"))
    base = await simulated.base("PROOF1")
    kept, _, mac = base.rpartition("/")
    await marketplace.notify(f"{base}/pvt/orders/PROOF1/invoice", invoice(requestId=base))  # the form of an id
    async with marketplace.database.transaction() as session:
        await session.execute(text("update attempts set response = :told"), {"told": json.dumps({"id": base}).encode()})

    ones = [
        f"/v1/{name}/{(await marketplace.get(placed['id'], f'/{name}'))['items'][0]['id']}"
        for name in ("deliveries", "notifications")
    ]
    for path in (*(path.format(id=placed["id"]) for path in LISTS), *ones):
        for params in ({}, {"whole": True, "reason": "dispute 13"}):
            shown = (await asked(marketplace, path, "admin", **params)).text
            assert (f"{kept}/[masked]" in shown, mac in shown) == (True, False), (path, params)
