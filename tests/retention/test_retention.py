"""Retention and erasure: personal data is in three places, and after a run in none."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest
import structlog
from sqlalchemy import text

from chain_orders import logs
from chain_orders.database import Database
from chain_orders.retention.job import Report, Retention

from ..builders import Marketplace, SimulatedSeller, invoice, order, until
from ..faults import nursery
from ..webhooks.receiver import receiving, subscribe
from .planted import OF_DOCUMENTS, PERSON, PLANTED, age, document, found_in, holds, plant

DAYS = timedelta(days=180)
PLACES = {
    "orders.placement_body",
    "placement_revisions.placement_body",
    "notifications.body",
    "notifications.path",
    "attempts.response",
    # The id that a seller gave in a path, echoed.
    "receipts.answer",
}


def job(database: Database, after: timedelta | None = DAYS) -> Retention:
    return Retention(database, after=after, every=timedelta(hours=1))


async def sealed(database: Database, orders: int = 1, after: timedelta | None = DAYS) -> Report:
    """Run the job until it has sealed so many orders: one that the applier holds is left to the next round."""
    total = Report()

    async def enough() -> bool:
        nonlocal total
        ran = await job(database, after).step()
        total = Report(total.orders + ran.orders, total.again + ran.again, total.strays, total.rows + ran.rows)
        return total.orders + total.again >= orders

    await until(enough)
    return total


async def leave_a_note(database: Database, order_id: str | None, days: int = 0) -> None:
    """What the applier leaves of a notification that breaks it: parked, and its order has not moved."""
    async with database.transaction() as session:
        await session.execute(
            text(
                "insert into notifications (dedupe_key, receipt, kind, caller, order_id, path, headers, body, state,"
                " reason, tries, next_at, received_at) values ('k', 'r', 'invoice', 'open', cast(:order as uuid), 'p',"
                " '{}', cast(:body as bytea), 'parked', 'apply-failed', 1, clock_timestamp() + interval '1 day',"
                " clock_timestamp() - make_interval(days => :days))"
            ),
            {"order": order_id, "body": PLANTED[0].encode(), "days": days},
        )


async def one(database: Database, query: str) -> Any:
    async with database.transaction() as session:
        return await session.scalar(text(query))


EXPORTS = [
    "/v1/orders", "/v1/audit", "/v1/events", "/v1/notifications?whole=true&reason=r", "/v1/deliveries?kind=webhook",
    "/v1/deliveries?whole=true&reason=r", "/v1/orders/{id}/timeline", "/v1/orders/{id}/evidence?whole=true&reason=r",
]  # fmt: skip


async def exported(marketplace: Marketplace, path: str) -> bytes:
    """What goes out to somebody who may see everything; as CSV where there is one."""
    answer = await marketplace.client.get(path, headers={"Accept": "text/csv"})
    assert answer.status_code == 200, answer.text
    return answer.content


async def told_by_a_receiver(marketplace: Marketplace) -> None:
    """A subscriber's answers hold the person, and a retry of theirs is stored under its Idempotency-Key."""
    async with receiving() as receiver:
        receiver.status, receiver.body = 500, json.dumps(OF_DOCUMENTS).encode()
        made = await subscribe(marketplace, receiver.url, after=0)
        (owed, *_) = await until(lambda: _failed(marketplace, made["id"]))
        await marketplace.client.patch(f"/v1/webhooks/{made['id']}", json={"enabled": False}, headers={"If-Match": "*"})
        path, key = f"/v1/deliveries/{owed}/retry", {"Idempotency-Key": "again"}
        why = {"reason": "the receiver is back"}
        retried = await marketplace.client.post(path, json=why, headers=key)
        replayed = await marketplace.client.post(path, json=why, headers=key)
    assert (retried.status_code, replayed.content) == (202, retried.content)


async def _failed(marketplace: Marketplace, webhook_id: str) -> list[int]:
    owed = (await marketplace.client.get("/v1/deliveries", params={"webhook": webhook_id})).json()["items"]
    return [one["id"] for one in owed if one["state"] == "retrying" and one["attempts"]]


async def test_what_was_planted_everywhere_is_found_nowhere_afterwards(
    marketplace: Marketplace, simulated: SimulatedSeller, capsys: pytest.CaptureFixture[str]
) -> None:
    configured = structlog.get_config()
    logs.configure("json")
    try:
        before = await plant(marketplace, simulated, "PLANT1")
        await told_by_a_receiver(marketplace)
        assert await found_in(marketplace.database) == PLACES, "the search finds what is there, and there alone"
        await age(marketplace.database, 181)

        report = await sealed(marketplace.database)
    finally:
        said = capsys.readouterr()
        structlog.configure(**configured)

    assert await found_in(marketplace.database) == set()
    assert not holds(said.err + said.out)
    assert [path for path in EXPORTS if holds(await exported(marketplace, path.format(id=before["id"])))] == []
    assert "sealed" in said.err, "the log was listened to"
    assert (report.orders, report.rows.placements) == (1, 2)
    assert report.rows.notifications == 5
    after = await marketplace.get(before["id"])
    changing = {"version", "updatedAt"}
    assert {name: after[name] for name in after.keys() - changing} == {
        name: before[name] for name in before.keys() - changing
    }


async def test_what_stays_is_the_hash_of_what_was_there(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    placed = await marketplace.place(document("PLANT2"))
    body = await one(marketplace.database, "select placement_body from orders")
    await simulated.cancel("MKP-PLANT2-01")
    await marketplace.becomes(placed["id"], "cancelled")
    await age(marketplace.database, 181)

    await sealed(marketplace.database)

    kept = await one(marketplace.database, "select placement_body from orders")
    assert kept == f"sha256:{sha256(body).hexdigest()}".encode()
    (told,) = [e for e in (await marketplace.get(placed["id"], "/timeline"))["items"] if e["type"] == "order.sealed"]
    assert len(told["data"]["state"]) == 64
    assert not holds(told)


async def test_an_order_keeps_everything_until_its_day(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    await plant(marketplace, simulated, "PLANT3")
    open_order = await marketplace.place(document("PLANT4"))
    await age(marketplace.database, 179)

    report = await job(marketplace.database).step()

    assert report.orders == 0
    assert await found_in(marketplace.database) == PLACES
    assert (await marketplace.get(open_order["id"]))["status"] == "placed"


async def test_a_second_run_finds_nothing_to_do(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    sold = await plant(marketplace, simulated, "PLANT5")
    await age(marketplace.database, 181)
    await sealed(marketplace.database)

    report = await job(marketplace.database).step()

    assert (report.orders, bool(report.rows)) == (0, False)
    assert (await marketplace.story(sold["id"])).count("order.sealed") == 1


async def test_what_arrives_after_the_sealing_is_applied_and_sealed_too(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    sold = await plant(marketplace, simulated, "PLANT6")
    base = await simulated.base("PLANT6")
    await age(marketplace.database, 181)
    await sealed(marketplace.database)

    await marketplace.notify(
        f"{base}/pvt/orders/PLANT6/invoice", invoice("NF-2", 1, type="Input", customer={"name": PLANTED[0]})
    )
    await marketplace.notified(sold["id"], "applied")
    assert await found_in(marketplace.database) == {"notifications.body"}
    assert "sha256:" in (await marketplace.get(sold["id"], "/notifications"))["items"][0]["path"]
    report = await sealed(marketplace.database, after=None)

    assert report.again >= 1
    assert await found_in(marketplace.database) == set()
    assert (await marketplace.get(sold["id"]))["money"]["returned"] == 1


async def test_what_the_seller_shows_when_a_sealed_order_is_authorized_goes_too(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(document("PLANT17"))
    await simulated.invoice("MKP-PLANT17-01")
    await marketplace.becomes(placed["id"], "invoiced")
    await sealed(marketplace.database, after=timedelta())

    await marketplace.authorize(placed["id"])

    async def read() -> bool:
        return await found_in(marketplace.database) == {"attempts.response"}

    await until(read)
    assert (await sealed(marketplace.database, after=None)).again == 1
    assert await found_in(marketplace.database) == set()


async def test_what_could_never_be_applied_to_a_sealed_order_goes_once_it_has_waited(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("PLANT16"))
    await simulated.cancel("MKP-PLANT16-01")
    await marketplace.becomes(placed["id"], "cancelled")
    await sealed(marketplace.database, after=timedelta())
    await leave_a_note(marketplace.database, placed["id"], days=29)
    early = await job(marketplace.database, None).step()
    held = await found_in(marketplace.database)
    await age(marketplace.database, 2)

    report = await job(marketplace.database, None).step()

    assert (early.again, held) == (0, {"notifications.body"})
    assert (report.again, report.rows.notifications) == (1, 1)
    assert await found_in(marketplace.database) == set()


async def test_a_call_that_was_never_made_is_not_made_with_a_hash(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(document("PLANT7"))
    await marketplace.client.post("/v1/sellers/acme/pause")
    await marketplace.ask_to_cancel(placed["id"])
    await simulated.cancel("MKP-PLANT7-01")
    await marketplace.becomes(placed["id"], "cancelled")
    await age(marketplace.database, 181)

    await sealed(marketplace.database)

    deliveries = (await marketplace.get(placed["id"], "/deliveries"))["items"]
    assert {one["state"] for one in deliveries} == {"delivered", "withdrawn"}
    retried = await marketplace.client.post(f"/v1/deliveries/{deliveries[-1]['id']}/retry", json={"reason": "r"})
    assert retried.status_code == 409


async def test_notifications_of_no_order_go_as_well(database: Database) -> None:
    await leave_a_note(database, None, days=181)

    report = await job(database).step()

    assert report.strays == 1
    assert await found_in(database) == set()
    assert await one(database, "select state from notifications") == "ignored"


async def test_our_own_answer_forgets_an_id_that_was_a_person(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    sold = await plant(marketplace, simulated, "PLANT17")
    path = f"{await simulated.base('PLANT17')}/pvt/orders/{PERSON['email']}/invoice"
    before = await marketplace.notify(path, invoice("NF-8", 5))
    await age(marketplace.database, 181)
    await sealed(marketplace.database)

    after = await marketplace.notify(path, invoice("NF-8", 5))

    assert after.json() == {**before.json(), "orderId": "[masked]"}
    assert len((await marketplace.get(sold["id"], "/notifications"))["items"]) == 5


async def test_more_than_a_batch_is_sealed_in_one_run(
    marketplace: Marketplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chain_orders.retention.job._BATCH", 5)
    await marketplace.client.post("/v1/sellers/acme/pause")
    for n in range(8):
        taken = await marketplace.post_order(order(f"MANY{n}"))
        await marketplace.ask_to_cancel(taken.json()["id"])
    await age(marketplace.database, 181)
    told: list[int] = []

    report = await job(marketplace.database).step(lambda so_far: told.append(so_far.orders))

    assert report.orders == 8
    assert told == [5, 8]


async def test_two_at_once_seal_each_order_once(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    sold = await plant(marketplace, simulated, "PLANT8")
    await age(marketplace.database, 181)

    async def at_once() -> bool:
        ran = await asyncio.gather(*(job(marketplace.database).step() for _ in range(4)))
        return sum(one.orders for one in ran) == 1

    await until(at_once)

    assert (await marketplace.story(sold["id"])).count("order.sealed") == 1


async def test_the_dry_run_counts_and_changes_nothing(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    await plant(marketplace, simulated, "PLANT9")
    await leave_a_note(marketplace.database, None)
    await age(marketplace.database, 181)

    wet: Counter[str] = Counter()

    async def sealed_by_command() -> bool:
        report = await asyncio.to_thread(_command, marketplace.database.url)
        wet.update({name: report[name] for name in counts})
        return wet["orders"] == 1

    counts = ("orders", "placements", "notifications", "attempts")
    dry = await asyncio.to_thread(_command, marketplace.database.url, "--dry-run")
    untouched = await found_in(marketplace.database)
    await until(sealed_by_command, 120)

    assert untouched == PLACES
    assert {name: dry[name] for name in counts[:3]} == {"orders": 1, "placements": 2, "notifications": 6}
    assert dict(wet) == {name: dry[name] for name in counts}
    acts = (await marketplace.client.get("/v1/audit", params={"actor": "command:retention"})).json()["items"]
    assert sum(act["after"]["orders"] for act in acts) == 1


def _command(url: str, *options: str) -> dict[str, Any]:
    ended = nursery.run("retention", *options, CHAIN_ORDERS_DATABASE_URL=url)
    assert ended.code == 0, ended.complaint
    found: dict[str, Any] = json.loads(ended.out)
    return found
