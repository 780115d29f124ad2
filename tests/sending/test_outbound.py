"""Calls that leave the house: what is refused, what is bounded, and what is known after a failure."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
import respx

from chain_orders.outbound import RESPONSE_CAP, TOO_LATE, Wire, is_public
from chain_orders.vtex.client import Credentials, SellerClient

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    wire = Wire(deadline=0.5, connect=0.3, allow_private=True)
    yield wire
    await wire.close()


@contextlib.asynccontextmanager
async def _peer(answer: Answer) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that answers as told, once a connection; its URL and the requests it saw."""
    seen: list[bytes] = []
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                seen.append(await reader.readuntil(b"\r\n\r\n"))
                await answer(reader, writer)
        finally:
            writer.transport.abort()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", seen
    finally:
        server.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


def _says(*parts: bytes, pause: float = 0) -> Answer:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)
        writer.close()
        await writer.wait_closed()

    return answer


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


async def test_an_answer_is_read_whole(wire: Wire) -> None:
    async with _peer(_says(OK)) as (url, _):
        exchange = await wire.exchange("PUT", url, headers={}, content=b"{}")

    assert (exchange.status, exchange.body, exchange.sent) == (200, b"{}", True)


async def test_a_redirect_is_an_answer_and_is_not_followed(wire: Wire) -> None:
    moved = b"HTTP/1.1 307 Moved\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    async with _peer(_says(moved)) as (url, seen):
        exchange = await wire.exchange("PUT", url, headers={}, content=b"{}")

    assert (exchange.status, len(seen)) == (307, 1)


async def test_silence_ends_at_the_deadline_and_counts_as_sent(wire: Wire) -> None:
    async with _peer(_says(b"", pause=5)) as (url, _):
        exchange = await wire.exchange("PUT", url, headers={}, content=b"{}")

    assert (exchange.status, exchange.sent, exchange.answered) == (None, True, False)
    assert exchange.duration_ms < 2000


async def test_a_dripping_answer_ends_at_the_deadline(wire: Wire) -> None:
    async with _peer(_says(*(bytes([byte]) for byte in OK), pause=0.05)) as (url, _):
        exchange = await wire.exchange("PUT", url, headers={}, content=b"{}")

    assert (exchange.status, exchange.error, exchange.sent) == (None, "deadline", True)


async def test_an_endless_answer_is_cut_off(wire: Wire) -> None:
    endless = b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (RESPONSE_CAP + 1)
    async with _peer(_says(endless)) as (url, _):
        exchange = await wire.exchange("PUT", url, headers={}, content=b"{}")

    assert (exchange.status, exchange.error, exchange.sent) == (None, "answer-too-large", True)


async def test_a_closed_connection_counts_as_sent(wire: Wire) -> None:
    async with _peer(_says()) as (url, _):
        exchange = await wire.exchange("PUT", url, headers={}, content=b"{}")

    assert (exchange.status, exchange.sent) == (None, True)


async def test_a_refused_connection_counts_as_not_sent(wire: Wire) -> None:
    async with _peer(_says(OK)) as (url, _):
        pass

    exchange = await wire.exchange("PUT", url, headers={}, content=b"{}")

    assert (exchange.status, exchange.sent, exchange.error) == (None, False, "ConnectError")


async def test_when_the_time_is_over_nothing_is_sent(wire: Wire) -> None:
    async with _peer(_says(OK)) as (url, seen):
        exchange = await wire.exchange("PUT", url, headers={}, content=b"{}", in_time=lambda: False)

    assert (exchange.error, exchange.sent, seen) == (TOO_LATE, False, [])


async def test_a_connection_is_fresh_for_each_call_that_changes_something(wire: Wire) -> None:
    async with _peer(_says(OK)) as (url, seen):
        for _ in range(3):
            await wire.exchange("PUT", url, headers={}, content=b"{}")

    assert len(seen) == 3


async def test_a_name_that_hangs_delays_no_other_call(monkeypatch: pytest.MonkeyPatch) -> None:
    hanging, asked = threading.Event(), []
    resolve = socket.getaddrinfo

    def resolver(host: Any, *rest: Any, **options: Any) -> Any:
        asked.append(host)
        if host == "slow.example":
            hanging.wait(60)
            raise socket.gaierror
        return resolve(host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    wire = Wire(deadline=60, connect=0.5, allow_private=True, concurrency=50)
    async with _peer(_says(OK)) as (url, _):
        slow = [asyncio.create_task(wire.exchange("PUT", "http://slow.example/", headers={})) for _ in range(40)]
        await asyncio.sleep(0)
        healthy = await wire.exchange("PUT", url.replace("127.0.0.1", "localhost"), headers={})
        told = await asyncio.gather(*slow)
        await wire.close()
        hanging.set()

    assert healthy.status == 200
    assert {(one.error, one.sent) for one in told} == {("ConnectTimeout", False)}
    assert asked.count("slow.example") == 1


async def test_no_compression_is_asked_for_and_no_proxy_is_believed(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    async with _peer(_says(OK)) as (url, seen):
        await wire.exchange("PUT", url, headers={}, content=b"{}")

    assert b"accept-encoding: identity" in seen[0].lower()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]"])
async def test_outside_development_private_addresses_are_not_called(host: str) -> None:
    wire = Wire(deadline=0.5, connect=0.3, allow_private=False)

    exchange = await wire.exchange("PUT", f"http://{host}:9/", headers={}, content=b"{}")

    await wire.close()
    assert (exchange.status, exchange.sent, exchange.error) == (None, False, "ConnectError")


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("10.0.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fd00::1", False),
        ("fe80::1%eth0", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::", False),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public


@respx.mock
async def test_the_sellers_client_sends_keys_and_bytes_as_they_are() -> None:
    """respx stands in for the network below httpx: what reaches it is what the client composed."""
    route = respx.put("https://acme.example/api/checkout/pvt/orders?sc=1&affiliateId=MKP").mock(
        return_value=httpx.Response(201, json={"orders": []})
    )
    wire = Wire(deadline=5, connect=1, allow_private=False)
    client = SellerClient(wire, "https://acme.example", Credentials("key", "token"))

    exchange = await client.send("PUT", "/api/checkout/pvt/orders?sc=1&affiliateId=MKP", b'{"a":1}', lambda: True)

    await wire.close()
    request = route.calls.last.request
    assert exchange.status == 201
    assert request.content == b'{"a":1}'
    assert (request.headers["x-vtex-api-appkey"], request.headers["x-vtex-api-apptoken"]) == ("key", "token")
    assert request.headers["content-type"] == "application/json"
