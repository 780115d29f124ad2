"""What holds of the whole repository: imports go down only, and no file leads to where it was written."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
CI = CHECKOUT / ".ci" / "run"
LOCKS = ("requirements.lock", "requirements-dev.lock", "tools.lock")

# Written in parts, so that this file does not hold what it forbids.
REGISTRIES = ("pypi" + ".org", "python" + "hosted.org", "npm" + "js.org", "anaconda" + ".org", "proxy.go" + "lang.org")
BEFORE_A_PATH = r"""(?:^|(?<=[\s"'=(:`]))"""
FORBIDDEN = {
    "registry": "|".join(map(re.escape, REGISTRIES)),
    "work": BEFORE_A_PATH + "/" + r"work(?![\w-])",
    "root": BEFORE_A_PATH + "/" + r"root(?![\w-])",
    "shared": r"\.\./" + "shared",
}
PLANTED = {
    "registry": f"https://{REGISTRIES[0]}/simple",
    "work": "cd /" + "work/main",
    "root": 'HOME="/' + 'root"',
    "shared": "see .." + "/shared/house.md",
}


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the import contracts of the package in a folder."""
    environment = {**os.environ, "PYTHONPATH": str(folder / "src")}
    argv = [Path(sys.executable).parent / "lint-imports", "--no-cache"]
    return subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package and its contracts, to be spoilt."""
    shutil.copytree(CHECKOUT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(CHECKOUT / "pyproject.toml", tmp_path)
    return tmp_path


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, timeout=20, check=True)
    paths = [CHECKOUT / name for name in listed.stdout.decode().split("\0") if name]
    assert CHECKOUT / "pyproject.toml" in paths
    return [path for path in paths if path.is_file()]


def holds(pattern: str) -> Callable[[Path], bool]:
    compiled = re.compile(pattern, re.MULTILINE)
    return lambda path: compiled.search(path.read_text(errors="replace")) is not None


def test_imports_go_down_only() -> None:
    linted = lint(CHECKOUT)

    assert linted.returncode == 0, linted.stdout


@pytest.mark.parametrize(
    ("importer", "imported"),
    [("deliveries/queue.py", "orders.placing"), ("vtex/client.py", "app"), ("simulator/book.py", "vtex.messages")],
)
def test_an_upward_import_is_named(copy: Path, importer: str, imported: str) -> None:
    with (copy / "src/chain_orders" / importer).open("a") as module:
        module.write(f"\nimport chain_orders.{imported}\n")

    linted = lint(copy)

    assert linted.returncode == 1
    upward = f"chain_orders.{importer.removesuffix('.py').replace('/', '.')} -> chain_orders.{imported}"
    assert upward in re.sub(r"\s+", " ", linted.stdout)


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_tracked_file_leads_to_where_it_was_written(what: str) -> None:
    found = filter(holds(FORBIDDEN[what]), tracked())

    assert [str(path.relative_to(CHECKOUT)) for path in found if (what, path) != ("shared", CI)] == []


@pytest.mark.parametrize("what", FORBIDDEN)
def test_what_is_forbidden_would_be_found(tmp_path: Path, what: str) -> None:
    planted = tmp_path / "planted"
    planted.write_text(f"first line\n{PLANTED[what]}\n")

    assert holds(FORBIDDEN[what])(planted)


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_file_holds_hashes_and_no_url(name: str) -> None:
    locked = (CHECKOUT / name).read_text()

    assert "--hash=sha256:" in locked
    assert "://" not in locked
