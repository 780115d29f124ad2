"""Structured logs that cannot leak.

An event is a constant name with fields from `ALLOWED`; any other field is dropped before it is written. Bodies,
names, addresses, credentials and callback paths have no field here, so they have no way into a log.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any, Literal

import structlog

ALLOWED = frozenset(
    {
        "event", "level", "timestamp", "component", "exception", "error", "reason", "code", "count", "status", "method",
        "route", "surface", "host", "port", "pid", "duration_ms", "order_id", "seller_id", "delivery_id",
        "notification_id", "kind", "lane", "attempt", "phase", "outcome", "verdict", "worker", "channel", "kid",
        "topic", "version", "budget_seconds", "passing", "request_id",
    }
)  # fmt: skip


def _only_allowed(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for field in [name for name in event if name not in ALLOWED]:
        del event[field]
    return event


def _exception_type(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Keep the kind and place of an exception, never its message: drivers quote values in theirs."""
    found = event.pop("exc_info", None)
    error = sys.exc_info()[1] if found is True else found[1] if isinstance(found, tuple) else found
    if isinstance(error, BaseException):
        event["exception"] = _kind_and_place(error)
    return event


def _kind_and_place(error: BaseException) -> str:
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = f" at {place.tb_frame.f_code.co_qualname}:{place.tb_lineno}" if place else ""
    return f"{type(error).__module__}.{type(error).__qualname__}{where}"


class LibraryFormatter(logging.Formatter):
    """Lines of libraries. With an exception only the first is kept: the rest may quote its message."""

    def __init__(self, style: Literal["json", "console"] = "console") -> None:
        super().__init__()
        self._as_json = style == "json"

    def format(self, record: logging.LogRecord) -> str:
        line = self._line(record)
        if not self._as_json:
            return line
        at = datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z")
        told = {"event": "library", "level": record.levelname.lower(), "timestamp": at, "reason": line}
        return json.dumps({"component": record.name, **told})

    @staticmethod
    def _line(record: logging.LogRecord) -> str:
        first = f"{record.levelname} {record.name} " + record.getMessage().partition("\n")[0]
        error = record.exc_info[1] if record.exc_info else None
        return f"{first} ({_kind_and_place(error)})" if error is not None else first


def configure(style: Literal["json", "console"] = "json") -> None:
    """Set up logging for the process; libraries that print addresses are held at WARNING."""
    for name in ("httpx", "httpcore", "uvicorn", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LibraryFormatter(style))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    renderer: Any = (
        structlog.processors.JSONRenderer() if style == "json" else structlog.dev.ConsoleRenderer(colors=False)
    )
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _exception_type,
            _only_allowed,
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def get(name: str) -> Any:
    """A logger whose events carry `component=name`. (structlog's own type is a lazy proxy, hence `Any`.)"""
    return structlog.get_logger(component=name)
