"""The command line: what can be typed, and what is printed.

Nothing of the service is loaded before a command needs it: most commands are clients of the API, and loading the
service takes longer than what they do. Those that are not find their work in `chores`, or serve by themselves.
"""

from __future__ import annotations

import json
import os
import sys
import uuid
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from .commands import client, deliveries, events, notifications, orders, overview, sellers, show, webhooks
from .commands import keys as key_commands
from .commands.typed import Commands, Root
from .errors import Stopped
from .operators.roles import ROLES
from .serving import SOCKET

RUN, WORK, ADMINISTER, MAINTAIN = "Run it", "Day by day", "Administer", "Look after it"


class _InOrder(Root):
    """Commands in the order in which one meets them, not first commands and then groups."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=lambda name: _ORDER.index(name) if name in _ORDER else 99)


_ORDER = (
    "serve", "dev", "work", "simulate", "order", "delivery", "notification", "seller", "events", "stats", "alerts",
    "key", "webhook", "audit", "evidence", "migrate", "doctor", "rebuild", "retention", "rotate-credentials",
)  # fmt: skip

app = Commands(
    name="chain-orders",
    cls=_InOrder,
    help="The marketplace's side of VTEX's chain-order protocol: place, authorize, hear of cancellations and invoices.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
keys = Commands(name="key", help="API keys of operators.")
evidence = Commands(name="evidence", help="Archives of all that is known of one order.")
keys.command("list")(key_commands.list_keys)
keys.command("revoke")(key_commands.revoke_key)
keys.command("rotate")(key_commands.rotate_key)
for commands in (orders, deliveries, notifications, sellers, events):
    app.add_typer(commands.app, rich_help_panel=WORK)
for command in (overview.stats, overview.alerts):
    app.command(rich_help_panel=WORK)(command)
for group in (keys, webhooks.app, evidence):
    app.add_typer(group, rich_help_panel=ADMINISTER)
app.command(rich_help_panel=ADMINISTER)(overview.audit)


def main() -> None:
    """The entry point: what is wrong is told in one line."""
    try:
        app()
    except Stopped as why:
        print(f"chain-orders: {why}", file=sys.stderr)
        raise SystemExit(why.code) from None


def _print_version(asked: bool) -> None:
    if asked:
        print(f"chain-orders {metadata.version('chain-orders')}")
        raise typer.Exit


@app.callback()
def _everywhere(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass  # the option has acted already


@app.command(rich_help_panel=RUN)
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    worker: Annotated[bool, typer.Option(help="Also send deliveries and apply notifications.")] = True,
    workers: Annotated[int, typer.Option(help="Complete processes on the same port.", min=1, max=64)] = 1,
    surface: Annotated[
        Literal["callbacks", "operators", "all"],
        typer.Option(metavar="PART", help="callbacks (the sellers'), operators (the API and the console), or all."),
    ] = "all",
    socket_: Annotated[str | None, typer.Option(SOCKET, hidden=True)] = None,
) -> None:
    """Serve callbacks, the operators' API and the console; sends and applies too, unless --no-worker.

    Example: chain-orders serve --host 0.0.0.0 --port 8000 --workers 2

    Example: chain-orders serve --surface callbacks --no-worker
    """
    from . import chores

    if socket_ is not None:
        chores.serve_as_child(socket_, worker=worker, surface=surface)
    else:
        chores.serve(host, port, worker=worker, workers=workers, surface=surface)


@app.command(rich_help_panel=RUN)
def work() -> None:
    """Send deliveries and apply notifications, without serving anything.

    Example: chain-orders work
    """
    from . import chores

    chores.work()


@app.command(rich_help_panel=MAINTAIN)
def migrate() -> None:
    """Bring the database's schema up to date. Needs CHAIN_ORDERS_DATABASE_URL only.

    Example: chain-orders migrate
    """
    from . import chores

    print(f"the schema is at {chores.migrate()}")


@app.command(rich_help_panel=RUN)
def dev(
    data: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder that keeps everything.", readable=False)] = Path(
        ".chain-orders"
    ),
    port: Annotated[str, typer.Option(metavar="NUMBER", help="Port of the service.")] = "8000",
    seller_port: Annotated[str, typer.Option(metavar="NUMBER", help="Port of the simulated seller.")] = "8001",
) -> None:
    """Run everything on this machine: PostgreSQL, a simulated seller, and the service. Ctrl-C stops it all.

    Example: chain-orders dev --port 8080 --data /tmp/trial
    """
    from . import dev as development

    ports = (development.port("PORT", port), development.port("SELLER_PORT", seller_port))
    development.run(data, *ports, os.environ.get("CHAIN_ORDERS_DATABASE_URL"))


@app.command(rich_help_panel=RUN)
def simulate(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8001,
    book: Annotated[Path | None, typer.Option(help="File that keeps the seller's orders.")] = None,
) -> None:
    """Run a simulated VTEX seller, with its controls under /control.

    It takes the AppKey simulated-key and the AppToken simulated-token, any sales channel and any affiliate.

    Example: chain-orders simulate --port 8001 --book orders.ndjson
    """
    from .simulator import server

    server.serve(host, port, book)


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="Who will hold the key; shown in timelines.")],
    role: Annotated[str, typer.Option(help="viewer, operator or admin.")] = "admin",
    bootstrap: Annotated[
        bool,
        typer.Option("--bootstrap", help="Make the first admin's key, in the database, while there is none."),
    ] = False,
    dry_run: client.DryRun = False,
) -> None:
    """Make an API key and print it, once: through the API, by an admin.

    The first admin's is made with --bootstrap, which needs CHAIN_ORDERS_DATABASE_URL only.

    Example: chain-orders key create me --bootstrap

    Example: chain-orders key create back-office --role operator
    """
    if role not in ROLES:
        raise typer.BadParameter(f"must be one of {', '.join(ROLES)}", param_hint="--role")
    if not bootstrap:
        key_commands.make_key(name, role, dry_run=dry_run)
        return
    if dry_run:
        raise typer.BadParameter("--bootstrap has none", param_hint="--dry-run")
    if role != "admin":
        raise typer.BadParameter("the first key is an admin's", param_hint="--role")
    from . import chores

    print(chores.create_first_key(name))


@app.command(rich_help_panel=MAINTAIN)
def doctor(json_: show.AsJson = False) -> None:
    """Say what is wrong with this deployment: database, clock, keys, schema, public address.

    Example: chain-orders doctor
    """
    from . import chores

    found = chores.doctor()
    if json_:
        show.as_json([one.as_dict() for one in found])
    else:
        marks = {True: "ok", False: "WRONG", None: "look"}
        show.facts({one.check: f"{marks[one.ok]}: {one.detail}" for one in found})
    if any(one.ok is False for one in found):
        raise typer.Exit(client.REFUSED)


@app.command(rich_help_panel=MAINTAIN)
def rebuild(
    order: Annotated[uuid.UUID | None, typer.Option(help="One order's id; all of them unless given.")] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Store what should be there.")] = False,
) -> None:
    """Apply everything again that sellers told, and compare it with what is stored. Exit code 4: they differ.

    Example: chain-orders rebuild --order 0192f0c1-5a54-7c3e-9d7e-2f6f0a5d1c11 --repair
    """
    from . import chores

    with show.counted() as progress:
        task = progress.add_task("applied again", total=None)

        def so_far(done: int, of: int) -> None:
            progress.update(task, completed=done, total=of)

        found = chores.rebuild(order, repairing=repair, told=so_far)
    for order_id, lines in found.differences.items():
        print(*(f"{order_id} {line}" for line in lines), sep="\n")
    wrong = len(found.differences)
    told = f"{wrong} differ" + (", repaired" if repair and wrong else "")
    print(f"{found.orders} orders applied again, {told}; {found.sealed} sealed ones left out")
    if wrong and not repair:
        raise typer.Exit(client.PARTLY)


@app.command(rich_help_panel=MAINTAIN)
def retention(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, and change nothing.")] = False,
) -> None:
    """Seal the orders whose time is over now: personal data becomes hashes. `serve` and `work` do so by themselves.

    Example: chain-orders retention --dry-run
    """
    from . import chores

    print(json.dumps(chores.retention(dry_run=dry_run).as_dict(), indent=2))


@app.command(rich_help_panel=MAINTAIN)
def rotate_credentials() -> None:
    """Seal under the first credential key whatever another one has sealed, while the service goes on.

    May be stopped and begun again. When it ends with 0, the other keys can be taken off CHAIN_ORDERS_CREDENTIAL_KEYS.

    Example: chain-orders rotate-credentials
    """
    from . import chores

    kid, done = chores.rotate_credentials()
    print(f"sealed under {kid}: {done.sealed} of {done.total}")
    for name in done.lost:
        show.note(f"no key opens {name}; configure the one that sealed it, or give the credential anew")
    if done.lost:
        raise typer.Exit(client.REFUSED)


@evidence.command("check")
def check_evidence(
    file: Annotated[Path, typer.Argument(help="The archive.", exists=True, dir_okay=False)],
    key: Annotated[str | None, typer.Option(help="The public key that must have signed it, in base64.")] = None,
) -> None:
    """Say whether an archive is what it was when it was made, and name each file that was changed.

    Without --key the key that signs here is expected (CHAIN_ORDERS_EVIDENCE_KEY), else the one that the archive names.

    Example: chain-orders evidence check HARBOR1001.zip
    """
    from . import chores

    found, known = chores.check_evidence(file, key)
    for name, why in sorted(found.changed.items()):
        print(f"{name}: {why}")
    if found.changed:
        raise typer.Exit(client.REFUSED)
    whose = "by the key that is known" if known else "by a key that only the archive names: compare it"
    signed = f"signed by {found.signed_by}, {whose}" if found.signed_by else "not signed"
    print(f"nothing was changed; {signed}")


@evidence.command("key")
def show_evidence_key() -> None:
    """Print the public key that checks what is signed here. Needs CHAIN_ORDERS_EVIDENCE_KEY only.

    Example: chain-orders evidence key
    """
    from . import chores

    key = chores.evidence_key()
    if key is None:
        raise typer.BadParameter("CHAIN_ORDERS_EVIDENCE_KEY is not set")
    print(key)


if __name__ == "__main__":
    main()
