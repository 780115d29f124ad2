"""Finding the order of what comes without an order's own base; and what comes to a base that belongs to no order."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from chain_orders.capability import Keyring
from chain_orders.database import Bell, Database
from chain_orders.notifications import applier as applier_module
from chain_orders.notifications.applier import Applier

from ..builders import KEY_BYTES, Marketplace, SimulatedSeller, cancellation, invoice, order, until


async def _parked(marketplace: Marketplace, reason: str) -> dict[str, Any]:
    async def parked() -> dict[str, Any] | None:
        items = (await marketplace.client.get("/v1/notifications", params={"state": "parked"})).json()["items"]
        return next((one for one in items if one["reason"] == reason), None)

    found: dict[str, Any] = await until(parked)
    return found


async def _token(marketplace: Marketplace) -> str:
    return str((await marketplace.client.post("/v1/sellers/acme/callback-token")).json()["token"])


async def test_what_comes_to_a_base_of_no_stored_order_is_parked_and_moves_nothing(marketplace: Marketplace) -> None:
    placed = await marketplace.place(order("ORPH1"))
    ring = Keyring({"k1": KEY_BYTES})
    base = ring.base(marketplace.url, "k1", ring.new_ref())

    answer = await marketplace.notify(
        f"{base}/pvt/orders/order-group/ORPH1/notifications", cancellation("MKP-ORPH1-01")
    )

    assert answer.status_code == 200
    assert (await _parked(marketplace, "order-unknown"))["kind"] == "cancellation"
    assert (await marketplace.get(placed["id"]))["status"] == "placed"


OF_ANOTHER: dict[str, tuple[str, Any]] = {
    "cancellation": ("pvt/orders/order-group/MINE1/notifications", cancellation("MKP-OTHER1-01")),
    "cancellation of the group": ("pvt/orders/order-group/OTHER1/notifications", cancellation("MKP-OTHER1-01")),
    "cancellation of one level": ("pvt/orders/MKP-OTHER1-01/cancel", {}),
    "invoice": ("api/oms/pvt/orders/MKP-OTHER1-01/invoice", invoice("NF-2")),
    "tracking": ("pvt/orders/OTHER1/invoice/NF-1", {"trackingNumber": "BR1"}),
    "change": ("pvt/orders/OTHER1/changes", {"requestId": "c", "discountValue": 1}),
}


async def test_the_name_of_another_order_that_is_known_moves_neither(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    mine, other = await marketplace.place(order("MINE1")), await marketplace.place(order("OTHER1"))
    await simulated.invoice("MKP-OTHER1-01", invoiceNumber="NF-1", value=100)
    before = await marketplace.becomes(other["id"], "partially-invoiced")
    base = await simulated.base("MINE1")

    for path, body in OF_ANOTHER.values():
        assert (await marketplace.notify(f"{base}/{path}", body)).status_code == 200

    async def all_parked() -> bool:
        items = (await marketplace.get(mine["id"], "/notifications"))["items"]
        found = [(one["state"], one["reason"]) for one in items]
        return found == [("parked", "foreign-id")] * len(OF_ANOTHER)

    await until(all_parked)
    held = await marketplace.get(mine["id"])
    assert (held["status"], held["attention"]["code"], held["chainOrders"][0]["invoices"]) == (
        "placed",
        "foreign-id",
        [],
    )
    assert await marketplace.get(other["id"]) == before
    assert len((await marketplace.get(other["id"], "/notifications"))["items"]) == 1


async def test_an_exact_name_wins_over_one_that_is_like_it(marketplace: Marketplace) -> None:
    like, exact = await marketplace.place(order("G7")), await marketplace.place(order("G7-01"))
    token = await _token(marketplace)

    await marketplace.notify(f"{marketplace.url}/pvt/orders/G7-01/invoice?token={token}", invoice())

    await marketplace.becomes(exact["id"], "invoiced")
    assert (await marketplace.get(like["id"]))["status"] == "placed"


async def test_an_order_is_found_by_what_its_seller_calls_it(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("ALI1"))
    async with marketplace.database.transaction() as session:
        await session.execute(text("insert into order_names select id, 'marketplace-order', 'ALIAS-7' from orders"))
        await session.execute(text("update chain_orders set marketplace_order_id = 'ALIAS-7'"))

    for address in (await simulated.base("ALI1"), marketplace.url):
        query = f"?token={await _token(marketplace)}" if address == marketplace.url else ""
        await marketplace.notify(f"{address}/pvt/orders/ALIAS-7/invoice{query}", invoice(f"N{len(query)}", 100))
        await marketplace.notified(placed["id"], "applied")


@pytest.fixture
async def applier(database: Database) -> Applier:
    return Applier(database, Bell(""), poll_seconds=1, sweep=timedelta(seconds=30), patience=timedelta(seconds=1))


_WAITING = text(
    """
    insert into notifications (dedupe_key, receipt, kind, caller, path, headers, body, state, reason, tries)
    select sha256(g::text::bytea), md5(g::text), 'invoice', 'open', convert_to('pvt/orders/NOBODY' || g || '/invoice',
           'utf8'), '{}', '{}', 'parked', 'order-unknown', 1
      from generate_series(1, 2000) g
    """
)
_NEW = text(
    """
    insert into notifications (dedupe_key, receipt, kind, caller, path, headers, body)
    values ('new', 'new', 'invoice', 'open', 'pvt/orders/NEW/invoice', '{}', '{}')
    """
)
_STATE = text("select state, reason, tries from notifications where receipt = 'new'")


async def test_what_nobody_is_found_for_does_not_hold_up_what_is_new(database: Database, applier: Applier) -> None:
    async with database.transaction() as session:
        await session.execute(_WAITING)
        await session.execute(_NEW)

    assert await applier.step() > 0

    async with database.transaction() as session:
        assert tuple((await session.execute(_STATE)).one()) == ("parked", "order-unknown", 1)


async def test_what_is_parked_is_looked_for_more_and_more_rarely(database: Database, applier: Applier) -> None:
    async with database.transaction() as session:
        await session.execute(_NEW)
    waits = []
    for _ in range(9):
        assert await applier.step() == 1
        assert await applier.step() == 0
        async with database.transaction() as session:
            wait = text("select round(extract(epoch from next_at - clock_timestamp()) / 30) from notifications")
            waits.append(int(await session.scalar(wait)))
            await session.execute(text("update notifications set next_at = clock_timestamp()"))

    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 128]


async def test_a_batch_is_bounded_in_bytes_and_never_empty(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    order_id = uuid.uuid4()
    insert = """
        insert into notifications (dedupe_key, receipt, kind, caller, path, headers, body, order_id)
        select sha256(g::text::bytea), g::text, 'invoice', 'base', '', '{}', convert_to(repeat('x', 1000), 'utf8'), :id
          from generate_series(1, 5) g
    """
    async with database.transaction() as session:
        await session.execute(text(insert), {"id": order_id})
        every = list(await session.scalars(text("select id from notifications order by id")))
        for room, fitting in ((5000, 5), (2500, 2), (1, 1)):
            monkeypatch.setattr(applier_module, "BYTES_AT_ONCE", room)
            assert await applier_module._due(session, [order_id]) == every[:fitting]


@pytest.mark.parametrize(("state", "away"), [("57014", False), ("57P01", True), ("40P01", True), ("22001", False)])
def test_a_statement_that_took_too_long_may_be_the_works_own_fault(state: str, away: bool) -> None:
    cause = Exception()
    cause.sqlstate = state  # type: ignore[attr-defined]

    assert applier_module._is_away(DBAPIError("", None, cause)) is away
