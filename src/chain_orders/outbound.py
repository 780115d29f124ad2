"""Calls that leave the house: the only maker of httpx clients, and what one exchange came to.

Names are resolved once and in time, checked and pinned at connect; no environment proxy, no redirect, no compression,
no retry below us; a body is read up to a cap and the whole exchange has one deadline. What cannot be told after a
failure (did the first byte leave?) is observed while it happens, so that "not sent" is a fact and not a guess.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import httpcore
import httpx

from . import tracing

RESPONSE_CAP = 1024 * 1024
TOO_LATE = "too-late"
BAD_CERTIFICATE = "bad-certificate"
_ADDRESSES_TRIED = 3


@dataclass(frozen=True, slots=True)
class Exchange:
    """One HTTP exchange, or its absence.

    `status` is None when no complete answer came; `sent` says whether any byte of the request may have left, which
    is what separates "try again" from "it may exist". `reached` is false where a connection was tried for, and none
    came about.
    """

    status: int | None
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    sent: bool = True
    error: str | None = None
    duration_ms: int = 0
    reached: bool = True

    @property
    def answered(self) -> bool:
        return self.status is not None


class AddressRefused(OSError):
    """The name leads to an address that must not be called."""


class _Names:
    """Looks names up, each by one thread at a time: whoever asks meanwhile waits for the same answer.

    The system's resolver knows no deadline: a thread that hangs is left behind, and whoever asked waits no longer than
    for a connection. The threads are daemons of our own: those of the loop would be joined at the end of the process.
    """

    def __init__(self, at_once: int) -> None:
        self._room = asyncio.Semaphore(at_once)
        self._asked: dict[tuple[str, int], asyncio.Task[list[str]]] = {}

    async def addresses(self, host: str, port: int, seconds: float | None) -> list[str]:
        """The addresses of a host, or the host itself if it is one. Raises OSError, TimeoutError."""
        if _is_literal(host):
            return [host]
        key = (host, port)
        if key not in self._asked:
            self._asked[key] = asyncio.create_task(self._ask(key))
            self._asked[key].add_done_callback(lambda asked: self._answered(key, asked))
        async with asyncio.timeout(seconds):
            return await asyncio.shield(self._asked[key])

    async def _ask(self, key: tuple[str, int]) -> list[str]:
        async with self._room:
            entries = await _in_a_thread(lambda: socket.getaddrinfo(*key, type=socket.SOCK_STREAM))
        return list(dict.fromkeys(str(entry[4][0]) for entry in entries))

    def _answered(self, key: tuple[str, int], asked: asyncio.Task[list[str]]) -> None:
        del self._asked[key]
        if not asked.cancelled():
            asked.exception()  # whoever still waits is told; nobody may

    async def close(self) -> None:
        for asked in self._asked.values():
            asked.cancel()
        await asyncio.gather(*self._asked.values(), return_exceptions=True)


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


async def _in_a_thread(call: Callable[[], Any]) -> Any:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Any] = loop.create_future()

    def settle(result: Any, error: BaseException | None) -> None:
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(result)

    def run() -> None:
        told: tuple[Any, BaseException | None]
        try:
            told = (call(), None)
        except BaseException as error:  # whatever it is, it is the caller's
            told = (None, error)
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(settle, *told)

    threading.Thread(target=run, name="resolve", daemon=True).start()
    return await answer


class _Pinned(httpcore.AsyncNetworkBackend):
    """Resolve a name once, refuse it unless every address is public, and connect to the literal.

    The TLS layer keeps the name: httpcore hands it to `start_tls` apart from the address.
    """

    def __init__(self, names: _Names, *, allow_private: bool) -> None:
        self._inner = httpcore.AnyIOBackend()
        self._names = names
        self._allow_private = allow_private

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  (httpcore's signature)
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            addresses = await self._names.addresses(host, port, timeout)
        except TimeoutError as slow:
            raise httpcore.ConnectTimeout("the name does not resolve in time") from slow
        except (OSError, UnicodeError) as unknown:  # the latter for what cannot be a name
            raise httpcore.ConnectError("the name does not resolve") from unknown
        if not self._allow_private and not all(is_public(address) for address in addresses):
            raise httpcore.ConnectError("the name leads to an address that is not public")
        *others, last = addresses[:_ADDRESSES_TRIED]
        for address in others:
            with contextlib.suppress(httpcore.ConnectError):
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
        return await self._inner.connect_tcp(last, port, timeout, local_address, socket_options)

    async def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
        raise httpcore.ConnectError("unix sockets are not called")

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


def is_public(address: str) -> bool:
    """Whether an IP literal is a public unicast address, also behind the two IPv6 forms that lead to one of IPv4.

    Whatever else may hold an address of IPv4 (compatible, translated, a network's own NAT64) or tunnels to one (6to4,
    Teredo) is refused unread: it may lead inside, and nobody who is called is to be reached by it alone.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inside = ip.ipv4_mapped or _nat64(ip)
        if inside is not None:
            return is_public(str(inside))
        if ip not in _UNICAST or any(ip in tunnel for tunnel in _TUNNELS):
            return False
    return ip.is_global and not ip.is_multicast


_UNICAST = ipaddress.IPv6Network("2000::/3")  # all that is assigned for it; `is_global` is true of what nobody assigned
_TUNNELS = (ipaddress.IPv6Network("2002::/16"), ipaddress.IPv6Network("2001::/32"))
_NAT64_PREFIX = ipaddress.IPv6Network("64:ff9b::/96")


def _nat64(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64_PREFIX else None


def is_host(name: str) -> bool:
    """Whether it is an IP literal, or a name that can be looked up."""
    return _is_literal(name) or (_NAME.fullmatch(name) is not None and len(name) <= _LONGEST_NAME)


_LONGEST_NAME = 253
_NAME = re.compile(r"[\w-]{1,63}(\.[\w-]{1,63})*")


class Wire:
    """Two httpx clients: one that reuses no connection, for calls that must not be ambiguous, and one for reads."""

    def __init__(self, *, deadline: float, connect: float, allow_private: bool, concurrency: int = 64) -> None:
        self._deadline = deadline
        # A read or a write may take what is left of the deadline, which ends the whole exchange however it is spent:
        # an answer that is slow but comes is worth more than an unclear outcome. Until there is a connection nothing
        # has been sent, so that there waiting ends sooner.
        timeout = httpx.Timeout(deadline, connect=connect, pool=connect)
        self._names = _Names(concurrency)
        backend = _Pinned(self._names, allow_private=allow_private)
        self._fresh = _client(timeout, backend, concurrency, keepalive=0)
        self._reusing = _client(timeout, backend, concurrency, keepalive=concurrency)

    async def exchange(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        content: bytes = b"",
        reuse: bool = False,
        in_time: Callable[[], bool] = lambda: True,
    ) -> Exchange:
        """Make one call and say what became of it; never raises for what a network or a peer can do.

        `in_time` is asked at the last moment before the first byte; when it says no, nothing is sent and the error
        is `too-late`.
        """
        started = time.monotonic()
        left, reached = False, True

        async def observe(step: str, _: Mapping[str, Any]) -> None:
            nonlocal left, reached
            if step.startswith("connection.connect_tcp"):
                reached = step.endswith(".complete")
            if step.endswith("send_request_headers.started"):
                if not in_time():
                    raise _TooLate
                left = True

        client = self._reusing if reuse else self._fresh
        status: int | None = None
        error: str | None = None
        body = b""
        received: dict[str, str] = {}
        try:
            async with asyncio.timeout(self._deadline):
                request = client.build_request(
                    method,
                    url,
                    headers={**headers, **tracing.outgoing()},
                    content=content,
                    extensions={"trace": observe},
                )
                response = await client.send(request, stream=True)
                try:
                    body = await _read_capped(response)
                finally:
                    await response.aclose()
                status, received = response.status_code, dict(response.headers)
        except TimeoutError:
            error = "deadline"
        except _TooLate:
            error = TOO_LATE
        except _BodyTooLarge:
            error = "answer-too-large"
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError) as failure:
            error = BAD_CERTIFICATE if _is_of_a_certificate(failure) else type(failure).__name__
            left = left or isinstance(failure, _AFTER_SENDING)
        elapsed = int((time.monotonic() - started) * 1000)
        return Exchange(status, body, received, sent=left, error=error, duration_ms=elapsed, reached=reached)

    async def close(self) -> None:
        await self._fresh.aclose()
        await self._reusing.aclose()
        await self._names.close()


class _BodyTooLarge(Exception):
    pass


class _TooLate(Exception):
    pass


_AFTER_SENDING = (
    httpx.WriteError,
    httpx.WriteTimeout,
    httpx.ReadError,
    httpx.ReadTimeout,
    httpx.RemoteProtocolError,
)


def _is_of_a_certificate(failure: BaseException | None) -> bool:
    """Whether whoever answered could not prove to be who was called."""
    while failure is not None and not isinstance(failure, ssl.SSLCertVerificationError):
        failure = failure.__cause__ or failure.__context__
    return failure is not None


async def _read_capped(response: httpx.Response) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in response.aiter_raw():
        size += len(part)
        if size > RESPONSE_CAP:
            raise _BodyTooLarge
        parts.append(part)
    return b"".join(parts)


@cache
def trusted() -> ssl.SSLContext:
    """The certificates that this machine trusts. To read them takes long, and once is enough."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _client(timeout: httpx.Timeout, backend: _Pinned, concurrency: int, *, keepalive: int) -> httpx.AsyncClient:
    context = trusted()
    transport = httpx.AsyncHTTPTransport(verify=context, trust_env=False, http2=False, retries=0)
    # httpx has no parameter for the network backend; its transport's pool is the documented httpcore class.
    transport._pool = httpcore.AsyncConnectionPool(  # noqa: SLF001
        ssl_context=context,
        max_connections=concurrency,
        max_keepalive_connections=keepalive,
        keepalive_expiry=4.0,
        http1=True,
        http2=False,
        retries=0,
        network_backend=backend,
    )
    return httpx.AsyncClient(
        transport=transport,
        timeout=timeout,
        trust_env=False,
        follow_redirects=False,
        headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "chain-orders"},
    )
