"""The service as a process of its own, so that it can be killed as a machine kills it; also a sabotaged one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from chain_orders.database import Database
from chain_orders.embedded.machine import is_free
from chain_orders.operators import access

from ..builders import KEYS, Marketplace, calling
from . import nursery

QUICK = {
    "CHAIN_ORDERS_DRAIN_SECONDS": "0",
    "CHAIN_ORDERS_POLL_SECONDS": "0.25",
    "CHAIN_ORDERS_SWEEP_SECONDS": "0.5",
    "CHAIN_ORDERS_EXCHANGE_SECONDS": "1.5",
    "CHAIN_ORDERS_LEASE_SECONDS": "2.5",
    "CHAIN_ORDERS_VERIFY_AT": "0.05,0.2,0.4",
    "CHAIN_ORDERS_RETRY_SCHEDULE": ",".join(["0.2"] * 40),
}

_WAITS = {"22", "232", "281", "441"}  # epoll_pwait of ARM; epoll_wait, epoll_pwait and epoll_pwait2 of x86-64


def free_port() -> int:
    """A port for a process that is yet to start. No outgoing connection takes it meanwhile: those get higher ones."""
    while not is_free(port := random.randrange(20_000, 32_000)):
        pass
    return port


@dataclass(slots=True)
class ServiceProcess:
    """`chain-orders serve`, or the same with the sabotage of that name."""

    database_url: str
    port: int
    sabotage: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    command: str = "serve"
    options: Sequence[str] = ()
    _process: nursery.Forked | None = None
    _log: Path = field(default_factory=lambda: Path(tempfile.mkstemp(suffix=".log")[1]))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self, *, wait: bool = True) -> None:
        options = ["--port", str(self.port)] if self.command == "serve" else []
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("CHAIN_ORDERS_")},
            "CHAIN_ORDERS_ENVIRONMENT": "development",
            "CHAIN_ORDERS_DATABASE_URL": self.database_url,
            "CHAIN_ORDERS_PUBLIC_URL": self.url,
            "CHAIN_ORDERS_CALLBACK_KEYS": KEYS,
            "CHAIN_ORDERS_CREDENTIAL_KEYS": KEYS,
            **QUICK,
            **self.settings,
        }
        arguments = [self.command, *options, *self.options]
        self._process = nursery.start(arguments, self.sabotage, environment, self._log)
        if wait and self.command == "serve":
            await self.ready()

    async def ready(self) -> None:
        async with calling() as client:
            for _ in range(600):
                if not self.running:
                    raise AssertionError(f"the service ended: {self.log[-2000:]}")
                with contextlib.suppress(httpx.TransportError):
                    if (await client.get(f"{self.url}/readyz")).status_code == 200:
                        return
                await asyncio.sleep(0.05)
        raise AssertionError(f"the service is not ready: {self.log[-2000:]}")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def frozen(self) -> bool:
        return self.running and Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    async def freeze(self) -> None:
        """Stop the process where it waits for something: between two steps, and never in the middle of one.

        What lies between the last look at the lease and the first byte is a gap that the documentation names.
        """
        while True:
            os.kill(self.pid, signal.SIGSTOP)
            await asyncio.sleep(0.01)
            if self.frozen and self._waits():
                return
            self.thaw()
            await asyncio.sleep(0.005)

    def _waits(self) -> bool:
        """Whether it was stopped in a call that waits for events, and not in one that only looks for them."""
        call, *arguments = Path(f"/proc/{self.pid}/syscall").read_text().split()
        return call in _WAITS and int(arguments[3], 16) != 0

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """What a power cut does to the process."""
        self._end(signal.SIGKILL)

    def ask_to_stop(self) -> None:
        """Send SIGTERM, and wait for nothing."""
        os.kill(self.pid, signal.SIGTERM)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.end(how)

    @property
    def exit_code(self) -> int | None:
        """How the process ended; None while it runs."""
        return None if self._process is None else self._process.poll()

    def forget(self) -> None:
        """Remove the log."""
        self._log.unlink(missing_ok=True)

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")


@contextlib.asynccontextmanager
async def served(
    database: Database,
    sabotage: str | None = None,
    *,
    options: Sequence[str] = (),
    at_once: int = 50,
    **settings: str,
) -> AsyncIterator[tuple[ServiceProcess, Marketplace]]:
    """A service process, and the operator who uses it, by so many connections."""
    process = ServiceProcess(database.url, free_port(), sabotage, settings, options=options)
    async with database.transaction() as session:
        key = await access.create_key(session, f"faults-{process.port}", "admin")
    with gone_in_the_end(process):
        await process.start()
        headers = {"Authorization": f"Bearer {key}"}
        limits = httpx.Limits(max_connections=at_once)
        async with calling(process.url, headers=headers, timeout=30, limits=limits) as client:
            yield process, Marketplace(process.url, client, database)


@contextlib.contextmanager
def gone_in_the_end(*processes: ServiceProcess) -> Iterator[None]:
    """Nothing of these is left afterwards."""
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.forget()
