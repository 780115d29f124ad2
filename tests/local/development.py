"""`chain-orders dev` as a process of its own, with everything that belongs to it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from chain_orders.embedded import Cluster

from ..builders import order
from ..faults.process import free_port

LAST_LINE = "Ctrl-C stops everything and keeps the data."


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs; the dead that nobody has waited for do not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def is_listened_on(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@dataclass(slots=True)
class Development:
    """One data folder and two ports, on which `dev` can be started again and again."""

    folder: Path
    port: int = field(default_factory=free_port)
    seller_port: int = field(default_factory=free_port)
    settings: dict[str, str] = field(default_factory=dict)
    family: list[psutil.Process] = field(default_factory=list)
    known: dict[str, Any] = field(default_factory=dict)
    """Every process of the last start, down to PostgreSQL's."""
    _process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def said(self) -> str:
        return (self.folder / "out").read_text()

    @property
    def complaint(self) -> str:
        return (self.folder / "err").read_text()

    @property
    def described(self) -> dict[str, Any]:
        """What dev.json says, or said while it ran: it is gone once it has ended."""
        with contextlib.suppress(FileNotFoundError):
            self.known = json.loads((self.data / "dev.json").read_text())
        return self.known

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def launch(self) -> None:
        """Start it, and do not wait for anything."""
        ports = ["--port", str(self.port), "--seller-port", str(self.seller_port)]
        with (self.folder / "out").open("wb") as out, (self.folder / "err").open("wb") as err:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "chain_orders", "dev", "--data", str(self.data), *ports],
                env={**os.environ, **self.settings},
                stdout=out,
                stderr=err,
            )

    def start(self) -> Development:
        """Start it, and wait until its banner is printed."""
        self.launch()
        deadline = time.monotonic() + 40
        while LAST_LINE not in self.said:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"dev did not start: {self.complaint[-2000:]}")
            time.sleep(0.05)
        dev = psutil.Process(self.process.pid)
        self.family = [dev, *dev.children(recursive=True)]
        self.known = self.described
        return self

    def end(self, how: signal.Signals = signal.SIGINT) -> int:
        """Send a signal and wait for the end; the exit code."""
        self.process.send_signal(how)
        return self.process.wait(40)

    def alive(self) -> list[psutil.Process]:
        return [process for process in self.family if is_alive(process)]

    def answers(self) -> list[int]:
        """Which of its ports somebody still listens on."""
        database = int(self.described["databaseUrl"].rpartition(":")[2].partition("/")[0])
        return [port for port in (self.port, self.seller_port, database) if is_listened_on(port)]

    def client(self) -> httpx.Client:
        found = self.described
        headers = {"Authorization": f"Bearer {found['apiKey']}"}
        return httpx.Client(base_url=found["apiUrl"], headers=headers, trust_env=False, timeout=20)

    def place(self) -> dict[str, Any]:
        """Place an order at the simulated seller; the answer, once the seller has it."""
        with self.client() as client:
            path = f"/v1/sellers/{self.described['sellerId']}/orders"
            answer = client.post(path, json=order(), headers={"Prefer": "wait=10"})
        assert answer.status_code == 201, answer.text
        placed: dict[str, Any] = answer.json()
        return placed

    def clear(self) -> None:
        """End what a failed test left, and delete the cluster."""
        if self.is_running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.end()
            self.process.kill()
            self.process.wait()
        for process in self.alive():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        Cluster(self.data).remove()
