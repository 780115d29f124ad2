"""The command line. Long-running commands serve; `dev` runs everything on one machine; the others call the API."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import SecretStr, ValidationError
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from typer.core import TyperGroup

from . import chores, logs, schema
from . import dev as development
from .app import Surface
from .commands import client, deliveries, events, notifications, orders, overview, sellers, show, webhooks
from .commands import keys as key_commands
from .database import Database
from .doctor import examine
from .embedded import EmbeddedError
from .operators import access, audit
from .operators.models import ROLES, ApiKey
from .parts import Refused, assemble, check_database, running
from .sellers.check import Finding
from .serving import fleet, server
from .settings import DatabaseSettings, Settings
from .simulator import server as simulator

REFUSED, USAGE = 1, 2

log = logs.get("cli")

RUN, WORK, ADMINISTER, MAINTAIN = "Run it", "Day by day", "Administer", "Look after it"


class _InOrder(TyperGroup):
    """Commands in the order in which one meets them, not first commands and then groups."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=lambda name: _ORDER.index(name) if name in _ORDER else 99)


_ORDER = (
    "serve", "dev", "work", "simulate", "order", "delivery", "notification", "seller", "events", "stats", "alerts",
    "key", "webhook", "audit", "evidence", "migrate", "doctor", "rebuild", "retention", "rotate-credentials",
)  # fmt: skip

app = typer.Typer(
    name="chain-orders",
    cls=_InOrder,
    help="The marketplace's side of VTEX's chain-order protocol: place, authorize, hear of cancellations and invoices.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
keys = typer.Typer(name="key", help="API keys of operators.", no_args_is_help=True)
keys.command("list")(key_commands.list_keys)
keys.command("revoke")(key_commands.revoke_key)
keys.command("rotate")(key_commands.rotate_key)
for commands in (orders, deliveries, notifications, sellers, events):
    app.add_typer(commands.app, rich_help_panel=WORK)
for command in (overview.stats, overview.alerts):
    app.command(rich_help_panel=WORK)(command)
for group in (keys, webhooks.app, chores.evidence):
    app.add_typer(group, rich_help_panel=ADMINISTER)
app.command(rich_help_panel=ADMINISTER)(overview.audit)
for chore in (chores.retention, chores.rotate_credentials, chores.rebuild):
    app.command(rich_help_panel=MAINTAIN)(chore)


def main() -> None:
    """The entry point: what is wrong is told in one line."""
    try:
        app()
    except ValidationError as wrong:
        for error in wrong.errors(include_input=False, include_url=False, include_context=False):
            name = "_".join(str(part) for part in error["loc"]).upper()
            told = error["msg"].removeprefix("Value error, ")
            print(f"chain-orders: CHAIN_ORDERS_{name}: {told}" if name else f"chain-orders: {told}", file=sys.stderr)
        raise SystemExit(USAGE) from None
    except schema.Unusable as wrong:
        print(f"chain-orders: {wrong}", file=sys.stderr)
        raise SystemExit(USAGE) from None
    except client.Failed as failure:
        print(f"chain-orders: {failure}", file=sys.stderr)
        raise SystemExit(failure.code) from None
    except (EmbeddedError, Refused, schema.Outdated, schema.Unreachable, development.DevFailed) as failure:
        print(f"chain-orders: {failure}", file=sys.stderr)
        raise SystemExit(REFUSED) from None


@app.command(rich_help_panel=RUN)
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    worker: Annotated[bool, typer.Option(help="Also send deliveries and apply notifications.")] = True,
    workers: Annotated[int, typer.Option(help="Complete processes on the same port.", min=1, max=64)] = 1,
    surface: Annotated[
        Surface, typer.Option(help="What is served: sellers' callbacks, the operators' API and console, or both.")
    ] = "all",
    socket_: Annotated[str | None, typer.Option(fleet.SOCKET, hidden=True)] = None,
) -> None:
    """Serve callbacks, the operators' API and the console; sends and applies too, unless --no-worker.

    Example: chain-orders serve --host 0.0.0.0 --port 8000 --workers 2

    Example: chain-orders serve --surface callbacks --no-worker
    """
    settings = _settings()
    if socket_ is not None:
        server.serve(settings, fleet.adopt(socket_), worker=worker, surface=surface)
        return
    host, port = host or settings.host, settings.port if port is None else port
    with contextlib.closing(server.listen(host, port)) as listening:
        asyncio.run(_check_ready(settings, processes=workers))
        if workers == 1:
            server.serve(settings, listening, worker=worker, surface=surface)
        else:
            patience = settings.drain_seconds + server.ANSWERED_WITHIN_SECONDS + settings.lease_seconds
            fleet.Fleet(listening, workers, stops_within=patience).run()


@app.command(rich_help_panel=RUN)
def work() -> None:
    """Send deliveries and apply notifications, without serving anything.

    Example: chain-orders work
    """
    settings = _settings()
    asyncio.run(_check_ready(settings))
    asyncio.run(_work(settings))


async def _work(settings: Settings) -> None:
    asked = asyncio.Event()
    for how in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(how, asked.set)
    parts = assemble(settings)
    async with running(parts, worker=True, intake=False):
        log.info("started", surface="worker")
        await asked.wait()
    _check_failures(parts.failures)


def _check_failures(failures: list[str]) -> None:
    if failures:
        raise Refused(f"a part of the service ended by itself ({', '.join(failures)}); the log above says why")


@app.command(rich_help_panel=MAINTAIN)
def migrate() -> None:
    """Bring the database's schema up to date. Needs CHAIN_ORDERS_DATABASE_URL only.

    Example: chain-orders migrate
    """
    logs.configure("console")
    url = _usable(DatabaseSettings().database_url)
    with schema.reaching():
        reached = schema.migrate(url)
    print(f"the schema is at {reached}")


@app.command(rich_help_panel=RUN)
def dev(
    data: Annotated[Path, typer.Option(help="Folder that keeps everything.", readable=False)] = Path(".chain-orders"),
    port: Annotated[str, typer.Option(help="Port of the service.")] = "8000",
    seller_port: Annotated[str, typer.Option(help="Port of the simulated seller.")] = "8001",
) -> None:
    """Run everything on this machine: PostgreSQL, a simulated seller, and the service. Ctrl-C stops it all.

    Example: chain-orders dev --port 8080 --data /tmp/trial
    """
    ports = (development.port("PORT", port), development.port("SELLER_PORT", seller_port))
    development.run(data, *ports, os.environ.get("CHAIN_ORDERS_DATABASE_URL"))


@app.command(rich_help_panel=RUN)
def simulate(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8001,
    book: Annotated[Path | None, typer.Option(help="File that keeps the seller's orders.")] = None,
) -> None:
    """Run a simulated VTEX seller, with its controls under /control.

    Example: chain-orders simulate --port 8001 --book orders.ndjson
    """
    simulator.serve(host, port, book)


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="Who will hold the key; shown in timelines.")],
    role: Annotated[str, typer.Option(help="viewer, operator or admin.")] = "admin",
    bootstrap: Annotated[
        bool,
        typer.Option("--bootstrap", help="Make the first admin's key, in the database, while there is none."),
    ] = False,
) -> None:
    """Make an API key and print it, once: through the API, by an admin.

    The first admin's is made with --bootstrap, which needs CHAIN_ORDERS_DATABASE_URL only.

    Example: chain-orders key create me --bootstrap

    Example: chain-orders key create back-office --role operator
    """
    if role not in ROLES:
        raise typer.BadParameter(f"must be one of {', '.join(ROLES)}", param_hint="--role")
    if not bootstrap:
        print(key_commands.make_key(name, role))
        return
    if role != "admin":
        raise typer.BadParameter("the first key is an admin's", param_hint="--role")
    url = _usable(DatabaseSettings().database_url)
    with schema.reaching():
        print(asyncio.run(_create_first_key(url, name)))


async def _create_first_key(url: str, name: str) -> str:
    database = Database(url)
    try:
        await schema.check(database)
        async with database.transaction() as session:
            if await access.has_admin(session):
                raise Refused("there is an admin's key already; make others with it")
            key = await access.create_key(session, name, "admin")
            made = await session.scalar(select(ApiKey.id).where(ApiKey.digest == access.digest(key)))
            audit.note(session, audit.Command("key create"), "key.create", f"key:{made}", name=name, role="admin")
        return key
    except IntegrityError:
        raise Refused(f"there is a key of the name {name} already") from None
    finally:
        await database.close()


@app.command(rich_help_panel=MAINTAIN)
def doctor(json_: show.AsJson = False) -> None:
    """Say what is wrong with this deployment: database, clock, keys, schema, public address.

    Example: chain-orders doctor
    """
    found = asyncio.run(_doctor(_settings()))
    if json_:
        show.as_json([one.as_dict() for one in found])
    else:
        marks = {True: "ok", False: "WRONG", None: "look"}
        show.facts({one.check: f"{marks[one.ok]}: {one.detail}" for one in found})
    if any(one.ok is False for one in found):
        raise typer.Exit(REFUSED)


async def _doctor(settings: Settings) -> list[Finding]:
    parts = assemble(settings)
    try:
        return [finding async for finding in examine(parts)]
    finally:
        await parts.close()


def _settings() -> Settings:
    settings = Settings()  # the environment gives what is required
    logs.configure(settings.log_format)
    _usable(settings.database_url)
    return settings


def _usable(url: SecretStr) -> str:
    return schema.usable(url.get_secret_value())


async def _check_ready(settings: Settings, *, processes: int = 1) -> None:
    """What must hold before anything is served: the schema of this release, and a server that keeps commits."""
    parts = assemble(settings)
    try:
        with schema.reaching():
            await schema.check(parts.database)
            await check_database(parts, processes)
    finally:
        await parts.close()


if __name__ == "__main__":
    main()
