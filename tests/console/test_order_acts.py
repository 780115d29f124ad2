"""What an operator does to one order and its calls: shown first, and sent as it was shown."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from sqlalchemy import text

from ..builders import Marketplace, SimulatedSeller, invoice, order, until
from .day import conflict, dead, split
from .visitor import Visitor, addresses, fields, noted, signed_in


@pytest.fixture
def options() -> dict[str, Any]:
    return {"retry_schedule": "0.05"}


async def test_authorizing_sends_what_was_shown(
    marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor
) -> None:
    placed = await marketplace.place(order("SHOWN-1"))
    path = f"/console/orders/{placed['id']}/authorize"
    preview = await admin.page(path)
    untouched = (await marketplace.get(placed["id"]))["authorizationReceipt"]

    answer = await admin.post(path, **fields(preview), confirm="yes")

    assert answer.headers["location"] == f"/console/orders/{placed['id']}"
    authorized = await marketplace.becomes(placed["id"], "authorized")
    ((booked,)) = await simulated.book("SHOWN-1")
    sent = booked["authorizations"][0]["authorizationReceipt"]
    assert untouched is None
    assert sent == authorized["authorizationReceipt"]
    assert sent["receipt"] in preview
    assert "The authorization is given." in (await admin.page(answer.headers["location"]))


async def test_what_is_typed_for_an_authorization_is_shown_before_it_can_be_sent(
    marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor
) -> None:
    """Enter presses a form's first button: beside what can be typed, that is the one that shows."""
    placed = await marketplace.place(order("TYPED-1"))
    path = f"/console/orders/{placed['id']}/authorize"
    opened = await admin.page(path)
    (typing,) = [one for one in re.findall(r"<form.*?</form>", opened, re.DOTALL) if 'id="receipt"' in one]

    shown = await admin.send(path, receipt="PAY-7", date="2026-11-01T10:00:00Z")
    untouched = (await marketplace.get(placed["id"]))["authorizationReceipt"]
    await admin.post(path, **fields(shown.text), confirm="yes")
    await marketplace.becomes(placed["id"], "authorized")

    assert 'name="confirm"' not in typing
    assert "PAY-7" in shown.text[shown.text.index("exactly what will be sent") : shown.text.index('name="confirm"')]
    assert untouched is None
    ((booked,)) = await simulated.book("TYPED-1")
    sent = booked["authorizations"][0]["authorizationReceipt"]
    assert sent == {"receipt": "PAY-7", "date": "2026-11-01T10:00:00Z"}


@pytest.mark.parametrize(("field", "value"), [("date", "soon"), ("date", "2" * 65), ("receipt", "r" * 257)])
async def test_what_is_wrong_with_an_authorization_is_said_beside_its_field(
    marketplace: Marketplace, admin: Visitor, field: str, value: str
) -> None:
    placed = await marketplace.place()
    path = f"/console/orders/{placed['id']}/authorize"
    hidden = fields(await admin.page(path))

    for confirmed in ({}, {"confirm": "yes"}):
        answer = await admin.post(path, **{**hidden, field: value}, **confirmed)
        assert answer.status_code == 422
        (typed,) = re.findall(rf'<input id="{field}"[^>]*>', answer.text)
        assert f'value="{value}"' in typed
        assert f'aria-describedby="{field}-hint w-{field}" aria-invalid="true"' in re.sub(r"\s+", " ", typed)
        assert f'id="w-{field}"' in answer.text
        assert 'name="confirm"' not in answer.text
    assert (await marketplace.get(placed["id"]))["authorizationReceipt"] is None


async def test_a_refused_authorization_is_given_again_with_the_same_receipt(
    marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor
) -> None:
    """As its advice says. It stays a person's turn when the attention is cleared: nothing is at work."""
    await simulated.behave(fail=1, failStatus=400, applyTo=["authorize"])
    path = f"/console/orders/{(await marketplace.place(order('AGAIN-1')))['id']}"
    order_id, receipt = path.rpartition("/")[2], {"receipt": "PAY-8", "date": "2026-11-01T10:00:00Z"}
    await marketplace.authorize(order_id, authorizationReceipt=receipt)

    async def refused() -> bool:
        return (await marketplace.get(order_id))["attention"] is not None

    await until(refused)
    await simulated.behave(fail=0)
    asked = await admin.page(path)
    decided = await admin.send(f"{path}/resolve", reason="the cause is gone")
    await admin.post(f"{path}/resolve", **fields(decided.text), confirm="yes")
    cleared = await admin.page(path)
    preview = await admin.page(f"{path}/authorize")
    await admin.post(f"{path}/authorize", **fields(preview), confirm="yes")

    await marketplace.becomes(order_id, "authorized")
    ((booked,)) = await simulated.book("AGAIN-1")
    assert "Read its reason, remove the cause, and authorize again." in asked
    assert "An operator must act" not in asked
    for page in (asked, cleared):
        assert f"{path}/authorize" in addresses(page)
        assert "Your turn" in page
        assert "you need not do anything" not in page
    assert "PAY-8" in preview
    assert 'id="receipt"' not in preview
    assert [one["authorizationReceipt"] for one in booked["authorizations"]] == [receipt]


async def test_the_last_open_chain_order_can_be_cancelled(
    marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor
) -> None:
    """The whole order cannot: a part of it is invoiced."""
    order_id = await split(marketplace, simulated)
    invoiced, left = [one["chainOrderId"] for one in (await marketplace.get(order_id))["chainOrders"]]
    await marketplace.authorize(order_id)
    await marketplace.becomes(order_id, "authorized")
    await simulated.invoice(invoiced)
    await marketplace.notified(order_id, "applied")
    path = f"/console/orders/{order_id}/cancel"

    page = await admin.page(path)
    (choice,) = re.findall(r'<select id="chain".*?</select>', page, re.DOTALL)
    (offered,) = re.findall(r"<option[^>]*>([^<]*)<", choice)
    preview = await admin.send(path, reason="the rest is gone", chain=offered)
    await admin.post(path, **fields(preview.text), confirm="yes")

    async def over() -> bool:
        return [one["status"] for one in (await marketplace.get(order_id))["chainOrders"]] == ["invoiced", "cancelled"]

    assert offered == left
    assert f"orders/{left}/cancel" in preview.text
    await until(over)


async def test_what_is_left_is_acted_upon_while_a_part_is_being_cancelled(
    marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor
) -> None:
    """As over the API: a chain order that was asked to be cancelled says nothing about the other."""
    await simulated.behave(cancellation="decide")
    order_id = await split(marketplace, simulated)
    asked, left = [one["chainOrderId"] for one in (await marketplace.get(order_id))["chainOrders"]]
    await marketplace.ask_to_cancel(order_id, chainOrderId=asked)
    path = f"/console/orders/{order_id}"

    both = addresses(await admin.page(path))
    authorized = await admin.send(f"{path}/authorize", confirm="yes")

    async def arrived() -> bool:  # else the order moves between the preview and the act, which is refused
        return [one["status"] for one in (await marketplace.get(order_id))["chainOrders"]][1] == "authorized"

    await until(arrived)
    preview = await admin.send(f"{path}/cancel", reason="the rest is gone", chain=left)
    cancelled = await admin.post(f"{path}/cancel", **fields(preview.text), confirm="yes")
    neither = addresses(await admin.page(path))

    acts = {f"{path}/authorize", f"{path}/cancel"}
    assert (authorized.status_code, cancelled.status_code) == (303, 303)
    assert f"orders/{left}/cancel" in preview.text
    assert both >= acts
    assert not neither & acts


async def test_cancelling_needs_a_reason_and_shows_it_first(marketplace: Marketplace, admin: Visitor) -> None:
    placed = await marketplace.place()
    path = f"/console/orders/{placed['id']}/cancel"

    without = await admin.send(path, reason=" ")
    preview = await admin.send(path, reason="the shopper withdrew")
    untouched = (await marketplace.get(placed["id"]))["status"]
    done = await admin.post(path, **fields(preview.text), confirm="yes")

    assert without.status_code == 422
    assert "the shopper withdrew" in preview.text
    assert untouched == "placed"
    assert done.status_code == 303
    await marketplace.becomes(placed["id"], "cancelled")


async def test_deciding_shows_both_facts_and_records_the_reason(
    marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor
) -> None:
    order_id = await conflict(marketplace, simulated)
    path = f"/console/orders/{order_id}/resolve"
    page = await admin.page(path)
    shown = await admin.page(f"/console/orders/{order_id}")
    (choice,) = re.findall(r'value="(cancelled\|[^"]+)"', page)

    preview = await admin.send(path, decision=choice, reason="the seller called: it is cancelled")
    untouched = (await marketplace.get(order_id))["status"]
    done = await admin.post(path, **fields(preview.text), confirm="yes")

    assert "NF-7002" in page
    assert re.search(r"issued <time[^>]*>1 Nov 2026, 13:00 UTC</time>, heard <time", page)
    assert "Everything is invoiced. It waits until you have acted." in shown
    assert "Nothing is left to do" not in shown
    assert re.search("sellerOrderId&#34;: ?&#34;", page)
    assert untouched == "invoiced"
    assert done.headers["location"] == f"/console/orders/{order_id}"
    assert await noted(marketplace) == ("order.resolve", "the seller called: it is cancelled")
    after = await marketplace.get(order_id)
    assert (after["status"], after["attention"]) == ("cancelled", None)
    assert "the seller called: it is cancelled" in await admin.page(f"/console/orders/{order_id}")


async def test_a_decision_that_is_not_offered_any_more_leaves_the_mildest_chosen(
    marketplace: Marketplace, admin: Visitor
) -> None:
    """What would be sent is what is seen to be chosen."""
    placed = await marketplace.place()

    answer = await admin.send(f"/console/orders/{placed['id']}/resolve", decision="invoiced|GONE-01", reason=" ")

    assert answer.status_code == 422
    assert re.findall(r'value="([^"]*)" checked', answer.text) == ["dismiss"]


async def test_both_facts_are_written_alike(
    marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor
) -> None:
    """Money in the seller's currency, and moments of the operator's zone, however the seller wrote them."""
    await marketplace.change_seller(currency="BRL")
    placed = await marketplace.place(order("ALIKE-1"))
    address = f"{await simulated.base('ALIKE-1')}/pvt/orders/ALIKE-1/invoice"
    for value in (1300, "1250"):
        await marketplace.notify(address, invoice("NF-1", value))
    await marketplace.notified(placed["id"], "conflict")

    page = await admin.page(f"/console/orders/{placed['id']}/resolve")

    against = page[page.index("What contradicts it") :]
    assert re.search(r"<dt>Value</dt><dd[^>]*>BRL 12.50</dd>", against)
    assert re.search(r"<dt>Issued</dt><dd[^>]*>1 Nov 2026, 13:00 UTC</dd>", against)


async def test_a_change_is_shown_with_what_becomes_of_the_value(
    marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor
) -> None:
    """And accepting it answers nothing else: what stays open is said before."""
    await marketplace.change_seller(currency="BRL")
    placed = await marketplace.place(order("CHANGED-1"))
    chain = placed["chainOrders"][0]["chainOrderId"]
    await simulated.change(chain, incrementValue=500)
    await marketplace.notified(placed["id"], "applied")
    base = await simulated.base("CHANGED-1")
    await marketplace.notify(f"{base}/pub/orders/ANOTHER-1/invoice", invoice())
    await marketplace.notified(placed["id"], "parked")
    path = f"/console/orders/{placed['id']}/resolve"

    page = await admin.page(path)
    preview = await admin.send(path, decision=f"accept-change|{chain}", reason="it was agreed")

    against = page[page.index("What contradicts it") :]
    assert re.search(r"<dt>More to pay</dt><dd>BRL 5.00</dd>", against)
    assert "No notification contradicts it." not in against
    assert re.search(r"Its value</th><td>BRL 13.00</td><td>BRL 18.00</td>", preview.text)
    assert "It needs attention afterwards too: A notification names another order." in preview.text
    assert "The attention is cleared" not in preview.text


async def test_what_differs_at_the_seller_is_shown_beside_what_is_held(
    marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor
) -> None:
    """No notification contradicts it: what stands against it is what the seller answered."""
    await simulated.behave(surcharge=7)
    placed = await marketplace.place()
    (call,) = (await marketplace.get(placed["id"], "/deliveries"))["items"]

    page = await admin.page(f"/console/orders/{placed['id']}/resolve")

    held, against = page[: page.index('id="against"')], page[page.index('id="against"') :]
    assert placed["attention"]["code"] == "value-differs"
    assert re.search(r"As it was sold</h3>.*?<dd>13\.00</dd>", held, re.DOTALL)
    assert re.search(r"<dd>1 . <span[^>]*>8</span></dd>", held)
    assert f'<a href="/console/deliveries/{call["id"]}">Answered when it was placed</a>' in against
    assert "No notification contradicts it." in against
    assert "1307" in against
    assert "Iara" not in page


async def test_who_authorizes_second_is_shown_the_receipt_that_was_given(
    marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor
) -> None:
    """Each form mints a receipt of its own: the second one is of no use any more."""
    placed = await marketplace.place()
    path = f"/console/orders/{placed['id']}/authorize"
    first, second = [{**fields(await admin.page(path)), "confirm": "yes"} for _ in range(2)]
    await admin.post(path, **first)

    moved = await admin.post(path, **second)
    again = await admin.page(path)

    assert moved.status_code == 412
    assert first["receipt"] in again
    assert second["receipt"] not in again


async def test_dead_calls_of_one_kind_are_told_apart(
    marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor
) -> None:
    order_id = await split(marketplace, simulated)
    await simulated.behave(fail=1, failStatus=500, applyTo=["authorize"])
    await marketplace.authorize(order_id)

    async def dead_ones() -> list[str]:
        items = (await marketplace.get(order_id, "/deliveries"))["items"]
        found = [str(one["id"]) for one in items if one["state"] == "dead"]
        return found if len(found) == 2 else []

    calls = await until(dead_ones, 60)
    page = await admin.page(f"/console/orders/{order_id}")

    told = dict(re.findall(r'<span class="hint id" id="dead-(\d+)" translate="no">([^<]*)<', page))
    chains = [one["chainOrderId"] for one in (await marketplace.get(order_id))["chainOrders"]]
    assert sorted(told) == sorted(calls)
    assert sorted(told.values()) == sorted(chains)


async def test_a_dead_call_is_tried_again(marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor) -> None:
    order_id = await dead(marketplace, simulated)
    page = await admin.page(f"/console/orders/{order_id}")
    (path,) = {one for one in addresses(page) if one.endswith("/retry")}

    asked = await admin.page(path)
    without = await admin.send(path, confirm="yes")
    answer = await admin.send(path, reason="its host is back", confirm="yes")

    assert "whatever may be personal are masked here" in asked
    assert without.status_code == 422
    assert 'aria-invalid="true"' in without.text
    assert answer.headers["location"] == f"/console/orders/{order_id}"
    assert await noted(marketplace) == ("delivery.retry", "its host is back")
    await marketplace.becomes(order_id, "placed")


async def test_chosen_calls_are_tried_again_with_a_result_each(
    marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor
) -> None:
    await marketplace.place()
    await dead(marketplace, simulated)
    stuck = (await marketplace.client.get("/v1/deliveries", params={"state": "dead"})).json()["items"]
    done = (await marketplace.client.get("/v1/deliveries", params={"state": "delivered"})).json()["items"]

    form = {"csrf": await admin.secret(), "id": [str(stuck[0]["id"]), str(done[0]["id"])]}
    for led in ("/console/deliveries?seller=acme", "/console/keys", "https://elsewhere.example/console/deliveries"):
        form["back"] = led
        preview = await admin.post("/console/deliveries/retry", **form)
        wanted = led if led.startswith("/console/deliveries") else "/console/deliveries"
        assert f'href="{wanted}">Back, change nothing' in preview.text
    matching = await admin.post("/console/deliveries/retry", csrf=form["csrf"], all="yes", state="dead")
    without = await admin.post("/console/deliveries/retry", **form, confirm="yes")
    answer = await admin.post("/console/deliveries/retry", **form, confirm="yes", reason="its host is back")

    for page in (preview, matching):
        assert re.findall(r'name="id" value="(\d+)"', page.text) == [str(stuck[0]["id"])]
    assert without.status_code == 422
    assert "It is tried again now." in answer.text
    assert "It has ended (Delivered) and is not tried again." in answer.text
    assert re.search(r">Place the order</a><span class=.second.>[A-Z0-9-]+</span>", answer.text)


async def test_an_act_that_is_sent_twice_is_done_once_and_answered_alike(
    marketplace: Marketplace, admin: Visitor
) -> None:
    placed = await marketplace.place()
    path = f"/console/orders/{placed['id']}/authorize"
    hidden = fields(await admin.page(path))

    answers = await asyncio.gather(*[admin.post(path, **hidden, confirm="yes") for _ in range(2)])

    assert [one.status_code for one in answers] == [303, 303]
    assert answers[0].headers["location"] == answers[1].headers["location"]
    assert (await marketplace.story(placed["id"])).count("order.receipt-given") <= 1


_WAITING = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query ilike '%from orders%'"


async def test_of_two_who_decide_otherwise_at_once_one_is_told(
    marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor
) -> None:
    """Both wait for the same order, having looked at the same version of it; whoever comes second changes nothing."""
    order_id = await conflict(marketplace, simulated)
    path = f"/console/orders/{order_id}/resolve"
    colleague = await signed_in(marketplace, "operator")
    (cancelled,) = re.findall(r'value="(cancelled\|[^"]+)"', await admin.page(path))
    forms = [
        (one, fields((await one.send(path, decision=decision, reason=decision)).text))
        for one, decision in ((admin, cancelled), (colleague, "dismiss"))
    ]

    async with marketplace.database.transaction() as session:
        await session.execute(text("select 1 from orders where id = :id for update"), {"id": order_id})
        both = [asyncio.create_task(one.post(path, **form, confirm="yes")) for one, form in forms]

        async def waiting() -> bool:
            async with marketplace.database.transaction() as looking:
                return await looking.scalar(text(_WAITING)) == 2

        await until(waiting)
    answers = await asyncio.gather(*both)
    await colleague.client.aclose()

    late = next(one for one in answers if one.status_code == 412)
    decided = [form["decision"] for (_, form), one in zip(forms, answers, strict=True) if one.status_code == 303]
    assert sorted(one.status_code for one in answers) == [303, 412]
    assert "What changed meanwhile" in late.text
    acts = (await marketplace.client.get("/v1/audit", params={"action": "order.resolve"})).json()["items"]
    assert [act["reason"] for act in acts] == decided
    status = (await marketplace.get(order_id))["status"]
    assert status == ("cancelled" if decided == [cancelled] else "invoiced")
