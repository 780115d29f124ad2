"""Alerts told by webhook and by mail: one when something breaks, one when it is well again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import select, text, update

from chain_orders.alerts import refusals
from chain_orders.alerts.alarm import Alarm
from chain_orders.alerts.mail import Mail
from chain_orders.alerts.models import Alert
from chain_orders.database import Bell, Database
from chain_orders.deliveries.models import Delivery, Lane
from chain_orders.operators import access
from chain_orders.settings import Settings

from ..builders import Marketplace, SimulatedSeller, order, settings_for, until
from ..console.visitor import visitor
from ..webhooks.receiver import Receiver, change, receiving, subscribe
from .outage import TO, Plan, run
from .sink import Sink, sinking


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    async with sinking() as made:
        yield made


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


def alarm(database: Database, sink: Sink | None = None) -> Alarm:
    mail = Mail(sink.url, TO, "chain-orders@harbor.example") if sink is not None else None
    return Alarm(database, Bell(""), mail, every=timedelta(milliseconds=1), patience=timedelta(minutes=15))


async def test_a_seller_that_stops_and_comes_back_is_one_alert_and_one_recovery(
    database: Database, tmp_path: Path
) -> None:
    quick = settings_for(database.url, alert_seconds=0.2, retry_schedule=",".join(["0.1"] * 200))

    told = await run(Plan(), database, Settings(**quick), tmp_path / "book.jsonl")

    told.hold()


async def _lane(database: Database, lane: str = "seller:acme", **values: Any) -> None:
    async with database.transaction() as session:
        session.add(Lane(lane=lane, **values))


async def _delivery(database: Database, state: str, age: str = "1 hour", lane: str = "seller:acme") -> None:
    async with database.transaction() as session:
        session.add(Delivery(lane=lane, kind="authorize", method="POST", target="/", state=state))
        await session.flush()
        await session.execute(
            text(
                "update deliveries set created_at = clock_timestamp() - cast(:age as interval),"
                " settled_at = created_at, unclear_since = clock_timestamp() - cast(:age as interval)"
            ),
            {"age": timedelta(hours=1) if age == "1 hour" else timedelta(minutes=1)},
        )


async def _raised(database: Database) -> list[tuple[str, str]]:
    changes = await alarm(database).step()
    assert changes is not None
    return [(finding.code, finding.subject) for finding in changes.raised]


@pytest.mark.parametrize(
    ("lane", "state", "age", "codes"),
    [
        ({}, "dead", "1 minute", ["dead-deliveries"]),
        ({}, "ready", "1 hour", ["waiting-long"]),
        ({}, "retrying", "1 minute", []),
        ({}, "unknown", "1 hour", ["unknown-long"]),
        ({}, "delivered", "1 hour", []),
        ({"paused": True}, "ready", "1 hour", []),
        ({"breaker": "open", "failures": 10}, "retrying", "1 hour", ["breaker-open"]),
    ],
)
async def test_what_the_tables_say_is_found(
    database: Database, lane: dict[str, Any], state: str, age: str, codes: list[str]
) -> None:
    await _lane(database, **lane)
    await _delivery(database, state, age)

    assert await _raised(database) == [(code, "seller:acme") for code in codes]


async def test_a_stuck_order_a_conflict_and_what_is_parked_are_found_per_seller(
    marketplace: Marketplace, simulated: SimulatedSeller, database: Database
) -> None:
    placed = await marketplace.place(order("STUCK1"))
    await simulated.invoice("MKP-STUCK1-01")
    await marketplace.notified(placed["id"], "applied")
    async with database.transaction() as session:
        await session.execute(
            text("update orders set attention_code = 'x', attention_reason = 'x', status = 'cancel-requested',"
                 " updated_at = clock_timestamp() - interval '3 days'")
        )  # fmt: skip
        await session.execute(text("update notifications set state = 'conflict'"))
        await session.execute(
            text(
                "insert into notifications (dedupe_key, receipt, kind, caller, order_id, path, headers, body, state,"
                " next_at, received_at) select '\\x00', 'r', kind, caller, order_id, path, headers, body, 'parked',"
                " clock_timestamp() + interval '1 day', clock_timestamp() - interval '1 hour' from notifications"
            )
        )

    found = await _raised(database)

    assert sorted(found) == [
        (code, "seller:acme") for code in ("conflicts", "parked-long", "stuck-cancel-requested")
    ]  # fmt: skip


async def test_a_conflict_is_an_alert_until_it_is_decided_whatever_became_of_the_flag(
    marketplace: Marketplace, simulated: SimulatedSeller, database: Database
) -> None:
    placed = await marketplace.place(order("OPEN1"))
    await simulated.invoice("MKP-OPEN1-01")
    await marketplace.notified(placed["id"], "applied")
    async with database.transaction() as session:
        await session.execute(text("update notifications set state = 'conflict'"))

    assert await _raised(database) == [("conflicts", "seller:acme")]


@pytest.mark.parametrize(
    "code", ["placement-conflict", "items-differ", "missing-at-seller", "cancellation-not-at-seller"]
)
async def test_an_order_that_the_seller_shows_otherwise_is_an_alert(
    marketplace: Marketplace, database: Database, code: str
) -> None:
    await marketplace.place()
    async with database.transaction() as session:
        await session.execute(text("update orders set attention_code = :code, attention_reason = 'x'"), {"code": code})

    assert await _raised(database) == [("differs-at-seller", "seller:acme")]


async def test_many_calls_with_a_wrong_secret_or_too_low_a_role_are_an_alert_for_each_kid_and_key(
    marketplace: Marketplace, simulated: SimulatedSeller, database: Database
) -> None:
    await marketplace.place(order("BURST"))
    base = await simulated.base("BURST")
    wrong, path = base[:-1] + ("a" if base[-1] != "a" else "b"), "/pvt/orders/MKP-BURST-01/invoice"
    async with database.transaction() as session:
        viewer = await access.create_key(session, "curious", "viewer")
        key_id = await session.scalar(text("select id from api_keys where name = 'curious'"))
    curious = visitor(marketplace)
    await curious.sign_in(viewer)
    for number in range(refusals.BURST):
        await marketplace.notify(wrong + path, {})
        await marketplace.notify(f"{marketplace.url}{path}?token=k1.acme.wrong", {})
        if number:
            await marketplace.client.get("/v1/audit", headers={"Authorization": f"Bearer {viewer}"})
        else:
            assert (await curious.get("/console/audit")).status_code == 403
    await curious.client.aclose()
    for _ in range(refusals.BURST - 1):
        await marketplace.notify(wrong.replace("/cb/k1/", "/cb/k9/") + path, {})
    expected = [f"bad-mac:k1 {refusals.BURST}", f"bad-mac:unknown {refusals.BURST - 1}",
                f"bad-token:k1 {refusals.BURST}", f"denied:{key_id} {refusals.BURST}"]  # fmt: skip

    async def all_counted() -> bool:
        stats = (await marketplace.client.get("/v1/stats")).json()["refused"]
        return [f"{one['kind']}:{one['subject']} {one['calls']}" for one in stats] == expected

    await until(all_counted, 30)
    metrics = (await marketplace.client.get("/metrics")).text

    assert f'chain_orders_refused_calls{{kind="bad-mac",subject="k1"}} {float(refusals.BURST)}' in metrics
    burst = [("bad-mac-burst", f"{which}") for which in ("bad-mac:k1", "bad-token:k1", f"denied:{key_id}")]
    assert await _raised(database) == burst
    assert await _raised(database) == []


async def test_only_one_of_many_replicas_raises(database: Database) -> None:
    await _lane(database, breaker="open", failures=10)

    await asyncio.gather(*(alarm(database).step() for _ in range(8)))

    async with database.transaction() as session:
        assert len((await session.scalars(select(Alert))).all()) == 1


async def test_an_alert_that_comes_and_goes_between_looks_is_one(database: Database) -> None:
    await _lane(database, breaker="open", failures=10)
    slow = Alarm(database, Bell(""), None, every=timedelta(hours=1), patience=timedelta(minutes=15))
    for breaker in ("open", "closed", "open", "closed"):
        async with database.transaction() as session:
            await session.execute(update(Lane).values(breaker=breaker))
        await slow.step()

    async with database.transaction() as session:
        (alert,) = await session.scalars(select(Alert))
    assert (alert.recovered_at, alert.quiet_since is not None) == (None, True)


async def test_an_open_alert_is_mailed_however_long_mail_was_away_and_one_that_was_over_is_not(
    database: Database, sink: Sink
) -> None:
    for lane in ("seller:over", "seller:still"):
        await _lane(database, lane, breaker="open", failures=10)
    watch = alarm(database, sink)
    await watch.step()
    async with database.transaction() as session:
        await session.execute(
            update(Alert).values(
                raised_at=text("clock_timestamp() - interval '3 days'"),
                recovered_at=text("case subject when 'seller:over' then clock_timestamp() - interval '2 days' end"),
            )
        )

    await watch.post()

    (mail,) = sink.mails
    assert "seller:still" in mail.get_content()
    assert "seller:over" not in mail.get_content()


async def test_mail_that_is_refused_is_sent_again_and_many_alerts_are_one_mail(database: Database, sink: Sink) -> None:
    await _lane(database, breaker="open", failures=10)
    await _lane(database, "seller:other", breaker="open", failures=10)
    watch = alarm(database, sink)
    await watch.step()
    sink.refuses = True
    await watch.post()
    sink.refuses = False
    await watch.post()
    assert sink.mails == [], "its claim has not ended yet"
    async with database.transaction() as session:
        await session.execute(update(Alert).values(mail_until=None))

    await watch.post()
    await watch.post()

    assert [mail["subject"] for mail in sink.mails] == ["chain-orders: 2 raised"]


async def test_only_who_asks_for_alerts_is_told_and_only_of_its_sellers(
    marketplace: Marketplace, receiver: Receiver, database: Database
) -> None:
    await subscribe(marketplace, receiver.url + "?orders")
    await marketplace.add_seller("http://127.0.0.1:1", "other")
    await subscribe(marketplace, receiver.url + "?other", events=["alert.*"], sellers=["other"])
    made = await subscribe(marketplace, receiver.url, events=["alert.raised"], sellers=["acme"])
    async with database.transaction() as session:
        await session.execute(update(Lane).where(Lane.lane == "seller:acme").values(breaker="open", failures=10))

    await alarm(database).step()

    (heard,) = await receiver.hears(1)
    assert heard.proven(made["secret"])["sellerId"] == "acme"


async def test_a_disabled_webhook_is_an_alert_about_it(marketplace: Marketplace, database: Database) -> None:
    made = await subscribe(marketplace, "https://hooks.harbor.example/")
    async with database.transaction() as session:
        await session.execute(text("update subscriptions set enabled = false, disabled_reason = 'gone'"))

    await alarm(database).step()

    (shown,) = (await marketplace.client.get("/v1/alerts")).json()["items"]
    assert (shown["code"], shown["webhookId"], shown["sellerId"]) == ("webhook-disabled", made["id"], None)


async def test_a_webhook_that_an_operator_disabled_is_no_alert(marketplace: Marketplace, database: Database) -> None:
    made = await subscribe(marketplace, "https://hooks.harbor.example/")
    await change(marketplace, made["id"], enabled=False)

    assert await _raised(database) == []


async def test_a_webhook_that_is_owed_nothing_of_what_happens_is_an_alert_and_a_number(
    marketplace: Marketplace, database: Database
) -> None:
    made = await subscribe(marketplace, "https://hooks.harbor.example/")
    async with database.transaction() as holding:  # the fan-out leaves a subscription to whoever holds it
        await holding.execute(text("select id from subscriptions for update"))
        await marketplace.place()
        await until(lambda: _all_numbered(database))
        async with database.transaction() as session:
            await session.execute(text("update events set at = at - interval '1 hour'"))

        await _raised(database)  # if the service's own look has not raised it already

        (open_,) = (await marketplace.client.get("/v1/alerts?state=open")).json()["items"]
        metrics = (await marketplace.client.get("/metrics")).text
    assert (open_["code"], open_["webhookId"]) == ("behind-long", made["id"])
    (behind,) = [line for line in metrics.splitlines() if line.startswith("chain_orders_webhook_behind{")]
    assert made["id"] in behind
    assert float(behind.rpartition(" ")[2]) > 0


async def _all_numbered(database: Database) -> bool:
    async with database.transaction() as session:
        return bool(await session.scalar(text("select bool_and(position is not null) from events")))


@pytest.mark.parametrize(
    "changes",
    [
        {"alert_smtp_url": "https://mail.harbor.example", "alert_to": "a@harbor.example"},
        {"alert_smtp_url": "smtp://", "alert_to": "a@harbor.example"},
        {"alert_smtp_url": "smtp://mail.harbor.example:port", "alert_to": "a@harbor.example"},
        {"alert_smtp_url": "smtp://mail.harbor.example"},
        {"alert_to": "a@harbor.example"},
        {"alert_smtp_url": "smtp://mail.harbor.example", "alert_to": "nobody"},
        {"alert_smtp_url": "smtp://mail.harbor.example", "alert_to": "a@harbor.example\r\nBcc: b@harbor.example"},
    ],
)
def test_settings_that_cannot_mail_are_refused_without_showing_the_address(changes: dict[str, str]) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(**settings_for("postgresql+asyncpg://nobody@127.0.0.1:1/none", **changes))

    assert "CHAIN_ORDERS_ALERT" in str(refused.value)
    assert "mail.harbor" not in str(refused.value)
