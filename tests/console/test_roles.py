"""Who may do what at the console: every address, with every role and with none; and the headers of each answer."""

from __future__ import annotations

import re
from typing import Any, cast

import httpx
import pytest

from chain_orders.console.site import Console

from ..builders import Marketplace, SimulatedSeller, invoice
from .visitor import Visitor, check_headers, signed_in, visitor

ANYBODY = "anybody"
ROLES = (ANYBODY, "viewer", "operator", "admin")
LEAST = {
    # Who may, at the least, and what an empty form or a plain visit comes to for them.
    ("GET", "/console/static/{name}"): (ANYBODY, 200),
    ("GET", "/console/sign-in"): (ANYBODY, 200),
    ("POST", "/console/sign-in"): (ANYBODY, 401),
    ("POST", "/console/sign-out"): ("viewer", 303),
    ("GET", "/console"): ("viewer", 200),
    ("GET", "/console/orders"): ("viewer", 200),
    ("GET", "/console/orders.csv"): ("viewer", 200),
    ("GET", "/console/orders/many"): ("operator", 303),
    ("POST", "/console/orders/many"): ("operator", 404),
    ("GET", "/console/orders/{order_id}"): ("viewer", 200),
    ("GET", "/console/orders/{order_id}/evidence"): ("viewer", 200),
    ("GET", "/console/orders/{order_id}/correct"): ("operator", 409),
    ("POST", "/console/orders/{order_id}/correct"): ("operator", 409),
    ("GET", "/console/orders/{order_id}/authorize"): ("operator", 200),
    ("POST", "/console/orders/{order_id}/authorize"): ("operator", 200),
    ("GET", "/console/orders/{order_id}/cancel"): ("operator", 200),
    ("POST", "/console/orders/{order_id}/cancel"): ("operator", 422),
    ("GET", "/console/orders/{order_id}/resolve"): ("operator", 200),
    ("POST", "/console/orders/{order_id}/resolve"): ("operator", 422),
    ("GET", "/console/deliveries"): ("viewer", 200),
    ("GET", "/console/deliveries/retry"): ("operator", 303),
    ("POST", "/console/deliveries/retry"): ("operator", 200),
    ("GET", "/console/deliveries/{delivery_id}"): ("viewer", 200),
    ("GET", "/console/deliveries/{delivery_id}/retry"): ("operator", 409),
    ("POST", "/console/deliveries/{delivery_id}/retry"): ("operator", 409),
    ("GET", "/console/deliveries/{delivery_id}/whole"): ("admin", 200),
    ("POST", "/console/deliveries/{delivery_id}/whole"): ("admin", 422),
    ("GET", "/console/notifications"): ("viewer", 200),
    ("GET", "/console/notifications/{notification_id}"): ("viewer", 200),
    ("GET", "/console/notifications/{notification_id}/replay"): ("operator", 200),
    ("POST", "/console/notifications/{notification_id}/replay"): ("operator", 422),
    ("GET", "/console/notifications/{notification_id}/dismiss"): ("operator", 200),
    ("POST", "/console/notifications/{notification_id}/dismiss"): ("operator", 422),
    ("GET", "/console/notifications/{notification_id}/whole"): ("admin", 200),
    ("POST", "/console/notifications/{notification_id}/whole"): ("admin", 422),
    ("GET", "/console/zone"): ("viewer", 200),
    ("POST", "/console/zone"): ("viewer", 422),
    ("GET", "/console/here"): ("viewer", 204),
    ("GET", "/console/sellers"): ("viewer", 200),
    ("GET", "/console/sellers/new"): ("admin", 200),
    ("POST", "/console/sellers/new"): ("admin", 422),
    ("GET", "/console/sellers/{seller_id}"): ("viewer", 200),
    ("POST", "/console/sellers/{seller_id}"): ("admin", 422),
    ("GET", "/console/sellers/{seller_id}/pause"): ("operator", 200),
    ("POST", "/console/sellers/{seller_id}/pause"): ("operator", 422),
    ("POST", "/console/sellers/{seller_id}/resume"): ("operator", 303),
    ("GET", "/console/sellers/{seller_id}/check"): ("operator", 200),
    ("POST", "/console/sellers/{seller_id}/check"): ("operator", 200),
    ("GET", "/console/sellers/{seller_id}/token"): ("admin", 200),
    ("POST", "/console/sellers/{seller_id}/token"): ("admin", 200),
    ("GET", "/console/keys"): ("admin", 200),
    ("POST", "/console/keys"): ("admin", 422),
    ("GET", "/console/keys/revoke"): ("admin", 404),
    ("POST", "/console/keys/revoke"): ("admin", 404),
    ("GET", "/console/keys/rotate"): ("admin", 404),
    ("POST", "/console/keys/rotate"): ("admin", 404),
    ("GET", "/console/alerts"): ("viewer", 200),
    ("GET", "/console/webhooks"): ("admin", 200),
    ("GET", "/console/webhooks/new"): ("admin", 200),
    ("POST", "/console/webhooks/new"): ("admin", 422),
    ("GET", "/console/webhooks/{webhook_id}"): ("admin", 200),
    ("GET", "/console/webhooks/{webhook_id}/secret"): ("admin", 200),
    ("POST", "/console/webhooks/{webhook_id}/secret"): ("admin", 422),
    ("GET", "/console/webhooks/{webhook_id}/again"): ("admin", 200),
    ("POST", "/console/webhooks/{webhook_id}/again"): ("admin", 422),
    ("POST", "/console/webhooks/{webhook_id}/test"): ("admin", 303),
    ("POST", "/console/webhooks/{webhook_id}/enable"): ("admin", 303),
    ("POST", "/console/webhooks/{webhook_id}/disable"): ("admin", 422),
    ("GET", "/console/audit"): ("admin", 200),
    ("GET", "/console/health"): ("viewer", 200),
    ("GET", "/console/live"): ("viewer", 200),
}


def test_no_address_is_without_its_role_here() -> None:
    routes = Console(cast(Any, None)).addresses
    assert {(method, route.path) for route in routes for method in (route.methods or ()) - {"HEAD"}} == set(LEAST)


def _wanted(role: str, method: str, path: str) -> int:
    least, status = LEAST[method, path]
    if ROLES.index(role) >= ROLES.index(least):
        return status
    if role != ANYBODY:
        return 403
    # Whoever is not signed in is led to signing in, and by signing out too; a script and any other form are told.
    told = path == "/console/live" or (method == "POST" and path != "/console/sign-out")
    return 401 if told else 303


async def _ids(marketplace: Marketplace, simulated: SimulatedSeller) -> dict[str, str]:
    placed = await marketplace.place()
    base = await simulated.base(placed["orderGroup"])
    await marketplace.notify(f"{base}/pub/orders/ANOTHER-1/invoice", invoice())
    note = await marketplace.notified(placed["id"], "parked")
    (call,) = (await marketplace.get(placed["id"], "/deliveries"))["items"]
    body = {"url": "http://127.0.0.1:9/told", "events": ["order.cancelled"]}
    webhook = (await marketplace.client.post("/v1/webhooks", json=body)).json()
    named = {"order_id": placed["id"], "delivery_id": call["id"], "notification_id": note["id"]}
    return {**named, "seller_id": "acme", "webhook_id": webhook["id"], "name": "console.css"}


async def _visited(somebody: Visitor, method: str, path: str, secret: str) -> httpx.Response:
    if method == "POST":
        return await somebody.post(path, csrf=secret)
    async with somebody.client.stream("GET", path) as answer:  # one of them never ends
        if not answer.headers.get("content-type", "").startswith("text/event-stream"):
            await answer.aread()
        return answer


@pytest.mark.parametrize("role", ROLES)
async def test_every_address_is_for_those_who_may(
    marketplace: Marketplace, simulated: SimulatedSeller, role: str
) -> None:
    ids = await _ids(marketplace, simulated)
    before = await marketplace.get(ids["order_id"])
    somebody = visitor(marketplace) if role == ANYBODY else await signed_in(marketplace, role)
    secret = "" if role == ANYBODY else await somebody.secret()
    found, wanted = {}, {}
    for method, path in sorted(LEAST, key=lambda one: one[1].endswith("sign-out")):
        answer = await _visited(somebody, method, path.format(**ids), secret)
        check_headers(answer, kept=path.startswith("/console/static/"))
        found[method, path], wanted[method, path] = answer.status_code, _wanted(role, method, path)
    await somebody.client.aclose()

    assert found == wanted
    assert await marketplace.get(ids["order_id"]) == before


async def test_whoever_may_not_is_told_so_and_led_nowhere(marketplace: Marketplace, viewer: Visitor) -> None:
    placed = await marketplace.place()
    page = await viewer.page(f"/console/orders/{placed['id']}")
    keys = await viewer.get("/console/keys")

    assert "This needs the role" in keys.text
    assert "a viewer" not in re.sub(r'<header class="side">.*?</header>', "", keys.text, flags=re.DOTALL)
    assert "/console/keys" not in page
    assert "/authorize" not in page


async def test_every_kind_of_answer_carries_the_headers(
    marketplace: Marketplace, admin: Visitor, stranger: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside those of every address: what is not found, not allowed, too late, too large, or a defect."""
    placed, secret = await marketplace.place(), await admin.secret()
    cancel = f"/console/orders/{placed['id']}/cancel"
    late = {"csrf": secret, "reason": "x", "confirm": "yes", "version": "0", "seen": ""}
    many = {f"f{number}": "1" for number in range(1100)}
    answers = [
        await admin.get("/"),
        await admin.get("/console/"),
        await admin.get("/console/nowhere"),
        await admin.get("/console/orders/nothing"),
        await admin.get("/console/static/nothing"),
        await admin.get("/console/orders/many/"),
        await admin.client.put("/console/zone"),
        await admin.post("/console/zone", csrf="wrong"),
        await admin.post(cancel, **late),
        await admin.post("/console/zone", csrf=secret, **many),
        await admin.post("/console/zone", {"Content-Type": "text/plain"}, csrf=secret),
        await stranger.client.get("/console", headers={"X-Live": "1"}),
    ]
    monkeypatch.setattr("chain_orders.console.filters.search", _broken)
    answers.append(await admin.get("/console/orders"))

    assert [answer.status_code for answer in answers] == [
        307, 307, 404, 404, 404, 404, 405, 403, 412, 413, 415, 401, 500,
    ]  # fmt: skip
    for answer in answers:
        check_headers(answer)


async def _broken(*_: Any) -> None:
    raise RuntimeError("a defect")
