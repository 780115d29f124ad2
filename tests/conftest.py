"""What every test can ask for: a migrated PostgreSQL of its own, a running service, a simulated seller, an operator.

The database is real and so are the migrations; the service answers on a real port of this machine. Connections to
anywhere else are refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from chain_orders import logs, schema
from chain_orders.app import create_app
from chain_orders.database import Base, Database
from chain_orders.embedded import Cluster
from chain_orders.operators import access
from chain_orders.serving import connection, server
from chain_orders.settings import Settings
from chain_orders.simulator.app import create_app as create_simulator
from chain_orders.simulator.server import listen, running

from .builders import Marketplace, SimulatedSeller, calling, settings_for

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def pytest_configure() -> None:
    for name in [name for name in os.environ if name.startswith("CHAIN_ORDERS_")]:
        del os.environ[name]
    logs.configure("console")
    connection.HEAD_SECONDS = 60.0  # a busy machine is no slow caller


def pytest_collection_finish() -> None:
    """All that is loaded stays: to look through it again and again takes a tenth of a run."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


@pytest.fixture(scope="session", autouse=True)
def _only_this_machine() -> Iterator[None]:
    """Refuse connections to other machines."""
    original = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and address[0] not in LOOPBACK:
            raise AssertionError(f"a test tried to reach {address[0]}")
        original(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded)
        yield


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A PostgreSQL of this run."""
    made = Cluster(tmp_path_factory.mktemp("cluster"), durable=False)
    try:
        made.start()
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="session")
def database_url(cluster: Cluster) -> str:
    """The address of a database with every migration applied."""
    schema.migrate(cluster.database_url)
    return cluster.database_url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An empty database, emptied again afterwards."""
    database = Database(database_url)
    try:
        yield database
    finally:
        await empty(database)
        await database.close()


async def empty(database: Database) -> None:
    """Deleting what a test wrote is faster than truncating what it did not; all at once is faster than one by one."""
    async with database.engine.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        await driver.execute(_EMPTY)


# The audit refuses to be emptied by anybody who has not switched its trigger off.
_EMPTY = "begin; set local session_replication_role = replica; {}; commit".format(
    "; ".join(f"delete from {table.name}" for table in reversed(Base.metadata.sorted_tables))
)


@pytest.fixture
async def simulated() -> AsyncIterator[SimulatedSeller]:
    """A simulated seller on a port of its own."""
    async with running(create_simulator()) as url, calling(url) as client:
        yield SimulatedSeller(url, client)


@pytest.fixture
def options() -> dict[str, Any]:
    """Settings that a test module wants otherwise; override it there."""
    return {}


@pytest.fixture
async def marketplace(
    database: Database, simulated: SimulatedSeller, options: dict[str, Any]
) -> AsyncIterator[Marketplace]:
    """A running service with its worker, an admin's key, and the simulated seller on record as `acme`."""
    async with serving(database, Settings(**settings_for(database.url, **options))) as marketplace:
        await marketplace.add_seller(simulated.url)
        yield marketplace


@contextlib.asynccontextmanager
async def serving(database: Database, settings: Settings, *, worker: bool = True) -> AsyncIterator[Marketplace]:
    """Run the service in this loop, on a free port, and sign in."""
    # The port is held from here on: other processes are looking for free ones too.
    with contextlib.closing(listen("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        settings = settings.model_copy(update={"public_url": f"http://127.0.0.1:{port}"})
        async with database.transaction() as session:
            key = await access.create_key(session, f"test-{port}", "admin")
        app = create_app(settings, worker=worker)
        async with serving_app(app, listening) as url, calling(url, timeout=40) as client:
            client.headers["Authorization"] = f"Bearer {key}"
            yield Marketplace(url, client, database)


@contextlib.asynccontextmanager
async def serving_app(
    app: Any, listening: socket.socket | None = None, *, rests: int | None = None
) -> AsyncIterator[str]:
    """Serve an application in this loop as `chain-orders serve` does; the URL. `rests`: seconds between requests."""
    with contextlib.closing(listening or listen("127.0.0.1", 0)) as listening:
        config = server.config(app)
        config.timeout_keep_alive = rests or config.timeout_keep_alive
        config.timeout_graceful_shutdown = 1
        served = uvicorn.Server(config)
        task = asyncio.create_task(served._serve([listening]))
        while not served.started:
            await asyncio.sleep(0.01)
            if task.done():
                task.result()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            served.should_exit = True
            await task


@pytest.fixture
def samples() -> Path:
    return Path(__file__).parent / "samples"


@pytest.fixture(autouse=True)
async def _nothing_left_running() -> AsyncIterator[None]:
    """A test that leaves a task behind hides its failure."""
    yield
    for _ in range(100):
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        if not left:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"left running: {left}")
