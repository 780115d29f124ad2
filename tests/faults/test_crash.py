"""What a crash may not do: lose an order or place it twice, lose a notification that was answered.

Each guarantee is a function that raises AssertionError when it is broken. It is asked of the build as it is, and
again of a build that is broken on purpose, where it must raise.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from chain_orders.database import Database
from chain_orders.notifications.models import Notification
from chain_orders.simulator.app import create_app as create_simulator
from chain_orders.simulator.server import running

from ..builders import Marketplace, SimulatedSeller, invoice, order, until
from .process import free_port, served

PLACEMENTS = 200


async def _placed_once(marketplace: Marketplace, simulated: SimulatedSeller, groups: list[str], seconds: float) -> None:
    """Wait until every order is placed; raise unless the seller's book holds each exactly once."""

    async def all_placed() -> bool:
        answer = await marketplace.client.get("/v1/orders", params={"status": "placed", "limit": 200})
        return len(answer.json()["items"]) == len(groups)

    try:
        await until(all_placed, seconds)
    finally:
        held = Counter(booked["group"] for booked in await simulated.book())
        assert {group: times for group, times in held.items() if times != 1} == {}
    assert set(held) == set(groups)


async def survives_a_kill_in_the_middle(database: Database, simulated: SimulatedSeller, sabotage: str | None) -> None:
    """`kill -9` while 200 orders are being placed at a seller that dedupes nothing, and a restart."""
    await simulated.behave(dedupe=False, slowSeconds=0.05)
    groups = [f"CRASH{n:04d}" for n in range(PLACEMENTS)]
    async with served(database, sabotage) as (service, marketplace):
        await marketplace.add_seller(simulated.url, concurrency=20)

        async def post(group: str) -> None:
            # What was refused or cut off is placed again under its group, as an operator would.
            while True:
                with contextlib.suppress(httpx.TransportError):
                    if (await marketplace.post_order(order(group))).status_code in {200, 202}:
                        return
                await asyncio.sleep(0.1)

        async with asyncio.TaskGroup() as posting:
            for group in groups:
                posting.create_task(post(group))
            await until(lambda: _at_least(simulated, 40), 60)
            service.kill()
            await service.start()
        await simulated.behave(slowSeconds=0)
        await _placed_once(marketplace, simulated, groups, 60)


async def _at_least(simulated: SimulatedSeller, orders: int) -> bool:
    return len(await simulated.book()) >= orders


async def test_every_order_is_placed_once_after_a_kill(database: Database, simulated: SimulatedSeller) -> None:
    await survives_a_kill_in_the_middle(database, simulated, None)


async def test_a_build_that_resends_after_a_crash_is_caught(database: Database, simulated: SimulatedSeller) -> None:
    with pytest.raises(AssertionError, match="CRASH"):
        await survives_a_kill_in_the_middle(database, simulated, "resend-after-crash")


async def survives_lost_answers(database: Database, simulated: SimulatedSeller, sabotage: str | None) -> None:
    """Every answer of the seller is lost after it has created the order."""
    await simulated.behave(dedupe=False, loseAnswer=1)
    groups = [f"LOST{n:04d}" for n in range(20)]
    async with served(database, sabotage) as (_, marketplace):
        await marketplace.add_seller(simulated.url)
        for group in groups:
            assert (await marketplace.post_order(order(group))).status_code == 202
        await _placed_once(marketplace, simulated, groups, 15 if sabotage is None else 5)


async def test_every_order_is_placed_once_though_every_answer_is_lost(
    database: Database, simulated: SimulatedSeller
) -> None:
    await survives_lost_answers(database, simulated, None)


async def test_a_build_that_resends_after_silence_is_caught(database: Database, simulated: SimulatedSeller) -> None:
    with pytest.raises(AssertionError, match="LOST"):
        await survives_lost_answers(database, simulated, "resend-after-silence")


@contextlib.asynccontextmanager
async def _seller_on(port: int, book: Path) -> AsyncIterator[SimulatedSeller]:
    async with (
        running(create_simulator(book_path=book), port=port) as url,
        httpx.AsyncClient(base_url=url, trust_env=False) as client,
    ):
        yield SimulatedSeller(url, client)


async def test_orders_placed_while_the_seller_is_down_are_placed_once_when_it_is_up(
    database: Database, tmp_path: Path
) -> None:
    port, groups = free_port(), [f"DOWN{n:04d}" for n in range(20)]
    async with served(database) as (_, marketplace):
        await marketplace.add_seller(f"http://127.0.0.1:{port}")
        for group in groups:
            assert (await marketplace.post_order(order(group))).status_code == 202
        await asyncio.sleep(1)

        async with _seller_on(port, tmp_path / "book.jsonl") as simulated:
            await _placed_once(marketplace, simulated, groups, 40)


async def keeps_what_it_answered(database: Database, simulated: SimulatedSeller, sabotage: str | None) -> None:
    """`kill -9` while invoices pour in: whatever was answered 200 is stored under the receipt that was answered."""
    receipts: list[str] = []
    async with served(database, sabotage) as (service, marketplace):
        await marketplace.add_seller(simulated.url)
        await marketplace.place(order("KEEP1"))
        base = await simulated.base("KEEP1")

        async def pour(lane: int) -> None:
            for n in range(1000):
                body = invoice(f"NF-{lane}-{n}", 1)
                try:
                    answer = await marketplace.client.post(f"{base}/pvt/orders/KEEP1/invoice", json=body)
                except httpx.TransportError:
                    return
                if answer.status_code == 200:
                    receipts.append(answer.json()["receipt"])

        async with asyncio.TaskGroup() as pouring:
            for lane in range(8):
                pouring.create_task(pour(lane))
            await until(lambda: _heard(receipts, 150), 60)
            service.kill()
    async with database.transaction() as session:
        stored = set(await session.scalars(select(Notification.receipt)))
    assert len(receipts) >= 150
    assert [receipt for receipt in receipts if receipt not in stored] == []


async def _heard(receipts: list[str], wanted: int) -> bool:
    return len(receipts) >= wanted


async def test_whatever_was_answered_is_stored_after_a_kill(database: Database, simulated: SimulatedSeller) -> None:
    await keeps_what_it_answered(database, simulated, None)


async def test_a_build_that_answers_before_the_commit_is_caught(database: Database, simulated: SimulatedSeller) -> None:
    with pytest.raises(AssertionError, match=r"== \[\]"):
        await keeps_what_it_answered(database, simulated, "answer-before-commit")


async def answers_a_repeat_alike(database: Database, simulated: SimulatedSeller, sabotage: str | None) -> None:
    """The same invoice, many times at once and again after a restart: one answer, one notification."""
    async with served(database, sabotage) as (service, marketplace):
        await marketplace.add_seller(simulated.url)
        placed = await marketplace.place(order("SAME1"))
        url = f"{await simulated.base('SAME1')}/pvt/orders/SAME1/invoice"
        answers = await asyncio.gather(*(marketplace.notify(url, invoice()) for _ in range(20)))
        service.kill()
        await service.start()
        answers.append(await marketplace.notify(url, invoice()))
        assert len({answer.content for answer in answers}) == 1
        await marketplace.becomes(placed["id"], "invoiced")
        assert len((await marketplace.get(placed["id"], "/notifications"))["items"]) == 1


async def test_a_repeat_is_answered_alike(database: Database, simulated: SimulatedSeller) -> None:
    await answers_a_repeat_alike(database, simulated, None)


async def test_a_build_without_dedupe_is_caught(database: Database, simulated: SimulatedSeller) -> None:
    with pytest.raises(AssertionError):
        await answers_a_repeat_alike(database, simulated, "dedupe")
