"""Running the simulated seller: as a process of its own, or inside a test's event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .app import create_app


class HangingUp(HttpToolsProtocol):
    """uvicorn's protocol, which also hands the application its transport, so that it can close it unanswered."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {"transport": {"abort": self.transport.abort}}


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises OSError when the port is taken."""
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(256)
    except OSError:
        listening.close()
        raise
    return listening


def _server(app: FastAPI) -> uvicorn.Server:
    config = uvicorn.Config(
        app,
        http=HangingUp,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,  # longer than a caller rests: a connection that closes under a request fails it
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config)


def serve(host: str, port: int, book_path: Path | None = None, **options: Any) -> None:
    """Serve until SIGINT or SIGTERM. Exits with one line when the port is taken."""
    try:
        listening = listen(host, port)
    except OSError:
        raise SystemExit(f"port {port} on {host} is taken") from None
    print(f"simulated seller on http://{host}:{listening.getsockname()[1]}", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        _server(create_app(book_path=book_path, **options)).run(sockets=[listening])


@contextlib.asynccontextmanager
async def running(app: FastAPI, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serve inside the running loop; the URL."""
    listening = listen(host, port)
    server = _server(app)
    task = asyncio.create_task(server._serve([listening]))
    while not server.started:
        await asyncio.sleep(0.01)
        if task.done():
            task.result()
    try:
        yield f"http://{host}:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        listening.close()
