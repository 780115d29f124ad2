"""What a caller may cost, and what it gets when it is not understood: nothing twice, nothing of somebody else's."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import func, select, text

from chain_orders import body as reading
from chain_orders.notifications.models import Notification, Receipt
from chain_orders.receivers import callers

from ..builders import Marketplace, SimulatedSeller, calling, cancellation, invoice, order, until


@pytest.fixture
async def base(marketplace: Marketplace, simulated: SimulatedSeller) -> str:
    await marketplace.place(order("LIM1"))
    return await simulated.base("LIM1")


async def _stored(marketplace: Marketplace) -> int:
    async with marketplace.database.transaction() as session:
        return await session.scalar(select(func.count()).select_from(Notification)) or 0


BODY = json.dumps(invoice("FIRST")).encode()
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
CHUNKED = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
TE = b"Transfer-Encoding: chunked\r\n"
AMBIGUOUS: dict[str, bytes] = {
    "a length, and chunks": LENGTH + TE + b"\r\n" + CHUNKED,
    "chunks, and a length": TE + LENGTH + b"\r\n" + CHUNKED,
    "two lengths": LENGTH + b"Content-Length: 3\r\n\r\n" + BODY,
    "one length twice": LENGTH + LENGTH + b"\r\n" + BODY,
    "a list of lengths": b"Content-Length: %d, %d\r\n\r\n" % (len(BODY), len(BODY)) + BODY,
    "a length with a sign": b"Content-Length: +%d\r\n\r\n" % len(BODY) + BODY,
    "a blank before the colon": b"Content-Length : %d\r\n\r\n" % len(BODY) + BODY,
    "a bare line feed": b"X-One: a\n" + LENGTH + b"\r\n" + BODY,
    "line feeds only": (LENGTH + b"\r\n").replace(b"\r\n", b"\n") + BODY,
    "a bare carriage return": b"X-One: a\rX-Two: b\r\n" + LENGTH + b"\r\n" + BODY,
    "a folded header": b"X-One: a\r\n b\r\n" + LENGTH + b"\r\n" + BODY,
    "a folded coding": b"Transfer-Encoding:\r\n chunked\r\n\r\n" + CHUNKED,
    "another coding": b"Transfer-Encoding: xchunked\r\n\r\n" + CHUNKED,
    "chunks that are not the last coding": b"Transfer-Encoding: chunked, identity\r\n\r\n" + CHUNKED,
    "two codings": TE + b"Transfer-Encoding: identity\r\n\r\n" + CHUNKED,
    "a chunk that ends in a line feed": TE + b"\r\n%x\n%b\r\n0\r\n\r\n" % (len(BODY), BODY),
    "a chunk of more than there is": TE + b"\r\nfffffffffffffffff\r\n" + BODY + b"\r\n0\r\n\r\n",
}


async def test_a_request_that_two_could_read_differently_is_refused_with_what_follows_it(
    marketplace: Marketplace, base: str
) -> None:
    address = urlsplit(base)
    head = f"POST {address.path}/pvt/orders/LIM1/invoice HTTP/1.1\r\nHost: cb.example\r\n".encode()
    inside = json.dumps(invoice("SMUGGLED")).encode()
    follows = head + b"Content-Length: %d\r\n\r\n" % len(inside) + inside
    for name, rest in AMBIGUOUS.items():
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(head + rest + follows)
        answer = await asyncio.wait_for(reader.read(), 30)
        writer.close()
        assert [one[:3] for one in answer.split(b"HTTP/1.1 ")[1:]] == [b"400"], (name, answer)
        assert await _stored(marketplace) == 0, name

    assert (await marketplace.notify(f"{base}/pvt/orders/LIM1/invoice", BODY)).status_code == 200
    assert await _stored(marketplace) == 1


async def test_a_body_may_be_as_long_as_the_limit_and_no_byte_longer(marketplace: Marketplace, base: str) -> None:
    address = f"{base}/pvt/orders/order-group/LIM1/notifications"
    body = json.dumps(cancellation("MKP-LIM1-01")).encode()

    longer = await marketplace.notify(address, body.ljust(reading.CANCELLATION + 1))
    longest = await marketplace.notify(address, body.ljust(reading.CANCELLATION))

    assert (longer.status_code, longest.status_code) == (413, 200)
    assert await _stored(marketplace) == 1


async def test_a_body_without_end_takes_no_memory(base: str) -> None:
    address = urlsplit(base)
    head = f"POST {address.path}/pvt/orders/order-group/LIM1/notifications HTTP/1.1\r\nHost: x\r\n".encode()
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(head + TE + b"\r\n")
    answer, sent = asyncio.create_task(reader.readuntil(b"\r\n\r\n")), 0
    tracemalloc.start()
    try:
        while not answer.done():
            writer.write(chunk)
            await writer.drain()
            sent += len(chunk)
            await asyncio.sleep(0)
        _, most = tracemalloc.get_traced_memory()
    except ConnectionError:
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        writer.close()

    assert (await answer).startswith(b"HTTP/1.1 413 ")
    assert sent > 8 * 1024 * 1024
    assert most < 2 * 1024 * 1024


async def test_who_hung_up_while_it_was_stored_gets_the_answer_when_it_sends_again(
    marketplace: Marketplace, base: str
) -> None:
    address = urlsplit(base)
    head = f"POST {address.path}/pvt/orders/LIM1/invoice HTTP/1.1\r\nHost: cb.example\r\n".encode()
    async with marketplace.database.transaction() as session:
        await session.execute(text("lock table receipts in access exclusive mode"))
        _, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(head + LENGTH + b"\r\n" + BODY)
        await until(lambda: _waits(marketplace))
        writer.transport.abort()
    await until(lambda: _stored(marketplace))

    again = await marketplace.notify(f"{base}/pvt/orders/LIM1/invoice", BODY)

    async with marketplace.database.transaction() as session:
        row = (await session.execute(select(Receipt.repeats, Receipt.answer))).one()
    assert (again.status_code, row.repeats, row.answer) == (200, 1, again.content)
    assert await _stored(marketplace) == 1


async def _waits(marketplace: Marketplace) -> bool:
    waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like '%into receipts%'"
    async with marketplace.database.transaction() as session:
        return bool(await session.scalar(text(waiting)))


async def test_many_bad_tokens_wait_and_delay_nobody_who_has_a_good_one(
    marketplace: Marketplace, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callers, "_LONGEST_WAIT", 60.0)
    monkeypatch.setattr(callers, "_TOKENS_PER_SECOND", 0.01)
    monkeypatch.setattr(callers, "_TOKENS_AT_ONCE", 3.0)
    monkeypatch.setattr(callers, "_MOST_WAITING", 5)
    token = (await marketplace.client.post("/v1/sellers/acme/callback-token")).json()["token"]
    root = f"{marketplace.url}/pvt/orders/LIM1/invoice"
    async with calling(timeout=30) as stranger:
        flood = [asyncio.create_task(stranger.post(f"{root}?token=k1.acme.bad{n}", json={})) for n in range(20)]

        async def the_rest_waits() -> bool:
            return sum(one.done() for one in flood) == len(flood) - 5

        await until(the_rest_waits)
        good: list[Any] = [await stranger.post(f"{root}?token={token}", json=invoice(f"T{n}", 10)) for n in range(3)]
        good += [await stranger.post(f"{base}/pvt/orders/LIM1/invoice", json=invoice(f"B{n}", 10)) for n in range(3)]

        assert [answer.status_code for answer in good] == [200] * 6
        assert sum(one.done() for one in flood) == len(flood) - 5  # those of the flood still wait
        answered = [one.result() for one in flood if one.done()]
        assert {answer.status_code for answer in answered} == {404}
        for one in flood:
            one.cancel()
        await asyncio.gather(*flood, return_exceptions=True)
