"""A day at an invented marketplace: orders in every state, a seller in trouble, notifications that contradict."""

from __future__ import annotations

from typing import Any

from ..builders import Marketplace, SimulatedSeller, cancellation, invoice, order, until

HOSTILE = "<img src=x onerror=alert(1)>\u202e\"'&{{7*7}}"


async def play(marketplace: Marketplace, simulated: SimulatedSeller) -> dict[str, str]:
    """Let it happen; the ids of the orders that tests and pictures go to."""
    await marketplace.change_seller(currency="BRL")
    await _busy(marketplace, simulated)
    found = {
        "story": await whole(marketplace, simulated),
        "conflict": await conflict(marketplace, simulated),
        "parked": await foreign(marketplace, simulated),
    }
    found["placed"] = (await marketplace.place(order("HARBOR-1004")))["id"]
    found["cancel"] = await _cancelling(marketplace, simulated)
    found["split"] = await split(marketplace, simulated)
    found["rejected"] = await rejected(marketplace, simulated)
    found["dead"] = await dead(marketplace, simulated)
    return found


async def _busy(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    """Orders that went well: some invoiced, some authorized, some waiting."""
    for number in range(6):
        placed = await marketplace.place(order(f"QUAY-{2001 + number}"))
        if number < 5:
            await marketplace.authorize(placed["id"])
            await marketplace.becomes(placed["id"], "authorized")
        if number < 3:
            await simulated.invoice(placed["chainOrders"][0]["chainOrderId"], courier="Harbor Post")
            await marketplace.becomes(placed["id"], "invoiced")


async def whole(marketplace: Marketplace, simulated: SimulatedSeller) -> str:
    """Authorized, invoiced in two parts, tracked."""
    placed = await marketplace.place(order("HARBOR-1001"))
    await marketplace.authorize(placed["id"])
    await marketplace.becomes(placed["id"], "authorized")
    chain = placed["chainOrders"][0]["chainOrderId"]
    await simulated.invoice(chain, value=800, invoiceNumber="NF-7001", courier="Harbor Post")
    await marketplace.becomes(placed["id"], "partially-invoiced")
    base = await simulated.base("HARBOR-1001")
    told = invoice(
        "NF-7001", 800, courier="Harbor Post", trackingNumber="HP123456789BR",
        trackingUrl="https://track.example/HP123456789BR",
    )  # fmt: skip
    await marketplace.notify(f"{base}/pub/orders/{chain}/invoice", told)
    await marketplace.notified(placed["id"], "applied")
    return str(placed["id"])


async def conflict(marketplace: Marketplace, simulated: SimulatedSeller) -> str:
    """Invoiced, and cancelled afterwards."""
    placed = await marketplace.place(order("HARBOR-1002"))
    await marketplace.authorize(placed["id"])
    await marketplace.becomes(placed["id"], "authorized")
    chain = placed["chainOrders"][0]["chainOrderId"]
    base = await simulated.base("HARBOR-1002")
    await marketplace.notify(f"{base}/pub/orders/{chain}/invoice", invoice("NF-7002", 1300))
    await marketplace.becomes(placed["id"], "invoiced")
    path = "/pvt/orders/order-group/HARBOR-1002/notifications/seller-cancellation"
    await marketplace.notify(base + path, cancellation(chain))
    await marketplace.notified(placed["id"], "conflict")
    return str(placed["id"])


async def foreign(marketplace: Marketplace, simulated: SimulatedSeller) -> str:
    """An invoice that names another order, one full of somebody's markup, and one that nobody can read."""
    placed = await marketplace.place(order("HARBOR-1003"))
    base = await simulated.base("HARBOR-1003")
    await marketplace.notify(f"{base}/pub/orders/ANOTHER-1/invoice", invoice("NF-7003"))
    await marketplace.notified(placed["id"], "parked")
    chain = placed["chainOrders"][0]["chainOrderId"]
    hostile = invoice(
        HOSTILE, 100, courier=HOSTILE, trackingNumber=HOSTILE, trackingUrl="javascript:alert(1)",
        invoiceUrl="data:text/html,<script>alert(1)</script>",
    )  # fmt: skip
    await marketplace.notify(f"{base}/pub/orders/{chain}/invoice", hostile)
    await marketplace.notified(placed["id"], "applied")
    await marketplace.notify(f"{base}/pub/orders/{chain}/invoice", b"\xff\xfe<script>alert(1)</script>\x00\x01")
    await marketplace.notified(placed["id"], "unreadable")
    return str(placed["id"])


async def _cancelling(marketplace: Marketplace, simulated: SimulatedSeller) -> str:
    await simulated.behave(cancellation="decide")
    placed = await marketplace.place(order("HARBOR-1005"))
    await marketplace.ask_to_cancel(placed["id"])
    await marketplace.becomes(placed["id"], "cancel-requested")
    await simulated.behave(cancellation="accept")
    return str(placed["id"])


async def split(marketplace: Marketplace, simulated: SimulatedSeller) -> str:
    """Two items, two chain orders, of 13.00 each."""
    await simulated.behave(split="item")
    document = order("HARBOR-1006", marketplacePaymentValue=2600)
    document["items"] = [
        {"id": "8", "quantity": 1, "seller": "1", "price": 1200},
        {"id": "9", "quantity": 1, "seller": "1", "price": 1200},
    ]
    document["shippingData"]["logisticsInfo"] = [
        {"itemIndex": at, "selectedSla": "Normal", "price": 100, "lockTTL": "10d"} for at in (0, 1)
    ]
    placed = await marketplace.place(document)
    await simulated.behave(split="none")
    return str(placed["id"])


async def rejected(marketplace: Marketplace, simulated: SimulatedSeller) -> str:
    await simulated.behave(rejectCode="ORD027")
    taken = (await marketplace.post_order(order("HARBOR-1007"))).json()
    await marketplace.becomes(taken["id"], "rejected")
    await simulated.behave(rejectCode=None)
    return str(taken["id"])


async def dead(marketplace: Marketplace, simulated: SimulatedSeller) -> str:
    """A placement whose tries are used up. The seller is well again afterwards."""
    await simulated.behave(fail=1, failStatus=500)
    taken = (await marketplace.post_order(order("HARBOR-1008"))).json()

    async def stuck() -> dict[str, Any] | None:
        (delivery,) = (await marketplace.get(taken["id"], "/deliveries"))["items"]
        return delivery if delivery["state"] == "dead" else None

    await until(stuck, 60)
    await simulated.behave(fail=0)
    return str(taken["id"])
