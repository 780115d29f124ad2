"""Who may do what: every route times every role, each cell asserted. A route that is not in the table fails."""

from __future__ import annotations

import re
from typing import Any

import httpx

from chain_orders.operators import access

from ..builders import Marketplace, calling

ROLES = (None, "viewer", "operator", "admin")
NOBODY_NEEDS_A_KEY = "open"
LEAST = {
    "GET /livez": NOBODY_NEEDS_A_KEY,
    "GET /readyz": NOBODY_NEEDS_A_KEY,
    "GET /metrics": "viewer",
    "GET /v1/stats": "viewer",
    "GET /v1/sellers": "viewer",
    "POST /v1/sellers": "admin",
    "GET /v1/sellers/{seller_id}": "viewer",
    "PATCH /v1/sellers/{seller_id}": "admin",
    "POST /v1/sellers/{seller_id}/callback-token": "admin",
    "POST /v1/sellers/{seller_id}/check": "operator",
    "POST /v1/sellers/{seller_id}/simulation": "operator",
    "POST /v1/sellers/{seller_id}/pause": "operator",
    "POST /v1/sellers/{seller_id}/resume": "operator",
    "POST /v1/sellers/{seller_id}/orders": "operator",
    "POST /v1/sellers/{seller_id}/orders/import": "operator",
    "GET /v1/orders": "viewer",
    "GET /v1/orders/{order_id}": "viewer",
    "GET /v1/orders/{order_id}/timeline": "viewer",
    "GET /v1/orders/{order_id}/deliveries": "viewer",
    "GET /v1/orders/{order_id}/notifications": "viewer",
    "POST /v1/orders/{order_id}/authorization": "operator",
    "POST /v1/orders/{order_id}/cancellation": "operator",
    "POST /v1/orders/{order_id}/resolution": "operator",
    "POST /v1/orders/{order_id}/erasure": "admin",
    "GET /v1/orders/{order_id}/evidence": "viewer",
    "PUT /v1/orders/{order_id}/placement": "operator",
    "GET /v1/deliveries": "viewer",
    "GET /v1/deliveries/{delivery_id}": "viewer",
    "POST /v1/deliveries/retry": "operator",
    "POST /v1/deliveries/{delivery_id}/retry": "operator",
    "GET /v1/notifications": "viewer",
    "GET /v1/notifications/{notification_id}": "viewer",
    "POST /v1/notifications/{notification_id}/replay": "operator",
    "POST /v1/notifications/{notification_id}/dismissal": "operator",
    "GET /v1/events": "viewer",
    "GET /v1/events/stream": "viewer",
    "GET /v1/keys": "admin",
    "POST /v1/keys": "admin",
    "POST /v1/keys/{key_id}/rotation": "admin",
    "DELETE /v1/keys/{key_id}": "admin",
    "GET /v1/audit": "admin",
    "GET /v1/alerts": "viewer",
    "GET /v1/webhooks": "admin",
    "POST /v1/webhooks": "admin",
    "GET /v1/webhooks/{webhook_id}": "admin",
    "PATCH /v1/webhooks/{webhook_id}": "admin",
    "DELETE /v1/webhooks/{webhook_id}": "admin",
    "POST /v1/webhooks/{webhook_id}/secret": "admin",
    "POST /v1/webhooks/{webhook_id}/test": "admin",
    "POST /v1/webhooks/{webhook_id}/replay": "admin",
}


async def test_every_route_opens_for_its_roles_and_for_no_other(marketplace: Marketplace) -> None:
    described = (await marketplace.client.get("/openapi.json")).json()["paths"]
    routes = sorted(f"{method.upper()} {path}" for path, methods in described.items() for method in methods)
    clients = {role: await _client(marketplace, role) for role in ROLES}
    found = {(route, role): await _opens(clients[role], route) for route in routes for role in ROLES}
    for client in clients.values():
        await client.aclose()

    assert found == {(route, role): _wanted(route, role) for route in routes for role in ROLES}


def _wanted(route: str, role: str | None) -> int | str:
    least = LEAST.get(route)
    if least is None:
        return "not in the table"
    if least == NOBODY_NEEDS_A_KEY:
        return "opens"
    if role is None:
        return 401
    return "opens" if ROLES.index(role) >= ROLES.index(least) else 403


async def _client(marketplace: Marketplace, role: Any) -> httpx.AsyncClient:
    headers = {}
    if role is not None:
        async with marketplace.database.transaction() as session:
            headers["Authorization"] = f"Bearer {await access.create_key(session, f'matrix-{role}', role)}"
    return calling(marketplace.url, headers=headers)


async def _opens(client: httpx.AsyncClient, route: str) -> int | str:
    """The refusal, or that it opens: whatever is said about a thing that does not exist is said to who may ask."""
    method, path = route.split()
    async with client.stream(method, re.sub(r"\{\w+\}", "0", path)) as answer:
        assert answer.status_code < 500
        return answer.status_code if answer.status_code in {401, 403} else "opens"
