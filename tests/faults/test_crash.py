"""What a crash may not do: lose an order or place it twice, lose a notification that was answered.

Each guarantee is a function that raises AssertionError when it is broken. It is asked of the build as it is, and
again of a build that is broken on purpose, where it must raise.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select, text

from chain_orders.database import Database
from chain_orders.notifications.models import Notification
from chain_orders.simulator.app import create_app as create_simulator
from chain_orders.simulator.server import running

from ..builders import SimulatedSeller, calling, invoice, order, until, until_grown
from .process import ServiceProcess, free_port, served
from .sending import hand_over

HANDED_OVER, HANDED_OVER_BEFORE_A_KILL = 200, 20
ANSWERED_BEFORE_A_KILL = 60


async def _placed_once(
    service: ServiceProcess, database: Database, simulated: SimulatedSeller, groups: list[str]
) -> None:
    """Wait until every order is placed; raise unless the seller's book holds each exactly once."""
    doubled: dict[str, int] = {}

    async def placed() -> int:
        doubled.update({group: times for group, times in (await simulated.puts()).items() if times > 1})
        if doubled:
            return len(groups)
        async with database.transaction() as session:
            await session.execute(text("update lanes set next_at = null"))  # as if time had passed
            return await session.scalar(text("select count(*) from orders where status = 'placed'")) or 0

    await until_grown(placed, len(groups), lambda: service.log[-2000:])
    held = Counter(booked["group"] for booked in await simulated.book())
    assert {group: times for group, times in held.items() if times > 1} == {}
    assert held.keys() == set(groups)


async def survives_a_kill_in_the_middle(database: Database, simulated: SimulatedSeller, sabotage: str | None) -> None:
    """`kill -9` while orders are handed over and the seller, which dedupes nothing, is answering; and a restart."""
    await simulated.behave(dedupe=False)
    groups: list[str] = []
    wanted = HANDED_OVER if sabotage is None else HANDED_OVER_BEFORE_A_KILL
    async with served(database, sabotage) as (service, marketplace):
        await marketplace.add_seller(simulated.url, concurrency=20, ratePerSecond=1000)
        over = asyncio.Event()

        async def post(lane: int) -> None:
            for n in count():
                if over.is_set() and len(groups) >= wanted:
                    return
                await hand_over(marketplace, f"CRASH{lane}{n:04d}")
                groups.append(f"CRASH{lane}{n:04d}")
                await asyncio.sleep(0.02)

        async def booked() -> int:
            return len(await simulated.puts())

        async with asyncio.TaskGroup() as posting:
            for lane in range(3):
                posting.create_task(post(lane))
            await until_grown(booked, HANDED_OVER_BEFORE_A_KILL, lambda: service.log[-2000:])
            await simulated.behave(drip=1)  # each call is done, and takes long to say so
            await until(lambda: _done_and_not_told(database, simulated), 60)
            service.kill()
            await simulated.behave(drip=0)
            await service.start()
            over.set()
        await _placed_once(service, database, simulated, groups)


async def _done_and_not_told(database: Database, simulated: SimulatedSeller) -> bool:
    async with database.transaction() as session:
        flying = set(await session.scalars(_FLYING))
    return bool(flying & (await simulated.puts()).keys())


_FLYING = text(
    "select o.order_group from deliveries d join orders o on o.id = d.order_id"
    " where d.state = 'sending' and d.phase = 'send'"
)


async def test_every_order_is_placed_once_after_a_kill(database: Database, simulated: SimulatedSeller) -> None:
    await survives_a_kill_in_the_middle(database, simulated, None)


async def test_a_build_that_resends_after_a_crash_is_caught(database: Database, simulated: SimulatedSeller) -> None:
    with pytest.raises(AssertionError, match=r"\{'CRASH\d+': "):
        await survives_a_kill_in_the_middle(database, simulated, "resend-after-crash")


async def survives_lost_answers(database: Database, simulated: SimulatedSeller, sabotage: str | None) -> None:
    """Every answer of the seller is lost after it has created the order."""
    await simulated.behave(dedupe=False, loseAnswer=1)
    groups = [f"LOST{n:04d}" for n in range(20 if sabotage is None else 8)]
    async with served(database, sabotage) as (service, marketplace):
        await marketplace.add_seller(simulated.url)
        for group in groups:
            assert (await marketplace.post_order(order(group))).status_code == 202
        await _placed_once(service, database, simulated, groups)


async def test_every_order_is_placed_once_though_every_answer_is_lost(
    database: Database, simulated: SimulatedSeller
) -> None:
    await survives_lost_answers(database, simulated, None)


async def test_a_build_that_resends_after_silence_is_caught(database: Database, simulated: SimulatedSeller) -> None:
    with pytest.raises(AssertionError, match=r"\{'LOST\d+': "):
        await survives_lost_answers(database, simulated, "resend-after-silence")


@contextlib.asynccontextmanager
async def _seller_on(port: int, book: Path) -> AsyncIterator[SimulatedSeller]:
    async with (
        running(create_simulator(book_path=book), port=port) as url,
        calling(url) as client,
    ):
        yield SimulatedSeller(url, client)


async def test_orders_placed_while_the_seller_is_down_are_placed_once_when_it_is_up(
    database: Database, tmp_path: Path
) -> None:
    port, groups = free_port(), [f"DOWN{n:04d}" for n in range(20)]
    async with served(database) as (service, marketplace):
        await marketplace.add_seller(f"http://127.0.0.1:{port}")
        for group in groups:
            assert (await marketplace.post_order(order(group))).status_code == 202

        async def tried() -> bool:
            async with database.transaction() as session:
                return bool(await session.scalar(text("select true from attempts where outcome = 'again' limit 1")))

        await until(tried, 60)
        async with _seller_on(port, tmp_path / "book.jsonl") as simulated:
            await _placed_once(service, database, simulated, groups)


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
                if len(receipts) == ANSWERED_BEFORE_A_KILL:
                    service.kill()  # at once: what was answered has had no time to be stored by chance

        async with asyncio.TaskGroup() as pouring:
            for lane in range(8):
                pouring.create_task(pour(lane))
    async with database.transaction() as session:
        stored = set(await session.scalars(select(Notification.receipt)))
    assert len(receipts) >= ANSWERED_BEFORE_A_KILL
    assert [receipt for receipt in receipts if receipt not in stored] == []


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
