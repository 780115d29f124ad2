"""`chain-orders order import` and `order export`: many orders at once, with a bar that shows how far it is."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import httpx
import typer
from rich.progress import TextColumn

from . import orders, show
from .client import PARTLY, REFUSED, Api, DryRun, Failed, read_file
from .orders import Seller
from .show import AsJson

LINES_A_REQUEST = 100  # the bar moves once a request
BYTES_A_REQUEST = 32 * 1024 * 1024
_INTERRUPTED = 130


@orders.app.command("import")
def import_orders(
    file: Annotated[str, typer.Argument(help="One order a line, as JSON; - for standard input.")],
    seller: Seller = None,
    dry_run: DryRun = False,
    json_: AsJson = False,
) -> None:
    """Place the orders of a file. Run it again after a failure: what is there already stays one order.

    Refused lines are printed; with --json every line's result is, as NDJSON. Exit code 4: some lines were refused.

    Example: chain-orders order import orders.ndjson --seller acme
    """
    lines = read_file(file).splitlines()
    counted: Counter[str] = Counter()
    try:
        _import(lines, seller, dry_run, json_, counted)
    except KeyboardInterrupt:
        _tally(counted, dry_run, left=len(lines) - counted.total())
        raise typer.Exit(_INTERRUPTED) from None
    except Failed:
        _tally(counted, dry_run, left=len(lines) - counted.total())
        raise
    _tally(counted, dry_run)
    good = counted["accepted"] + counted["exists"]
    if good < counted.total():
        raise typer.Exit(PARTLY if good else REFUSED)


def _import(lines: list[bytes], seller: str | None, dry_run: bool, json_: bool, counted: Counter[str]) -> None:
    with Api(timeout=600) as api, show.counted() as progress:
        path = f"/v1/sellers/{api.seller_id(seller)}/orders/import"
        task = progress.add_task("importing", total=len(lines))
        for start, part in parts(lines):
            for result in _send(api, path, part, dry_run):
                counted[result["result"]] += 1
                _tell({**result, "line": result["line"] + start}, json_)
            progress.advance(task, len(part))


def parts(lines: list[bytes]) -> Iterator[tuple[int, list[bytes]]]:
    """The lines, as many a request as may go together, each part with where it begins."""
    start, size = 0, 0
    for at, line in enumerate(lines):
        if at > start and (at - start == LINES_A_REQUEST or size + len(line) > BYTES_A_REQUEST):
            yield start, lines[start:at]
            start, size = at, 0
        size += len(line) + 1
    if lines[start:]:
        yield start, lines[start:]


def _tally(counted: Counter[str], dry_run: bool, *, left: int = 0) -> None:
    told = ", ".join(f"{number} {result}" for result, number in sorted(counted.items())) or "no line has its result"
    rest = f"; {left} lines without, of which some may be placed" if left else ""
    rest += ": run the same command again, what is there already stays one order" if left else ""
    show.note(f"{told}{' (dry run)' if dry_run else ''}{rest}")


def _send(api: Api, path: str, lines: list[bytes], dry_run: bool) -> Iterator[dict[str, Any]]:
    headers = {"Content-Type": "application/x-ndjson"}
    params = {"dryRun": "true"} if dry_run else {}
    answer = api.call("POST", path, content=b"\n".join(lines) + b"\n", headers=headers, params=params)
    for line in answer.text.splitlines():
        yield json.loads(line)


def _tell(result: dict[str, Any], json_: bool) -> None:
    if json_:
        show.line(result)
    elif result["result"] in {"refused", "failed"}:
        print(f"line {result['line']}: {result['result']}: {result['detail']} ({result['code']})")


@orders.app.command("export")
def export_orders(
    q: Annotated[str | None, typer.Argument(help="An id, number or SKU; its beginning with * at the end.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file; standard output unless given.")
    ] = None,
    status: Annotated[list[str] | None, typer.Option(help="Only this status; may be repeated.")] = None,
    seller: Annotated[str | None, typer.Option(help="Only this seller's.")] = None,
    turn: Annotated[str | None, typer.Option(help="us, seller, operator or nobody.")] = None,
    attention: Annotated[bool | None, typer.Option(help="Only those that a person must look at.")] = None,
    created_from: Annotated[str | None, typer.Option(help="ISO date or time.")] = None,
    created_to: Annotated[str | None, typer.Option(help="ISO date or time.")] = None,
    sort: Annotated[
        str | None, typer.Option(help="createdAt, updatedAt, total or status; - before it: reversed.")
    ] = None,
) -> None:
    """Write every order that matches as CSV.

    Example: chain-orders order export --status invoiced --created-from 2026-11-01 -o november.csv
    """
    filters = {"q": q, "status": status or None, "seller": seller, "turn": turn, "attention": attention}
    filters |= {"createdFrom": created_from, "createdTo": created_to, "sort": sort}
    save_csv("/v1/orders", filters, output, "orders")


def save_csv(path: str, filters: dict[str, Any], output: Path | None, what: str) -> None:
    """Copy a list of the API's as CSV, with a bar that counts its rows."""
    params = {name: value for name, value in filters.items() if value is not None}
    with Api(timeout=600) as api, show.bar(TextColumn(f"{{task.completed}} {what}")) as progress:
        task = progress.add_task("exporting", total=None)
        try:
            with api.client.stream("GET", path, params=params, headers={"Accept": "text/csv"}) as answer:
                api.checked(answer)
                rows = _write(answer, output, lambda so_far: progress.update(task, completed=so_far))
        except httpx.HTTPError as away:
            raise api.unreachable(away) from None
    show.note(f"{rows} {what}")


def _write(answer: httpx.Response, output: Path | None, told: Callable[[int], None]) -> int:
    """Copy the answer; how many rows it has. A file is whole or not there."""
    if output is None:
        rows = _copy(answer, sys.stdout.buffer, told)
        sys.stdout.buffer.flush()
        return rows
    making = output.with_name(output.name + ".part")
    try:
        with making.open("wb") as file:
            rows = _copy(answer, file, told)
        making.replace(output)
    except OSError as refused:
        raise Failed(f"{output} cannot be written ({refused.strerror})") from None
    return rows


def _copy(answer: httpx.Response, file: BinaryIO, told: Callable[[int], None]) -> int:
    rows = -1  # the names of the columns
    for part in answer.iter_bytes():
        file.write(part)
        rows += part.count(b"\n")
        told(max(rows, 0))
    return max(rows, 0)
