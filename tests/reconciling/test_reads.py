"""Reading orders: what a lost notification would have said is found, and differences are told."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, text, update

from chain_orders.alerts import measures, rules
from chain_orders.database import read_clock
from chain_orders.deliveries.models import Delivery, Lane
from chain_orders.orders import seen
from chain_orders.orders.models import ChainOrder, Read
from chain_orders.orders.reads import Plan
from chain_orders.orders.reconciling import Reconciler
from chain_orders.orders.seen import Seen
from chain_orders.outbound import Exchange
from chain_orders.vtex.messages import read_order

from ..builders import Marketplace, SimulatedSeller, cancellation, invoice, order, until


@pytest.fixture
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {"reconcile_seconds": 0.3, **getattr(request, "param", {})}


async def test_a_lost_invoice_is_found(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    placed = await marketplace.place(order("READ1"))

    await simulated.invoice("MKP-READ1-01", invoiceNumber="NF-LOST", trackingNumber="TR-LOST", times=0)

    found = await marketplace.becomes(placed["id"], "invoiced")
    invoices = found["chainOrders"][0]["invoices"]
    assert [(one["invoiceNumber"], one["source"]) for one in invoices] == [("NF-LOST", "read")]


async def test_a_lost_cancellation_is_found(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    placed = await marketplace.place(order("READ2"))

    await simulated.cancel("MKP-READ2-01", times=0)

    await marketplace.becomes(placed["id"], "cancelled")
    events = (await marketplace.get(placed["id"], "/timeline"))["items"]
    assert [one["data"]["source"] for one in events if one["type"] == "chain-order.cancelled"] == ["read"]


async def test_a_cancellation_that_is_read_withdraws_the_authorization(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("READ9"))
    await marketplace.client.post("/v1/sellers/acme/pause")
    await marketplace.authorize(placed["id"])
    async with marketplace.database.transaction() as session:
        later = text("clock_timestamp() + interval '1 hour'")
        await session.execute(update(Delivery).where(Delivery.kind == "authorize").values(next_at=later))
    await simulated.cancel("MKP-READ9-01", times=0)

    await marketplace.client.post("/v1/sellers/acme/resume")

    await marketplace.becomes(placed["id"], "cancelled")
    items = (await marketplace.get(placed["id"], "/deliveries"))["items"]
    assert {one["kind"]: one["state"] for one in items} == {"place": "delivered", "authorize": "withdrawn"}


async def test_the_notification_that_comes_after_the_read_gets_a_receipt_and_tells_the_items(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("READ3"))
    await simulated.invoice("MKP-READ3-01", times=0)
    await marketplace.becomes(placed["id"], "invoiced")

    told = await simulated.repeat("MKP-READ3-01")

    assert [answer["status"] for answer in told["answers"]] == [200]
    await marketplace.notified(placed["id"], "applied")
    (invoice,) = (await marketplace.get(placed["id"]))["chainOrders"][0]["invoices"]
    assert invoice["receipt"]
    assert (invoice["source"], invoice["items"]) == ("read", [{"id": "8", "quantity": 1, "price": 1200}])


async def test_a_cancellation_that_the_seller_does_not_show_asks_for_attention(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("READ4"))
    base = await simulated.base("READ4")

    path = f"{base}/pvt/orders/order-group/READ4/notifications/seller-cancellation"
    await marketplace.notify(path, cancellation("MKP-READ4-01"))

    await marketplace.becomes(placed["id"], "cancelled")
    await _asks_attention(marketplace, placed["id"], "cancellation-not-at-seller")


async def test_a_return_that_the_seller_does_not_show_asks_for_attention(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("READ5"))
    base = await simulated.base("READ5")
    await simulated.invoice("MKP-READ5-01")
    await marketplace.becomes(placed["id"], "invoiced")

    await marketplace.notify(f"{base}/pvt/orders/READ5/invoice", invoice("DEV-1", 100, type="Input"))

    await _asks_attention(marketplace, placed["id"], "return-not-at-seller")


async def test_an_order_that_the_seller_no_longer_shows_asks_for_attention_until_it_does(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    await simulated.behave(readLagSeconds=600)

    placed = await marketplace.place(order("READ6"))

    await _asks_attention(marketplace, placed["id"], "missing-at-seller")
    await simulated.behave(readLagSeconds=0)

    async def cleared() -> bool:
        return (await marketplace.get(placed["id"]))["attention"] is None

    await until(cleared)


@pytest.mark.parametrize("options", [{"reconcile_seconds": 3600.0, "confirm_at": "0.5,1,1.5,30"}], indirect=True)
async def test_a_new_order_that_is_not_shown_yet_asks_nobody_when_it_is_cancelled_at_once(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    await simulated.behave(readLagSeconds=1)
    placed = await marketplace.place(order("READ18"))

    await marketplace.ask_to_cancel(placed["id"])

    await marketplace.becomes(placed["id"], "cancelled")
    assert "order.attention" not in await marketplace.story(placed["id"])


async def test_a_seller_that_is_never_trusted_is_read_before_its_cancellation_counts(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    await marketplace.change_seller(callbackTrust="always-verify")
    placed = await marketplace.place(order("READ7"))

    await simulated.cancel("MKP-READ7-01")

    await marketplace.becomes(placed["id"], "cancelled")
    events = (await marketplace.get(placed["id"], "/timeline"))["items"]
    assert [one["data"]["source"] for one in events if one["type"] == "chain-order.cancelled"] == ["read"]


@pytest.mark.parametrize("code", ["value-differs", "invoice-changed"])
async def test_another_value_at_the_seller_is_told_once_however_often_it_is_read(
    marketplace: Marketplace, simulated: SimulatedSeller, code: str
) -> None:
    placed = await marketplace.place(order("READ10"))
    if code == "value-differs":
        await simulated.change("MKP-READ10-01", discountValue=300, times=0)
    else:
        await simulated.invoice("MKP-READ10-01", invoiceNumber="NF-1", value=100)
        await marketplace.becomes(placed["id"], "partially-invoiced")
        await simulated.invoice("MKP-READ10-01", invoiceNumber="NF-1", value=200, times=0)
    await _asks_attention(marketplace, placed["id"], code)

    version = f'"{(await marketplace.get(placed["id"]))["version"]}"'
    decided = await marketplace.client.post(
        f"/v1/orders/{placed['id']}/resolution",
        json={"decision": "dismiss", "reason": "agreed by telephone"},
        headers={"If-Match": version},
    )
    assert decided.status_code == 200, decided.text
    await _reads(marketplace, 3)

    events = (await marketplace.get(placed["id"], "/timeline"))["items"]
    assert (await marketplace.get(placed["id"]))["attention"] is None
    assert [one["data"]["code"] for one in events if one["type"] == "order.attention"] == [code]
    assert sum(one["type"] == "chain-order.invoice-changed" for one in events) == (code == "invoice-changed")


async def test_a_change_that_was_lost_is_told_though_everything_is_invoiced(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("READ12"))
    await simulated.change("MKP-READ12-01", discountValue=300, times=0)

    await simulated.invoice("MKP-READ12-01", times=0)

    await _asks_attention(marketplace, placed["id"], "value-differs")
    found = await marketplace.get(placed["id"])
    assert (found["status"], found["money"]["total"], found["money"]["invoiced"]) == ("invoiced", 1300, 1000)


async def test_a_change_that_waits_to_be_decided_explains_another_value_at_the_seller(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("READ11"))

    await simulated.change("MKP-READ11-01", discountValue=300)

    await _asks_attention(marketplace, placed["id"], "change-received")
    await _reads(marketplace, 3)
    assert (await marketplace.story(placed["id"])).count("order.attention") == 1


async def test_a_seller_that_is_back_is_found_to_be_though_nothing_is_owed_to_it(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    """Its breaker is open, and no call is there to try it: reads are, and all of an order's are made."""
    await simulated.behave(split="item")
    items = [{"id": sku, "quantity": 1, "seller": "1", "price": 400} for sku in "12"]
    placed = await marketplace.place(order("READ13", items=items))
    async with marketplace.database.transaction() as session:
        await session.execute(text("update lanes set breaker = 'open', failures = 10, reason = 'away'"))

    for nth in (1, 2):
        await simulated.invoice(f"MKP-READ13-0{nth}", times=0)

    await marketplace.becomes(placed["id"], "invoiced")
    async with marketplace.database.transaction() as session:
        lane = (await session.execute(select(Lane.breaker, Lane.next_at, Lane.reason))).one()
    assert tuple(lane) == ("closed", None, None)


async def _denied(marketplace: Marketplace, simulated: SimulatedSeller, group: str) -> dict[str, Any]:
    """An order whose seller has denied to cancel it."""
    placed = await marketplace.place(order(group))
    await simulated.behave(cancellation="deny")
    await marketplace.ask_to_cancel(placed["id"])
    await marketplace.becomes(placed["id"], "placed")
    return placed


async def test_an_earlier_denial_that_is_read_does_not_end_a_request_that_is_under_way(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await _denied(marketplace, simulated, "READ14")
    await simulated.behave(cancellation="accept", applyTo=["cancel"], slowSeconds=1)

    await marketplace.ask_to_cancel(placed["id"])

    await marketplace.becomes(placed["id"], "cancelled")
    assert (await marketplace.story(placed["id"])).count("chain-order.cancellation-denied") == 1


@pytest.mark.parametrize("options", [{"confirm_at": "60"}], indirect=True)
async def test_nor_does_one_that_was_read_before_the_request_arrived(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    """The read's answer comes late: by then the seller has heard of a second request."""
    placed = await _denied(marketplace, simulated, "READ19")
    async with marketplace.database.transaction() as session:
        began = await read_clock(session)
    await simulated.behave(cancellation="decide")
    await marketplace.ask_to_cancel(placed["id"])

    async def arrived() -> bool:
        return (await marketplace.story(placed["id"])).count("chain-order.cancellation-requested") == 2

    await until(arrived)
    body = b'{"orderId": "MKP-READ19-01", "status": "cancellation-request-denied"}'
    unused: Any = None
    plan = Plan(timedelta(hours=1), [timedelta(seconds=60)])
    reconciler = Reconciler(marketplace.database, unused, unused, unused, plan, unused, poll_seconds=1)
    async with marketplace.database.transaction() as session:
        key = await session.scalar(select(ChainOrder.key)) or 0
        seen_then = {key: (Exchange(200, body), read_order(body))}
        await reconciler._learn(session, uuid.UUID(placed["id"]), seen_then, began)

    assert (await marketplace.get(placed["id"]))["status"] == "cancel-requested"


async def test_an_answer_that_shows_another_order_says_nothing(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("READ15"))
    await simulated.behave(readAnswer="foreign")

    async def told() -> bool:
        async with marketplace.database.transaction() as session:
            return "another order" in (await session.scalar(select(Read.last_error)) or "")

    await until(told)
    assert (await marketplace.get(placed["id"]))["status"] == "placed"


async def test_an_order_that_cannot_be_read_for_long_is_told_until_it_can(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    await marketplace.place(order("READ17"))
    await simulated.behave(readAnswer="foreign")

    async def unread() -> list[measures.Measure]:
        async with marketplace.database.transaction() as session:
            await session.execute(text("update reads set next_at = clock_timestamp()"))
            return [one for one in await measures.measure(session) if one.code == "unread-long"]

    await until(unread)
    async with marketplace.database.transaction() as session:
        await session.execute(text("update reads set failing_since = failing_since - interval '1 hour'"))
    (found,) = rules.judge(await unread())
    assert found.subject == "seller:acme"
    assert found.reason.startswith("1 order cannot be read at the seller, the oldest for 60 minutes: READ17: ")

    await simulated.behave(readAnswer="true")

    async def read() -> bool:
        return not await unread()

    await until(read)


@pytest.mark.parametrize("kind", ["authorize", "cancel"])
async def test_nor_does_it_settle_an_unclear_call(
    marketplace: Marketplace, simulated: SimulatedSeller, kind: str
) -> None:
    placed = await marketplace.place(order("READ16"))
    await simulated.behave(applyTo=[kind], resetBefore=1, readAnswer="foreign")

    await (marketplace.authorize(placed["id"]) if kind == "authorize" else marketplace.ask_to_cancel(placed["id"]))

    async def read() -> bool:
        (_, call) = (await marketplace.get(placed["id"], "/deliveries"))["items"]
        return [one["outcome"] for one in call["attempts"]][:2] == ["ambiguous", "again"]

    await until(read)
    await simulated.behave(resetBefore=0, readAnswer="true")
    await marketplace.becomes(placed["id"], "authorized" if kind == "authorize" else "cancelled")


@pytest.mark.parametrize("options", [{"closed_at": ""}, {"closed_at": "0.4,0.8"}], indirect=True)
async def test_a_closed_order_is_read_no_more_once_that_was_long_ago(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("READ8"))
    await simulated.invoice("MKP-READ8-01")
    await marketplace.becomes(placed["id"], "invoiced")

    async def forgotten() -> bool:
        async with marketplace.database.transaction() as session:
            return await session.scalar(select(Read)) is None

    await until(forgotten)
    assert (await marketplace.get(placed["id"]))["attention"] is None


@pytest.mark.parametrize("options", [{"closed_at": ",".join(str(n / 2) for n in range(1, 100))}], indirect=True)
@pytest.mark.parametrize("lost", ["a cancellation", "a return"])
async def test_what_is_lost_after_an_order_was_invoiced_is_found(
    marketplace: Marketplace, simulated: SimulatedSeller, lost: str
) -> None:
    placed = await marketplace.place(order("READ15"))
    await simulated.invoice("MKP-READ15-01")
    await marketplace.becomes(placed["id"], "invoiced")
    await _reads(marketplace, 1)

    if lost == "a cancellation":
        await simulated.cancel("MKP-READ15-01", times=0)
        await _asks_attention(marketplace, placed["id"], "cancelled-after-invoice")
    else:
        await simulated.invoice("MKP-READ15-01", invoiceNumber="DEV-1", type="Input", value=100, times=0)
        await until(lambda: _returned(marketplace, placed["id"], 100))


async def _returned(marketplace: Marketplace, order_id: str, cents: int) -> bool:
    return bool((await marketplace.get(order_id))["money"]["returned"] == cents)


def test_an_order_that_ended_is_looked_at_more_and_more_rarely() -> None:
    day = timedelta(days=1)
    plan = Plan(timedelta(hours=1), [], [day, 7 * day, 30 * day])

    waits = {age: plan.closed(age * day) for age in (0, 0.5, 1, 6, 7, 29, 30, 400)}

    assert waits == {0: day, 0.5: day / 2, 1: 6 * day, 6: day, 7: 23 * day, 29: day, 30: None, 400: None}


async def _asks_attention(marketplace: Marketplace, order_id: str, code: str) -> None:
    async def asked() -> bool:
        attention = (await marketplace.get(order_id))["attention"]
        return attention is not None and attention["code"] == code

    await until(asked)


async def _reads(marketplace: Marketplace, times: int) -> None:
    """Wait until the seller was read so many times more."""

    async def read() -> int:
        return sum(one.times for one in await _kept(marketplace))

    before = await read()

    async def enough() -> bool:
        return await read() >= before + times

    await until(enough)


async def _kept(marketplace: Marketplace) -> list[Seen]:
    async with marketplace.database.transaction() as session:
        return list(await session.scalars(select(Seen).order_by(Seen.id)))


async def test_what_reads_show_is_kept_once_for_each_answer_that_differs(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    await marketplace.place(order("READ20"))
    await until(lambda: _shown(marketplace, 1))
    await simulated.invoice("MKP-READ20-01", invoiceNumber="NF-1", value=100, times=0)
    await until(lambda: _shown(marketplace, 2))

    first, second = await _kept(marketplace)

    assert first.digest != second.digest
    assert first.last_at < second.first_at
    assert (b'"NF-1"' in first.answer, b'"NF-1"' in second.answer) == (False, True)


async def _shown(marketplace: Marketplace, answers: int) -> bool:
    """Whether so many answers were seen, the last of them more than once."""
    kept = await _kept(marketplace)
    return len(kept) == answers and kept[-1].times > 1


async def test_the_last_answers_are_kept_and_those_before_them_go(
    marketplace: Marketplace, simulated: SimulatedSeller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seen, "MOST", 1)
    await marketplace.place(order("READ21"))
    await until(lambda: _shown(marketplace, 1))
    (first,) = await _kept(marketplace)
    await simulated.invoice("MKP-READ21-01", invoiceNumber="NF-1", value=100, times=0)

    async def another() -> bool:
        return [one.id for one in await _kept(marketplace)] != [first.id]

    await until(another)
    (last,) = await _kept(marketplace)
    assert b'"NF-1"' in last.answer
