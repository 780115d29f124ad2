"""Why a local PostgreSQL cannot be had: each message is one line for a person."""

from __future__ import annotations

from ..errors import Stopped


class EmbeddedError(Stopped):
    """A local PostgreSQL cannot be had; the message is one line for a person."""


class EmbeddedUnavailable(EmbeddedError):
    """The wheel with the binaries is not installed."""


class FolderUnreachable(EmbeddedError):
    """The folder, or the cluster in it, belongs to somebody else."""


class AlreadyRunning(EmbeddedError):
    """Another process runs a cluster on this folder."""


class PortTaken(EmbeddedError):
    """Somebody listens on the port that was asked for."""


class StartFailed(EmbeddedError):
    """PostgreSQL could not make or open the cluster; the message ends with its own words."""
