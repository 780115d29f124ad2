"""What the commands print: tables that fit the terminal for people, JSON for scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]

_PIPED_WIDTH = 200
_STYLES = {
    "rejected": "red", "dead": "red", "cancelled": "dim", "placement-unknown": "yellow", "cancel-requested": "yellow",
    "invoiced": "green", "delivered": "green", "operator": "bold yellow", "unknown": "yellow",
}  # fmt: skip


def out() -> Console:
    """The terminal; a pipe gets room enough, so that nothing is cut off."""
    return Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH, highlight=False, soft_wrap=False)


def note(told: str) -> None:
    """Say something beside the output."""
    print(told, file=sys.stderr)


def as_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def line(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, separators=(",", ":")), flush=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Columns named `>x` hold numbers. What does not fit is cut with an ellipsis, the first column last."""
    shown = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for at, column in enumerate(columns):
        right = column.startswith(">")
        shown.add_column(
            column.removeprefix(">"),
            justify="right" if right else "left",
            overflow="ellipsis",
            no_wrap=True,
            ratio=None,
            min_width=8 if at == 0 else None,
        )
    for row in rows:
        shown.add_row(*(_cell(value) for value in row))
    out().print(shown)


def facts(pairs: Mapping[str, Any]) -> None:
    """Names and values, one a line."""
    shown = Table(box=None, pad_edge=False, show_header=False)
    shown.add_column(style="dim", no_wrap=True)
    shown.add_column(overflow="fold")
    for name, value in pairs.items():
        if value not in (None, "", []):
            shown.add_row(name, _cell(value))
    out().print(shown)


def money(cents: int | None) -> str:
    return "" if cents is None else f"{cents // 100:,}.{cents % 100:02d}"


def when(moment: str | None) -> str:
    return (moment or "")[:19].replace("T", " ")


def _cell(value: Any) -> Text:
    written = "" if value is None else str(value)
    return Text(_plain(written), style=_STYLES.get(written, ""))


def _plain(written: str) -> str:
    """Without control characters: what a seller wrote must not steer a terminal."""
    return "".join(character if character.isprintable() else "·" for character in written)
