"""Calls that leave the house: what is refused, what is bounded, and what is known after a failure."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import ssl
import string
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
import respx
from pydantic import TypeAdapter

from chain_orders.operators.texts import Secret
from chain_orders.outbound import RESPONSE_CAP, TOO_LATE, Wire, is_public
from chain_orders.vtex.client import Credentials, SellerClient

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    wire = Wire(deadline=30, connect=30, allow_private=True)
    yield wire
    await wire.close()


@pytest.fixture
async def hasty() -> AsyncIterator[Wire]:
    wire = Wire(deadline=0.5, connect=30, allow_private=True)
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


def _stays(requests: int) -> Answer:
    """Keep a connection for so many requests, and hang up as the next one arrives on it."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(requests):
            writer.write(OK)
            await writer.drain()
            await reader.readuntil(b"\r\n\r\n")

    return answer


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


async def test_an_answer_is_read_whole(wire: Wire) -> None:
    async with _peer(_says(OK)) as (url, _):
        exchange = await wire.exchange("PUT", url, headers={}, content=b"{}")

    assert (exchange.status, exchange.body, exchange.sent) == (200, b"{}", True)


async def test_a_redirect_is_an_answer_and_is_not_followed(wire: Wire) -> None:
    told = []
    async with _peer(_says(OK)) as (trap, trapped):
        for status in (301, 302, 303, 307, 308):
            moved = f"HTTP/1.1 {status} Moved\r\nLocation: {trap}\r\nContent-Length: 0\r\n\r\n".encode()
            async with _peer(_says(moved)) as (url, _):
                told.append((await wire.exchange("PUT", url, headers={}, content=b"{}")).status)
                told.append((await wire.exchange("GET", url, headers={}, reuse=True)).status)

    assert told == [status for status in (301, 302, 303, 307, 308) for _ in "PG"]
    assert trapped == []


async def test_silence_ends_at_the_deadline_and_counts_as_sent(hasty: Wire) -> None:
    async with _peer(_says(b"", pause=60)) as (url, _):
        exchange = await hasty.exchange("PUT", url, headers={}, content=b"{}")

    assert (exchange.status, exchange.sent, exchange.answered) == (None, True, False)


async def test_a_dripping_answer_ends_at_the_deadline(hasty: Wire) -> None:
    async with _peer(_says(*(bytes([byte]) for byte in OK), pause=0.05)) as (url, _):
        exchange = await hasty.exchange("PUT", url, headers={}, content=b"{}")

    assert (exchange.status, exchange.error, exchange.sent) == (None, "deadline", True)


async def test_an_endless_answer_is_cut_off(wire: Wire) -> None:
    endless = b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (RESPONSE_CAP + 1)
    async with _peer(_says(endless)) as (url, _):
        exchange = await wire.exchange("PUT", url, headers={}, content=b"{}")

    assert (exchange.status, exchange.error, exchange.sent) == (None, "answer-too-large", True)


async def test_a_compressed_answer_is_left_as_it_came(wire: Wire) -> None:
    """No compression is asked for; and who sends a bomb all the same is not helped to set it off."""
    bomb = gzip.compress(bytes(20 * RESPONSE_CAP))
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    async with _peer(_says(head + bomb)) as (url, seen):
        exchange = await wire.exchange("PUT", url, headers={}, content=b"{}")

    assert (exchange.status, exchange.body) == (200, bomb)
    assert b"accept-encoding: identity" in seen[0].lower()


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
    async with _peer(_stays(9)) as (url, connections):
        for _ in range(3):
            await wire.exchange("PUT", url, headers={}, content=b"{}")
        fresh = len(connections)
        for _ in range(3):
            await wire.exchange("GET", url, headers={}, reuse=True)

    assert (fresh, len(connections) - fresh) == (3, 1)


async def test_a_seller_that_hangs_up_on_kept_connections_makes_no_change_unclear(wire: Wire) -> None:
    """It closes one just as a request arrives on it: what nobody can see coming who uses a connection again."""
    async with _peer(_stays(1)) as (url, _):
        told = [await wire.exchange("PUT", url, headers={}, content=b"{}") for _ in range(3)]

    assert [(one.status, one.error) for one in told] == [(200, None)] * 3


async def test_a_connection_that_was_closed_while_it_rested_is_not_used_again(wire: Wire) -> None:
    closed = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _says(OK)(reader, writer)
        closed.set()

    async with _peer(answer) as (url, connections):
        first = await wire.exchange("GET", url, headers={}, reuse=True)
        await closed.wait()
        second = await wire.exchange("GET", url, headers={}, reuse=True)

    assert (first.status, second.status, len(connections)) == (200, 200, 2)


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


async def test_no_proxy_of_the_environment_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    async with _peer(_says(OK)) as (proxy, trapped), _peer(_says(OK)) as (url, seen):
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy)
        wire = Wire(deadline=30, connect=30, allow_private=True)
        for reuse in (False, True):
            await wire.exchange("PUT", url, headers={}, content=b"{}", reuse=reuse)
        await wire.close()

    assert (len(trapped), len(seen)) == (0, 2)


async def test_the_clients_do_nothing_of_their_own() -> None:
    """What no exchange shows: neither would try again, speak HTTP/2, believe the environment, or take an old TLS."""
    wire = Wire(deadline=35, connect=5, allow_private=False, concurrency=7)
    clients: list[Any] = [wire._fresh, wire._reusing]
    await wire.close()

    for client in clients:
        pool = client._transport._pool
        tls = pool._ssl_context
        assert (client.trust_env, client.follow_redirects, client._mounts) == (False, False, {})
        assert (pool._retries, pool._http1, pool._http2, pool._max_connections) == (0, True, False, 7)
        assert (tls.verify_mode, tls.check_hostname) == (ssl.CERT_REQUIRED, True)
        assert tls.minimum_version >= ssl.TLSVersion.TLSv1_2
        assert client.timeout.as_dict() == {"connect": 5, "read": 35, "write": 35, "pool": 5}
    assert [client._transport._pool._max_keepalive_connections for client in clients] == [0, 7]


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "017700000001", "0177.0.0.1", "0.0.0.0", "localhost"]
)
async def test_outside_development_private_addresses_are_not_called(host: str) -> None:
    wire = Wire(deadline=30, connect=30, allow_private=False)

    async with _peer(_says(OK)) as (url, seen):
        exchange = await wire.exchange("PUT", url.replace("127.0.0.1", host), headers={}, content=b"{}")

    await wire.close()
    assert (exchange.status, exchange.sent, seen) == (None, False, [])


@pytest.mark.parametrize("host", ["a..example", f"{'a' * 64}.example"])
async def test_what_cannot_be_a_name_counts_as_not_sent(wire: Wire, host: str) -> None:
    exchange = await wire.exchange("PUT", f"http://{host}/", headers={}, content=b"{}")

    assert (exchange.status, exchange.sent) == (None, False)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("0.0.0.0", False),
        ("127.0.0.1", False),
        ("192.168.0.1", False),
        ("172.31.255.255", False),
        ("10.0.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fd00::1", False),
        ("fe80::1%eth0", False),
        ("fec0::1", False),
        ("ff02::1", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:93.184.216.34", True),
        ("::7f00:1", False),
        ("::5db8:d822", False),
        ("::ffff:0:7f00:1", False),
        ("64:ff9b::a00:1", False),
        ("64:ff9b::5db8:d822", True),
        ("64:ff9b:1::7f00:1", False),
        ("64:ff9b:1::5db8:d822", False),
        ("2002:a00:1::", False),
        ("2002:5db8:d822::1", False),
        ("2001:0:5db8:d822:0:fbff:80ff:fffe", False),
        ("2001:0:7f00:1:0:fbff:a247:27dd", False),
        ("2001:db8::1", False),
        ("4000::1", False),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public


@pytest.mark.parametrize("credential", ["~" * 256, string.digits + string.ascii_letters + string.punctuation])
async def test_whatever_may_be_a_credential_can_be_sent(wire: Wire, credential: str) -> None:
    assert TypeAdapter(Secret).validate_python(credential) == credential
    async with _peer(_says(OK)) as (url, seen):
        exchange = await SellerClient(wire, url, Credentials(credential, credential)).send(
            "PUT", "/", b"", lambda: True
        )

    assert exchange.status == 200
    assert seen[0].count(credential.encode() + b"\r\n") == 2


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
