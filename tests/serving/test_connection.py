"""A connection with the guards of `serve`: late, large and senseless requests are sent away, each with a problem."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections.abc import AsyncIterator, Iterable
from itertools import repeat
from urllib.parse import urlsplit

import pytest
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from chain_orders import body
from chain_orders.notifications import inbox
from chain_orders.serving import connection

from ..builders import Marketplace, SimulatedSeller, calling, invoice, order
from ..conftest import serving_app


@pytest.fixture
async def url(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.5)
    app = FastAPI()
    app.state.stopping = asyncio.Event()

    @app.get("/slow")
    async def slow() -> str:
        await asyncio.sleep(1)
        return "done"

    @app.get("/{anything:path}")
    async def answer(anything: str) -> str:
        return "here"

    async with serving_app(app) as url:
        yield url


async def _until_closed(url: str, *parts: bytes, after: Iterable[bytes] = ()) -> bytes:
    """What comes back to these parts until the connection is closed; `after` is sent when the answer has come."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    got = b""
    try:
        async with asyncio.timeout(30):
            for part in parts:
                writer.write(part)
                await asyncio.sleep(0.05)
            got = await reader.readuntil(b"}")
            for part in after:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0)
                if reader.at_eof():
                    break
            return got + await reader.read()
    except (ConnectionError, asyncio.IncompleteReadError):
        return got
    finally:
        writer.close()


async def _exchange(url: str, *parts: bytes, pause: float = 0.0) -> tuple[int | None, dict[str, object]]:
    """Status and document of what comes back until the connection is closed; None when nothing comes."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        for part in parts:
            writer.write(part)
            await asyncio.sleep(pause)
        async with asyncio.timeout(5):
            got = await reader.read()
    except ConnectionError:
        return None, {}
    finally:
        writer.close()
    if not got:
        return None, {}
    head, _, body = got.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), json.loads(body)


async def test_a_head_that_does_not_end_is_cut_off(url: str) -> None:
    began = time.monotonic()

    status, problem = await _exchange(url, b"GET / HTTP/1.1\r\n", b"Host: x\r\n", b"X-One: 1\r\n", pause=0.1)

    assert (status, problem["code"]) == (408, "head-timeout")
    assert time.monotonic() - began < 4


async def test_a_drip_of_headers_does_not_extend_the_deadline(url: str) -> None:
    status, _ = await _exchange(url, b"GET / HTTP/1.1\r\n", *(b"X-%d: 1\r\n" % n for n in range(8)), pause=0.1)

    assert status in {408, None}  # None: the drip met a closed connection


async def test_a_connection_that_says_nothing_is_closed(url: str) -> None:
    assert await _exchange(url) == (None, {})


ENDLESS = b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"


AFTER: dict[str, Iterable[bytes]] = {
    "nothing": (),
    "a byte": (b"1",),
    "a body without end": repeat(b"4000\r\n" + b" " * 0x4000 + b"\r\n"),
}


@pytest.mark.parametrize("after", AFTER.values(), ids=AFTER)
async def test_what_is_answered_before_its_body_ends_is_closed_whatever_comes(
    url: str, monkeypatch: pytest.MonkeyPatch, after: Iterable[bytes]
) -> None:
    monkeypatch.setattr(connection, "REST_SECONDS", 0.3)

    answer = await _until_closed(url, b"POST /early HTTP/1.1\r\nHost: x\r\n" + ENDLESS, after=after)

    assert answer.startswith(b"HTTP/1.1 405 ")
    assert b"connection: close\r\n" in answer.lower()


async def test_a_body_that_ends_after_its_answer_ends_the_connection(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "REST_SECONDS", 300.0)

    answer = await _until_closed(url, b"POST /early HTTP/1.1\r\nHost: x\r\n" + ENDLESS, after=(b"0\r\n\r\n",))

    assert answer.startswith(b"HTTP/1.1 405 ")
    assert b"connection: close\r\n" in answer.lower()


async def test_line_feeds_between_two_requests_do_not_hold_a_connection() -> None:
    app = FastAPI()
    app.state.stopping = asyncio.Event()
    async with serving_app(app, rests=1) as url:
        answer = await _until_closed(url, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", after=repeat(b"\r\n"))

    assert answer.startswith(b"HTTP/1.1 404 ")


async def test_a_connection_may_rest_between_requests_for_longer_than_a_head_may_take(url: str) -> None:
    async with calling(url) as client:
        await client.get("/one")
        (kept,) = client._transport._pool.connections  # type: ignore[attr-defined]
        await asyncio.sleep(0.8)
        await client.get("/two")

        assert client._transport._pool.connections == [kept]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "head",
    [b"X-Long: " + b"a" * 20_000 + b"\r\n", b"".join(b"X-%d: 1\r\n" % n for n in range(2000))],
    ids=["one header", "many headers"],
)
async def test_headers_over_the_limit_are_refused(url: str, head: bytes) -> None:
    status, problem = await _exchange(url, b"GET / HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n")

    assert (status, problem["code"]) == (431, "head-too-large")


async def test_a_header_without_end_is_cut_off_while_it_grows(url: str) -> None:
    status, _ = await _exchange(url, b"GET / HTTP/1.1\r\nX-Long: ", *[b"a" * 8000] * 6, pause=0.02)

    assert status in {431, None}


async def test_an_address_over_the_limit_is_refused(url: str) -> None:
    status, problem = await _exchange(url, b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")

    assert (status, problem["code"]) == (414, "target-too-long")


async def test_what_is_no_http_is_told_so(url: str) -> None:
    status, problem = await _exchange(url, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64))

    assert (status, problem["code"]) == (400, "not-http")


async def test_more_requests_than_may_be_under_way_are_sent_away_at_once(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "REQUESTS", 3)
    async with calling(url) as client:
        slow = [asyncio.create_task(client.get("/slow")) for _ in range(3)]
        await asyncio.sleep(0.2)

        refused = await client.get("/quick")
        slow_answers = await asyncio.gather(*slow)

        assert refused.status_code == 503
        assert refused.headers["Retry-After"]
        assert refused.json()["code"] == "too-many"
        assert [answer.status_code for answer in slow_answers] == [200] * 3
        assert (await client.get("/quick")).status_code == 200


async def _raw(address: str, *requests: bytes) -> list[bytes]:
    """What comes back until the connection is closed, answer by answer."""
    split = urlsplit(address)
    reader, writer = await asyncio.open_connection(split.hostname, split.port)
    try:
        writer.write(b"".join(requests))
        async with asyncio.timeout(20):
            return (await reader.read()).split(b"HTTP/1.1 ")[1:]
    finally:
        writer.close()


def _invoice(path: str, *more: str, number: str = "A") -> bytes:
    body = json.dumps(invoice(number)).encode()
    head = (f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *more, "", "")
    return "\r\n".join(head).encode() + body


async def test_answers_to_a_seller_keep_the_rules_of_a_connection(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    await marketplace.place(order("WHOLE1"))
    path = f"{urlsplit(await simulated.base('WHOLE1')).path}/pvt/orders/WHOLE1/invoice"

    one, other, last = await _raw(
        marketplace.url, _invoice(path), _invoice(path, number="B"), _invoice(path, "Connection: close")
    )

    assert (one[:3], other[:3], last[:3]) == (b"200", b"200", b"200")
    assert b"connection: close" in last
    assert b"connection: close" not in one + other
    assert one.partition(b"\r\n\r\n")[2] == last.partition(b"\r\n\r\n")[2]
    assert int(one.partition(b"content-length: ")[2].split(b"\r\n")[0]) == len(one.partition(b"\r\n\r\n")[2])


@pytest.mark.parametrize(
    ("status", "address", "header"),
    [
        (404, "/cb/k1/nobody/nothing/pvt/orders/X/invoice", b""),
        (415, None, b"Content-Encoding: gzip\r\n"),
        (503, None, b""),
        (408, None, b""),
    ],
)
async def test_a_caller_that_is_sent_away_before_its_body_ended_is_told_so_and_cut_off(
    marketplace: Marketplace,
    simulated: SimulatedSeller,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    address: str | None,
    header: bytes,
) -> None:
    await marketplace.place(order("REST1"))
    monkeypatch.setattr(connection, "REST_SECONDS", 0.3)
    monkeypatch.setattr(body, "SECONDS", 0.3)
    monkeypatch.setattr(inbox, "_MAXIMUM_BYTES", 0 if status == 503 else 1000)
    path = address or f"{urlsplit(await simulated.base('REST1')).path}/pvt/orders/REST1/invoice"
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\n".encode() + header + ENDLESS

    for after in AFTER.values():
        answer = await _until_closed(marketplace.url, head, after=after)

        assert answer.startswith(b"HTTP/1.1 %d " % status), answer
        assert b"connection: close\r\n" in answer.lower()


async def test_nothing_of_a_request_stays_until_the_collector_comes(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    await marketplace.place(order("WHOLE3"))
    path = f"{urlsplit(await simulated.base('WHOLE3')).path}/pvt/orders/WHOLE3/invoice"
    told = [_invoice(path, number=f"N{nth}") for nth in range(20)]
    gc.collect()
    before = _cycles()
    gc.disable()
    try:
        assert len(await _raw(marketplace.url, *told, _invoice(path, "Connection: close"))) == 21
        left = _cycles() - before
    finally:
        gc.enable()

    assert left < 10  # of 21; other connections, which are open still, may have had their first request meanwhile


def _cycles() -> int:
    return sum(isinstance(one, RequestResponseCycle) for one in gc.get_objects())


async def test_a_connection_with_a_body_that_is_too_large_is_closed(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    await marketplace.place(order("WHOLE2"))
    path = f"{urlsplit(await simulated.base('WHOLE2')).path}/pvt/orders/order-group/WHOLE2/notifications"
    body = b" " * 20_000

    (answer,) = await _raw(
        marketplace.url, f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode(), body
    )

    assert answer[:3] == b"413"
