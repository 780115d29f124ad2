"""Processes of the service that start at once: each is forked from one that has already imported everything.

Importing takes seconds, of which a test that kills often would spend most. What is forked from has run nothing: it has
no loop, no thread and no connection. `python -m tests.faults.nursery` is told to start, or asked how one ended, in a
line each, and answers in one. Whatever it has started ends with it.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

CHECKOUT = Path(__file__).parents[2]


@dataclass(slots=True)
class Forked:
    """A process that was started."""

    pid: int
    exit_code: int | None = None

    def poll(self) -> int | None:
        """How it ended; None while it runs."""
        if self.exit_code is None:
            self.exit_code = _told({"poll": self.pid})["exitCode"]
        return self.exit_code

    def end(self, how: signal.Signals, patience: float = 40) -> None:
        """Send a signal, and wait until it has ended."""
        if self.poll() is None:
            os.kill(self.pid, how)
        self.wait(patience)

    def wait(self, patience: float) -> None:
        deadline = time.monotonic() + patience
        while self.poll() is None:
            assert time.monotonic() < deadline, f"process {self.pid} does not end"
            time.sleep(0.01)


class Ended(NamedTuple):
    """How a command ended, what it printed, and what it complained of."""

    code: int | None
    out: str
    complaint: str


def start(
    arguments: Sequence[str], sabotage: str | None, environment: Mapping[str, str], log: Path, out: Path | None = None
) -> Forked:
    """Start `chain-orders` with these arguments, broken or not. Without `out` all that it says is in `log`."""
    wanted = {"arguments": [*arguments], "sabotage": sabotage, "environment": {**environment}}
    return Forked(_told({**wanted, "log": str(log), "out": str(out or log)})["pid"])


def run(*arguments: str, **settings: str) -> Ended:
    """Run a command to its end, with this process's environment and these variables."""
    with tempfile.TemporaryDirectory() as folder:
        out, log = Path(folder) / "out", Path(folder) / "log"
        running = start(arguments, None, {**os.environ, **settings}, log, out)
        running.wait(60)
        return Ended(running.exit_code, out.read_text(), log.read_text())


def _told(asked: dict[str, Any]) -> Any:
    nursery = _nursery()
    assert nursery.stdin is not None
    assert nursery.stdout is not None
    nursery.stdin.write(json.dumps(asked).encode() + b"\n")
    nursery.stdin.flush()
    return json.loads(nursery.stdout.readline())


@cache
def _nursery() -> subprocess.Popen[bytes]:
    nursery = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.nursery"], cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    atexit.register(nursery.communicate)  # it ends when nobody can tell it anything any more
    return nursery


# In the process that is forked from.


def main() -> None:
    for name in ("asyncpg", "httptools", "uvloop", "tests.faults.failpoints"):
        importlib.import_module(name)
    gc.freeze()  # what is shared stays shared
    living: set[int] = set()
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        if "poll" in asked:
            answer: dict[str, Any] = {"exitCode": _ended(asked["poll"], living)}
        elif pid := os.fork():
            living.add(pid)
            answer = {"pid": pid}
        else:
            _become(asked)
            return
        print(json.dumps(answer), flush=True)
    for pid in living:
        os.kill(pid, signal.SIGKILL)


def _ended(pid: int, living: set[int]) -> int | None:
    ended, status = os.waitpid(pid, os.WNOHANG)
    if not ended:
        return None
    living.discard(pid)
    return os.waitstatus_to_exitcode(status)


def _become(asked: dict[str, Any]) -> None:
    """Be what was asked for, until it ends."""
    log, out = Path(asked["log"]), Path(asked["out"])
    with log.open("ab") as complained, out.open("ab") as said, Path(os.devnull).open("rb") as nothing:
        for number, file in enumerate((nothing, said, complained)):
            os.dup2(file.fileno(), number)
    os.environ.clear()
    os.environ.update(asked["environment"])
    sabotage = importlib.import_module("tests.faults.sabotage")
    with contextlib.suppress(KeyboardInterrupt):
        sabotage.become(asked["sabotage"], asked["arguments"])


if __name__ == "__main__":
    main()
