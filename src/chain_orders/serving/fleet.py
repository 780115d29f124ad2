"""Several complete service processes on one listening socket, and the parent that watches them.

The parent holds the socket, so that a connection is never refused while a child is replaced: one that dies is started
again, SIGHUP replaces them one after the other, SIGTERM lets all of them drain. A child is this very command again,
with the socket handed to it; it is told of its parent's death and then stops as if it had been asked to.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field

from .. import logs
from ..parts import Refused
from . import SOCKET

log = logs.get("fleet")

_LIVES = 5.0  # seconds after which a child has started, and not failed to
_LOOK = 0.2
_PARENT_DEATH = 1  # PR_SET_PDEATHSIG


@dataclass(slots=True)
class _Child:
    process: subprocess.Popen[bytes]
    since: float = field(default_factory=time.monotonic)

    @property
    def has_run(self) -> bool:
        return time.monotonic() - self.since > _LIVES


class Fleet:
    def __init__(self, listening: socket.socket, size: int, *, stops_within: float) -> None:
        self._listening, self._size, self._stops_within = listening, size, stops_within
        self._children: list[_Child] = []
        self._stop = self._replace = False

    def run(self) -> None:
        """Keep the children alive until SIGTERM or SIGINT. Raises Refused when they do not start."""
        for how in (signal.SIGTERM, signal.SIGINT):
            signal.signal(how, self._asked_to_stop)
        signal.signal(signal.SIGHUP, self._asked_to_replace)
        try:
            self._children = [self._start() for _ in range(self._size)]
            while not self._stop:
                time.sleep(_LOOK)
                self._tend()
        finally:
            self._end(self._children)

    def _asked_to_stop(self, *_: object) -> None:
        self._stop = True

    def _asked_to_replace(self, *_: object) -> None:
        self._replace = True

    def _start(self) -> _Child:
        number = self._listening.fileno()
        handed = f"{number}:{os.getpid()}"
        started = subprocess.Popen(  # noqa: S603  (this command again)
            [sys.executable, *sys.orig_argv[1:], SOCKET, handed], pass_fds=[number], start_new_session=True
        )
        log.info("child-started", pid=started.pid)
        return _Child(started)

    def _tend(self) -> None:
        """Start again what has ended; replace all when asked to, one after the other."""
        for at, child in enumerate(self._children):
            if child.process.poll() is None:
                continue
            log.error("child-ended", pid=child.process.pid, status=child.process.returncode)
            if child.process.returncode > 0 and not child.has_run:
                raise Refused("a process of the service ended as soon as it was started; the log above says why")
            self._children[at] = self._start()
        if self._replace:
            self._replace = False
            self._replace_all()

    def _replace_all(self) -> None:
        """The new one runs before the old one is asked to stop: what does not start, replaces nothing."""
        for at, child in enumerate(self._children):
            new = self._start()
            while not (self._stop or new.has_run or new.process.poll() is not None):
                time.sleep(_LOOK)
            if self._stop or not new.has_run:
                log.error("child-not-replaced", pid=child.process.pid)
                self._end([new])
                return
            self._children[at] = new
            self._end([child])

    def _end(self, children: list[_Child]) -> None:
        """Let them drain, and kill what does not end in time."""
        for child in children:
            child.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + self._stops_within
        for child in children:
            try:
                child.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.error("child-killed", pid=child.process.pid)
                child.process.kill()
                child.process.wait()


def adopt(handed: str) -> socket.socket:
    """In a child: the socket that it was handed. From here on it is told when the parent is no more."""
    number, _, parent = handed.partition(":")
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PARENT_DEATH, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != int(parent):
        raise Refused("the parent process has ended")
    return socket.socket(fileno=int(number))
