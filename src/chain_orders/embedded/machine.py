"""The machine's processes and ports, as a cluster needs to know them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path


def processes() -> Iterator[tuple[int, str]]:
    """Number and command line of every process that tells; the dead that nobody has waited for have none."""
    proc = Path("/proc/self/cmdline")
    if not proc.exists():
        said = subprocess.run(["ps", "-axwwo", "pid=,command="], capture_output=True, text=True, check=False)  # noqa: S607
        for line in said.stdout.splitlines():
            pid, _, command = line.strip().partition(" ")
            yield int(pid), f"{command} "
        return
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                yield int(entry.name), command


def send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def wait(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def last_line(said: str) -> str:
    """The complaint in a program's output: its last error line, else its last line."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if "FATAL" in line or "PANIC" in line or "rror:" in line]
    return (errors or lines or ["it said nothing"])[-1]
