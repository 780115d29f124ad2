"""What the commands print: tables that fit the terminal for people, JSON for scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]

_PIPED_WIDTH = 200
_LEAST_TEXT = 12
_GAP = 3
_UNITS = (("d", 86_400), ("h", 3600), ("min", 60))
_STYLES = {
    "rejected": "red", "dead": "red", "cancelled": "dim", "placement-unknown": "yellow", "cancel-requested": "yellow",
    "invoiced": "green", "delivered": "green", "operator": "bold yellow", "unknown": "yellow", "conflict": "red",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its title and what it reads of an item.

    Where there is no room, the column with the highest `rank` is left out first; one of rank 0 never is. Only `text`
    may be cut; an id, a state or an amount is whole or not there.
    """

    title: str
    read: Callable[[Mapping[str, Any]], Any]
    rank: int = 0
    right: bool = False
    text: bool = False


def field(name: str, title: str = "", *, rank: int = 0, right: bool = False, text: bool = False) -> Column:
    """The column of one field."""
    return Column(title or name, lambda item: item[name], rank, right, text)


def time_of(name: str, title: str, *, rank: int = 0) -> Column:
    """The column of a moment, to the minute."""
    return Column(title, lambda item: when(item[name])[:16], rank)


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise  # called where it was caught; `typed.Root` ends the command


def out() -> Console:
    """The terminal; a pipe gets room enough, so that nothing is cut off."""
    return _Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH, highlight=False, soft_wrap=False)


def note(told: str) -> None:
    """Say something beside the output."""
    print(told, file=sys.stderr)


def as_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def line(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, separators=(",", ":")), flush=True)


def table(columns: Sequence[Column], items: Iterable[Mapping[str, Any]]) -> None:
    """The items, a row each, with as many of the columns as there is room for."""
    console = out()
    rows = [[_cell(column.read(item)) for column in columns] for item in items]
    widths = [
        max((len(title), *(row[at].cell_len for row in rows))) for at, title in enumerate(c.title for c in columns)
    ]
    shown = fitting(columns, widths, console.width)
    drawn = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for at, width in lengths(columns, widths, shown, console.width).items():
        justify: Literal["left", "right"] = "right" if columns[at].right else "left"
        drawn.add_column(columns[at].title, justify=justify, overflow="ellipsis", no_wrap=True, width=width)
    for row in rows:
        drawn.add_row(*(row[at] for at in shown))
    console.print(drawn)
    left_out = [column.title for at, column in enumerate(columns) if at not in shown]
    if left_out and sys.stdout.isatty():
        note(f"No room for: {', '.join(left_out)}.")


def fitting(columns: Sequence[Column], widths: Sequence[int], room: int) -> list[int]:
    """Which columns are shown: all, or without those of the highest ranks until the rest fits."""
    shown = list(range(len(columns)))

    def needed() -> int:
        least = (min(widths[at], _LEAST_TEXT) if columns[at].text else widths[at] for at in shown)
        return sum(least) + _GAP * (len(shown) - 1)

    while needed() > room:
        last = max(shown, key=lambda at: (columns[at].rank, at))
        if columns[last].rank == 0:
            break
        shown.remove(last)
    return shown


def lengths(columns: Sequence[Column], widths: Sequence[int], shown: Sequence[int], room: int) -> dict[int, int]:
    """How wide each column that is shown becomes: whole, but for texts where there is no room for all of them."""
    given = {at: widths[at] for at in shown}
    over = sum(given.values()) + _GAP * (len(shown) - 1) - room
    for at in sorted((one for one in shown if columns[one].text), key=lambda one: -given[one]):
        cut = max(0, min(over, given[at] - _LEAST_TEXT))
        given[at], over = given[at] - cut, over - cut
    return given


def facts(pairs: Mapping[str, Any]) -> None:
    """Names and values, one a line."""
    shown = Table(box=None, pad_edge=False, show_header=False)
    shown.add_column(style="dim", no_wrap=True)
    shown.add_column(overflow="fold")
    for name, value in pairs.items():
        if value not in (None, "", []):
            shown.add_row(name, _cell(value, lines=True))
    out().print(shown)


def item(found: Mapping[str, Any], json_: bool, *, without: Sequence[str] = ("version",)) -> None:
    """One thing as its fields."""
    if json_:
        return as_json(found)
    shown = {name: " ".join(map(plain, value)) if isinstance(value, list) else value for name, value in found.items()}
    return facts({name: value for name, value in shown.items() if name not in without})


def money(cents: int | None) -> str:
    return "" if cents is None else f"{cents // 100:,}.{cents % 100:02d}"


def when(moment: str | None) -> str:
    return (moment or "")[:19].replace("T", " ")


def span(seconds: float) -> str:
    """How long, in the largest unit of which there are two."""
    unit, size = next(((unit, size) for unit, size in _UNITS if seconds >= 2 * size), ("s", 1))
    return f"{int(seconds // size)} {unit}"


def plain(value: Any) -> str:
    """A value of the API's as a person reads it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ",".join(map(plain, value)) if isinstance(value, list) else "" if value is None else str(value)


def _cell(value: Any, *, lines: bool = False) -> Text:
    written = plain(value)
    return Text(_plain(written, "\n" if lines else ""), style=_STYLES.get(written, ""))


def _plain(written: str, kept: str) -> str:
    """Without control characters: what a seller wrote must not steer a terminal."""
    return "".join(one if one.isprintable() or one in kept else "·" for one in written)


def bar(*columns: ProgressColumn) -> Progress:
    """A bar beside the output; none where nobody would see it."""
    console = Console(stderr=True)
    shown = (TextColumn("{task.description}"), *columns)
    return Progress(*shown, console=console, disable=not console.is_terminal, transient=True)


def counted() -> Progress:
    """A bar for what is so many of so many."""
    return bar(BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
