"""Finding orders: by any name, state, turn and time; as pages and as CSV; always through an index."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncSession

from chain_orders.console import deliveries
from chain_orders.database import Database
from chain_orders.deliveries.models import Delivery
from chain_orders.events.models import Event
from chain_orders.notifications.models import Notification
from chain_orders.operators import deciding, finding, spreadsheet
from chain_orders.operators.finding import Column, Ordering, Search
from chain_orders.orders import states
from chain_orders.orders.models import TURNS, OrderName
from chain_orders.orders.states import Status, Turn

from ..builders import Marketplace, SimulatedSeller, order

ANYTHING = Search()


async def _groups(marketplace: Marketplace, **params: Any) -> list[str]:
    answer = await marketplace.client.get("/v1/orders", params=params)
    assert answer.status_code == 200, answer.text
    return [one["orderGroup"] for one in answer.json()["items"]]


async def test_an_exact_name_and_the_beginning_of_one_are_found_and_named(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    for group in ("PIER7", "PIER70", "QUAY1"):
        await marketplace.place(order(group))

    exact = (await marketplace.client.get("/v1/orders", params={"q": "pier7"})).json()["items"]
    prefix = (await marketplace.client.get("/v1/orders", params={"q": "Pier7*"})).json()["items"]

    assert [(one["orderGroup"], one["matched"]) for one in exact] == [
        ("PIER7", [{"kind": "order-group", "value": "PIER7"}])
    ]
    assert [one["orderGroup"] for one in prefix] == ["PIER70", "PIER7"]
    assert await _groups(marketplace, q="MKP-QUAY*") == ["QUAY1"]
    assert await _groups(marketplace, q="%*") == []
    assert await _groups(marketplace, q="8") == ["QUAY1", "PIER70", "PIER7"]  # the SKU
    assert await _groups(marketplace, q="PIER") == []


async def test_a_prefix_that_fits_too_many_names_is_refused(marketplace: Marketplace, monkeypatch: Any) -> None:
    monkeypatch.setattr(finding, "WIDEST_PREFIX", 3)
    for _ in range(2):
        await marketplace.place()

    answer = await marketplace.client.get("/v1/orders", params={"q": "MKP*"})

    assert (answer.status_code, answer.json()["code"]) == (422, "prefix-too-wide")


async def test_orders_are_found_by_turn_time_and_several_states(marketplace: Marketplace) -> None:
    early = await marketplace.place(order("EARLY"))
    await marketplace.authorize((await marketplace.place(order("LATE")))["id"])
    (late,) = (await marketplace.client.get("/v1/orders", params={"q": "LATE"})).json()["items"]
    await marketplace.becomes(late["id"], "authorized")

    assert await _groups(marketplace, turn="operator") == ["EARLY"]
    assert await _groups(marketplace, turn="seller") == ["LATE"]
    assert await _groups(marketplace, createdTo=late["createdAt"]) == ["EARLY"]
    assert await _groups(marketplace, createdFrom=late["createdAt"]) == ["LATE"]
    assert await _groups(marketplace, status=["placed", "authorized"]) == ["LATE", "EARLY"]
    assert await _groups(marketplace, status=["placed", "authorized"], sort="createdAt") == ["EARLY", "LATE"]
    assert await _groups(marketplace, status=["invoiced", "authorized"], limit=1) == ["LATE"]
    assert await _groups(marketplace, seller="acme", attention=False, q=early["id"]) == ["EARLY"]


@pytest.mark.parametrize("sort", ["updatedAt", "-updatedAt", "total", "-total", "status", "-status", "-createdAt"])
async def test_pages_in_any_order_hold_every_order_once(marketplace: Marketplace, sort: str) -> None:
    for number in range(5):
        document = order(f"SORT-{number}")
        document["items"][0]["price"] = 1000 + number // 2 * 100
        await marketplace.place({**document, "marketplacePaymentValue": 1100 + number // 2 * 100})
    first = (await marketplace.client.get("/v1/orders", params={"q": "SORT-3"})).json()["items"][0]
    await marketplace.authorize(first["id"])
    await marketplace.becomes(first["id"], "authorized")

    found, params = list[dict[str, Any]](), {"sort": sort, "limit": "2"}
    while True:
        page = (await marketplace.client.get("/v1/orders", params=params)).json()
        found += page["items"]
        if page["next"] is None:
            break
        params["cursor"] = page["next"]

    by = sort.removeprefix("-")
    keys = [one["money"]["total"] if by == "total" else one[by] for one in found]
    assert len({one["id"] for one in found}) == len(found) == 5
    assert keys == sorted(keys, reverse=sort.startswith("-"))


async def test_a_cursor_of_another_order_is_refused(marketplace: Marketplace) -> None:
    for _ in range(2):
        await marketplace.place()
    page = (await marketplace.client.get("/v1/orders", params={"sort": "total", "limit": 1})).json()

    answer = await marketplace.client.get("/v1/orders", params={"cursor": page["next"]})

    assert (answer.status_code, answer.json()["code"]) == (400, "cursor-unknown")


async def test_ascending_pages_hold_every_order_once(marketplace: Marketplace) -> None:
    placed = [(await marketplace.place())["id"] for _ in range(5)]
    found: list[str] = []
    path: str | None = "/v1/orders?limit=2&sort=createdAt&status=placed&status=authorized"
    while path:
        answer = await marketplace.client.get(path)
        found += [one["id"] for one in answer.json()["items"]]
        path = answer.links["next"]["url"] if "next" in answer.links else None

    assert found == placed


async def test_csv_holds_the_same_rows_in_the_same_order(marketplace: Marketplace, monkeypatch: Any) -> None:
    monkeypatch.setattr(spreadsheet, "PAGE", 2)
    for n in range(5):
        await marketplace.place(order(f"ROW{n}"))
    await marketplace.place(order("-ROW6"))

    answer = await marketplace.client.get("/v1/orders", params={"status": "placed"}, headers={"Accept": "text/csv"})

    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert [row["orderGroup"] for row in rows] == ["'-ROW6", "ROW4", "ROW3", "ROW2", "ROW1", "ROW0"]
    assert (rows[1]["total"], rows[1]["chainOrderIds"], rows[1]["turn"]) == ("1300", "MKP-ROW4-01", "operator")
    assert "Iara" not in answer.text


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "  ="])
def test_no_cell_is_a_formula(start: str) -> None:
    written = io.StringIO()
    csv.writer(written, lineterminator="\r\n").writerow([spreadsheet.defused(f'{start}HYPERLINK("x"),1'), "next"])
    ((cell, following),) = csv.reader(io.StringIO(written.getvalue(), newline=""))

    assert cell == f'\'{start}HYPERLINK("x"),1'
    assert following == "next"


@pytest.mark.parametrize("params", [{"createdFrom": "nonsense"}, {"sort": "money"}, {"turn": "mine"}, {"q": "*"}])
async def test_a_search_that_makes_no_sense_is_refused(marketplace: Marketplace, params: dict[str, str]) -> None:
    assert (await marketplace.client.get("/v1/orders", params=params)).status_code == 422


async def test_the_turn_that_is_searched_for_is_the_turn_that_is_shown(database: Database) -> None:
    shown, searched = {}, {}
    async with database.transaction() as session:
        for status, attention, receipt in product(Status, (None, "code"), (None, "receipt")):
            case = " ".join(f"when {condition} then '{turn}'" for turn, condition in TURNS.items())
            row = "(select cast(:s as text) status, cast(:a as text) attention_code, cast(:r as text) receipt) o"
            found = await session.scalar(
                text(f"select case {case} end from {row}"), {"s": status, "a": attention, "r": receipt}
            )
            key = (status, attention, receipt)
            searched[key] = found
            shown[key] = states.turn(status, attention=attention is not None, has_receipt=receipt is not None)

    assert searched == shown


SERVED_BY = [
    (Search(), "orders_pkey"),
    (Search(q="MKP-G7-01"), "order_names_value_idx"),
    (Search(seller="s7"), "orders_seller_idx"),
    (Search(status=(Status.PLACED,)), "orders_status_idx"),
    (Search(status=(Status.PLACED, Status.AUTHORIZED)), "orders_status_idx"),
    (Search(attention=True), "orders_attention_newest_idx"),
    (Search(attention=True, seller="s3"), "orders_attention_seller_idx"),
    (Search(turn=Turn.OPERATOR), "orders_turn_operator_idx"),
    (Search(turn=Turn.US), "orders_turn_us_idx"),
    (Search(turn=Turn.SELLER), "orders_turn_seller_idx"),
    (Search(created_from=datetime(2026, 1, 1, tzinfo=UTC)), "orders_pkey"),
]

SORTED_BY: dict[Column, str] = {
    "createdAt": "orders_pkey",
    "updatedAt": "orders_updated_idx",
    "total": "orders_total_idx",
    "status": "orders_status_idx",
}

_SEED = (
    "insert into sellers (id, account_name, base_url, sales_channel, affiliate_id, sealed_app_key, sealed_app_token)"
    " select 's' || n, 's' || n, 'https://s.example', '1', 'MKP', '', '' from generate_series(0, 19) n",
    """
    insert into orders (id, seller_id, affiliate_id, sales_channel, order_group, ref, kid, items, total_cents,
                        placement_digest, status, attention_code, attention_reason)
    select gen_random_uuid(), 's' || n % 20, 'MKP', '1', 'G' || n, 'ref' || n, 'k1', '[]', 1, '',
           case n % 40 when 0 then 'placed' when 1 then 'authorized' when 2 then 'authorizing' else 'invoiced' end,
           case n % 80 when 3 then 'code' end, case n % 80 when 3 then 'reason' end
      from generate_series(1, 4000) n
    """,
    "insert into order_names select id, 'chain-order', 'MKP-' || order_group || '-01' from orders",
    "analyze orders",
    "analyze order_names",
)


async def test_an_index_serves_every_search(database: Database) -> None:
    async with database.transaction() as session:
        for statement in _SEED:
            await session.execute(text(statement))
        await session.execute(text("set local enable_seqscan = off"))
        await session.execute(text("set local random_page_cost = 1.1"))  # few rows are sorted almost as cheaply
        for (search, index), ascending in product(SERVED_BY, (False, True)):
            query = await finding._ids(session, replace(search, order=Ordering(ascending=ascending)), None, 51)
            assert index in await _plan(session, query), search
        for (by, index), ascending in product(SORTED_BY.items(), (False, True)):
            ordering = Ordering(by, ascending)
            place = ordering.position("1|" + str(uuid4())) if by == "total" else None
            plan = await _plan(session, await finding._ids(session, Search(order=ordering), place, 51))
            assert index in plan
            assert "Sort" not in plan

        name = Search(q="MKP-G7*").name
        assert name is not None
        plan = await _plan(session, select(OrderName.order_id).where(name).limit(51))
        await session.rollback()

    assert "order_names_value_idx" in plan
    assert "~>=~ 'mkp-g7'" in plan  # a range of the index, not a filter over all of it


async def _plan(session: AsyncSession, query: Any, options: str = "costs") -> str:
    written = query.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True})
    rows = await session.scalars(text(f"explain ({options}) " + str(written).replace(":", "\\:")))
    return "\n".join(rows)


_MANY = (
    "set local session_replication_role = replica",  # rows of orders that are not there
    """
    insert into events (position, type, order_id, seller_id, order_group, actor, data)
    select n, case n % 4000 when 0 then 'order.rejected' else 'order.placed' end, gen_random_uuid(),
           case n % 5000 when 1 then 'rare' else 'acme' end, 'G' || n, 'service', '{}'
      from generate_series(1, 20000) n
    """,
    """
    insert into deliveries (lane, kind, state, method, target)
    select case n % 5000 when 0 then 'seller:rare' else 'seller:acme' end,
           case n % 4000 when 1 then 'cancel' else 'place' end, 'delivered', 'PUT', '/'
      from generate_series(1, 20000) n
    """,
    """
    insert into orders (id, seller_id, affiliate_id, sales_channel, order_group, ref, kid, items, total_cents,
                        placement_digest)
    select lpad(n::text, 32, '0')::uuid, case n % 5000 when 0 then 'rare' else 'acme' end, 'MKP', '1', 'G' || n,
           'ref' || n, 'k1', '[]', 1, ''
      from generate_series(1, 20000) n
    """,
    """
    insert into notifications (dedupe_key, receipt, kind, state, caller, seller_id, order_id, path, headers, body)
    select int8send(n), '', 'invoice', case n % 4000 when 9 then 'ignored' else 'applied' end,
           case when n % 4000 = 7 then 'token' else 'base' end,
           case when n % 4000 = 7 then 'rare' end, lpad(n::text, 32, '0')::uuid, '', '', ''
      from generate_series(1, 20000) n
    """,
    "analyze events",
    "analyze deliveries",
    "analyze orders",
    "analyze notifications",
)
FEW = [
    (
        select(Event).where(Event.position > 0, Event.type.in_(["order.rejected"])).order_by(Event.position),
        "events_type_idx",
    ),
    (select(Event).where(Event.position > 0, Event.seller_id == "rare").order_by(Event.position), "events_seller_idx"),
    (select(Delivery).where(Delivery.lane == "seller:rare").order_by(Delivery.id.desc()), "deliveries_lane_idx"),
    (
        deliveries.matching({"state": "delivered", "kind": "cancel", "seller": "", "webhook": ""}).order_by(
            Delivery.id.desc()
        ),
        "deliveries_cancel_idx",
    ),
    (
        select(Notification).where(Notification.state.in_(["ignored"])).order_by(Notification.id.desc()),
        "notifications_ignored_idx",
    ),
]


async def test_what_matches_few_of_many_is_not_looked_for_in_all(database: Database) -> None:
    async with database.transaction() as session:
        for statement in _MANY:
            await session.execute(text(statement))
        plans = [(await _plan(session, query.limit(51), "analyze"), index) for query, index in FEW]
        await session.rollback()

    for plan, index in plans:
        assert index in plan
        assert "Removed" not in plan
        assert "Seq Scan" not in plan
        assert "Sort" not in plan


async def test_a_page_visits_the_rows_that_it_shows(database: Database) -> None:
    """However many there are of the kind."""
    searches = [Search(), Search(attention=True), Search(status=(Status.INVOICED,)), Search(seller="s7")]
    async with database.transaction() as session:
        for statement in _SEED:
            await session.execute(text(statement))
        queries = [await finding._ids(session, search, None, 11) for search in searches]
        plans = [await _plan(session, query, "analyze, timing off, costs off, buffers off") for query in queries]
        await session.rollback()

    for search, plan in zip(searches, plans, strict=True):
        visited = [float(one) for one in re.findall(r"rows=([0-9.]+)", plan)]
        assert visited, plan
        assert set(visited) == {11}, (search, plan)
        assert "Removed" not in plan


async def test_what_a_seller_of_few_orders_told_is_found_by_its_orders_and_its_token(database: Database) -> None:
    async with database.transaction() as session:
        for statement in _MANY:
            await session.execute(text(statement))
        plan = await _plan(session, deciding._heard_from("rare", [], 51))
        found = [note.id for note in await deciding.heard(session, 51, seller="rare")]
        page = await deciding.heard(session, 2, seller="rare", before=found[1], kinds=["invoice"])
        shown = [note.id for note in page]
        await session.rollback()

    assert "Seq Scan" not in plan
    assert re.search(r"(using|Scan on) orders_\w+[^\n]*\n\s+Index Cond: \(\(?seller_id = 'rare'", plan), plan
    assert {"notifications_order_idx", "notifications_seller_idx"} <= set(plan.split()), plan
    before = found[-1] - 7  # the seventh of all is the first of the seller's
    assert [id_ - before for id_ in found] == [20000, 16007, 15000, 12007, 10000, 8007, 5000, 4007, 7]
    assert shown == found[2:4]
