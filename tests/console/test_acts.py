"""What an operator does beside one order's acts: correcting, checking, and looking things up."""

from __future__ import annotations

import asyncio
import io
import json
import re
import zipfile
from typing import Any

import pytest

from chain_orders.alerts.models import Alert
from chain_orders.operators.audit import Audit

from ..builders import Marketplace, SimulatedSeller, order, until
from ..retention.planted import holds, plant
from .day import conflict, dead, foreign, rejected
from .visitor import Visitor, addresses, fields, key_of


@pytest.fixture
def options() -> dict[str, Any]:
    return {"retry_schedule": "0.05"}


async def test_a_rejected_order_is_corrected_and_sent_again(
    marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor
) -> None:
    order_id = await rejected(marketplace, simulated)
    path = f"/console/orders/{order_id}/correct"
    page = await admin.page(f"/console/orders/{order_id}")
    form = await admin.page(path)
    document = order("HARBOR-1007")
    wrong = {name: value for name, value in document.items() if name != "items"}

    filled = await admin.send(path, fill="yes", reason="to correct it")
    unreasoned = await admin.send(path, fill="yes")
    no_json = await admin.send(path, document="{")
    faulty = await admin.send(path, document=json.dumps(wrong))
    preview = await admin.send(path, document=json.dumps(document))
    untouched = (await marketplace.get(order_id))["status"]
    done = await admin.post(path, **fields(preview.text), confirm="yes")

    assert "The seller refused it" in page
    assert "An item has run out of stock" in page
    assert "marketplacePaymentValue" in form
    assert "Iara" not in form
    assert "marketplacePaymentValue" in filled.text
    assert "Iara" in filled.text
    assert "marketplaceServicesEndpoint" not in filled.text
    assert unreasoned.status_code == 422
    assert no_json.status_code == 400
    assert faulty.status_code == 422
    assert re.search(r"items</strong> Fill this in", faulty.text)
    assert "/api/checkout/pvt/orders" in preview.text
    assert untouched == "rejected"
    assert done.headers["location"] == f"/console/orders/{order_id}", done.text
    await marketplace.becomes(order_id, "placed")


async def test_a_seller_is_checked_in_words_and_its_token_is_shown_once(
    marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor
) -> None:
    await marketplace.place()
    found = await admin.send("/console/sellers/acme/check", sku="8")
    asked = await admin.page("/console/sellers/acme/token")
    shown = await admin.send("/console/sellers/acme/token", confirm="yes")
    listed = await admin.page("/console/sellers")
    one = await admin.page("/console/sellers/acme")

    assert "the seller accepts the AppKey and AppToken" in found.text
    assert "a call to a callback address reaches this service" in found.text
    token = re.search(r"k1\.acme\.[a-z2-7]+", shown.text)
    assert token is not None
    assert token[0] not in asked + listed + one
    assert re.search(r'>k1</th>.*?The addresses of new orders are made with it.*?class="number">1<', listed, re.DOTALL)
    assert "callback key k1" in one


async def test_the_evidence_of_an_order_is_downloaded_without_names(marketplace: Marketplace, viewer: Visitor) -> None:
    placed = await marketplace.place()
    assert f"/console/orders/{placed['id']}/evidence" in await viewer.page(f"/console/orders/{placed['id']}")

    answer = await viewer.get(f"/console/orders/{placed['id']}/evidence")

    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        everything = b"".join(packed.read(name) for name in packed.namelist())
    assert b"HARBOR" in everything
    assert b"Iara" not in everything


async def test_nobody_sees_a_person_without_saying_why(
    marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor, viewer: Visitor
) -> None:
    """In the console as over the API: an admin gives a reason, which stands in the audit. All others see a mask."""
    sold = await plant(marketplace, simulated, "SHOWN-1")
    (first, *_), (note, *_) = [
        (await marketplace.get(sold["id"], f"/{name}"))["items"] for name in ("deliveries", "notifications")
    ]
    call, told = f"/console/deliveries/{first['id']}", f"/console/notifications/{note['id']}"

    seen = [await one.page(path) for one in (admin, viewer) for path in (f"/console/orders/{sold['id']}", call, told)]
    whole = [await admin.send(f"{path}/whole", reason=f"dispute about {path}") for path in (call, told)]
    unreasoned = await admin.send(f"{call}/whole", reason=" ")
    again = await admin.page(call)

    assert "What was sent" in seen[0]
    assert "PUT /api/checkout/pvt/orders?sc=1&amp;affiliateId=MKP" in seen[0]
    assert "Show it whole" in seen[1]
    assert "Show it whole" not in seen[4]
    assert [holds(page) for page in (*seen, again)] == [False] * 7
    assert [holds(answer.text) for answer in whole] == [True, True]
    base, _, mac = (await simulated.base("SHOWN-1")).rpartition("/")
    assert f"{base}/[masked]" in whole[0].text
    assert not any(mac in answer.text for answer in whole)
    assert (unreasoned.status_code, holds(unreasoned.text)) == (422, False)
    acts = (await marketplace.client.get("/v1/audit", params={"object": f"order:{sold['id']}"})).json()["items"]
    read = [act["reason"] for act in acts if act["action"] == "personal-data.read"]
    assert read == [f"dispute about {path}" for path in (told, call)]


async def test_the_audit_is_searched_by_who_and_what(marketplace: Marketplace, admin: Visitor) -> None:
    await admin.send("/console/sellers/acme/pause", reason="stocktaking")

    body = {"url": "http://127.0.0.1:9/told", "events": ["order.*"]}
    made = (await marketplace.client.post("/v1/webhooks", json=body)).json()

    everything = await admin.page("/console/audit")
    paused = await admin.page("/console/audit?action=seller.pause&object=seller:acme")
    nobody = await admin.page("/console/audit?actor=nobody")

    assert f'href="/console/webhooks/{made["id"]}"' in everything
    assert "Signed in at the console" in everything
    assert "stocktaking" in paused
    assert "Signed in at the console</th>" not in paused
    assert "No act is like that." in nobody


async def test_the_audit_names_things_as_people_do_and_finds_them_so(marketplace: Marketplace, admin: Visitor) -> None:
    placed = await marketplace.place(order("HARBOR-1"))
    await marketplace.place(order("HARBOR-2"))
    async with marketplace.database.transaction() as session:
        session.add(Audit(actor="command:key", action="key.create", object="key:the first"))
        session.add(Audit(actor="operator:a admin", action="delivery.retry", object="delivery:7"))
    told = {"url": "https://told.example/events", "events": ["order.*"]}
    await marketplace.client.post("/v1/webhooks", json=told)

    everything = await admin.page("/console/audit")
    of_one = await admin.page("/console/audit?object=HARBOR-1")
    of_key = await admin.page("/console/audit?object=a+admin")
    of_first = await admin.page("/console/audit?object=the+first")
    of_others = [(await admin.get("/console/audit", object=one)).text for one in ("Delivery 7", told["url"])]

    assert re.search(rf'<a href="/console/orders/{placed["id"]}"[^>]*>HARBOR-1</a>', everything)
    assert re.findall(r'title="key:the first">([^<]*)<', of_first) == ["the first"]
    assert ("HARBOR-1</a>" in of_one, "HARBOR-2</a>" in of_one) == (True, False)
    assert set(re.findall(r'<th scope="row">([^<\n]+)', of_key)) == {"Signed in at the console"}
    assert [re.findall(r'<th scope="row">([^<\n]+)', page) for page in of_others] == [
        ["Tried a call again"],
        ["Added a webhook"],
    ]


async def test_alerts_say_what_to_do_here(marketplace: Marketplace, admin: Visitor, viewer: Visitor) -> None:
    calm, body = await viewer.page("/console/alerts"), {"url": "https://told.example/", "events": ["order.*"]}
    made = await marketplace.client.post("/v1/webhooks", json={**body, "description": "the warehouse"})
    webhook = made.json()["id"]
    async with marketplace.database.transaction() as session:
        session.add(Alert(code="dead-deliveries", subject="seller:acme", reason="1 call is dead"))
        session.add(Alert(code="breaker-open", subject=f"subscription:{webhook}", reason="5 failures in a row"))
        session.add(Alert(code="dead-deliveries", subject=f"subscription:{webhook}", reason="1 call is dead"))

    page, overview = await viewer.page("/console/alerts"), await viewer.page("/console")
    admins = await admin.page("/console/alerts")

    for shown in (page, overview):
        assert re.search(r'href="/console/deliveries\?state=dead&amp;seller=acme">Calls have used up', shown)
    assert overview.index("Calls have used up their tries") < overview.index("Needs attention")
    assert "Nothing is wrong." in calm
    assert "Read why, remove the cause, and try them again." in page
    assert 'href="/console/deliveries?state=dead&amp;seller=acme"' in page
    assert f'href="/console/webhooks/{webhook}">Calls to a webhook are stopped' in admins
    assert admins.count(">the warehouse</td>") == 2
    assert "the warehouse" not in page
    calls = f"/console/deliveries?webhook={webhook}"
    assert f'href="{calls}">Calls to a webhook are stopped' in page
    assert f'href="{calls}&amp;state=dead">Calls to a webhook have used up their tries' in page
    assert "POST /v1" not in page


async def _acts(marketplace: Marketplace, *actions: str) -> int:
    return len((await marketplace.client.get("/v1/audit", params={"action": actions, "limit": 100})).json()["items"])


CHOICES = {"callbackTrust": "base", "changePolicy": "record", "authorizationGroup": "group"}
FORMS = {
    "key.create": ("/console/keys", {"name": "the shop", "role": "viewer"}),
    "key.rotate": ("/console/keys/rotate?id={key}", {"overlap": "3600", "reason": "it leaked"}),
    "key.revoke": ("/console/keys/revoke?id={key}", {"reason": "it leaked"}),
    "webhook.add": ("/console/webhooks/new", {"url": "http://127.0.0.1:9/again", "events": "order.*"}),
    "webhook.rotate": ("/console/webhooks/{webhook}/secret", {"overlap": "3600"}),
    "webhook.replay": ("/console/webhooks/{webhook}/again", {"after": "0", "reason": "it lost some"}),
    "webhook.test": ("/console/webhooks/{webhook}", {"to": "/test"}),
    "webhook.change": ("/console/webhooks/{webhook}", {"to": "/disable", "reason": "it moves"}),
    "seller.add": (
        "/console/sellers/new",
        {"accountName": "beira", "salesChannel": "1", "affiliateId": "MKP", "appKey": "a", "appToken": "b", **CHOICES},
    ),
    "seller.change": ("/console/sellers/acme", {"currency": "EUR", **CHOICES}),
    "seller.pause": ("/console/sellers/acme/pause", {"reason": "stocktaking"}),
    "seller.resume": ("/console/sellers/acme", {"to": "/resume"}),
}
SHOWN_ONCE = {"key.create", "key.rotate", "webhook.add", "webhook.rotate"}


async def test_a_form_that_is_sent_twice_is_acted_upon_once(marketplace: Marketplace, admin: Visitor) -> None:
    """What shows a secret says so the second time; all else is answered alike."""
    await key_of(marketplace, "operator", "a shop")
    (key,) = [one["id"] for one in (await _keys(marketplace)) if one["name"] == "a shop"]
    made = await marketplace.client.post("/v1/webhooks", json={"url": "http://127.0.0.1:9/told", "events": ["order.*"]})
    sent = []
    for action, (address, given) in FORMS.items():
        path, before = address.format(key=key, webhook=made.json()["id"]), await _acts(marketplace, action)
        form = {**fields(await admin.page(path)), **given}
        to = path + str(form.pop("to", ""))

        answers = await asyncio.gather(*[admin.post(to, **form) for _ in range(2)])

        assert await _acts(marketplace, action) == before + 1, action
        wanted = [200, 409] if action in SHOWN_ONCE else [303, 303]
        assert sorted(one.status_code for one in answers) == wanted, [one.text for one in answers]
        assert len({one.headers.get("location") for one in answers}) == 1
        sent.append((to, form))

    enabled = f"/console/webhooks/{made.json()['id']}"
    await admin.post(f"{enabled}/enable", **fields(await admin.page(enabled)))
    acts = await _acts(marketplace, *FORMS)
    for to, form in sent:  # after other forms, too
        await admin.post(to, **form)
    assert await _acts(marketplace, *FORMS) == acts


async def _keys(marketplace: Marketplace) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await marketplace.client.get("/v1/keys")).json()["items"]
    return found


async def test_the_same_act_on_purpose_is_done_again(marketplace: Marketplace, admin: Visitor) -> None:
    made = await marketplace.client.post("/v1/webhooks", json={"url": "http://127.0.0.1:9/told", "events": ["order.*"]})
    path = f"/console/webhooks/{made.json()['id']}"

    for _ in range(2):
        await admin.post(f"{path}/test", **fields(await admin.page(path)))

    assert await _acts(marketplace, "webhook.test") == 2


async def test_calls_and_notifications_are_tried_again_once_by_one_form(
    marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor
) -> None:
    stuck, unreadable = await dead(marketplace, simulated), await foreign(marketplace, simulated)
    (call,) = (await marketplace.get(stuck, "/deliveries"))["items"]
    notes = (await marketplace.get(unreadable, "/notifications"))["items"]
    (note,) = [one for one in notes if one["state"] == "unreadable"]
    await admin.send("/console/sellers/acme/pause", reason="nothing shall leave meanwhile")

    told = []
    for path in (f"/console/deliveries/{call['id']}/retry", f"/console/notifications/{note['id']}/replay"):
        form = {**fields(await admin.page(path)), "reason": "seen"}
        told.append([(await admin.post(path, **form)).status_code for _ in range(2)])
    preview = await admin.post("/console/deliveries/retry", csrf=await admin.secret(), id=[str(call["id"])])
    many = {**fields(preview.text), "reason": "seen", "confirm": "yes"}
    told.append([(await admin.post("/console/deliveries/retry", **many)).status_code for _ in range(2)])

    assert told == [[303, 303], [303, 303], [200, 409]]
    assert (await _acts(marketplace, "delivery.retry"), await _acts(marketplace, "notification.replay")) == (2, 1)


async def test_a_call_to_a_subscriber_is_tried_again_here_too(marketplace: Marketplace, admin: Visitor) -> None:
    made = await marketplace.client.post("/v1/webhooks", json={"url": "http://127.0.0.1:9/told", "events": ["order.*"]})
    await marketplace.client.post(f"/v1/webhooks/{made.json()['id']}/test")

    async def gone() -> Any:
        dead_ones = await marketplace.client.get("/v1/deliveries", params={"kind": "webhook", "state": "dead"})
        return dead_ones.json()["items"]

    (call,) = await until(gone)
    page = await admin.page(f"/console/deliveries/{call['id']}")
    tried = await admin.send(f"/console/deliveries/{call['id']}/retry", reason="it is back")

    assert "no connection could be made" in page
    assert f"/console/deliveries?webhook={made.json()['id']}" in addresses(page)
    assert tried.headers["location"] == f"/console/deliveries/{call['id']}", tried.text
    assert await _acts(marketplace, "delivery.retry") == 1


async def test_a_contradiction_is_decided_and_not_applied_again(
    marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor
) -> None:
    contradicted = await conflict(marketplace, simulated)
    note = await marketplace.notified(contradicted, "conflict")

    page = await admin.page(f"/console/notifications/{note['id']}")
    refused = await admin.get(f"/console/notifications/{note['id']}/replay")

    assert f'href="/console/orders/{contradicted}/resolve"' in page
    assert "Apply it again" not in page
    assert refused.status_code == 409
    assert "decide about its order instead" in refused.text


async def test_what_has_ended_is_refused_in_the_consoles_words(marketplace: Marketplace, admin: Visitor) -> None:
    placed = await marketplace.place()
    (call,) = (await marketplace.get(placed["id"], "/deliveries"))["items"]

    refused = await admin.get(f"/console/deliveries/{call['id']}/retry")

    assert refused.status_code == 409
    assert "It has ended (Delivered) and is not tried again." in refused.text
    assert f'href="/console/deliveries/{call["id"]}">Back to what it was about' in refused.text


async def test_a_key_is_replaced_and_the_new_one_is_shown_once(marketplace: Marketplace, admin: Visitor) -> None:
    before = await key_of(marketplace, "operator", "the shop")
    listed = await admin.page("/console/keys")
    (address,) = re.findall(r'href="(/console/keys/rotate\?id=[^"]+)" aria-label="Replace the shop"', listed)

    unreasoned = await admin.send(address, overlap="0")
    shown = await admin.send(address, overlap="0", reason="it leaked")
    (made,) = re.findall(r">(co_[^<]+)<", shown.text)

    assert unreasoned.status_code == 422
    assert made not in await admin.page("/console/keys")
    answers = [
        (await marketplace.client.get("/v1/stats", headers={"Authorization": f"Bearer {key}"})).status_code
        for key in (before, made)
    ]
    assert answers == [401, 200]
