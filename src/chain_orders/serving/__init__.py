"""Serving over HTTP: a guarded connection, one process that drains before it stops, and several on one socket."""
