"""A small TCP load balancer: round robin among the replicas that say they are ready.

The next one is tried where a replica does not take the connection. A connection stays with its replica.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from itertools import count


class Balancer:
    """With `look_every` it asks each replica that often whether it is ready; else it believes that all are."""

    def __init__(self, ports: Sequence[int], look_every: float | None = None) -> None:
        self._ports = list(ports)
        self._ready = set(ports)
        self._look_every = look_every
        self._turn = count()
        self._open: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[int]:
        """Balance while the block runs; the port."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        looking = asyncio.create_task(self._look())
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            looking.cancel()
            for task in self._open:
                task.cancel()
            await asyncio.gather(*self._open, return_exceptions=True)

    async def _look(self) -> None:
        while self._look_every is not None:
            for port in self._ports:
                if await says_ready(port):
                    self._ready.add(port)
                else:
                    self._ready.discard(port)
            await asyncio.sleep(self._look_every)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._join(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        start = next(self._turn)
        ports = [port for port in self._ports if port in self._ready] or self._ports
        for offset in range(len(ports)):
            port = ports[(start + offset) % len(ports)]
            with contextlib.suppress(OSError):
                behind, there = await asyncio.open_connection("127.0.0.1", port)
                try:
                    await _both(_copy(reader, there), _copy(behind, writer))
                finally:
                    there.close()
                    writer.close()
                return
        writer.close()


async def says_ready(port: int) -> bool:
    try:
        async with asyncio.timeout(1):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.closing(writer):
                writer.write(b"GET /readyz HTTP/1.1\r\nHost: replica\r\nConnection: close\r\n\r\n")
                status = await reader.readline()
    except (OSError, TimeoutError):
        return False
    return status.startswith(b"HTTP/1.1 200")


async def _both(*copies: object) -> None:
    """Until either side ends."""
    tasks = [asyncio.ensure_future(copy) for copy in copies]  # type: ignore[call-overload]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while part := await reader.read(65536):
            writer.write(part)
            await writer.drain()
