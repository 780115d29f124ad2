"""What a page shows: its shell blocks, and the output block that follows each. For `test_docs`.

Two outputs are compared by their shape: JSON by its names and by the words that do not change from run to run, text
with its moments, keys, numbers and addresses made alike.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Words under these names are part of the shape.
_FIXED = frozenset({"status", "turn", "type", "code", "orderId"})
_ALIKE = (
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)?"), "MOMENT"),
    (re.compile(r"co_[\w-]{20,}"), "KEY"),
    (re.compile(r"127\.0\.0\.1:\d+"), "HOST"),
    (re.compile(r"^data \S+   PostgreSQL in \S+"), "data FOLDER   PostgreSQL in FOLDER"),
    (re.compile(r"version=\S+"), "version=VERSION"),
    (re.compile(r" +$"), ""),
)


@dataclass(frozen=True, slots=True)
class Shown:
    """A shell block, and what the page says that it prints."""

    commands: str
    output: str


def shown(page: str) -> list[Shown]:
    """The shell blocks of a page in order; one without an output block prints nothing."""
    blocks = _BLOCK.findall(page)
    following = [*blocks[1:], ("", "")]
    return [
        Shown(text, after if kind == "text" else "")
        for (language, text), (kind, after) in zip(blocks, following, strict=True)
        if language == "sh"
    ]


def alike(output: str) -> list[str]:
    """The lines of an output, without what differs from run to run."""
    return [_line(line) for line in output.strip("\n").splitlines()]


def _line(line: str) -> str:
    """A line as text, or, where a name and JSON stand in it, the name and the JSON's shape."""
    name, _, value = line.partition(" ")
    try:
        return f"{name} {json.dumps(shape(json.loads(value), name))}"
    except ValueError:
        for pattern, instead in _ALIKE:
            line = pattern.sub(instead, line)
        return line


def shape(value: Any, name: str = "") -> Any:
    """Names and kinds of a JSON value, and the values of the names that are fixed. JSON inside a text is opened."""
    match value:
        case dict():
            return {inner: shape(value[inner], inner) for inner in sorted(value)}
        case list():
            return [shape(inner, name) for inner in value]
        case _ if name in _FIXED:
            return value
        case str() if value.startswith("{"):
            return shape(json.loads(value))
        case _:
            return type(value).__name__
