"""Serving over HTTP: a guarded connection, one process that drains before it stops, and several on one socket."""

SOCKET = "--socket"
"""The hidden option by which a child is handed the listening socket."""
