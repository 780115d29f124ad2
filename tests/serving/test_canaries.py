"""What a service writes down, and answers to whom it refuses: no secret, no person, no address that is one."""

from __future__ import annotations

from typing import Any

import httpx

from chain_orders.database import Database

from ..builders import KEYS, Marketplace, SimulatedSeller, calling, cancellation, invoice, order, until
from ..console.visitor import signed_in
from ..faults.process import free_port, served

PERSON = ["shopper@mail.example", "Iara", "00000000191", "5500000000000", "Rua Inventada", "Exampleville"]


def _planted(group: str) -> dict[str, Any]:
    return {"note": f"canary-of-{group}", "clientProfileData": order()["clientProfileData"]}


async def test_no_log_line_and_no_refusal_of_a_service_holds_a_secret_or_a_person(
    database: Database, simulated: SimulatedSeller
) -> None:
    async with served(database, CHAIN_ORDERS_OPEN_CALLBACKS="false") as (process, marketplace):
        await marketplace.add_seller(simulated.url)
        await marketplace.add_seller(f"http://127.0.0.1:{free_port()}", "gone", appToken="canary-of-gone")
        token = (await marketplace.client.post("/v1/sellers/acme/callback-token")).json()["token"]
        base = await _sell(marketplace, simulated)
        answers = await _call_back(marketplace, base, token)
        secret, refusals = await _operate(marketplace, f"{simulated.url}/canary-of-a-hook")
        metrics = (await marketplace.client.get("/metrics")).text
        process.stop()
        log = process.log

    assert [event in log for event in ("started", "attempt")] == [True, True]  # it does write something
    secrets = [secret, token, token.rpartition(".")[2], base, base.rpartition("/")[2], base.split("/")[-2]]
    secrets += ["simulated-key", "simulated-token", KEYS.partition(":")[2]]
    secrets += [str(marketplace.client.headers["Authorization"]).removeprefix("Bearer ")]
    told = "\n".join([log, metrics, *(one.text for one in (*answers, *refusals) if one.is_error)])
    assert [one for one in (*secrets, *PERSON, "canary") if one in told] == []


async def _sell(marketplace: Marketplace, simulated: SimulatedSeller) -> str:
    """Place an order, and others that a seller refuses, answers with rubbish, or is not there for. The first's base."""
    await marketplace.place(order("CAN1", **_planted("CAN1")))
    await simulated.behave(rejectCode="ORD027")
    refused = (await marketplace.post_order(order("CAN2", **_planted("CAN2")))).json()
    await marketplace.becomes(refused["id"], "rejected")
    await simulated.behave(rejectCode=None, garbage=1, applyTo=["place"])
    await marketplace.post_order(order("CAN3", **_planted("CAN3")))
    unreached = (await marketplace.post_order(order("CAN4", **_planted("CAN4")), seller_id="gone")).json()

    async def tried() -> bool:
        items = (await marketplace.get(unreached["id"], "/deliveries"))["items"]
        return bool(items and len(items[0]["attempts"]) > 1)

    await until(tried)
    return await simulated.base("CAN1")


async def _call_back(marketplace: Marketplace, base: str, token: str) -> list[httpx.Response]:
    """Good callbacks, and bad ones of each sort; the answers."""
    wrong = base[:-1] + ("a" if base[-1] != "a" else "b")
    person = {"buyer": order()["clientProfileData"], "note": "canary-of-a-callback"}
    root = f"{marketplace.url}/pvt/orders/CAN1/invoice"
    calls: list[tuple[str, Any]] = [
        (f"{base}/pvt/orders/CAN1/invoice", invoice("NF-1", 100, **person)),
        (f"{base}/pvt/orders/CAN1/invoice", invoice("NF-1", 200, **person)),
        (f"{base}/pvt/orders/CAN1/invoice", b'{"note": "canary-of-no-json'),
        (f"{base}/pvt/orders/CAN1/invoice", {"invoiceValue": "canary-of-no-number"}),
        (f"{base}/pvt/orders/CAN1/canary", {"note": "canary-of-no-path"}),
        (f"{base}/pvt/orders/order-group/CAN1/notifications", cancellation("canary-of-another")),
        (f"{wrong}/pvt/orders/CAN1/invoice", invoice("NF-2", 100, **person)),
        (f"{root}?token={token}", invoice("NF-3", 100, **person)),
        (f"{root}?token=k1.acme.canary-of-a-token", invoice("NF-4", 100)),
    ]
    answers = [await marketplace.notify(url, body) for url, body in calls]
    assert [one.status_code for one in answers] == [200, 200, 400, 400, 404, 200, 404, 200, 404]
    assert (await marketplace.notify(root, invoice("NF-5"), Authorization=f"Bearer {token}")).status_code == 200
    return answers


async def _operate(marketplace: Marketplace, receiver: str) -> tuple[str, list[httpx.Response]]:
    """What an operator does over the API and in the console, rightly and wrongly. The secret of a webhook, and what was
    refused."""
    listed = (await marketplace.client.get("/v1/orders")).json()["items"]
    for part in ("", "/timeline", "/deliveries", "/notifications"):
        await marketplace.get(listed[-1]["id"], part)
    async with calling(marketplace.url) as stranger:
        refused = await stranger.get("/v1/orders", headers={"Authorization": "Bearer canary-of-a-key"})
        assert refused.status_code == 401
    malformed = await marketplace.client.post("/v1/sellers/acme/orders", content=b'{"canary-of-an-order": NaN}')
    refusals = [refused, malformed, *[await marketplace.post_order(one) for one in _wrong_orders()]]
    searched = await marketplace.client.get("/v1/orders", params={"q": PERSON[0]})
    made = await marketplace.client.post("/v1/webhooks", json={"url": receiver, "events": ["*"]})
    assert (malformed.status_code, searched.status_code, made.status_code) == (400, 200, 201)
    admin = await signed_in(marketplace)
    await admin.post("/console/sign-in", key="canary-of-a-key")
    for page in ("", "/orders", f"/orders/{listed[-1]['id']}", "/notifications?state=all", "/webhooks"):
        await admin.page(f"/console{page}")
    await admin.client.aclose()
    await marketplace.client.post(f"/v1/webhooks/{made.json()['id']}/test")
    await until(lambda: _called(marketplace, made.json()["id"]))
    assert [one.status_code for one in refusals] == [401, 400, 422, 422, 409]
    return str(made.json()["secret"]), refusals


async def _called(marketplace: Marketplace, webhook_id: str) -> bool:
    """Whether the receiver of a webhook has answered a call."""
    owed = (await marketplace.client.get("/v1/deliveries", params={"webhook": webhook_id})).json()["items"]
    return any(attempt["status"] for one in owed for attempt in one["attempts"])


def _wrong_orders() -> list[dict[str, Any]]:
    """Documents that hold a person, and are refused: for a type, for a rule, for another one of the same group."""
    wrong = order("CAN5", **_planted("CAN5"))
    return [
        wrong | {"items": "canary-of-no-items"},
        wrong | {"marketplaceOrderGroup": "canary of a group"},
        order("CAN1", **_planted("CAN6")),
    ]
