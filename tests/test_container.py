"""The container image and the compose file, without a container engine.

Both are linted. The compose file's own commands are run with its own environment, as plain processes of this machine:
only names of hosts and numbers of ports are other ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import jsonschema
import pytest
import typer
import yaml
from packaging.requirements import Requirement
from sqlalchemy import make_url

from chain_orders.cli import app
from chain_orders.embedded import Cluster

from .builders import KEYS, calling, until
from .builders import order as build_order
from .faults.process import free_port

CHECKOUT = Path(__file__).parents[1]
SCHEMA = Path(__file__).parent / "samples" / "compose" / "compose-spec.json"
# What a person must give: the names in the compose file without a default.
GIVEN = {
    "POSTGRES_PASSWORD": "invented",
    "CHAIN_ORDERS_CALLBACK_KEYS": KEYS,
    "CHAIN_ORDERS_CREDENTIAL_KEYS": KEYS,
}
DATABASE = "chain_orders_compose"
_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?P<how>:-|:\?)(?P<text>[^}]*)\}")


class Unset(Exception):
    """A variable that the compose file requires; the message is the one that compose shows."""


def interpolated(value: Any, given: Mapping[str, str]) -> Any:
    """What compose makes of `${NAME:-default}` and `${NAME:?message}`. Raises Unset."""

    def put(found: re.Match[str]) -> str:
        if found["name"] in given:
            return given[found["name"]]
        if found["how"] == ":?":
            raise Unset(found["text"])
        return found["text"]

    match value:
        case dict():
            return {name: interpolated(inner, given) for name, inner in value.items()}
        case list():
            return [interpolated(inner, given) for inner in value]
        case str():
            return _VARIABLE.sub(put, value)
        case _:
            return value


@pytest.fixture(scope="module")
def written() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())
    return loaded


@pytest.fixture
def services(written: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = interpolated(written["services"], GIVEN)
    return found


def parsed(arguments: list[str]) -> None:
    """Parse a command line as `chain-orders` does, without running it. Raises click's UsageError."""
    group: Any = typer.main.get_command(app)
    context = group.make_context("chain-orders", list(arguments))
    name, command, rest = group.resolve_command(context, [*getattr(context, "_protected_args", []), *context.args])
    command.make_context(name, rest, parent=context)


def our_commands(services: Mapping[str, Any]) -> dict[str, list[str]]:
    return {name: service["command"] for name, service in services.items() if service["image"] == "chain-orders"}


class TestDockerfile:
    text = (CHECKOUT / "Dockerfile").read_text()

    def test_hadolint_finds_nothing(self) -> None:
        hadolint = Path(sys.executable).with_name("hadolint")
        found = subprocess.run([hadolint, "Dockerfile"], cwd=CHECKOUT, capture_output=True, text=True, timeout=60)
        assert (found.returncode, found.stdout) == (0, "")

    def test_its_command_parses(self) -> None:
        (entry,) = re.findall(r"^ENTRYPOINT (.*)$", self.text, re.MULTILINE)
        (command,) = re.findall(r"^CMD (.*)$", self.text, re.MULTILINE)
        assert json.loads(entry) == ["chain-orders"]
        parsed(json.loads(command))

    def test_it_runs_as_nobody_in_particular(self) -> None:
        (user,) = re.findall(r"^USER (.*)$", self.text, re.MULTILINE)
        assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user)

    def test_it_installs_what_is_locked_and_no_postgresql(self) -> None:
        assert self.text.count("pip install") == self.text.count("--require-hashes") + self.text.count("/wheels/*.whl")
        assert "pgserver" not in (CHECKOUT / "requirements.lock").read_text()

    def test_its_build_tools_are_all_in_the_lock(self) -> None:
        """What the wheel is built with is picked from the other lock by name: no name is missing."""
        (names,) = re.findall(r"wanted = /\^\(([a-z|-]+)\)==/", self.text)
        locked = {line.partition("==")[0] for line in (CHECKOUT / "requirements-dev.lock").read_text().splitlines()}
        assert set(names.split("|")) == _closure("hatchling")
        assert set(names.split("|")) <= locked

    def test_what_it_copies_is_let_through(self) -> None:
        copied = {
            part for line in re.findall(r"^COPY (?!--from)(.*)$", self.text, re.MULTILINE) for part in line.split()[:-1]
        }
        allowed = {line[1:] for line in (CHECKOUT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
        assert copied == allowed
        assert all((CHECKOUT / name).exists() for name in copied)


def _closure(name: str) -> set[str]:
    """A distribution and everything it needs on the image's Python."""
    found = {name}
    for text in requires(name) or []:
        needed = Requirement(text)
        if needed.marker is None or needed.marker.evaluate({"python_version": "3.13", "extra": ""}):
            found |= _closure(needed.name)
    return found


class TestComposeFile:
    def test_it_is_valid(self, written: dict[str, Any]) -> None:
        jsonschema.Draft7Validator(json.loads(SCHEMA.read_text())).validate(written)

    def test_its_commands_parse(self, services: dict[str, Any]) -> None:
        commands = our_commands(services)
        assert set(commands) == {"migrate", "service", "worker", "seller"}
        for command in commands.values():
            parsed(command)

    def test_a_command_that_does_not_exist_is_noticed(self) -> None:
        for wrong in (["serve", "--no-such-option"], ["no-such-command"]):
            with pytest.raises(Exception, match="No such"):
                parsed(wrong)

    @pytest.mark.parametrize("missing", GIVEN)
    def test_what_is_unset_is_named(self, written: dict[str, Any], missing: str) -> None:
        given = {name: value for name, value in GIVEN.items() if name != missing}
        with pytest.raises(Unset, match=r"^(set|make) .{10,}"):
            interpolated(written["services"], given)

    def test_who_waits_for_whom(self, services: dict[str, Any]) -> None:
        for name, service in services.items():
            for other, waits in service.get("depends_on", {}).items():
                needed = services[other]
                if waits["condition"] == "service_healthy":
                    assert "test" in needed["healthcheck"], f"{name} waits for the health of {other}"
                else:
                    assert needed["restart"] == "no", f"{name} waits for the end of {other}"
        assert (
            set(services["service"]["depends_on"]) == set(services["worker"]["depends_on"]) == {"postgres", "migrate"}
        )

    def test_only_this_machine_reaches_it(self, services: dict[str, Any]) -> None:
        published = [port for service in services.values() for port in service.get("ports", [])]
        assert published
        assert all(port.startswith("127.0.0.1:") for port in published)


@pytest.fixture
async def fresh(cluster: Cluster) -> AsyncIterator[str]:
    """The address of an empty database without any table."""
    address = make_url(cluster.database_url)
    plain = address.set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await asyncpg.connect(plain)
    try:
        await connection.execute(f"create database {DATABASE}")
        yield address.set(database=DATABASE).render_as_string(hide_password=False)
        await connection.execute(f"drop database {DATABASE} with (force)")
    finally:
        await connection.close()


class Stack:
    """The compose file's services as processes: `service` and `seller` on free ports, `postgres` the fresh database."""

    def __init__(self, services: Mapping[str, Any], database_url: str, logs: Path) -> None:
        self._services = services
        self._database_url = database_url
        self._logs = logs
        self._hosts = {name: f"127.0.0.1:{free_port()}" for name in ("service", "seller")}

    def url(self, name: str) -> str:
        return f"http://{self._hosts[name]}"

    def command(self, name: str) -> list[str]:
        """The service's command on loopback, on its own port."""
        port = self._hosts.get(name, ":").rpartition(":")[2]
        own = {"0.0.0.0": "127.0.0.1", "8000": port, "8001": port}
        return [
            sys.executable,
            "-m",
            "chain_orders",
            *(own.get(part, part) for part in self._services[name]["command"]),
        ]

    def environment(self, name: str) -> dict[str, str]:
        """The service's environment and no other setting, the names of its hosts replaced."""
        given = self._services[name].get("environment", {})
        ports = {"service": "8000", "seller": "8001"}
        translated = dict(given)
        for host, port in ports.items():
            translated = {k: v.replace(f"{host}:{port}", self._hosts[host]) for k, v in translated.items()}
        if "CHAIN_ORDERS_DATABASE_URL" in translated:
            assert "@postgres:5432/chain_orders" in translated["CHAIN_ORDERS_DATABASE_URL"]
            translated["CHAIN_ORDERS_DATABASE_URL"] = self._database_url
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("CHAIN_ORDERS_")}
        return {**inherited, **translated}

    def once(self, name: str, *instead: str) -> str:
        """Run a service's command to its end, or another command in its place; what it printed."""
        command = [*self.command(name)[:3], *instead] if instead else self.command(name)
        environment = self.environment(name)
        ended = subprocess.run(
            command, cwd=CHECKOUT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout.strip()

    @contextlib.contextmanager
    def running(self, name: str) -> Iterator[subprocess.Popen[bytes]]:
        """A service under way; ended by its pid, within the time that compose gives it."""
        with (self._logs / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                self.command(name), cwd=CHECKOUT, env=self.environment(name), stdout=log, stderr=log
            )
            try:
                yield process
                assert process.poll() is None, (self._logs / f"{name}.log").read_text()[-2000:]
                process.send_signal(signal.SIGTERM)
                grace = self._services[name].get("stop_grace_period", "10s")
                process.wait(float(grace.removesuffix("s")))
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()


async def test_its_commands_place_an_order_together(services: dict[str, Any], fresh: str, tmp_path: Path) -> None:
    stack = Stack(services, fresh, tmp_path)
    stack.once("migrate")
    key = stack.once("service", "key", "create", "compose-test", "--bootstrap")
    async with calling(stack.url("service"), headers={"Authorization": f"Bearer {key}"}, timeout=20) as operator:
        with stack.running("seller"), stack.running("service"):
            _await_health(services, stack, "seller")
            _await_health(services, stack, "service")
            seller = {"accountName": "acme", "salesChannel": "1", "affiliateId": "MKP", "baseUrl": stack.url("seller")}
            credentials = {"appKey": "simulated-key", "appToken": "simulated-token"}
            assert (await operator.post("/v1/sellers", json={**seller, **credentials})).status_code == 201
            taken = await operator.post("/v1/sellers/acme/orders", json=build_order("COMPOSE1"))
            assert taken.status_code == 202
            where = taken.headers["location"]
            await asyncio.sleep(1)
            assert (await operator.get(where)).json()["status"] == "accepted", "without the worker nothing is sent"
            with stack.running("worker"):
                assert await _status(operator, where, "placed")
                answers = await _invoiced(stack.url("seller"), "MKP-COMPOSE1-01")
                assert [answer["status"] for answer in answers] == [200]
                assert await _status(operator, where, "invoiced")


def _await_health(services: Mapping[str, Any], stack: Stack, name: str) -> None:
    """Run the service's own health check, on its own port, until it is content."""
    how, _, *check = services[name]["healthcheck"]["test"]
    assert how == "CMD"
    command = [sys.executable, *(re.sub(r"http://127\.0\.0\.1:\d+", stack.url(name), part) for part in check)]
    for _ in range(60):
        if subprocess.run(command, capture_output=True, timeout=20).returncode == 0:
            return
        time.sleep(0.2)
    raise AssertionError(f"{name} does not become healthy")


async def _status(operator: httpx.AsyncClient, where: str, status: str) -> bool:
    async def reached() -> bool:
        return bool((await operator.get(where)).json()["status"] == status)

    return bool(await until(reached, 90))


async def _invoiced(seller: str, chain_order_id: str) -> list[dict[str, Any]]:
    async with calling(seller, timeout=20) as client:
        told = await client.post(f"/control/orders/{chain_order_id}/invoice")
        answers: list[dict[str, Any]] = told.json()["answers"]
        return answers
