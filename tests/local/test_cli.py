"""The command line: what is missing or wrong is told in one line, and what runs stops when it is asked to."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from chain_orders import cli, logs, schema
from chain_orders.database import Database
from chain_orders.embedded import Cluster

from ..builders import KEYS
from ..faults.process import free_port
from ..fresh import fresh_database

COMMANDS = [[], ["serve"], ["work"], ["migrate"], ["dev"], ["simulate"], ["key"], ["key", "create"]]
OPENING = [["serve", "--port", "0"], ["work"], ["migrate"], ["key", "create", "somebody", "--bootstrap"]]
"""The commands that open the database."""

REQUIRED = ["DATABASE_URL", "PUBLIC_URL", "CALLBACK_KEYS", "CREDENTIAL_KEYS"]


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended, and what it said."""

    code: int
    out: str
    complaint: str


Invoke = Callable[..., Said]


def complete(database_url: str, **changes: str) -> dict[str, str]:
    """Every setting that has no default."""
    return {
        "CHAIN_ORDERS_ENVIRONMENT": "development",
        "CHAIN_ORDERS_DRAIN_SECONDS": "0",
        "CHAIN_ORDERS_DATABASE_URL": database_url,
        "CHAIN_ORDERS_PUBLIC_URL": "http://127.0.0.1:1",
        "CHAIN_ORDERS_CALLBACK_KEYS": KEYS,
        "CHAIN_ORDERS_CREDENTIAL_KEYS": KEYS,
        **changes,
    }


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Invoke]:
    """Run a command that ends by itself, in this process: a traceback would be the test's own."""

    monkeypatch.chdir(tmp_path)  # a service that runs in this folder is nobody's to call

    def run(*argv: str, **settings: str) -> Said:
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["chain-orders", *argv])
        out, complaint = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(complaint), pytest.raises(SystemExit) as ended:
            cli.main()
        return Said(int(ended.value.code or 0), out.getvalue(), complaint.getvalue())

    yield run
    logs.configure("console")


@pytest.fixture
def unmigrated_url(cluster: Cluster) -> Iterator[str]:
    with fresh_database(cluster) as url:
        yield url


@contextlib.contextmanager
def process(folder: Path, *argv: str, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command that runs on, as a process of its own; it logs to `log` in the folder."""
    with (folder / "log").open("wb") as log:
        running = subprocess.Popen(
            [sys.executable, "-m", "chain_orders", *argv], env={**os.environ, **settings}, stdout=log, stderr=log
        )
    try:
        wait_until(lambda: b'"started"' in (folder / "log").read_bytes() or running.poll() is not None)
        yield running
    finally:
        running.kill()
        running.wait()


@pytest.fixture(scope="module")
def served(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service that runs."""
    port = free_port()
    with process(tmp_path_factory.mktemp("served"), "serve", "--port", str(port), **complete(database_url)):
        address = f"http://127.0.0.1:{port}"
        wait_until(lambda: httpx.get(f"{address}/livez", trust_env=False).status_code == 200)
        yield address


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"it did not come about within {seconds} seconds"
        time.sleep(0.02)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_tells_how_to_use_each_command(invoke: Invoke, command: list[str]) -> None:
    said = invoke(*command, "--help")

    assert said.code == 0
    assert " ".join(["chain-orders", *command, "[OPTIONS]"]) in said.out


@pytest.mark.parametrize("command", ["serve", "work"])
def test_each_missing_setting_is_a_line_that_names_it(invoke: Invoke, command: str) -> None:
    said = invoke(command)

    assert said.code == 2
    assert set(said.complaint.splitlines()) == {
        f"chain-orders: CHAIN_ORDERS_{name}: Field required" for name in REQUIRED
    }


@pytest.mark.parametrize("command", [["migrate"], ["key", "create", "somebody", "--bootstrap"]], ids=" ".join)
def test_a_missing_address_of_the_database_is_one_line(invoke: Invoke, command: list[str]) -> None:
    said = invoke(*command)

    assert said.code == 2
    assert said.complaint == "chain-orders: CHAIN_ORDERS_DATABASE_URL: Field required\n"


def test_a_setting_that_is_wrong_is_named_without_its_value(invoke: Invoke) -> None:
    said = invoke("serve", **complete("postgresql+asyncpg://nobody", CHAIN_ORDERS_CALLBACK_KEYS="k1:c2VjcmV0"))

    assert said.code == 2
    (line,) = said.complaint.splitlines()
    assert line.startswith("chain-orders: CHAIN_ORDERS_CALLBACK_KEYS: ")
    assert "c2VjcmV0" not in line


@pytest.mark.parametrize("address", ["postgres://me:secret@127.0.0.1/x", "secret"])
@pytest.mark.parametrize("command", OPENING, ids=" ".join)
def test_an_address_without_our_driver_is_one_line(invoke: Invoke, command: list[str], address: str) -> None:
    said = invoke(*command, **complete(address))

    assert said.code == 2
    assert said.complaint == (
        "chain-orders: CHAIN_ORDERS_DATABASE_URL: must read postgresql+asyncpg://user:password@host:port/name\n"
    )


@pytest.mark.parametrize("command", OPENING, ids=" ".join)
def test_an_unreachable_database_is_one_line(invoke: Invoke, command: list[str]) -> None:
    said = invoke(*command, **complete(f"postgresql+asyncpg://me:secret@127.0.0.1:{free_port()}/x"))

    assert said.code == 1
    assert said.complaint == "chain-orders: the database cannot be reached (ConnectionRefusedError)\n"


@pytest.mark.parametrize("command", OPENING, ids=" ".join)
def test_a_wrong_password_is_one_line(invoke: Invoke, cluster: Cluster, command: list[str]) -> None:
    address = f"postgresql+asyncpg://chain_orders:secret@127.0.0.1:{cluster.port}/chain_orders"

    said = invoke(*command, **complete(address))

    assert said.code == 1
    assert said.complaint == "chain-orders: the database refuses this user or password\n"


@pytest.mark.parametrize("command", OPENING, ids=" ".join)
def test_a_database_that_does_not_exist_is_one_line(invoke: Invoke, cluster: Cluster, command: list[str]) -> None:
    said = invoke(*command, **complete(f"{cluster.database_url}_of_another_name"))

    assert said.code == 1
    assert said.complaint == "chain-orders: the database has no database of this name\n"


@pytest.mark.parametrize("command", [command for command in OPENING if command != ["migrate"]], ids=" ".join)
def test_an_unmigrated_database_asks_for_migrate(invoke: Invoke, unmigrated_url: str, command: list[str]) -> None:
    said = invoke(*command, **complete(unmigrated_url))

    assert said.code == 1
    (line,) = said.complaint.splitlines()
    assert line.startswith("chain-orders: the database's schema is at nothing")
    assert line.endswith("run migrate")


def test_production_refuses_a_database_that_forgets(invoke: Invoke, database_url: str) -> None:
    careful = {"CHAIN_ORDERS_ENVIRONMENT": "production", "CHAIN_ORDERS_PUBLIC_URL": "https://callbacks.example"}

    said = invoke("serve", "--port", "0", **complete(database_url, **careful))

    assert said.code == 1
    assert "fsync is off" in said.complaint


def test_a_taken_port_is_one_line(invoke: Invoke, database_url: str, served: str) -> None:
    port = served.rpartition(":")[2]

    said = invoke("serve", "--port", port, **complete(database_url))

    assert said.code == 1
    assert said.complaint == f"chain-orders: port {port} on 127.0.0.1 is taken\n"


def test_dev_wants_two_ports(invoke: Invoke, tmp_path: Path) -> None:
    said = invoke("dev", "--data", str(tmp_path / "data"), "--port", "8000", "--seller-port", "8000")

    assert said.code == 1
    (line,) = said.complaint.splitlines()
    assert "PORT= or SELLER_PORT=" in line
    assert not (tmp_path / "data").exists()


def test_migrate_twice_is_fine(invoke: Invoke, unmigrated_url: str) -> None:
    first = schema.migrate(unmigrated_url)

    said = invoke("migrate", CHAIN_ORDERS_DATABASE_URL=unmigrated_url)

    assert (said.code, said.out) == (0, f"the schema is at {first}\n")


def test_an_unknown_role_is_refused_with_the_known_ones(invoke: Invoke) -> None:
    said = invoke("key", "create", "somebody", "--role", "owner")

    assert said.code == 2
    assert "viewer, operator, admin" in said.complaint


def test_only_an_admins_key_is_made_without_one(invoke: Invoke, database: Database) -> None:
    said = invoke("key", "create", "me", "--role", "viewer", "--bootstrap", CHAIN_ORDERS_DATABASE_URL=database.url)
    other = invoke("key", "create", "me", CHAIN_ORDERS_DATABASE_URL=database.url)

    assert (said.code, other.code) == (2, 2)
    assert "the first key is an admin's" in said.complaint
    assert "CHAIN_ORDERS_API_URL" in other.complaint


def test_the_first_key_opens_the_api_and_there_is_no_second(invoke: Invoke, served: str, database: Database) -> None:
    said = invoke("key", "create", "me", "--bootstrap", CHAIN_ORDERS_DATABASE_URL=database.url)
    again = invoke("key", "create", "another", "--bootstrap", CHAIN_ORDERS_DATABASE_URL=database.url)

    key = {"Authorization": f"Bearer {said.out.strip()}"}
    answers = [httpx.get(f"{served}/v1/sellers/none", headers=headers, trust_env=False) for headers in ({}, key)]
    assert [answer.status_code for answer in answers] == [401, 404]
    assert (again.code, again.complaint) == (
        1,
        "chain-orders: there is an admin's key already; make others with it\n",
    )
    (act,) = httpx.get(f"{served}/v1/audit", headers=key, trust_env=False).json()["items"]
    assert (act["actor"], act["action"], act["after"]["name"]) == ("command:key create", "key.create", "me")


@pytest.mark.parametrize(("path", "status"), [("/livez", "alive"), ("/readyz", "ready")])
def test_serve_tells_its_health(served: str, path: str, status: str) -> None:
    answer = httpx.get(served + path, trust_env=False)

    assert (answer.status_code, answer.json()) == (200, {"status": status})


STOPPED = [
    (["serve", "--port", "0"], signal.SIGTERM),
    (["serve", "--port", "0"], signal.SIGINT),
    (["work"], signal.SIGTERM),
]


@pytest.mark.parametrize(("command", "how"), STOPPED)
def test_what_runs_stops_when_asked(database_url: str, tmp_path: Path, command: list[str], how: signal.Signals) -> None:
    with process(tmp_path, *command, **complete(database_url)) as running:
        running.send_signal(how)

        assert running.wait(10) == 0
        assert "Traceback" not in (tmp_path / "log").read_text()
