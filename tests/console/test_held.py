"""What waits behind a stopped lane says so, in the console and in the API: why, whose turn it is, when it goes on."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text

from chain_orders.deliveries.models import Lane
from chain_orders.operators.holding import held

from ..builders import Marketplace, SimulatedSeller, order, until
from .day import dead
from .visitor import Visitor, fields

NOW = datetime(2026, 11, 1, 10, tzinfo=UTC)
LATER = datetime(2026, 11, 1, 11, tzinfo=UTC)
CLOSED: dict[str, Any] = {"lane": "seller:acme", "breaker": "closed", "paused": False, "denied": False}


@pytest.fixture
def options() -> dict[str, Any]:
    return {"retry_schedule": "0.05"}


@pytest.mark.parametrize(
    ("gate", "code", "owner", "until"),
    [
        ({}, None, None, None),
        ({"next_at": NOW}, None, None, None),
        ({"next_at": LATER, "reason": "the seller answered 429"}, "asked-to-wait", "nobody", LATER),
        ({"breaker": "open", "next_at": LATER}, "calls-stopped", "seller", LATER),
        ({"breaker": "open", "next_at": NOW}, "calls-stopped", "seller", None),
        ({"breaker": "open", "denied": True, "next_at": LATER}, "credentials-refused", "operator", LATER),
        ({"paused": True, "breaker": "open", "next_at": LATER}, "calls-paused", "operator", None),
    ],
)
def test_a_gate_says_why_it_is_shut_and_who_opens_it(
    gate: dict[str, Any], code: str | None, owner: str | None, until: datetime | None
) -> None:
    found = held(Lane(**{**CLOSED, **gate}), NOW)

    assert (found and found.code, found and found.owner, found and found.until) == (code, owner, until)


async def _pause(marketplace: Marketplace) -> None:
    answer = await marketplace.client.post("/v1/sellers/acme/pause")
    assert answer.status_code == 200, answer.text


async def _why(marketplace: Marketplace, order_id: str, code: str) -> dict[str, Any]:
    """What the API says, once it says this."""

    async def told() -> dict[str, Any] | None:
        error: dict[str, Any] | None = (await marketplace.get(order_id))["lastError"]
        return error if error and error["code"] == code else None

    found: dict[str, Any] = await until(told)
    return found


async def test_an_order_of_a_paused_seller_waits_for_whoever_resumes_it(
    marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor
) -> None:
    await _pause(marketplace)
    taken = (await marketplace.post_order(order("HELD-1"))).json()

    error = (await marketplace.get(taken["id"]))["lastError"]
    (call,) = (await marketplace.get(taken["id"], "/deliveries"))["items"]
    page = await admin.page(f"/console/orders/{taken['id']}")
    listed = await admin.page("/console/deliveries")
    orders = await admin.page("/console/orders")
    one = await admin.page(f"/console/deliveries/{call['id']}")

    assert (error["code"], error["retried"], error["owner"]) == ("calls-paused", True, "operator")
    assert error["nextAttemptAt"] is None
    assert (call["heldBy"], call["nextAttemptAt"]) == ("calls-paused", None)
    assert "Your turn" in page
    assert 'leaves <b translate="no">once calls to the seller are resumed</b>' in page
    for shown in (page, one):
        assert "A person has paused the calls to the seller." in shown
    assert "Calls are paused" in listed
    assert 'Our turn<span class="second">Calls are paused</span>' in orders
    for untrue in ("you need not do anything", "about to leave", '<b translate="no">now</b>'):
        assert untrue not in page


async def test_refused_credentials_are_said_of_every_order_behind_them(
    marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor
) -> None:
    await simulated.behave(fail=1, failStatus=401)
    ids = [(await marketplace.post_order(order(group))).json()["id"] for group in ("HELD-2", "HELD-3")]

    errors = [await _why(marketplace, one, "credentials-refused") for one in ids]
    page = await admin.page(f"/console/orders/{ids[1]}")

    for error in errors:
        assert error["owner"] == "operator"
        assert "the seller answered 401: it refuses our credentials" in error["detail"]
        assert error["nextAttemptAt"] is None or datetime.fromisoformat(error["nextAttemptAt"]) > datetime.now(UTC)
    assert "The seller refuses our credentials" in page
    assert "Your turn" in page
    await simulated.behave(fail=0)
    await marketplace.change_seller(appKey="simulated-key")
    for one in ids:
        await marketplace.becomes(one, "placed")
    async with marketplace.database.transaction() as session:
        assert await session.scalar(text("select denied from lanes where lane = 'seller:acme'")) is False


async def test_a_seller_that_asks_to_wait_is_waited_for_by_itself(
    marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor
) -> None:
    async with marketplace.database.transaction() as session:
        await session.execute(text("update lanes set next_at = clock_timestamp() + interval '1 hour'"))
    taken = (await marketplace.post_order(order("HELD-4"))).json()

    error = await _why(marketplace, taken["id"], "asked-to-wait")
    page = await admin.page(f"/console/orders/{taken['id']}")

    assert error["owner"] == "nobody"
    assert datetime.fromisoformat(error["nextAttemptAt"]) > datetime.now(UTC)
    assert "The seller asks us to wait" in page
    assert "Our turn" in page
    assert re.search(r'leaves <b translate="no">in 59 min', page)


async def test_an_authorization_behind_a_pause_does_not_claim_to_leave(
    marketplace: Marketplace, admin: Visitor
) -> None:
    placed = await marketplace.place(order("HELD-5"))
    await _pause(marketplace)
    path = f"/console/orders/{placed['id']}/authorize"

    answer = await admin.post(path, **fields(await admin.page(path)), confirm="yes")
    page = await admin.page(answer.headers["location"])

    assert "The authorization is given." in page
    assert "is on its way" not in page


async def test_a_seller_that_asks_to_wait_is_not_said_to_work(marketplace: Marketplace, admin: Visitor) -> None:
    await marketplace.add_seller("https://dockside.example", "dockside")
    async with marketplace.database.transaction() as session:
        await session.execute(text(_ASKS_TO_WAIT))

    for path in ("/console", "/console/sellers"):
        page = await admin.page(path)
        rows = re.findall(_STANDING, page, re.DOTALL)
        standing = {seller: re.sub("<[^>]*>", "", told).split("\n")[0].strip() for seller, told in rows}
        assert standing == {"dockside": "Asks to wait", "acme": "Working"}
    one = await admin.page("/console/sellers/dockside")
    assert re.search(r"The seller asks us to wait.*The next call leaves in 59 min", one, re.DOTALL)


_STANDING = r'href="/console/sellers/(\w+)" translate.*?data-label="Calls to it"><span>(.*?)</td>'
_ASKS_TO_WAIT = """
    update lanes set next_at = clock_timestamp() + interval '1 hour', reason = 'the seller answered 429'
     where lane = 'seller:dockside'
"""


async def test_a_call_to_a_stopped_webhook_speaks_of_the_webhook(marketplace: Marketplace, admin: Visitor) -> None:
    made = await marketplace.client.post("/v1/webhooks", json={"url": "http://127.0.0.1:9/told", "events": ["order.*"]})
    path = f"/console/webhooks/{made.json()['id']}"
    await admin.post(f"{path}/disable", **fields(await admin.page(path)), reason="it moves")
    await admin.post(f"{path}/test", csrf=await admin.secret())
    (call,) = (await marketplace.client.get("/v1/deliveries", params={"webhook": made.json()["id"]})).json()["items"]

    shown = await admin.page(f"/console/deliveries/{call['id']}")
    asked = await admin.page(f"/console/deliveries/{call['id']}/retry")

    assert "Next: once the webhook goes on." in shown
    for page in (shown, asked):
        main = page[page.index("<main") :]
        assert "The webhook is stopped" in main
        assert "the seller" not in main
    assert "This is sent as soon as calls to the webhook go on" in asked


async def test_a_dead_call_leaves_nobody_at_work(
    marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor
) -> None:
    """Nor does the order's status promise anything meanwhile, when its attention is cleared neither."""
    path = f"/console/orders/{await dead(marketplace, simulated)}"
    asked = await admin.page(path)
    decided = await admin.send(f"{path}/resolve", reason="not today")
    await admin.post(f"{path}/resolve", **fields(decided.text), confirm="yes")

    cleared = await admin.page(path)
    listed = await admin.page("/console/orders")

    assert (await marketplace.get(path.rpartition("/")[2]))["attention"] is None
    assert 'Our turn<span class="second">A call is dead</span>' in listed
    for page in (asked, cleared):
        assert "Your turn" in page
        assert "It waits until you have acted." in page
        for untrue in ("you need not do anything", "It is being read before anything more"):
            assert untrue not in page


async def test_a_retry_behind_a_pause_does_not_claim_to_leave_now(
    marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor
) -> None:
    order_id = await dead(marketplace, simulated)
    await _pause(marketplace)
    (call,) = (await marketplace.get(order_id, "/deliveries"))["items"]

    asked = await admin.page(f"/console/deliveries/{call['id']}/retry")
    answer = await admin.send(f"/console/deliveries/{call['id']}/retry", reason="its host is back", confirm="yes")
    page = await admin.page(answer.headers["location"])

    assert "A person has paused the calls to the seller." in asked
    assert "The call is due, and leaves as soon as calls go on again." in page
    assert "The call is tried again now." not in page
