"""Giving up what can never be applied: it is kept, moves nothing, and is in nobody's way any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import select, text

from chain_orders.database import Bell, Database
from chain_orders.notifications import rebuild, saving
from chain_orders.notifications.applier import Applier
from chain_orders.notifications.models import Notification
from chain_orders.retention.job import Retention
from chain_orders.settings import Settings

from ..alerts.test_telling import alarm
from ..builders import Marketplace, SimulatedSeller, invoice, order, settings_for, until
from ..conftest import serving

WHY = "the seller meant another marketplace's order"


async def dismiss(marketplace: Marketplace, note_id: int, reason: str = WHY, **headers: str) -> httpx.Response:
    path = f"/v1/notifications/{note_id}/dismissal"
    return await marketplace.client.post(path, json={"reason": reason}, headers=headers)


async def replay(marketplace: Marketplace, note_id: int) -> httpx.Response:
    return await marketplace.client.post(f"/v1/notifications/{note_id}/replay", json={"reason": "that was a mistake"})


async def _read(marketplace: Marketplace, note_id: int) -> dict[str, Any]:
    found: dict[str, Any] = (await marketplace.client.get(f"/v1/notifications/{note_id}")).json()
    return found


async def _of_another(marketplace: Marketplace, base: str, order_id: str, number: str) -> dict[str, Any]:
    """An invoice that came to this order's address and names another order."""
    await marketplace.notify(f"{base}/pvt/orders/SOMEONE-ELSES/invoice", invoice(number))
    return await marketplace.notified(order_id, "parked")


async def test_what_is_parked_is_given_up_and_attention_ends_with_the_last(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("GIVE1"))
    base = await simulated.base("GIVE1")
    first = await _of_another(marketplace, base, placed["id"], "NF-1")
    second = await _of_another(marketplace, base, placed["id"], "NF-2")

    answer = await dismiss(marketplace, first["id"])

    assert answer.status_code == 200, answer.text
    assert (answer.json()["state"], answer.json()["reason"]) == ("ignored", "dismissed: foreign-id")
    assert (answer.json()["body"], answer.json()["receipt"]) == (first["body"], first["receipt"])
    assert (await marketplace.get(placed["id"]))["attention"]["code"] == "foreign-id"
    await dismiss(marketplace, second["id"])
    after = await marketplace.get(placed["id"])
    assert (after["attention"], after["status"], after["money"]) == (None, "placed", placed["money"])
    told = (await marketplace.get(placed["id"], "/timeline"))["items"][-2:]
    assert [one["type"] for one in told] == ["notification.dismissed", "order.attention-cleared"]
    assert told[0]["data"] == {"notificationId": second["id"], "was": "parked", "reason": WHY}
    assert {one["actor"].partition(":")[0] for one in told} == {"operator"}
    act, _ = (await marketplace.client.get("/v1/audit", params={"action": "notification.dismiss"})).json()["items"]
    assert (act["object"], act["reason"]) == (f"notification:{second['id']}", WHY)
    assert [act[side]["reason"] for side in ("before", "after")] == ["foreign-id", "dismissed: foreign-id"]


async def test_what_cannot_be_read_is_given_up_and_nothing_asks_for_a_person(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("GIVE2"))
    path = f"{await simulated.base('GIVE2')}/pvt/orders/GIVE2/invoice"
    first = await marketplace.notify(path, b"not json")
    note = await marketplace.notified(placed["id"], "unreadable")

    answer = await dismiss(marketplace, note["id"])

    assert (answer.json()["state"], answer.json()["reason"]) == ("ignored", "dismissed: unreadable")
    assert (await marketplace.get(placed["id"]))["attention"] is None
    again = await marketplace.notify(path, b"not json")
    assert (again.status_code, again.content) == (first.status_code, first.content)
    (kept,) = (await marketplace.get(placed["id"], "/notifications"))["items"]
    assert (kept["state"], kept["reason"], kept["repeats"]) == ("ignored", "dismissed: unreadable", 1)


@pytest.fixture
async def still(database: Database, simulated: SimulatedSeller) -> AsyncIterator[Marketplace]:
    """A service that sends and applies nothing by itself."""
    async with serving(database, Settings(**settings_for(database.url)), worker=False) as marketplace:
        await marketplace.add_seller(simulated.url)
        yield marketplace


async def _told(still: Marketplace, state: str = "parked", *, stray: bool = False) -> int:
    """A notification in this state, of an order that is sent to nobody, or of none."""
    order_id = None if stray else (await still.post_order(order("STILL"))).json()["id"]
    async with still.database.transaction() as session:
        note = Notification(
            dedupe_key=b"1", receipt="r", kind="invoice", caller="token", order_id=order_id, headers=b"{}", state=state,
            path=b"pvt/orders/STILL/invoice", body=b"{}", reason="apply-failed", tries=1,
        )  # fmt: skip
        session.add(note)
        await session.flush()
        return note.id


@pytest.mark.parametrize(
    ("state", "code", "instead"),
    [
        ("received", "notification-not-waiting", "read it again"),
        ("applied", "notification-not-waiting", "settle with the seller"),
        ("ignored", "notification-not-waiting", "nothing waits for it"),
        ("conflict", "notification-contradicts", "/resolution"),
    ],
)
async def test_only_what_waits_is_given_up(still: Marketplace, state: str, code: str, instead: str) -> None:
    note = await _told(still, state)
    before = await _read(still, note)

    refused = await dismiss(still, note)

    assert (refused.status_code, refused.json()["code"], refused.json()["state"]) == (409, code, state)
    assert instead in refused.json()["detail"]
    assert await _read(still, note) == before
    assert "notification.dismissed" not in await still.story(before["orderId"])


async def test_giving_up_takes_a_reason(still: Marketplace) -> None:
    note = await _told(still)

    refused = [
        await still.client.post(f"/v1/notifications/{note}/dismissal", json=body)
        for body in (None, {}, {"reason": " "}, {"reason": "x" * 501})
    ]

    assert [one.status_code for one in refused] == [422] * 4
    assert [one.json()["errors"][0]["pointer"] for one in refused] == ["/reason"] * 4
    assert (await _read(still, note))["state"] == "parked"


async def test_giving_up_is_done_once_however_often_it_is_sent(still: Marketplace) -> None:
    note, named = await _told(still), {"Idempotency-Key": "give-up"}

    first, again = [await dismiss(still, note, **named) for _ in range(2)]
    other = await dismiss(still, note)

    assert (again.status_code, again.json(), again.headers["idempotency-replayed"]) == (200, first.json(), "true")
    assert (other.status_code, other.json()["code"]) == (409, "notification-not-waiting")
    assert (await still.story(first.json()["orderId"])).count("notification.dismissed") == 1


async def test_what_was_given_up_is_applied_after_all_while_its_body_is_there(still: Marketplace) -> None:
    note = await _told(still, stray=True)
    given_up = await dismiss(still, note)

    again = await replay(still, note)

    assert (given_up.json()["reason"], given_up.json()["orderId"]) == ("dismissed: apply-failed", None)
    assert (again.status_code, again.json()["state"], again.json()["reason"]) == (202, "received", None)
    async with still.database.transaction() as session:
        await session.execute(text("update notifications set state = 'parked', reason = 'order-unknown'"))
    await dismiss(still, note)
    async with still.database.transaction() as session:
        hashed = "convert_to('sha256:' || encode(sha256(body), 'hex'), 'utf8')"
        await session.execute(text(f"update notifications set body = {hashed}"))
    gone = await replay(still, note)
    assert (gone.status_code, gone.json()["code"]) == (409, "order-sealed")


async def test_what_a_sealed_order_kept_for_it_goes_once_it_is_given_up(still: Marketplace) -> None:
    note = await _told(still)
    async with still.database.transaction() as session:
        sealed = "update orders set status = 'cancelled', sealed_at = clock_timestamp(), sealed_seq = applied_seq"
        await session.execute(text(sealed))
    retention = Retention(still.database, after=None, every=timedelta(days=1))
    await retention.step()
    assert (await _read(still, note))["body"] == "{}"

    await dismiss(still, note)
    await retention.step()

    assert (await _read(still, note))["body"].startswith("sha256:")
    assert (await _read(still, note))["reason"] == "dismissed: apply-failed"


async def test_the_alert_of_what_waits_ends_once_it_is_given_up(still: Marketplace) -> None:
    note = await _told(still)
    async with still.database.transaction() as session:
        await session.execute(text("update notifications set received_at = clock_timestamp() - interval '1 hour'"))
    raised = await alarm(still.database).step()

    await dismiss(still, note)
    after = await alarm(still.database).step()

    assert raised is not None
    assert after is not None
    assert [one.code for one in raised.raised] == [one.code for one in after.quiet] == ["parked-long"]
    assert (await still.client.get("/v1/stats")).json()["notifications"] == {}


# Beside the applier.


def _applier(database: Database) -> Applier:
    return Applier(database, Bell(""), poll_seconds=1, sweep=timedelta(seconds=30), patience=timedelta(minutes=10))


async def _state(database: Database, note_id: int) -> str | None:
    async with database.transaction() as session:
        return await session.scalar(select(Notification.state).where(Notification.id == note_id))


async def _waits_for_a_lock(database: Database) -> bool:
    waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    async with database.transaction() as session:
        return bool(await session.scalar(text(waiting)))


async def _waiting(database: Database, task: asyncio.Task[Any]) -> None:
    """Until it waits for a lock, or wrongly does not."""

    async def reached() -> bool:
        return task.done() or await _waits_for_a_lock(database)

    await until(reached)


async def test_what_is_being_applied_is_not_given_up(still: Marketplace, monkeypatch: pytest.MonkeyPatch) -> None:
    note = await _told(still)
    async with still.database.transaction() as session:
        await session.execute(text("update orders set status = 'cancelled'"))
        await session.execute(text("update notifications set kind = 'cancellation', path = 'pvt/orders/STILL/cancel'"))
    holds, goes_on, save = asyncio.Event(), asyncio.Event(), saving.save_notes

    async def slowly(session: Any, notes: Sequence[Notification]) -> None:
        holds.set()
        await goes_on.wait()
        await save(session, notes)

    monkeypatch.setattr(saving, "save_notes", slowly)
    applying = asyncio.create_task(_applier(still.database).step())
    await holds.wait()

    giving_up = asyncio.create_task(dismiss(still, note))
    await _waiting(still.database, giving_up)
    goes_on.set()
    await applying
    refused = await giving_up

    assert (refused.status_code, refused.json()["code"]) == (409, "notification-not-waiting")
    kept = await _read(still, note)
    assert (kept["state"], kept["reason"]) == ("ignored", "it is cancelled already")
    assert "notification.dismissed" not in await still.story(kept["orderId"])


async def test_what_is_given_up_while_applying_it_fails_stays_so(
    still: Marketplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The applier lets the order go before it writes down that it failed."""
    note = await _told(still)
    given_up: list[httpx.Response] = []

    async def fails(_session: Any, _ids: Any, only: int | None = None) -> bool:
        if only is not None:
            given_up.append(await dismiss(still, note))
        raise RuntimeError("it cannot be applied")

    applier = _applier(still.database)
    monkeypatch.setattr(applier, "_apply", fails)

    await applier._alone(await _order_of(still.database, note))

    assert [one.status_code for one in given_up] == [200]
    kept = await _read(still, note)
    assert (kept["state"], kept["reason"]) == ("ignored", "dismissed: apply-failed")
    assert (await still.get(kept["orderId"]))["attention"] is None


async def _order_of(database: Database, note_id: int) -> Any:
    async with database.transaction() as session:
        return await session.scalar(select(Notification.order_id).where(Notification.id == note_id))


async def test_what_found_its_order_meanwhile_is_looked_at_again(still: Marketplace) -> None:
    note = await _told(still, stray=True)
    taken = (await still.post_order(order("FOUND"))).json()["id"]
    async with still.database.transaction() as routing:
        await routing.execute(text("update notifications set order_id = :id"), {"id": taken})
        giving_up = asyncio.create_task(dismiss(still, note))
        await _waiting(still.database, giving_up)
    refused = await giving_up

    assert (refused.status_code, refused.json()["code"]) == (409, "notification-moved")
    assert await _state(still.database, note) == "parked"
    assert (await dismiss(still, note)).status_code == 200


# Applied again from the start.


async def _rebuilt(marketplace: Marketplace) -> dict[Any, list[str]]:
    """Where the stored state differed; a repair that has nothing to do changes nothing."""
    *_, report = [one async for one in rebuild.run(marketplace.database, None, repairing=True)]
    return report.differences


async def test_a_rebuild_leaves_out_what_was_given_up_and_takes_what_was_applied_after_all(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    await marketplace.change_seller(callbackTrust="always-verify")
    placed = await marketplace.place(order("GIVE3"))
    await marketplace.client.post("/v1/sellers/acme/pause")  # so that no read says what became of it
    await simulated.cancel("MKP-GIVE3-01")
    note = await marketplace.notified(placed["id"], "parked")

    given_up = await dismiss(marketplace, note["id"])

    assert given_up.json()["reason"] == "dismissed: verifying"
    assert await _rebuilt(marketplace) == {}
    assert (await marketplace.get(placed["id"]))["status"] == "placed"
    await marketplace.change_seller(callbackTrust="base")
    await replay(marketplace, note["id"])
    await marketplace.becomes(placed["id"], "cancelled")
    assert await _rebuilt(marketplace) == {}
    assert (await marketplace.get(placed["id"]))["status"] == "cancelled"
