"""Everything on one machine: PostgreSQL, a simulated seller and the service, in one data folder.

Keys, the seller's order book and `dev.json` (where everything is, for scripts) live in the folder, which only its
owner can read. A second start keeps the data; processes that an earlier start left behind are ended first.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import fcntl
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import httpx
from sqlalchemy import delete

from . import schema
from .database import Database
from .embedded import Cluster, processes
from .errors import Stopped
from .operators import access, audit
from .operators.models import ApiKey

_SELLER_ID = "acme"
_KEY_NAME = "dev"
_RECORD = "processes.json"
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_STOPS_WITHIN_SECONDS = 40


class DevFailed(Stopped):
    """One line that says why it does not run."""


def port(name: str, given: str) -> int:
    """A port as it was given to make or to the command."""
    if not (given.isascii() and given.isdigit() and 0 < int(given[:6]) < 65536 and len(given) < 6):
        raise DevFailed(f"{name}={given} is not a port: give a number between 1 and 65535")
    return int(given)


def run(data: Path, port: int, seller_port: int, database_url: str | None) -> None:
    """Run until Ctrl-C, SIGTERM or SIGHUP, or until a part of it ends."""
    data = data.absolute()
    if port == seller_port:
        raise DevFailed(f"the service and the simulated seller cannot both have port {port}: PORT= or SELLER_PORT=")
    for how in _STOPPING:
        if signal.getsignal(how) is not signal.SIG_IGN or how != signal.SIGHUP:  # nohup means to stay
            signal.signal(how, _stop)
    with contextlib.suppress(KeyboardInterrupt):
        _make_folder(data)
        with _alone(data):
            _end_leftovers(data)
            (data / "dev.json").unlink(missing_ok=True)  # whoever waits for it shall not find an earlier run's
            for name, wanted in (("PORT", port), ("SELLER_PORT", seller_port)):
                _check_free(name, wanted)
            _run(data, port, seller_port, database_url)


def _stop(*_: object) -> NoReturn:
    """The first signal begins the end. A second one would cut it short and leave processes behind."""
    for how in _STOPPING:
        signal.signal(how, signal.SIG_IGN)
    raise KeyboardInterrupt


def _run(data: Path, port: int, seller_port: int, database_url: str | None) -> None:
    with contextlib.ExitStack() as stack:
        cluster = None if database_url else stack.enter_context(Cluster(data).running())
        url = schema.usable(cluster.database_url if cluster else database_url or "")
        keys = _keys(data / "keys.json")
        with schema.reaching():
            schema.migrate(url)
            asyncio.run(_keep_key(url, keys["apiKey"]))
        api, seller = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{seller_port}"
        parts = Parts(data)
        stack.callback(parts.end)
        stack.callback((data / "dev.json").unlink, missing_ok=True)  # nobody shall find what no longer runs
        parts.start("seller", "simulate", "--port", str(seller_port), "--book", str(data / "seller-orders.jsonl"))
        parts.start("service", "serve", "--port", str(port), environment=_environment(url, api, keys))
        parts.wait_for("seller", f"{seller}/control/behaviour")
        parts.wait_for("service", f"{api}/readyz")
        _register(api, keys["apiKey"], seller)
        described = _describe(api, seller, url, keys["apiKey"], cluster, parts)
        _write_private(data / "dev.json", json.dumps(described, indent=2) + "\n")
        print(_banner(described, data), flush=True)
        _watch(cluster, parts)


def _make_folder(data: Path) -> None:
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        (data / ".gitignore").write_text("*\n")
    except PermissionError:
        whose = "belongs to another user" if data.exists() else "cannot be made there"
        raise DevFailed(f"{data} {whose}; choose another folder with DATA=") from None
    except OSError as refused:
        raise DevFailed(f"{data} cannot be used ({refused.strerror}); choose another folder with DATA=") from None


@contextlib.contextmanager
def _alone(data: Path) -> Iterator[None]:
    """Hold the folder; the kernel lets go of it however we end."""
    with (data / "dev.lock").open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DevFailed(f"it runs already on {data}; stop it first, or choose another folder with DATA=") from None
        yield


def _check_free(name: str, port: int) -> None:
    """Say which port is taken before anything is started."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as refused:
            told = "is taken" if refused.errno == errno.EADDRINUSE else f"cannot be used ({refused.strerror})"
            raise DevFailed(f"port {port} {told}; choose another with {name}=") from None


def _left_over(data: Path) -> list[int]:
    """Processes of an earlier start that still run: their pid is on record, and so is their command line.

    We hold the folder, so they have lost their parent. A pid alone says nothing: it may be somebody else's by now.
    """
    try:
        recorded = {int(part["pid"]): str(part["command"]) for part in json.loads((data / _RECORD).read_text())}
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [pid for pid, command in processes() if pid in recorded and command.rstrip().endswith(recorded[pid])]


def _end_leftovers(data: Path) -> None:
    left = _left_over(data)
    for how in (signal.SIGTERM, signal.SIGKILL):
        for pid in _left_over(data):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, how)
        deadline = time.monotonic() + _STOPS_WITHIN_SECONDS
        while _left_over(data) and time.monotonic() < deadline:
            time.sleep(0.05)
    if left:
        print(f"ended {len(left)} processes that an earlier start left behind", flush=True)


def _keys(path: Path) -> dict[str, str]:
    """The folder's keys, made at the first start."""
    if not path.exists():
        random = {name: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode() for name in ("cb", "cred")}
        made = {
            "callbackKeys": f"k1:{random['cb']}",
            "credentialKeys": f"k1:{random['cred']}",
            "apiKey": f"co_{secrets.token_urlsafe(32)}",
        }
        _write_private(path, json.dumps(made))
    found: dict[str, str] = json.loads(path.read_text())
    return found


def _write_private(path: Path, content: str) -> None:
    """Write a file that only its owner reads, whole or not at all."""
    making = path.with_suffix(".new")
    descriptor = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
    making.replace(path)


async def _keep_key(url: str, key: str) -> None:
    """Let the folder's key be the one that the database knows by this name. One that is known is left as it is: with it
    would go whoever is signed in with it."""
    database = Database(url)
    try:
        async with database.transaction() as session:
            known = await access.find_key(session, key)
            if known is not None and (known.name, known.digest) == (_KEY_NAME, access.digest(key)):
                return
            await session.execute(delete(ApiKey).where(ApiKey.name == _KEY_NAME))
            await access.create_key(session, _KEY_NAME, "admin", key)
            audit.note(session, audit.Command("dev"), "key.create", f"key:{_KEY_NAME}", role="admin")
    finally:
        await database.close()


def _environment(url: str, api: str, keys: Mapping[str, str]) -> dict[str, str]:
    return {
        "CHAIN_ORDERS_ENVIRONMENT": "development",
        "CHAIN_ORDERS_DATABASE_URL": url,
        "CHAIN_ORDERS_PUBLIC_URL": api,
        "CHAIN_ORDERS_CALLBACK_KEYS": keys["callbackKeys"],
        "CHAIN_ORDERS_CREDENTIAL_KEYS": keys["credentialKeys"],
        "CHAIN_ORDERS_OPEN_CALLBACKS": "true",
        "CHAIN_ORDERS_DRAIN_SECONDS": "0",
        "CHAIN_ORDERS_LOG_FORMAT": "console",
    }


class Parts:
    """The processes of a start, on record in the folder from their first moment: whoever comes next can end them."""

    def __init__(self, data: Path) -> None:
        self._record = data / _RECORD
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._started: list[dict[str, Any]] = []

    @property
    def pids(self) -> dict[str, int]:
        return {name: process.pid for name, process in self._running.items()}

    def start(self, name: str, *command: str, environment: Mapping[str, str] | None = None) -> None:
        """Start one in a session of its own, so that Ctrl-C reaches only us."""
        self._running[name] = subprocess.Popen(  # noqa: S603  (our own command)
            [sys.executable, "-m", "chain_orders", *command],
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._started.append({"pid": self._running[name].pid, "command": " ".join(("chain_orders", *command))})
        _write_private(self._record, json.dumps(self._started))

    def wait_for(self, name: str, url: str) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if (told := self.ended()) is not None:
                raise DevFailed(f"{url} did not come up: {told}")
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(url, trust_env=False, timeout=2).status_code == 200:
                    return
            time.sleep(0.05)
        raise DevFailed(f"the {name} did not come up within a minute")

    def ended(self) -> str | None:
        """Which part has ended by itself, if one has."""
        for name, process in self._running.items():
            if process.poll() is not None:
                return f"the {name} ended with {process.returncode}"
        return None

    def end(self) -> None:
        """End them all, the last one first: nobody calls who is no longer answered."""
        for process in reversed(self._running.values()):
            process.terminate()
            try:
                process.wait(_STOPS_WITHIN_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._record.unlink(missing_ok=True)


def _register(api: str, key: str, seller: str) -> None:
    """Put the simulated seller on record, or give it its present address."""
    headers = {"Authorization": f"Bearer {key}"}
    try:
        with httpx.Client(base_url=api, headers=headers, trust_env=False, timeout=10) as client:
            _put_on_record(client, seller)
    except httpx.HTTPError as refused:
        raise DevFailed(f"the simulated seller cannot be put on record: {refused}") from None


def _put_on_record(client: httpx.Client, seller: str) -> None:
    found = client.get(f"/v1/sellers/{_SELLER_ID}")
    if found.status_code == 404:
        body = {
            "sellerId": _SELLER_ID,
            "accountName": _SELLER_ID,
            "baseUrl": seller,
            "salesChannel": "1",
            "affiliateId": "MKP",
            "appKey": "simulated-key",
            "appToken": "simulated-token",
        }
        client.post("/v1/sellers", json=body).raise_for_status()
    elif found.raise_for_status().json()["baseUrl"] != seller:
        match = {"If-Match": found.headers["etag"]}
        client.patch(f"/v1/sellers/{_SELLER_ID}", json={"baseUrl": seller}, headers=match).raise_for_status()


def _describe(api: str, seller: str, url: str, key: str, cluster: Cluster | None, parts: Parts) -> dict[str, Any]:
    pids = {"dev": os.getpid(), **parts.pids}
    return {
        "apiUrl": api,
        "consoleUrl": f"{api}/console",
        "callbackUrl": api,
        "apiKey": key,
        "sellerId": _SELLER_ID,
        "sellerUrl": seller,
        "databaseUrl": url,
        "databaseFolder": str(cluster.location) if cluster else None,
        "pid": os.getpid(),
        "pids": {**pids, "postgresql": cluster.pid} if cluster else pids,
    }


def _banner(described: Mapping[str, Any], data: Path) -> str:
    api, seller, folder = described["apiUrl"], described["sellerUrl"], described["databaseFolder"]
    return f"""
chain-orders runs.   service {api}   simulated seller {seller}
data {data}   PostgreSQL {f"in {folder}" if folder else "from CHAIN_ORDERS_DATABASE_URL"}
Callbacks at the root are open to anybody on this machine: development only.
Console {described["consoleUrl"]}   sign in with the key below

Try, in another terminal:

  export KEY={described["apiKey"]}
  curl -s {api}/v1/sellers/{_SELLER_ID}/orders -H "Authorization: Bearer $KEY" \\
       -H 'Content-Type: application/json' -H 'Prefer: wait=5' -d @docs/samples/order.json
  curl -s "{api}/v1/orders?q=HARBOR1001" -H "Authorization: Bearer $KEY"

Ctrl-C stops everything and keeps the data.
"""


def _watch(cluster: Cluster | None, parts: Parts) -> None:
    while True:
        told = parts.ended()
        if told is None and cluster is not None and not cluster.is_running:
            told = "PostgreSQL ended"
        if told is not None:
            raise DevFailed(f"{told}; everything is stopped")
        time.sleep(0.3)
