"""Serve an application from several processes on one listening socket, with the settings that the service has.

`python -m benchmarks.serving FD echo` serves a handler of `benchmarks.handlers`; `… FD service` the real service.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Iterator

import uvicorn

from chain_orders import logs
from chain_orders.serving import server
from chain_orders.settings import Settings
from chain_orders.simulator.server import listen

from .common import process


@contextlib.contextmanager
def served(name: str, environment: dict[str, str], processes: int = 2) -> Iterator[int]:
    """The port that the processes answer on. They may take some seconds to do so."""
    with contextlib.closing(listen("127.0.0.1", 0)) as listening, contextlib.ExitStack() as stack:
        number = listening.fileno()
        for _ in range(processes):
            command = ("-m", "benchmarks.serving", str(number), name)
            stack.enter_context(process(*command, environment=environment, pass_fds=[number]))
        port: int = listening.getsockname()[1]
        yield port


def main() -> None:
    listening, name = socket.socket(fileno=int(sys.argv[1])), sys.argv[2]
    if name == "service":
        settings = Settings()
        logs.configure(settings.log_format)
        server.serve(settings, listening, worker=False)
        return
    config = uvicorn.Config(
        f"benchmarks.handlers:{name}", http="httptools", loop="uvloop", access_log=False, log_config=None,
        server_header=False, proxy_headers=False, timeout_keep_alive=75,
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
