"""Logs that cannot leak: only allowed fields and never an exception's message, as written to stderr."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any, Literal, Protocol

import pytest
import structlog

from chain_orders import logs

SECRET = "s3cret-invented"
STYLES = ("json", "console")


class Written(Protocol):
    def __call__(self, act: Callable[[Any], None], style: Literal["json", "console"] = "json") -> str: ...


@pytest.fixture
def written(capsys: pytest.CaptureFixture[str]) -> Iterator[Written]:
    """Configure the logs as the service does and let `act` use a logger; what came to stderr."""
    before = structlog.get_config()

    def write(act: Callable[[Any], None], style: Literal["json", "console"] = "json") -> str:
        logs.configure(style)
        act(logs.get("worker"))
        return capsys.readouterr().err

    yield write
    structlog.configure(**before)


def only_line(text: str) -> dict[str, Any]:
    (line,) = text.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def fail() -> None:
    raise ValueError(SECRET)


def failure() -> ValueError:
    try:
        fail()
    except ValueError as error:
        return error
    raise AssertionError


def test_an_event_is_one_line_with_its_allowed_fields(written: Written) -> None:
    text = written(lambda log: log.info("delivery.attempted", order_id="o-1", status=200, duration_ms=7))

    line = only_line(text)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "delivery.attempted",
        "level": "info",
        "component": "worker",
        "order_id": "o-1",
        "status": 200,
        "duration_ms": 7,
    }


CONTENT = [
    "body", "headers", "path", "url", "query", "email", "document", "name", "address", "phone", "receipt", "app_key",
    "app_token", "token", "password", "ref", "mac", "placement", "response", "request", "exc_text", "stack_info",
    "args", "Reason",
]  # fmt: skip


def test_a_field_that_is_not_allowed_is_not_written(written: Written) -> None:
    text = written(lambda log: log.warning("delivery.attempted", kind="place", **dict.fromkeys(CONTENT, SECRET)))

    assert set(only_line(text)) == {"event", "level", "timestamp", "component", "kind"}


@pytest.mark.parametrize("style", STYLES)
def test_no_style_writes_what_is_not_allowed(written: Written, style: Any) -> None:
    text = written(lambda log: log.bind(token=SECRET).error("lane.stopped", lane="seller:acme", body=SECRET), style)

    assert "lane.stopped" in text
    assert "seller:acme" in text
    assert SECRET not in text


def test_nothing_allowed_has_a_place_for_content() -> None:
    assert logs.ALLOWED.isdisjoint(CONTENT)


def test_a_line_break_in_a_field_stays_in_its_line(written: Written) -> None:
    text = written(lambda log: log.info("delivery.attempted", reason='a\nb\r{"event":"forged"}'))

    assert only_line(text)["reason"] == 'a\nb\r{"event":"forged"}'


def test_an_exception_is_told_by_kind_and_place(written: Written) -> None:
    def act(log: Any) -> None:
        try:
            fail()
        except ValueError:
            log.exception("loop.failed")

    text = written(act)

    assert only_line(text)["exception"].startswith("builtins.ValueError at fail:")
    assert SECRET not in text
    assert "Traceback" not in text


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(
    "given", [lambda error: error, lambda error: (type(error), error, error.__traceback__)], ids=["error", "triple"]
)
def test_an_exceptions_message_is_never_written(
    written: Written, style: Any, given: Callable[[BaseException], Any]
) -> None:
    text = written(lambda log: log.error("loop.failed", exc_info=given(failure())), style)

    assert "builtins.ValueError at fail:" in text
    assert SECRET not in text


def test_an_exception_that_was_never_raised_has_no_place(written: Written) -> None:
    text = written(lambda log: log.error("loop.failed", exc_info=KeyError(SECRET)))

    assert only_line(text)["exception"] == "builtins.KeyError"


@pytest.mark.parametrize("nothing", [None, False, True])
def test_without_an_exception_none_is_told(written: Written, nothing: Any) -> None:
    text = written(lambda log: log.error("loop.failed", exc_info=nothing))

    assert "exception" not in only_line(text)


def record(message: str, error: BaseException | None, *args: Any) -> logging.LogRecord:
    triple = (type(error), error, error.__traceback__) if error else None
    return logging.LogRecord("library.part", logging.ERROR, __file__, 1, message, args, triple)


def test_a_librarys_line_with_an_exception_is_told_by_kind_and_place() -> None:
    told = logs.LibraryFormatter().format(record("it failed\nfuture: <Task exception=%r>", failure(), SECRET))

    assert told.startswith("ERROR library.part it failed (builtins.ValueError at fail:")
    assert SECRET not in told
    assert "\n" not in told


def test_a_librarys_line_without_an_exception_is_kept() -> None:
    assert logs.LibraryFormatter().format(record("started on port %d", None, 8000)) == (
        "ERROR library.part started on port 8000"
    )


@pytest.mark.parametrize("name", ["httpx", "httpcore", "uvicorn.access"])
def test_libraries_that_print_addresses_are_held_back(written: Written, name: str) -> None:
    text = written(lambda _: logging.getLogger(name).info("GET https://cb.harbor.example/cb/k1/%s", SECRET))

    assert not logging.getLogger(name).isEnabledFor(logging.INFO)
    assert SECRET not in text
