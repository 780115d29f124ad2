"""The audit: every write route leaves a row in its own transaction, and nobody can change one."""

from __future__ import annotations

import csv
import inspect
import io
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from chain_orders.app import create_app
from chain_orders.operators import access, again
from chain_orders.settings import Settings

from ..builders import Marketplace, SimulatedSeller, order, settings_for
from ..retention.planted import holds, plant


async def acts(marketplace: Marketplace, **filters: Any) -> list[dict[str, Any]]:
    answer = await marketplace.client.get("/v1/audit", params=filters)
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]  # type: ignore[no-any-return]


def _app() -> FastAPI:
    return create_app(Settings(**settings_for("postgresql+asyncpg://nobody@127.0.0.1:1/none")))


def _routes() -> dict[str, Any]:
    """Every route of the operators' API that writes, with its function."""
    routers = [getattr(route, "original_router", None) for route in _app().routes]
    return {
        f"{method} {route.path_format}": route.endpoint
        for router in routers
        if router is not None
        for route in router.routes
        if isinstance(route, APIRoute) and route.path.startswith("/v1")
        for method in route.methods - {"GET", "HEAD"}
    }


ACTIONS = {
    "POST /v1/sellers": "seller.add",
    "PATCH /v1/sellers/{seller_id}": "seller.change",
    "POST /v1/sellers/{seller_id}/pause": "seller.pause",
    "POST /v1/sellers/{seller_id}/resume": "seller.resume",
    "POST /v1/sellers/{seller_id}/orders": "order.place",
    "POST /v1/orders/{order_id}/authorization": "order.authorize",
    "POST /v1/orders/{order_id}/cancellation": "order.cancel",
    "PUT /v1/orders/{order_id}/placement": "order.correct",
    "POST /v1/orders/{order_id}/erasure": "order.erase",
    "POST /v1/deliveries/{delivery_id}/retry": "delivery.retry",
    "POST /v1/deliveries/retry": "delivery.retry",
    "POST /v1/keys": "key.create",
    "DELETE /v1/keys/{key_id}": "key.revoke",
}
CHANGES_NOTHING = {"POST /v1/sellers/{seller_id}/check", "POST /v1/sellers/{seller_id}/simulation"}
WRITES = {name: endpoint for name, endpoint in _routes().items() if name not in CHANGES_NOTHING}


def _notes(function: Callable[..., Any], seen: frozenset[str] = frozenset()) -> bool:
    """Whether a function, or one that it calls of its module or of `again`, writes to the audit."""
    called = set(function.__code__.co_names)
    if "audit" in called and "note" in called:
        return True
    module = inspect.getmodule(function)
    nested = (code for code in function.__code__.co_consts if inspect.iscode(code))
    called |= {name for code in nested for name in code.co_names}
    places = (module, again) if "again" in called else (module,)
    return any(
        _notes(found, seen | {name})
        for name in called - seen
        for place in places
        if inspect.isfunction(found := getattr(place, name, None)) and found.__module__ == place.__name__
    )


@pytest.mark.parametrize("route", WRITES)
def test_every_route_that_writes_is_audited(route: str) -> None:
    assert _notes(WRITES[route]), f"{route} does not call audit.note"


def test_no_route_that_writes_is_overlooked() -> None:
    described = {
        f"{method.upper()} {path}"
        for path, methods in _app().openapi()["paths"].items()
        for method in methods
        if path.startswith("/v1") and method != "get"
    }

    assert set(_routes()) == described
    assert set(ACTIONS) <= set(WRITES)


def test_a_route_that_is_not_audited_would_be_found() -> None:
    assert not _notes(_routes)


async def _call(marketplace: Marketplace, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
    answer = await marketplace.client.request(method, path, json=body, headers=headers)
    assert answer.is_success, answer.text
    return answer


async def _exercise(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    """Every act of ACTIONS, once at least."""
    seller = await marketplace.add_seller(simulated.url, "harbor")
    await marketplace.change_seller("harbor", appToken="another-secret", baseUrl=simulated.url)
    await _call(marketplace, "POST", "/v1/sellers/harbor/pause")
    await _call(marketplace, "POST", "/v1/sellers/harbor/resume")
    assert seller["sellerId"] == "harbor"
    sold = await plant(marketplace, simulated, "AUDIT1")
    await _call(marketplace, "POST", f"/v1/orders/{sold['id']}/erasure", {"reason": "request 17"})
    await marketplace.client.post("/v1/sellers/acme/pause")
    for path in ("/v1/deliveries/{}/retry", "/v1/deliveries/retry"):
        taken = await marketplace.post_order(order())
        (owed,) = (await marketplace.get(taken.json()["id"], "/deliveries"))["items"]
        which = {} if "{" in path else {"state": "ready"}
        await _call(marketplace, "POST", path.format(owed["id"]), {**which, "reason": "the seller is back"})
        await marketplace.ask_to_cancel(taken.json()["id"], "the shopper withdrew")
    key = (await _call(marketplace, "POST", "/v1/keys", {"name": "clerk", "role": "viewer"})).json()
    await _call(marketplace, "DELETE", f"/v1/keys/{key['id']}")


async def test_what_was_done_is_all_there_without_credentials_or_persons(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    await _exercise(marketplace, simulated)

    found = await acts(marketplace, limit=200)

    assert {act["action"] for act in found} == set(ACTIONS.values())
    assert {act["actor"] for act in found} == {f"operator:test-{marketplace.url.rpartition(':')[2]}"}
    assert all(act["keyId"] for act in found)
    assert {act["reason"] for act in found if act["action"] == "delivery.retry"} == {"the seller is back"}
    shown = json.dumps(found)
    assert not any(secret in shown for secret in ("simulated-token", "simulated-key", "another-secret"))
    assert not holds(shown)


async def test_before_and_after_and_reason_are_told(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    await marketplace.change_seller("acme", concurrency=3, appKey="another-key")
    await marketplace.client.post("/v1/sellers/acme/pause")
    taken = (await marketplace.post_order(order())).json()
    await marketplace.ask_to_cancel(taken["id"], "the shopper withdrew")

    (changed,) = [act for act in await acts(marketplace, object="seller:acme") if act["action"] == "seller.change"]
    cancelled = (await acts(marketplace, object=f"order:{taken['id']}"))[0]

    assert (changed["before"]["concurrency"], changed["after"]["concurrency"]) == (10, 3)
    assert changed["after"]["credentialsReplaced"] is True
    assert (cancelled["action"], cancelled["reason"]) == ("order.cancel", "the shopper withdrew")
    assert (cancelled["before"]["status"], cancelled["after"]["status"]) == ("accepted", "cancelled")


async def test_an_act_that_fails_leaves_no_row(marketplace: Marketplace) -> None:
    before = len(await acts(marketplace))

    refused = await marketplace.client.post("/v1/sellers", json={"sellerId": "acme", "accountName": "acme"})
    rehearsed = await marketplace.client.post("/v1/sellers/acme/orders?dryRun=true", json=order())

    assert (refused.status_code, rehearsed.status_code) == (422, 200)
    assert len(await acts(marketplace)) == before


@pytest.mark.parametrize(
    "statement",
    ["update audit set actor = 'somebody'", "delete from audit", "truncate audit"],
)
async def test_the_services_role_cannot_change_a_row(marketplace: Marketplace, statement: str) -> None:
    with pytest.raises(DBAPIError, match="append-only"):
        async with marketplace.database.transaction() as session:
            await session.execute(text(statement))

    assert len(await acts(marketplace)) == 1, "the seller that was added"


async def test_the_audit_is_found_by_actor_object_and_time(marketplace: Marketplace) -> None:
    await marketplace.client.post("/v1/sellers/acme/pause")
    (paused, added) = await acts(marketplace)

    assert [act["id"] for act in await acts(marketplace, since=paused["at"])] == [paused["id"]]
    assert len(await acts(marketplace, actor=added["actor"])) == 2
    assert await acts(marketplace, actor="operator:nobody") == []
    assert await acts(marketplace, object="seller:nobody") == []


async def test_the_audit_is_found_by_action_and_up_to_a_moment(marketplace: Marketplace) -> None:
    for act in ("pause", "resume", "pause"):
        await marketplace.client.post(f"/v1/sellers/acme/{act}")
    (last, resumed, first, added) = await acts(marketplace)

    assert await acts(marketplace, action="seller.pause") == [last, first]
    assert await acts(marketplace, action=["seller.resume", "seller.add"]) == [resumed, added]
    assert await acts(marketplace, until=resumed["at"]) == [first, added]
    exported = await marketplace.client.get(
        "/v1/audit", params={"action": "seller.pause", "until": last["at"]}, headers={"Accept": "text/csv"}
    )
    assert [row["id"] for row in csv.DictReader(io.StringIO(exported.text))] == [str(first["id"])]


async def test_a_new_webhook_is_told_with_all_its_settings(marketplace: Marketplace) -> None:
    body = {"url": "http://127.0.0.1:9/hooks?secret=1", "events": ["order.*"], "description": "the shop's own"}
    made = (await marketplace.client.post("/v1/webhooks", json=body)).json()

    (act,) = await acts(marketplace, object=f"webhook:{made['id']}")

    assert (act["before"], act["after"]["events"], act["after"]["description"]) == (None, ["order.*"], "the shop's own")
    assert "secret" not in json.dumps(act)


async def test_the_audit_comes_in_pages(marketplace: Marketplace) -> None:
    for _ in range(4):
        await marketplace.client.post("/v1/sellers/acme/pause")
    seen: list[int] = []
    cursor: str | None = None
    while True:
        params = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        page = (await marketplace.client.get("/v1/audit", params=params)).json()
        seen += [act["id"] for act in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break

    assert len(seen) == len(set(seen)) == 5
    assert seen == sorted(seen, reverse=True)


async def test_the_export_holds_every_act_and_no_formula(marketplace: Marketplace) -> None:
    taken = (await marketplace.post_order(order())).json()
    await marketplace.ask_to_cancel(taken["id"], "=1+1")

    answer = await marketplace.client.get("/v1/audit", headers={"Accept": "text/csv"})

    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["action"] for row in rows] == ["order.cancel", "order.place", "seller.add"]
    assert rows[0]["reason"] == "'=1+1"
    assert json.loads(rows[2]["after"])["account_name"] == "acme"


@pytest.mark.parametrize("role", ["viewer", "operator"])
async def test_only_an_admin_reads_the_audit(marketplace: Marketplace, role: Any) -> None:
    async with marketplace.database.transaction() as session:
        key = await access.create_key(session, f"a-{role}", role)

    answer = await marketplace.client.get("/v1/audit", headers={"Authorization": f"Bearer {key}"})

    assert answer.status_code == 403
