"""A cluster on a folder: made at the first start, started, stopped, recovered."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .errors import AlreadyRunning, EmbeddedError, FolderUnreachable, PortTaken, StartFailed
from .machine import free_port, is_free, last_line, processes, send, wait
from .programs import Account, account_for, elsewhere, installed, number, readable_copy

NAME = "chain_orders"
"""The role and the database that a cluster is made with."""

ALWAYS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Bound values, and the rows that an error's DETAIL line quotes, are people's names and addresses.
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_error_verbosity": "terse",
}
DURABILITY = ("fsync", "synchronous_commit", "full_page_writes")
LOG_ROTATES_AT_BYTES = 16 * 1024 * 1024

# Ends the server when the pipe closes, which the kernel does however our process dies. The pid file tells whether
# the number still means our server.
WATCH = 'read -r _; read -r first <"$2"; [ "$first" = "$1" ] && kill -INT "$1"'


class Cluster:
    """A PostgreSQL cluster on `folder`, made at the first start.

    `location` is where it really lies: `folder`, or for root a folder below /var/lib/chain-orders where the
    unprivileged account cannot reach `folder`. `port` None takes a free one at each start. Without `durable` a
    crash of the machine may lose everything: for tests only.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        port: int | None = None,
        durable: bool = True,
        start_timeout_seconds: float = 120.0,
        stop_timeout_seconds: float = 30.0,
    ) -> None:
        self.folder = Path(folder).resolve()
        self.durable = durable
        self.start_timeout_seconds = start_timeout_seconds
        self.stop_timeout_seconds = stop_timeout_seconds
        self._wanted_port = port
        self._port = port
        self._account = Account()
        self._location = self.folder
        self._held: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._watch: subprocess.Popen[bytes] | None = None

    @contextlib.contextmanager
    def running(self) -> Iterator[Cluster]:
        self.start()
        try:
            yield self
        finally:
            self.stop()

    def start(self) -> None:
        """Make the cluster if there is none, recover it if need be, and return when it takes connections.

        Raises the errors above. Does nothing while it runs.
        """
        if self.is_running:
            return
        binaries = installed()
        try:
            self._take_folder()
            binaries = readable_copy(binaries, self._account)
            self._end_leftovers()
            if self._wanted_port is not None and not is_free(self._wanted_port):
                raise PortTaken(f"port {self._wanted_port} of 127.0.0.1 is in use by another program")
            self._make(binaries)
            self._launch(binaries)
        except BaseException as error:
            self._abandon()
            if isinstance(error, PermissionError):
                raise FolderUnreachable(self._not_ours(error.filename)) from error
            if isinstance(error, OSError):
                raise StartFailed(f"cannot run PostgreSQL on {self.folder}: {error}") from error
            raise

    def stop(self) -> None:
        """Stop with a checkpoint, without waiting for clients. Does nothing when it is not running."""
        try:
            self._end(signal.SIGINT)
        finally:
            self._abandon()

    def crash(self) -> None:
        """Kill the server as a power cut would (for tests): nothing is flushed, its pid file stays."""
        self._abandon()

    def remove(self) -> None:
        """Stop, and delete the cluster with everything in it."""
        self.stop()
        # What lies elsewhere is remembered: the folder, and the pointer in it, may be gone by now.
        for folder in (self.location, self.folder):
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(folder)

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def location(self) -> Path:
        pointer = self.folder / "elsewhere"
        with contextlib.suppress(OSError):
            return Path(pointer.read_text().strip())
        return self._location

    @property
    def data_path(self) -> Path:
        return self.location / "data"

    @property
    def log_path(self) -> Path:
        return self.location / "postgres.log"

    @property
    def pid(self) -> int:
        if self._process is None:
            raise EmbeddedError("the local PostgreSQL is not running")
        return self._process.pid

    @property
    def port(self) -> int:
        if self._port is None:
            raise EmbeddedError("the local PostgreSQL has not been started")
        return self._port

    @property
    def database_url(self) -> str:
        """SQLAlchemy's address of the database; it holds the password."""
        return f"postgresql+asyncpg://{NAME}:{self._password()}@127.0.0.1:{self.port}/{NAME}"

    # Where: the folder, its lock, and the account that can reach it.

    def _take_folder(self) -> None:
        self._account, self._location = account_for(self.folder), self.folder
        is_new = not self.folder.exists()
        if is_new:
            self.folder.mkdir(parents=True, mode=0o700)
        if self._account.uid is None and self.folder.stat().st_uid != os.geteuid():
            raise FolderUnreachable(self._not_ours(self.folder))
        self._held = self._lock()
        if is_new and self._account.can_enter(self.folder.parent):
            self._account.give(self.folder)
        if not (self.folder / "elsewhere").exists() and not self._account.can_write(self.folder):
            self._move_elsewhere()
        self._location = self.location
        data = self.data_path
        if data.exists() and data.stat().st_uid != number(self._account):
            raise FolderUnreachable(self._not_ours(data))

    def _lock(self) -> int:
        """Held until we stop or die; the server, which does not inherit it, may outlive it as a leftover."""
        held = self._open(self.folder / "lock", os.O_RDWR)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(held)
            raise AlreadyRunning(f"another process runs the PostgreSQL of {self.folder}") from None
        return held

    def _move_elsewhere(self) -> None:
        """Root only. The name is kept in the folder: whoever deletes the folder to begin anew gets a new cluster."""
        if (self.folder / "data").exists():
            raise FolderUnreachable(f"the database's account cannot reach {self.folder}, which holds its cluster")
        seed = f"{self.folder}|{secrets.token_hex(8)}"
        place = elsewhere() / hashlib.sha256(seed.encode()).hexdigest()[:16]
        place.mkdir(mode=0o700)
        self._account.give(place)
        self._write(self.folder / "elsewhere", f"{place}\n")

    def _not_ours(self, path: object) -> str:
        return (
            f"{path} belongs to another user (perhaps root, by an earlier run): "
            "start as that user, or choose another data folder"
        )

    def _open(self, path: Path, flags: int) -> int:
        # Root may be at work in somebody's folder: a link planted there must not lead it astray.
        opened = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self._account.give(opened)
        return opened

    def _write(self, path: Path, text: str) -> None:
        new = path.with_name(f"{path.name}.new")
        with contextlib.suppress(FileNotFoundError):
            new.unlink()
        with os.fdopen(self._open(new, os.O_WRONLY | os.O_EXCL), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)

    # What an earlier run left.

    def _end_leftovers(self) -> None:
        """We hold the lock, so whatever still runs on this folder has lost its owner.

        A pid file is believed only if its number is such a process: after a restart of the machine, or of a
        container, it often belongs to somebody else.
        """
        for pid, command in self._leftovers():
            if not command.startswith("postgres: "):
                send(pid, signal.SIGINT)
                wait(lambda: not self._leftovers(), self.stop_timeout_seconds)
        # Backends that outlived their postmaster hold the shared memory; recovery makes killing them safe.
        for pid, _ in self._leftovers():
            send(pid, signal.SIGKILL)
        wait(lambda: not self._leftovers(), self.stop_timeout_seconds)
        with contextlib.suppress(FileNotFoundError):
            (self.data_path / "postmaster.pid").unlink()

    def _leftovers(self) -> list[tuple[int, str]]:
        postmaster, children = f"/postgres -D {self.data_path} ", f"postgres: {self._label()}: "
        return [(pid, command) for pid, command in processes() if postmaster in command or command.startswith(children)]

    def _label(self) -> str:
        """The cluster's name in the command lines of its processes, which anybody may read."""
        return f"co-{hashlib.sha256(str(self.data_path).encode()).hexdigest()[:12]}"

    # Making it.

    def _make(self, binaries: Path) -> None:
        """Made beside and renamed, so that a cluster is either complete, with its database, or absent."""
        forgotten = not (self.location / "password").exists()
        if forgotten:
            self._write(self.location / "password", secrets.token_urlsafe(24))
        if not self.data_path.exists():
            new = self.location / "data.new"
            shutil.rmtree(new, ignore_errors=True)
            self._initialise(binaries, new)
            self._alone(binaries, new, f"CREATE DATABASE {NAME}")
            new.rename(self.data_path)
        elif forgotten:
            self._alone(binaries, self.data_path, f"ALTER ROLE {NAME} PASSWORD '{self._password()}'")

    def _initialise(self, binaries: Path, data: Path) -> None:
        # The built-in locale sorts alike on every machine, whatever its C library.
        made, said = self._account.run(
            binaries / "initdb",
            f"--pgdata={data}",
            f"--username={NAME}",
            f"--pwfile={self.location / 'password'}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            *([] if self.durable else ["--no-sync"]),
        )
        if not made:
            raise StartFailed(f"initdb failed on {data}: {last_line(said)}")

    def _alone(self, binaries: Path, data: Path, statement: str) -> None:
        """Run one statement without a server, before anybody can connect."""
        options = self._options(exit_on_error="on")
        done, said = self._account.run(
            binaries / "postgres", "--single", "-D", data, *options, "postgres", given=f"{statement}\n"
        )
        if not done:
            raise StartFailed(f"PostgreSQL failed on {data}: {last_line(said)}")

    def _password(self) -> str:
        with os.fdopen(os.open(self.location / "password", os.O_RDONLY | os.O_NOFOLLOW)) as file:
            return file.read().strip()

    def _options(self, **more: str) -> list[str]:
        # On the command line, where they win over whatever postgresql.conf says.
        chosen = ALWAYS | dict.fromkeys(DURABILITY, "on" if self.durable else "off") | more
        return [part for name, value in chosen.items() for part in ("-c", f"{name}={value}")]

    # Running it.

    def _launch(self, binaries: Path) -> None:
        """A free port can be lost between finding and using it, hence the second and third try."""
        for last_try in (self._wanted_port is not None, False, True):
            self._port = self._wanted_port or free_port()
            try:
                self._launch_on(binaries, self._port)
                return
            except PortTaken:
                if last_try:
                    raise

    def _launch_on(self, binaries: Path, port: int) -> None:
        options = self._options(port=str(port), cluster_name=self._label())
        log = self._open_log()
        try:
            said_from = os.lseek(log, 0, os.SEEK_END)
            self._process = self._account.spawn(
                binaries / "postgres", "-D", self.data_path, *options, stdin=subprocess.DEVNULL, output=log
            )
        finally:
            os.close(log)
        self._watch = self._account.spawn(
            "/bin/sh", "-c", WATCH, "sh", str(self.pid), self.data_path / "postmaster.pid",
            stdin=subprocess.PIPE, output=subprocess.DEVNULL,
        )  # fmt: skip
        if wait(lambda: self._is_ready() or not self.is_running, self.start_timeout_seconds) and self.is_running:
            return
        said = self.log_path.read_bytes()[said_from:].decode(errors="replace")
        if "Address already in use" in said:
            raise PortTaken(f"port {port} of 127.0.0.1 is in use by another program")
        waited = f"was not ready after {self.start_timeout_seconds:g} s" if self.is_running else "ended at its start"
        raise StartFailed(f"PostgreSQL {waited}, see {self.log_path}: {last_line(said)}")

    def _open_log(self) -> int:
        with contextlib.suppress(FileNotFoundError):
            if self.log_path.stat().st_size > LOG_ROTATES_AT_BYTES:
                self.log_path.replace(self.log_path.with_suffix(".log.1"))
        return self._open(self.log_path, os.O_WRONLY | os.O_APPEND)

    def _is_ready(self) -> bool:
        """The postmaster writes its state as the eighth line of its pid file."""
        try:
            lines = (self.data_path / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return lines[:1] == [str(self.pid)] and len(lines) >= 8 and lines[7].strip() == "ready"

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        if self.is_running:
            self._process.send_signal(how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(self.stop_timeout_seconds)

    def _abandon(self) -> None:
        """Leave nothing running and nothing held; what is still running gets no chance to say goodbye."""
        if self._watch is not None:
            self._watch.kill()
            self._watch.communicate()
            self._watch = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._held is not None:
            os.close(self._held)
            self._held = None


@contextlib.contextmanager
def throwaway(*, durable: bool = False) -> Iterator[Cluster]:
    """A running cluster in the temp folder, deleted afterwards: for a test run."""
    # The name is chosen here and the folder made by the cluster, which gives it to the account.
    cluster = Cluster(Path(tempfile.gettempdir()) / f"chain-orders-{secrets.token_hex(8)}", durable=durable)
    try:
        with cluster.running():
            yield cluster
    finally:
        cluster.remove()
