"""PostgreSQL: the engine, transactions, single statements, and wake-ups between processes.

Every write is a visible `async with database.transaction() as session:`; the intake alone uses a pool of its own,
for autocommitted statements. Wake-ups are a courtesy, polling is the guarantee.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import asyncpg
from sqlalchemy import TIMESTAMP, BigInteger, LargeBinary, MetaData, Text, event, func, make_url, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError
from sqlalchemy.exc import TimeoutError as SATimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase

from . import logs

log = logs.get("database")

_SERVER_SETTINGS = {
    "application_name": "chain-orders",
    "timezone": "UTC",
    "statement_timeout": "15s",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "10s",
    # A process that vanished with its machine lets go of what it locked after 25 seconds, not after two hours.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    # Every statement reads few rows through an index. Where the planner takes them for many, starting processes that
    # share the work, or compiling it, costs more than the work.
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
}
POOL_SECONDS = 5.0
"""How long the API, the console and the loops of a process wait for a connection of their common pool. A loop that
gives up may lose what a call to a seller came to, and the seller is read; a caller is answered 503, and comes again.
What sellers tell us has a pool and a shorter budget of its own."""
_TRANSACTION_SECONDS = 30
_RESTED_SECONDS = 20.0
_NOTIFY_AFTER = 0.01  # seconds over which rings are gathered into one NOTIFY


class Base(DeclarativeBase):
    """Every table. Constraint names are fixed so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "pk": "%(table_name)s_pkey",
            "uq": "%(table_name)s_%(column_0_N_name)s_key",
            "ix": "%(table_name)s_%(column_0_N_name)s_idx",
            "ck": "%(table_name)s_%(constraint_name)s_check",
            "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        }
    )
    type_annotation_map = {
        str: Text,
        int: BigInteger,
        bytes: LargeBinary,
        datetime: TIMESTAMP(timezone=True),
        dict[str, Any]: JSONB,
        list[dict[str, Any]]: JSONB,
    }


_moment: ContextVar[datetime | None] = ContextVar("moment", default=None)


def now() -> Any:
    """The database's clock, which also moves inside a transaction: the only clock that due times know.

    An SQL expression; inside `one_moment` a time. It goes into a column and adds to a timedelta either way.
    """
    return _moment.get() or func.clock_timestamp(type_=TIMESTAMP(timezone=True))


@contextlib.contextmanager
def one_moment(moment: datetime) -> Iterator[None]:
    """Let everything in the block happen at this time of the database's clock.

    An expression in a row costs a statement of its own for each row; rows with times are written many at once.
    """
    token = _moment.set(moment)
    try:
        yield
    finally:
        _moment.reset(token)


# Classes of SQLSTATE that pass by themselves: connection, rollback (deadlock, serialization), resources, lock
# timeout, operator intervention (shutdown, crash recovery).
_PASSING = ("08", "40", "53", "55", "57")


def is_passing(failure: BaseException) -> bool:
    """Whether the same work may succeed later: the database is away or busy, nothing is wrong with the work."""
    if isinstance(failure, OSError | TimeoutError | asyncpg.InterfaceError | SATimeoutError):
        return True
    if isinstance(failure, DBAPIError):
        state = getattr(failure.orig, "sqlstate", None) or ""
        return failure.connection_invalidated or isinstance(failure, InterfaceError) or state.startswith(_PASSING)
    return isinstance(failure, asyncpg.PostgresError) and (failure.sqlstate or "").startswith(_PASSING)


async def read_clock(session: AsyncSession) -> datetime:
    """The database's time, read now, in UTC."""
    moment: datetime = (await session.execute(select(func.clock_timestamp()))).scalar_one()
    return moment.astimezone(UTC)


class Database:
    """The connections of one process. Close it when the process ends."""

    def __init__(self, url: str, *, pool_size: int = 10, intake_size: int = 3) -> None:
        self.url = url
        options: dict[str, Any] = {
            "pool_timeout": POOL_SECONDS,
            "pool_recycle": 600,
            "connect_args": {"server_settings": _SERVER_SETTINGS, "timeout": 5, "command_timeout": 30},
        }
        self.engine = create_async_engine(url, pool_size=pool_size, max_overflow=0, **options)
        _distrust_rested(self.engine)
        _bound_transactions(self.engine)
        # Sellers' notifications never wait for an operator's query: they have connections of their own.
        self._intake = create_async_engine(
            url, pool_size=intake_size, max_overflow=0, isolation_level="AUTOCOMMIT", **options
        )
        _distrust_rested(self._intake)
        # Nor does a balancer's question: that every other connection is busy does not make the process useless.
        self._asked = create_async_engine(url, pool_size=1, max_overflow=0, isolation_level="AUTOCOMMIT", **options)
        _distrust_rested(self._asked)
        self.connections = pool_size + intake_size + 2
        """What this process may have open, those that listen and that are asked included."""
        self._sessions = async_sessionmaker(self.engine, expire_on_commit=False, autoflush=False)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """A session inside one transaction: committed at the end of the block, rolled back when it raises."""
        async with self._sessions() as session, session.begin():
            yield session

    async def intake_connection(self) -> AsyncConnection:
        """A connection on which each statement is its own transaction, to be closed. For the intake only."""
        return await self._intake.connect()

    @contextlib.asynccontextmanager
    async def intake_reading(self) -> AsyncIterator[AsyncSession]:
        """A session that only reads, for what must be known before a notification can be stored."""
        async with AsyncSession(self._intake, autoflush=False) as session:
            yield session

    async def ask(self) -> None:
        """Return when the server has answered, over a connection that nothing else uses."""
        async with self._asked.connect() as connection:
            await connection.execute(select(1))

    async def close(self) -> None:
        for engine in (self.engine, self._intake, self._asked):
            await engine.dispose()


def _bound_transactions(engine: AsyncEngine) -> None:
    """End a transaction that takes too long, whatever it waits for.

    A process that freezes when it has had a statement parsed, and before it has sent the values, is not idle to the
    server: it would hold its locks, and a seller's lane with them, until it goes on.
    """

    @event.listens_for(engine.sync_engine, "connect")
    def bound(connection: Any, _: Any) -> None:
        if connection.driver_connection.get_server_version().major >= 17:  # older ones have no such limit
            limit = f"set transaction_timeout = '{_TRANSACTION_SECONDS}s'"
            connection.run_async(lambda driver: driver.execute(limit))


def _distrust_rested(engine: AsyncEngine) -> None:
    """Replace a connection that is closed when it is wanted, and ask one that has rested: it may be dead without our
    knowing. To ask each time, as `pool_pre_ping` does, costs three round trips a transaction."""

    @event.listens_for(engine.sync_engine, "checkin")
    def rest(_: Any, record: Any) -> None:
        record.info["rests_since"] = time.monotonic()

    @event.listens_for(engine.sync_engine, "checkout")
    def look(connection: Any, record: Any, _: Any) -> None:
        since = record.info.get("rests_since")
        if connection.driver_connection.is_closed():
            raise DisconnectionError
        if since is not None and time.monotonic() - since > _RESTED_SECONDS:
            try:
                connection.ping()
            except Exception as dead:
                raise DisconnectionError from dead


class Bell:
    """Wakes whoever waits for a topic, in this process at once and in the others through NOTIFY.

    Ring only after the commit. One connection outside the pool listens; while it is down the waiters poll.
    """

    CHANNEL = "chain_orders"

    def __init__(self, listen_url: str) -> None:
        self._url = listen_url
        self._waiting: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._unsent: set[str] = set()
        self._sending: asyncio.Task[None] | None = None

    def ring(self, topic: str) -> None:
        """Say that there is something new under `topic`."""
        self._wake(topic)
        if self._connection is not None:
            self._unsent.add(topic)
            if self._sending is None or self._sending.done():
                self._sending = asyncio.create_task(self._notify())

    def rouse(self) -> None:
        """Wake everybody in this process, whatever they wait for: it is about to stop."""
        for topic in self._waiting:
            self._wake(topic)

    @contextlib.contextmanager
    def listening(self, *topics: str) -> Any:
        """An event that is set at each ring of one of the topics while the block runs."""
        heard = asyncio.Event()
        for topic in topics:
            self._waiting[topic].add(heard)
        try:
            yield heard
        finally:
            for topic in topics:
                self._waiting[topic].discard(heard)

    async def run(self) -> None:
        """Keep the listening connection alive until cancelled."""
        if not self._url:
            await asyncio.Event().wait()
        while True:
            try:
                await self._listen()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as lost:
                log.warning("listen-lost", error=type(lost).__name__)
            await asyncio.sleep(1)

    async def _listen(self) -> None:
        dsn = make_url(self._url).set(drivername="postgresql").render_as_string(hide_password=False)
        connection = await asyncpg.connect(dsn, timeout=5, server_settings={"application_name": "chain-orders"})
        gone = asyncio.Event()
        connection.add_termination_listener(lambda _: gone.set())
        await connection.add_listener(self.CHANNEL, self._heard)
        self._connection = connection
        try:
            await gone.wait()
        finally:
            self._connection = None
            connection.terminate()

    def _heard(self, connection: Any, pid: int, _channel: str, topic: object) -> None:
        if pid != connection.get_server_pid():  # whoever waits here for what we rang ourselves was woken then
            self._wake(str(topic))

    def _wake(self, topic: str) -> None:
        for heard in self._waiting[topic]:
            heard.set()

    async def _notify(self) -> None:
        await asyncio.sleep(_NOTIFY_AFTER)
        topics, self._unsent = self._unsent, set()
        connection = self._connection
        if connection is None or connection.is_closed():
            return
        # A lost NOTIFY costs at most one polling interval.
        with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            for topic in topics:
                await connection.execute("select pg_notify($1, $2)", self.CHANNEL, topic)


async def wait_for(heard: asyncio.Event, seconds: float) -> None:
    """Return when `heard` is set or the time is over, and forget what was heard."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await heard.wait()
    heard.clear()


async def check(database: Database, *, development: bool) -> list[str]:
    """What is wrong with the server for a service that must not lose what it acknowledged. Empty when all is well."""
    wanted = {"fsync": {"on"}, "full_page_writes": {"on"}, "synchronous_commit": {"on", "remote_apply", "remote_write"}}
    async with database.transaction() as session:
        found = {name: (await session.execute(select(func.current_setting(name)))).scalar_one() for name in wanted}
        version = int((await session.execute(select(func.current_setting("server_version_num")))).scalar_one())
    wrong = [f"{name} is {found[name]}" for name, good in wanted.items() if found[name] not in good]
    if version < 150000:
        wrong.append("PostgreSQL 15 or newer is needed")
    return [] if development else wrong


async def connections(database: Database) -> int:
    """How many connections the server has for ordinary roles."""
    async with database.transaction() as session:
        return int((await session.execute(_CONNECTIONS)).scalar_one())


_CONNECTIONS = text(
    "select current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
)
