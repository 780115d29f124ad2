"""`chain-orders dev`: one command, one folder, and nothing left behind, whatever ends it."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from chain_orders.embedded import Cluster

from ..faults.process import free_port
from ..fresh import ask, fresh_database
from .development import Development, is_alive


@pytest.fixture(scope="module")
def develop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Development]]:
    """Makes a `Development` on a new folder."""
    made: list[Development] = []

    def make(**settings: str) -> Development:
        made.append(Development(tmp_path_factory.mktemp("dev"), settings=settings))
        return made[-1]

    yield make
    for development in made:
        development.clear()


@pytest.fixture(scope="module")
def again(develop: Callable[..., Development]) -> Development:
    """A folder on which it is started and ended again and again; it holds what the tests before left."""
    return develop()


@pytest.fixture
def running(again: Development) -> Development:
    """One that runs: the test before may have left it running, or ended it."""
    return again if again.is_running else again.start()


def lines(text: str) -> list[str]:
    return text.strip().splitlines()


def test_the_banner_names_both_addresses_and_where_the_data_is(running: Development) -> None:
    addresses = [f"http://127.0.0.1:{running.port}", f"http://127.0.0.1:{running.seller_port}"]
    wanted = [*addresses, str(running.data), str(Cluster(running.data).location)]

    assert [word for word in wanted if word not in running.said] == []


def test_dev_json_tells_scripts_where_everything_is(running: Development) -> None:
    found = running.described

    assert found["apiUrl"] == found["callbackUrl"] == f"http://127.0.0.1:{running.port}"
    assert found["sellerUrl"] == f"http://127.0.0.1:{running.seller_port}"
    assert found["sellerId"] == "acme"
    assert found["apiKey"].startswith("co_")
    assert found["databaseFolder"] == str(Cluster(running.data).location)


async def test_dev_json_gives_the_databases_address(running: Development) -> None:
    assert await ask(running.described["databaseUrl"], "select id from sellers") == ["acme"]


def test_dev_json_gives_each_process(running: Development) -> None:
    pids = running.described["pids"]

    assert set(pids) == {"dev", "seller", "service", "postgresql"}
    assert set(pids.values()) <= {process.pid for process in running.family}


@pytest.mark.parametrize("name", ["dev.json", "keys.json", "processes.json"])
def test_what_holds_secrets_is_readable_by_its_owner_alone(running: Development, name: str) -> None:
    assert stat.S_IMODE((running.data / name).stat().st_mode) == 0o600


def test_the_folder_is_closed_to_others(running: Development) -> None:
    assert stat.S_IMODE(running.data.stat().st_mode) == 0o700


def test_an_order_can_be_placed(running: Development) -> None:
    placed = running.place()

    assert placed["status"] == "placed"


def test_a_second_start_on_the_folder_says_that_it_runs(running: Development, tmp_path: Path) -> None:
    second = Development(tmp_path)
    second.data.symlink_to(running.data)

    second.launch()

    assert second.process.wait(20) == 1
    (line,) = lines(second.complaint)
    assert "runs already" in line
    assert "DATA=" in line


@pytest.mark.parametrize("port", ["abc", "0", "99999", ""])
def test_a_port_that_is_none_is_one_line(tmp_path: Path, port: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "chain_orders", "dev", "--data", str(tmp_path / "data"), "--seller-port", port],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 1
    assert ended.stderr == f"chain-orders: SELLER_PORT={port} is not a port: give a number between 1 and 65535\n"


@pytest.mark.parametrize(("which", "told"), [("port", " PORT="), ("seller_port", " SELLER_PORT=")])
def test_a_taken_port_is_one_line_that_says_what_to_do(
    running: Development, tmp_path: Path, which: str, told: str
) -> None:
    refused = Development(tmp_path, **{which: running.port})

    refused.launch()

    assert refused.process.wait(20) == 1
    (line,) = lines(refused.complaint)
    assert f"port {running.port} is taken" in line
    assert told in line


def test_the_next_start_keeps_the_order_and_who_is_signed_in(running: Development) -> None:
    placed, key = running.place(), running.described["apiKey"]
    with running.client() as client:
        form = {"data": {"key": key}, "headers": {"Sec-Fetch-Site": "same-origin"}}
        session = client.post("/console/sign-in", **form).cookies["sid"]
    running.end()
    assert not (running.data / "dev.json").exists()

    running.start()

    with running.client() as client:
        assert client.get(f"/v1/orders/{placed['id']}").json()["status"] == "placed"
        assert client.get("/console", headers={"Cookie": f"sid={session}"}).status_code == 200


def test_after_kill_9_the_next_start_ends_what_was_left(running: Development) -> None:
    pids = running.described["pids"]
    left = [psutil.Process(pids[name]) for name in ("seller", "service")]
    running.end(signal.SIGKILL)
    assert [is_alive(process) for process in left] == [True, True]

    running.start()

    assert "ended 2 processes" in running.said
    assert [process for process in left if is_alive(process)] == []
    assert running.place()["status"] == "placed"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_process_and_no_listener(running: Development, how: signal.Signals) -> None:
    code = running.end(how)

    assert code == 0
    assert running.alive() == []
    assert running.answers() == []
    assert "Traceback" not in running.complaint


def test_a_part_that_ends_ends_everything(running: Development) -> None:
    os.kill(running.described["pids"]["postgresql"], signal.SIGKILL)

    assert running.process.wait(40) == 1
    assert lines(running.complaint)[-1] == "chain-orders: PostgreSQL ended; everything is stopped"
    assert running.alive() == []


def test_a_given_database_is_used_instead(develop: Callable[..., Development], cluster: Cluster) -> None:
    with fresh_database(cluster) as url:
        development = develop(CHAIN_ORDERS_DATABASE_URL=url).start()
        try:
            assert development.described["databaseUrl"] == url
            assert development.place()["status"] == "placed"
            assert "postgresql" not in development.described["pids"]
            assert not (development.data / "lock").exists()
        finally:
            development.end()


def test_a_given_database_that_is_away_is_one_line(tmp_path: Path) -> None:
    away = f"postgresql+asyncpg://somebody:secret@127.0.0.1:{free_port()}/nothing"
    refused = Development(tmp_path, settings={"CHAIN_ORDERS_DATABASE_URL": away})

    refused.launch()

    assert refused.process.wait(20) == 1
    assert lines(refused.complaint) == ["chain-orders: the database cannot be reached (ConnectionRefusedError)"]
