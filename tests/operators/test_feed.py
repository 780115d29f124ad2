"""The feed: pages and streams that never miss an event, however late it commits."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from chain_orders.database import Bell, Database
from chain_orders.events import feed
from chain_orders.events.models import Event
from chain_orders.operators import feed as routes

from ..builders import Marketplace, order, until
from ..faults.process import served

EVERYTHING = feed.Wanted()


async def _tell(session: AsyncSession, order_id: str, type_: str) -> None:
    await session.execute(
        text(
            "insert into events (type, order_id, seller_id, order_group, actor)"
            " values (:type, cast(:order as uuid), 'acme', 'G', 'service')"
        ),
        {"type": type_, "order": order_id},
    )


async def _two_in_reverse(database: Database, order_id: str, readers: list[Any]) -> list[list[str]]:
    """Write an early and a late event, commit the late one first; what each reader has seen after both."""
    seen: list[list[str]] = [[] for _ in readers]
    async with database._sessions() as early:
        await early.begin()
        await _tell(early, order_id, "early")
        async with database.transaction() as late:
            await _tell(late, order_id, "late")
        for reader, found in zip(readers, seen, strict=True):
            found += await reader()
        await early.commit()
    for reader, found in zip(readers, seen, strict=True):
        found += await reader()
    return seen


async def test_an_event_that_commits_late_is_missed_by_id_and_never_by_position(
    marketplace: Marketplace, database: Database
) -> None:
    placed = await marketplace.place()
    await _numbered(marketplace)
    async with database.transaction() as session:
        position = await feed.last_position(session)
        latest = await session.scalar(select(Event.id).order_by(Event.id.desc()).limit(1)) or 0

    async def by_id() -> list[str]:
        nonlocal latest
        async with database.transaction() as session:
            rows = (await session.execute(select(Event.id, Event.type).where(Event.id > latest))).all()
        latest = max([latest, *(row.id for row in rows)])
        return [row.type for row in rows]

    async def by_position() -> list[str]:
        nonlocal position
        async with database.transaction() as session:
            await feed.number(session)
        async with database.transaction() as session:
            found = await feed.page(session, position, 10, EVERYTHING)
        position = found.position
        return [event.type for event in found.events]

    by_ids, by_positions = await _two_in_reverse(database, placed["id"], [by_id, by_position])

    assert by_ids == ["late"]  # the negative control: what the feed would lose
    assert by_positions == ["late", "early"]


async def test_relays_that_run_at_once_number_without_gap_or_repeat(
    marketplace: Marketplace, database: Database
) -> None:
    placed = await marketplace.place()
    async with database.transaction() as session:
        for n in range(60):
            await _tell(session, placed["id"], f"number-{n}")

    async def number() -> None:
        async with database.transaction() as session:
            await feed.number(session, batch=7)

    while await _unnumbered(database):
        await asyncio.gather(*(number() for _ in range(6)))

    async with database.transaction() as session:
        rows = (await session.execute(select(Event.id, Event.position).order_by(Event.position))).all()
    assert [row.position for row in rows] == list(range(rows[0].position, rows[0].position + len(rows)))
    assert [row.id for row in rows] == sorted(row.id for row in rows)


async def test_the_feed_is_read_in_pages_and_by_type(marketplace: Marketplace) -> None:
    for n in range(3):
        await marketplace.place(order(f"FEED{n}"))
    await _numbered(marketplace)
    found: list[dict[str, Any]] = []
    path: str | None = "/v1/events?limit=2"
    while path:
        answer = await marketplace.client.get(path)
        found += answer.json()["items"]
        path = answer.links["next"]["url"] if "next" in answer.links else None

    only = (await marketplace.client.get("/v1/events", params={"type": "order.placed", "seller": "acme"})).json()
    none = (await marketplace.client.get("/v1/events", params={"type": "order.sealed"})).json()

    assert [event["id"] for event in found] == sorted({event["id"] for event in found})
    assert len(found) == 6
    assert [event["orderGroup"] for event in only["items"]] == ["FEED0", "FEED1", "FEED2"]
    assert none == {"items": [], "next": None, "position": found[-1]["id"]}


@pytest.mark.parametrize("path", ["/v1/events", "/v1/events/stream"])
async def test_a_type_that_no_event_has_is_refused(marketplace: Marketplace, path: str) -> None:
    answer = await marketplace.client.get(path, params={"type": ["order.placed", "order.plcaed"]})

    assert (answer.status_code, answer.json()["code"]) == (422, "parameter-invalid")
    assert answer.json()["detail"] == "type: is not the type of any event"


async def test_a_stream_goes_on_where_the_last_one_ended(marketplace: Marketplace) -> None:
    await marketplace.place(order("STREAM1"))
    await _numbered(marketplace)
    async with _stream(marketplace, after=0) as events:
        first = [await anext(events) for _ in range(2)]
        await marketplace.place(order("STREAM2"))
        live = [await anext(events) for _ in range(2)]
    await marketplace.place(order("STREAM3"))

    async with _stream(marketplace, last=live[0]["id"]) as events:
        again = [await anext(events) for _ in range(3)]

    assert [event["orderGroup"] for event in first + live] == ["STREAM1", "STREAM1", "STREAM2", "STREAM2"]
    assert again[0] == live[1]
    assert [event["orderGroup"] for event in again[1:]] == ["STREAM3", "STREAM3"]


async def test_a_silent_stream_says_that_it_lives(marketplace: Marketplace, monkeypatch: Any) -> None:
    monkeypatch.setattr(routes, "SILENCE_SECONDS", 0.05)

    async with marketplace.client.stream("GET", "/v1/events/stream") as answer:
        lines = answer.aiter_lines()
        while not (await anext(lines)).startswith(": "):
            pass

    assert answer.headers["content-type"].startswith("text/event-stream")


async def test_a_stream_begins_with_where_it_starts(marketplace: Marketplace) -> None:
    await marketplace.place(order("START1"))
    await _numbered(marketplace)
    end = (await marketplace.client.get("/v1/events")).json()["position"]
    async with marketplace.client.stream("GET", "/v1/events/stream") as cut:
        lines = cut.aiter_lines()
        start = [await anext(lines) for _ in range(3)]
    await marketplace.place(order("START2"))

    async with _stream(marketplace, last=end) as events:
        missed = [await anext(events) for _ in range(2)]

    assert start == ["retry: 2000", f"id: {end}", ""]
    assert [event["orderGroup"] for event in missed] == ["START2", "START2"]


@pytest.mark.parametrize("path", ["/v1/events", "/v1/events/stream"])
async def test_a_position_that_the_feed_never_reached_is_refused(marketplace: Marketplace, path: str) -> None:
    answer = await marketplace.client.get(path, params={"after": 1000})

    assert (answer.status_code, answer.json()["code"], answer.json()["position"]) == (409, "position-unknown", 0)


async def test_a_revoked_key_ends_its_stream(marketplace: Marketplace, monkeypatch: Any) -> None:
    monkeypatch.setattr(routes, "SILENCE_SECONDS", 0.05)
    made = (await marketplace.client.post("/v1/keys", json={"name": "leaver", "role": "viewer"})).json()
    holder = {"Authorization": f"Bearer {made['key']}"}
    async with marketplace.client.stream("GET", "/v1/events/stream", headers=holder) as answer:
        lines = answer.aiter_lines()
        while not (await anext(lines)).startswith(": "):
            pass
        await marketplace.client.delete(f"/v1/keys/{made['id']}")

        assert {line async for line in lines} <= {"", ": nothing new"}


async def test_a_service_that_is_asked_to_stop_ends_its_streams(database: Database) -> None:
    async with served(database) as (process, marketplace), marketplace.client.stream("GET", "/v1/events/stream") as one:
        lines = one.aiter_lines()
        await anext(lines)
        asked = time.monotonic()
        await asyncio.to_thread(process.stop)

        assert [line async for line in lines if line.startswith("data")] == []
        assert time.monotonic() - asked < 10  # far from the 25 seconds that a request may take


async def test_a_follower_who_falls_behind_reads_pages_and_misses_nothing(
    marketplace: Marketplace, database: Database
) -> None:
    placed = await marketplace.place()
    await _numbered(marketplace)
    tail = feed.Tail(database, Bell(""), poll_seconds=0.01)
    running = asyncio.create_task(tail.run())
    async with database.transaction() as session:
        following = tail.follow(await feed.last_position(session), EVERYTHING, silence=5)
        await _tell(session, placed["id"], "before")
    first = asyncio.create_task(_next(following))
    await _numbered(marketplace)
    assert await first == "before"

    for n in range(feed._QUEUE // 400 + 1):  # more than its queue holds, while nobody takes any
        async with database.transaction() as session:
            for m in range(400):
                await _tell(session, placed["id"], f"{n}-{m}")
        await _numbered(marketplace)
    await asyncio.sleep(0.1)
    seen = [await _next(following) for _ in range((feed._QUEUE // 400 + 1) * 400)]

    assert seen == [f"{n}-{m}" for n in range(feed._QUEUE // 400 + 1) for m in range(400)]
    await following.aclose()  # type: ignore[attr-defined]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def _next(events: AsyncIterator[Event | None]) -> str:
    async for event in events:
        if event is not None:
            return event.type
    raise AssertionError("the stream ended")


async def _unnumbered(database: Database) -> int:
    async with database.transaction() as session:
        return await session.scalar(text("select count(*) from events where position is null")) or 0


async def _numbered(marketplace: Marketplace) -> None:
    async def done() -> bool:
        return not await _unnumbered(marketplace.database)

    await until(done)


@contextlib.asynccontextmanager
async def _stream(
    marketplace: Marketplace, after: int | None = None, last: int | None = None
) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    headers = {"Last-Event-ID": str(last)} if last is not None else {}
    params = {"after": after} if after is not None else {}
    async with marketplace.client.stream("GET", "/v1/events/stream", params=params, headers=headers) as answer:
        assert answer.status_code == 200
        yield _events(answer)


async def _events(answer: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    async for line in answer.aiter_lines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))
