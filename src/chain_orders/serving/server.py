"""One process that serves: it listens, answers, and when it is asked to stop it drains first.

Draining: `/readyz` turns, every answer closes its connection, and for a while new connections are still taken, so that
a balancer has time to notice; only then the listening ends, and what has arrived is answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import signal
import socket
from typing import NoReturn

import uvicorn

from ..app import Surface, create_app, drain
from ..parts import Refused
from ..settings import Settings
from .connection import REQUESTS, Connection

_COLLECTED_AFTER = 20_000  # more objects made than gone
BACKLOG = REQUESTS
"""Connections that wait to be let in: as many as requests may be under way. A caller who finds no room is told nothing,
and tries again a second later."""
ANSWERED_WITHIN_SECONDS = 25
"""How long what has arrived may take once the listening has ended."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises Refused, naming the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as refused:
        listening.close()
        told = "is taken" if refused.errno == errno.EADDRINUSE else f"cannot be used ({refused.strerror})"
        raise Refused(f"port {port} on {host} {told}") from None
    return listening


def serve(settings: Settings, listening: socket.socket, *, worker: bool, surface: Surface = "all") -> None:
    """Serve on the socket until SIGTERM or SIGINT. Raises Refused when it cannot, or when a loop ended by itself."""
    application = create_app(settings, worker=worker, surface=surface)
    spare_the_collector()
    server = _Draining(config(application), settings.drain_seconds)
    # Once it has stopped, uvicorn raises the signal that stopped it again; to be asked to stop is no failure.
    signal.signal(signal.SIGTERM, _interrupt)
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listening])
        if not server.started:
            raise Refused("the service did not start; the log above says why")
    if failures := application.state.failures:
        raise Refused(f"a part of the service ended by itself ({', '.join(failures)}); the log above says why")


def spare_the_collector() -> None:
    """Keep Python's collector from looking again and again at what stays for good, and at the few objects of a
    request or a batch, which go by themselves. Call it once all is loaded."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECTED_AFTER)


def config(application: object) -> uvicorn.Config:
    """How uvicorn serves the application."""
    return uvicorn.Config(
        application,  # type: ignore[arg-type]  # an ASGI application, whatever uvicorn's stubs call it
        http=Connection,
        loop="uvloop",
        ws="none",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_config=None,
        timeout_keep_alive=75,
        backlog=BACKLOG,
        timeout_graceful_shutdown=ANSWERED_WITHIN_SECONDS,
    )


class _Draining(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, drain_seconds: float) -> None:
        super().__init__(config)
        self._drain_seconds = drain_seconds

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        drain(self.config.loaded_app)
        waited = 0.0
        while waited < self._drain_seconds and not self.force_exit:
            await asyncio.sleep(0.1)
            waited += 0.1
        await super().shutdown(sockets)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt
