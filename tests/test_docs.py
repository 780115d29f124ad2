"""The documentation says what is so: links lead somewhere, tables match the source, and README's commands work."""

from __future__ import annotations

import ast
import contextlib
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import typer.main
from benchmarks import page as benchmarks

from chain_orders import cli
from chain_orders.app import create_app
from chain_orders.console.site import Console
from chain_orders.deliveries.models import STATES as DELIVERY_STATES
from chain_orders.embedded import Cluster
from chain_orders.notifications.models import STATES as NOTIFICATION_STATES
from chain_orders.orders.states import Status
from chain_orders.settings import Settings
from chain_orders.simulator.scenarios import Behaviour

from . import docs_codes, docs_pages, docs_states, readme
from .builders import settings_for
from .console import pictures
from .faults.process import free_port

CHECKOUT = Path(__file__).parents[1]
PAGES = sorted([*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/**/*.md"), *CHECKOUT.glob("tests/samples/**/*.md")])
SOURCES = sorted((CHECKOUT / "src" / "chain_orders").rglob("*.py"))
OPERATIONS = (CHECKOUT / "docs" / "operations.md").read_text()


def _name(page: Path) -> str:
    return str(page.relative_to(CHECKOUT))


def test_what_is_said_of_benchmarks_is_what_was_measured() -> None:
    for page in benchmarks.PARTS:
        assert benchmarks.rewritten(page) == page.read_text(), "run: python -m benchmarks.page"


def test_the_page_of_states_is_the_generators() -> None:
    page = docs_states.PAGE.read_text()
    assert docs_states.rewritten(page) == page, "run: python -m tests.docs_states"


def test_the_codes_page_is_what_the_catalogue_says() -> None:
    page = docs_codes.PAGE.read_text()
    assert docs_codes.rewritten(page) == page, "run: python -m tests.docs_codes"


def test_the_page_of_pictures_is_the_generators() -> None:
    page = docs_pages.PAGE.read_text()
    assert docs_pages.rewritten(page) == page, "run: python -m tests.docs_pages"


def test_every_page_of_the_console_has_its_pictures_and_is_shown() -> None:
    """Each in light and dark, wide and narrow: `make screenshots` takes them."""
    taken = {path.name for path in pictures.FOLDER.iterdir()}
    shown = set(re.findall(r'images/([^"]+)"', docs_pages.PAGE.read_text()))
    assert taken == pictures.files()
    assert shown == taken


_NO_PAGES = {
    "/console/static/{name}", "/console/orders.csv", "/console/orders/{order_id}/evidence", "/console/here",
    "/console/live", "/console/orders/many", "/console/deliveries/retry",
}  # fmt: skip


def test_there_is_a_picture_of_every_address_of_the_console() -> None:
    app = create_app(Settings(**settings_for("postgresql+asyncpg://nobody@127.0.0.1:1/none")))
    (console,) = [route for route in app.routes if isinstance(route, Console)]
    served = [route for route in console.addresses if "GET" in (route.methods or ())]
    paths = [one.path.partition("?")[0] for one in pictures.ALL.values()]
    found = [next((route.path for route in served if route.path_regex.match(path)), "") for path in paths]
    assert {route.path for route in served} - set(found) == _NO_PAGES


@pytest.mark.parametrize(("title", "states"), [("Deliveries", DELIVERY_STATES), ("Notifications", NOTIFICATION_STATES)])
def test_other_states_are_all_explained(title: str, states: tuple[str, ...]) -> None:
    assert set(_listed(docs_states.PAGE.read_text(), title)) == set(states)


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"(?:\]\(|src=\"|srcset=\")([^)\s\"]+)", text):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        aim = (page.parent / unquote(file)).resolve() if file else page
        assert aim.exists(), f"{target} leads nowhere"
        assert aim.is_relative_to(CHECKOUT)
        if anchor:
            assert anchor in _anchors(aim.read_text()), f"{target} names no heading"


def _anchors(page: str) -> set[str]:
    """The anchors that a forge makes of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_hosts_are_examples_or_the_protocols(page: Path) -> None:
    """Outside of VTEX's own and the sources of standards, only invented hosts are named."""
    known = {
        "keepachangelog.com",
        "semver.org",
        "{accountname}.vtexcommercestable.com.br",
        "service:8000",
        "seller:8001",
    }
    for host in re.findall(r"https?://([^\s/`)\"'<]+)", page.read_text()):
        plain = host.lower()
        assert plain in known or plain.startswith("127.0.0.1") or plain.endswith(".example"), host


# What the source can say: codes of problems and reasons for attention, found in its syntax.

_PROBLEMS = {
    "Problem", "Malformed", "Unauthenticated", "Forbidden", "Unknown", "Conflict", "Stale", "TooLarge",
    "UnsupportedMedia", "Invalid", "Unconditional", "Unavailable", "TooSlow", "HeadTooSlow", "HeadTooLarge",
    "TargetTooLong",
}  # fmt: skip


def _calls() -> Iterator[tuple[str, ast.Call]]:
    for path in SOURCES:
        if "simulator" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                yield getattr(node.func, "id", getattr(node.func, "attr", "")), node


def _constants() -> dict[str, str]:
    """Texts that modules give a name to."""
    return {
        target.id: node.value.value
        for path in SOURCES
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


_CONSTANTS = _constants()


def _said(node: ast.expr | None) -> set[str]:
    """A code as written, or by its name; for `f"order-{order.status}"` one for each status."""
    if isinstance(node, ast.Name) and node.id in _CONSTANTS:
        return {_CONSTANTS[node.id]}
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return {node.value}
    if isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
        return {f"{node.values[0].value}{status}" for status in Status}
    return set()


def _argument(call: ast.Call, at: int) -> ast.expr | None:
    return call.args[at] if len(call.args) > at else None


def _problem_codes() -> tuple[set[str], set[str]]:
    """The codes that are surely given, and all that can be."""
    sure, possible = set(), set()
    for name, call in _calls():
        if name in _PROBLEMS:
            codes = _said(_argument(call, 0))
            possible |= codes
            sure |= codes if len(codes) == 1 else set()
    edges = (CHECKOUT / "src" / "chain_orders" / "operators" / "edges.py").read_text()
    named = set(re.findall(r'\d{3}: \("([a-z-]+)"', edges))
    return sure | named, possible | named


def _attention_codes() -> set[str]:
    found: set[str] = set()
    for name, call in _calls():
        match name:
            case "ask_attention":
                found |= _said(_argument(call, 0))
            case "Parked" if any(
                keyword.arg == "attention" and isinstance(keyword.value, ast.Constant) and keyword.value.value
                for keyword in call.keywords
            ):
                found |= _said(_argument(call, 0))
            case "Difference":
                found |= _said(_argument(call, 0))
            case "Dead":
                found |= _said(_argument(call, 1))
            case "Conflicting":
                found |= _said(_argument(call, 1)) or {"placement-conflict"}
    return found


def _listed(page: str, title: str) -> list[str]:
    """The backticked words in the first column of the first table under a heading."""
    _, _, after = page.partition(f"# {title}\n")
    section = re.split(r"^#+ ", after, maxsplit=1, flags=re.MULTILINE)[0]
    rows = re.findall(r"^\| (`[^|]*`) \|", section, re.MULTILINE)
    return [word for row in rows for word in re.findall(r"`([^`]+)`", row)]


def test_problem_codes_are_the_sources() -> None:
    listed = _listed(OPERATIONS, "Problem codes")
    sure, possible = _problem_codes()
    assert len(listed) == len(set(listed))
    assert set(listed) <= possible, "docs/operations.md lists codes that the source never gives"
    assert sure <= set(listed), "docs/operations.md lacks codes"


def test_reasons_for_attention_are_the_sources() -> None:
    listed = _listed(OPERATIONS, "When an order wants attention")
    assert len(listed) == len(set(listed))
    assert set(listed) == _attention_codes(), "docs/operations.md, the table of attention"


def test_the_calls_of_the_api_are_the_services() -> None:
    listed = _listed(OPERATIONS, "The operators' API")
    app = create_app(Settings(**settings_for("postgresql+asyncpg://nobody@127.0.0.1:1/none")))
    served = {
        f"{method.upper()} {path}"
        for path, methods in app.openapi()["paths"].items()
        if path.startswith("/v1")
        for method in methods
    }
    assert set(listed) == served, "docs/operations.md, the table of calls"


def test_the_commands_are_the_programs() -> None:
    listed = {line.split()[1] for line in _listed(OPERATIONS, "Operations")}
    offered = set(typer.main.get_command(cli.app).commands)  # type: ignore[attr-defined]
    assert listed == offered, "docs/operations.md, the table of commands"


def test_the_simulated_sellers_switches_are_all_told() -> None:
    page = (CHECKOUT / "docs" / "simulator.md").read_text()
    listed = {
        name
        for line in page.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`(\w+)`", line.split("|")[1])
    }
    told = {name for name in listed if name not in {"GET", "PUT"}} | set(re.findall(r"`(applyTo|seed)`", page))
    assert told == {field.alias for field in Behaviour.model_fields.values()}


# README's commands, run as they stand.


class Started:
    """`chain-orders dev` on free ports and a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = (free_port(), free_port())
        self.log = folder.with_suffix(".log")
        command = ["-m", "chain_orders", "dev", "--data", str(folder)]
        command += ["--port", str(self.ports[0]), "--seller-port", str(self.ports[1])]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, *command],
                cwd=CHECKOUT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Somebody who runs the tests in the background has SIGINT ignored, and children inherit that.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    def ready(self) -> None:
        deadline = time.monotonic() + 90
        while "Ctrl-C stops" not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)

    def here(self, commands: str) -> str:
        """README's commands, with this start's ports and folder."""
        commands = commands.replace("127.0.0.1:8000", f"127.0.0.1:{self.ports[0]}")
        commands = commands.replace("127.0.0.1:8001", f"127.0.0.1:{self.ports[1]}")
        return commands.replace(".chain-orders/", f"{self.folder}/")

    def tree(self) -> set[tuple[int, str]]:
        """Every process below this one, with the moment at which it was started."""
        parents = {pid: (parent, born) for pid, parent, born in _processes()}
        found = {self.process.pid}
        while more := {pid for pid, (parent, _) in parents.items() if parent in found} - found:
            found |= more
        return {(pid, parents[pid][1]) for pid in found}


def _processes() -> Iterator[tuple[int, int, str]]:
    """Pid, parent and start of every process that has not ended."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            pid, _, rest = stat.read_text(errors="replace").partition(" (")
            state, parent, *others = rest.rpartition(") ")[2].split()
            if state != "Z":
                yield int(pid), int(parent), others[17]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    started = Started(tmp_path / "data")
    try:
        started.ready()
        yield started
    finally:
        if started.process.poll() is None:
            started.process.terminate()
            started.process.wait(60)
        Cluster(started.folder).remove()


def test_readme_shows_what_its_commands_print(started: Started) -> None:
    run, *story = readme.shown((CHECKOUT / "README.md").read_text())
    assert run.commands == "make run\n"
    banner = started.log.read_text()

    printed = _printed(started, story)

    for block, output in zip(story, printed, strict=True):
        assert readme.alike(output) == readme.alike(block.output), block.commands
    # The lines of the two processes may come in either order.
    assert sorted(readme.alike(banner)) == sorted(readme.alike(run.output))


def _printed(started: Started, story: list[readme.Shown]) -> list[str]:
    """What each block prints, all of them in one shell. A `sleep` of README's waits until the service is idle."""
    between = "=== next block ==="
    patient = f"sleep() {{ '{sys.executable}' -c '{_UNTIL_IDLE}' '{started.folder}/dev.json'; }}\n"
    script = patient + f"echo '{between}'\n".join(started.here(block.commands) for block in story)
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=CHECKOUT, capture_output=True, text=True, timeout=90, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout.split(f"{between}\n")


_UNTIL_IDLE = """
import json, sys, time, httpx
dev = json.load(open(sys.argv[1]))
api = httpx.Client(base_url=dev["apiUrl"], headers={"Authorization": "Bearer " + dev["apiKey"]}, trust_env=False)
for _ in range(300):
    orders = api.get("/v1/orders").json()["items"]
    notes = [n for o in orders for n in api.get("/v1/orders/" + o["id"] + "/notifications").json()["items"]]
    if all(o["turn"] != "us" for o in orders) and all(n["state"] != "received" for n in notes):
        break
    time.sleep(0.1)
"""


def test_ctrl_c_leaves_no_process_and_keeps_the_data(started: Started) -> None:
    described: dict[str, Any] = json.loads((started.folder / "dev.json").read_text())
    running = started.tree()
    pids = {pid for pid, _ in running}
    assert {started.process.pid, described["pid"]} <= pids
    assert len(pids) >= 4, "itself, the service, the simulated seller, and PostgreSQL"

    started.process.send_signal(signal.SIGINT)
    started.process.wait(60)

    left = {(pid, born) for pid, _, born in _processes()} & running
    assert left == set()
    assert (started.folder / "keys.json").exists()
