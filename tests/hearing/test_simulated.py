"""The simulated seller sends everything that is heard, to each order's own base and with a token."""

from __future__ import annotations

import pytest

from ..builders import Marketplace, SimulatedSeller, order


@pytest.mark.parametrize("way", [None, "query", "basic", "bearer"])
async def test_it_tracks_changes_and_repeats(
    marketplace: Marketplace, simulated: SimulatedSeller, way: str | None
) -> None:
    await marketplace.change_seller(changePolicy="accept")
    if way is not None:
        token = (await marketplace.client.post("/v1/sellers/acme/callback-token")).json()["token"]
        await simulated.behave(token=token, tokenWay=way)
    placed = await marketplace.place(order("SIM1"))

    changed = await simulated.change("MKP-SIM1-01", requestId="chg-1", discountValue=300, times=2)
    await marketplace.notified(placed["id"], "applied")
    await simulated.invoice("MKP-SIM1-01", invoiceNumber="NF/1")
    await marketplace.becomes(placed["id"], "invoiced")
    tracked = await simulated.track("MKP-SIM1-01", trackingNumber="TR-1", path="tracking", method="PUT", delivered=True)
    again = await simulated.repeat("MKP-SIM1-01")

    await marketplace.notified(placed["id"], "applied")
    assert [answer["status"] for answer in [*changed["answers"], *tracked["answers"]]] == [200] * 3
    assert again["answers"][0]["body"] == tracked["answers"][0]["body"]
    assert ("/cb/" in tracked["sent"]["url"]) == (way is None)
    found = await marketplace.get(placed["id"])
    (invoice,) = found["chainOrders"][0]["invoices"]
    assert (found["money"]["total"], invoice["trackingNumber"], bool(invoice["deliveredAt"])) == (1000, "TR-1", True)


@pytest.mark.parametrize("way", [None, "query"])
async def test_it_cancels_as_sellers_of_one_level_do(
    marketplace: Marketplace, simulated: SimulatedSeller, way: str | None
) -> None:
    if way is not None:
        token = (await marketplace.client.post("/v1/sellers/acme/callback-token")).json()["token"]
        await simulated.behave(token=token)
    placed = await marketplace.place(order("SIM2"))

    told = await simulated.cancel("MKP-SIM2-01", path="one-level")

    assert told["answers"][0]["status"] == 200
    await marketplace.becomes(placed["id"], "cancelled")
