"""The wheel: installed away from the checkout, it has all that a migration needs."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from chain_orders.database import Base
from chain_orders.embedded import Cluster

from .fresh import ask, fresh_database

CHECKOUT = Path(__file__).parents[1]
UV = CHECKOUT / ".tools" / "bin" / "uv"
LIBRARIES = sysconfig.get_path("purelib")
ORIGIN = "import chain_orders, sys; print(chain_orders.__file__, *sys.path, sep='\\n')"


def run(*argv: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program with nothing of this environment but PATH and what is given."""
    given = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run(argv, cwd=cwd, env=given, capture_output=True, text=True, timeout=120, check=False)


@dataclass(frozen=True, slots=True)
class Installed:
    """An environment that holds the wheel alone, and an empty folder to run it from."""

    environment: Path
    empty: Path

    def run(self, name: str, *argv: str, **settings: str) -> subprocess.CompletedProcess[str]:
        # What the wheel depends on comes from the environment of the tests, whose `.pth` files (the one that leads
        # to the checkout among them) do not count on PYTHONPATH.
        program = self.environment / "bin" / name
        return run(program, *argv, cwd=self.empty, PYTHONPATH=LIBRARIES, **settings)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    into = tmp_path_factory.mktemp("wheel")
    built = run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", into, CHECKOUT, cwd=into)
    assert built.returncode == 0, built.stderr
    (found,) = into.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("installed")
    environment, empty = folder / "environment", folder / "empty"
    empty.mkdir()
    uv = [UV, "--offline", "--no-cache", "--no-config", "--quiet"]
    made = run(*uv, "venv", "--python", sys.executable, environment, cwd=empty)
    assert made.returncode == 0, made.stderr
    python = environment / "bin" / "python"
    put = run(*uv, "pip", "install", "--no-deps", "--python", python, wheel, cwd=empty)
    assert put.returncode == 0, put.stderr
    return Installed(environment, empty)


@pytest.fixture
def empty_url(cluster: Cluster) -> Iterator[str]:
    with fresh_database(cluster) as url:
        yield url


def test_nothing_of_the_checkout_is_on_the_path(installed: Installed) -> None:
    origin, *path = installed.run("python", "-c", ORIGIN).stdout.splitlines()

    assert Path(origin).is_relative_to(installed.environment)
    places = {installed.empty / place for place in path} - {Path(LIBRARIES)}
    assert [place for place in places if place.is_relative_to(CHECKOUT)] == []


async def test_it_migrates_an_empty_database(installed: Installed, empty_url: str) -> None:
    migrated = installed.run("chain-orders", "migrate", CHAIN_ORDERS_DATABASE_URL=empty_url)

    assert migrated.returncode == 0, migrated.stderr
    found = await ask(empty_url, "select tablename from pg_tables where schemaname = 'public'")
    assert set(found) == {"alembic_version", *(table.name for table in Base.metadata.sorted_tables)}


def test_it_holds_every_file_of_the_package_but_what_translators_work_from(wheel: Path) -> None:
    tracked = run("git", "ls-files", "src/chain_orders", cwd=CHECKOUT).stdout.split()
    wanted = {name.removeprefix("src/") for name in tracked if not name.endswith((".po", ".pot"))}

    with zipfile.ZipFile(wheel) as archive:
        missing = wanted - set(archive.namelist())

    assert "chain_orders/cli.py" in wanted
    assert missing == set()


def test_it_holds_nothing_but_the_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}

    assert {top for top in tops if not top.endswith(".dist-info")} == {"chain_orders"}
