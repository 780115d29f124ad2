"""The command line. Long-running commands serve; `dev` runs everything on one machine; `key` makes the first key."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Annotated

import typer
import uvicorn
from pydantic import ValidationError

from . import dev as development
from . import logs, schema
from .app import Refused, assemble, check_database, create_app, running
from .database import Database
from .embedded import EmbeddedError
from .operators import access
from .operators.models import ROLES
from .settings import DatabaseSettings, Settings
from .simulator import server as simulator

REFUSED, USAGE = 1, 2

app = typer.Typer(
    name="chain-orders",
    help="The marketplace's side of VTEX's chain-order protocol: place, authorize, hear of cancellations and invoices.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
keys = typer.Typer(name="key", help="API keys of operators.", no_args_is_help=True)
app.add_typer(keys)


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
    except (EmbeddedError, Refused, schema.Outdated, development.DevFailed) as failure:
        print(f"chain-orders: {failure}", file=sys.stderr)
        raise SystemExit(REFUSED) from None


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    worker: Annotated[bool, typer.Option(help="Also send deliveries and apply notifications.")] = True,
) -> None:
    """Serve callbacks and the operators' API; sends and applies too, unless --no-worker.

    Example: chain-orders serve --host 0.0.0.0 --port 8000
    """
    settings = _settings()
    host, port = host or settings.host, settings.port if port is None else port
    listening = _listen(host, port)
    asyncio.run(_check_ready(settings))
    config = uvicorn.Config(
        create_app(settings, worker=worker),
        http="httptools",
        loop="uvloop",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_level="warning",
        timeout_graceful_shutdown=25,
    )
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listening])


@app.command()
def work() -> None:
    """Send deliveries and apply notifications, without serving anything."""
    settings = _settings()
    asyncio.run(_check_ready(settings))
    asyncio.run(_work(settings))


async def _work(settings: Settings) -> None:
    asked = asyncio.Event()
    for how in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(how, asked.set)
    async with running(assemble(settings), worker=True, intake=False):
        await asked.wait()


@app.command()
def migrate() -> None:
    """Bring the database's schema up to date. Needs CHAIN_ORDERS_DATABASE_URL only."""
    logs.configure("console")
    reached = schema.migrate(DatabaseSettings().database_url.get_secret_value())
    print(f"the schema is at {reached}")


@app.command()
def dev(
    data: Annotated[Path, typer.Option(help="Folder that keeps everything.")] = Path(".chain-orders"),
    port: Annotated[int, typer.Option(help="Port of the service.")] = 8000,
    seller_port: Annotated[int, typer.Option(help="Port of the simulated seller.")] = 8001,
) -> None:
    """Run everything on this machine: PostgreSQL, a simulated seller, and the service. Ctrl-C stops it all."""
    development.run(data, port, seller_port, os.environ.get("CHAIN_ORDERS_DATABASE_URL"))


@app.command()
def simulate(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8001,
    book: Annotated[Path | None, typer.Option(help="File that keeps the seller's orders.")] = None,
) -> None:
    """Run a simulated VTEX seller, with its controls under /control."""
    simulator.serve(host, port, book)


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="Who will hold the key; shown in timelines.")],
    role: Annotated[str, typer.Option(help="viewer, operator or admin.")] = "admin",
) -> None:
    """Make an API key and print it, once. Example: chain-orders key create back-office --role operator"""
    if role not in ROLES:
        raise typer.BadParameter(f"must be one of {', '.join(ROLES)}", param_hint="--role")
    print(asyncio.run(_create_key(name, role)))


async def _create_key(name: str, role: str) -> str:
    database = Database(DatabaseSettings().database_url.get_secret_value())
    try:
        async with database.transaction() as session:
            return await access.create_key(session, name, role)  # type: ignore[arg-type]
    finally:
        await database.close()


def _settings() -> Settings:
    settings = Settings()  # the environment gives what is required
    logs.configure(settings.log_format)
    return settings


async def _check_ready(settings: Settings) -> None:
    """What must hold before anything is served: the schema of this release, and a server that keeps commits."""
    parts = assemble(settings)
    try:
        await schema.check(parts.database)
        await check_database(parts)
    except OSError as away:
        raise Refused(f"the database cannot be reached ({type(away).__name__})") from None
    finally:
        await parts.close()


def _listen(host: str, port: int) -> socket.socket:
    try:
        return simulator.listen(host, port)
    except OSError:
        raise Refused(f"port {port} on {host} is taken") from None


if __name__ == "__main__":
    main()
