"""Everything on one machine: PostgreSQL, a simulated seller and the service, in one data folder.

Keys, the seller's order book and `dev.json` (where everything is, for scripts) live in the folder, which only its
owner can read. A second start keeps the data; processes that an earlier start left behind are ended first.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
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
from typing import Any

import httpx
from sqlalchemy import delete

from . import schema
from .database import Database
from .embedded import Cluster
from .operators import access
from .operators.models import ApiKey

_SELLER_ID = "acme"
_KEY_NAME = "dev"


class DevFailed(Exception):
    """One line that says why it does not run."""


def run(data: Path, port: int, seller_port: int, database_url: str | None) -> None:
    """Run until Ctrl-C or SIGTERM, or until a part of it ends."""
    data = data.absolute()
    _make_folder(data)
    with _alone(data):
        _run(data, port, seller_port, database_url)


def _run(data: Path, port: int, seller_port: int, database_url: str | None) -> None:
    for name, wanted in (("PORT", port), ("SELLER_PORT", seller_port)):
        _check_free(name, wanted, data)
    _end_leftovers(data / "dev.json")
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.suppress(KeyboardInterrupt))
        url = database_url or stack.enter_context(Cluster(data).running()).database_url
        keys = _keys(data / "keys.json")
        schema.migrate(url)
        asyncio.run(_keep_key(url, keys["apiKey"]))
        api, seller = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{seller_port}"
        processes = {
            "seller": stack.enter_context(
                _process("simulate", "--port", str(seller_port), "--book", str(data / "seller-orders.jsonl"))
            ),
            "service": stack.enter_context(
                _process("serve", "--port", str(port), environment=_environment(url, api, keys))
            ),
        }
        _await(f"{seller}/control/behaviour", processes["seller"])
        _await(f"{api}/readyz", processes["service"])
        _register(api, keys["apiKey"], seller)
        described = _describe(api, seller, url, keys["apiKey"], processes)
        _write_private(data / "dev.json", json.dumps(described, indent=2) + "\n")
        print(_banner(described, data, embedded=database_url is None), flush=True)
        _watch(processes)


def _make_folder(data: Path) -> None:
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        (data / ".gitignore").write_text("*\n")
    except PermissionError:
        raise DevFailed(f"{data} belongs to another user; choose another folder with DATA=") from None


@contextlib.contextmanager
def _alone(data: Path) -> Iterator[None]:
    """Hold the folder; the kernel lets go of it however we end."""
    with (data / "dev.lock").open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DevFailed(f"it runs already on {data}; stop it first, or choose another folder with DATA=") from None
        yield


def _check_free(name: str, port: int, data: Path) -> None:
    """Say which port is taken before anything is started. Leftovers of ours are ended, not complained about."""
    if _left_over(data / "dev.json"):
        return
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise DevFailed(f"port {port} is taken; choose another with {name}=") from None


def _left_over(described: Path) -> list[int]:
    """Processes of an earlier start that still run: their pid is on record and their command line is ours."""
    try:
        pids = json.loads(described.read_text())["pids"].values()
    except (OSError, ValueError, KeyError):
        return []
    running = []
    for pid in pids:
        with contextlib.suppress(OSError):
            if b"chain_orders" in Path(f"/proc/{int(pid)}/cmdline").read_bytes():
                running.append(int(pid))
    return running


def _end_leftovers(described: Path) -> None:
    left = _left_over(described)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 30
    while _left_over(described) and time.monotonic() < deadline:
        time.sleep(0.1)
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
    """Let the folder's key be the one that the database knows by this name."""
    database = Database(url)
    try:
        async with database.transaction() as session:
            await session.execute(delete(ApiKey).where(ApiKey.name == _KEY_NAME))
            await access.create_key(session, _KEY_NAME, "admin", key)
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
        "CHAIN_ORDERS_LOG_FORMAT": "console",
    }


@contextlib.contextmanager
def _process(*command: str, environment: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A part of the whole, in a session of its own so that Ctrl-C reaches only us; ended with the block."""
    process = subprocess.Popen(  # noqa: S603  (our own command)
        [sys.executable, "-m", "chain_orders", *command],
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise DevFailed(f"{url} did not come up: its process ended with {process.returncode}")
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url, trust_env=False, timeout=2).status_code == 200:
                return
        time.sleep(0.05)
    raise DevFailed(f"{url} did not come up within a minute")


def _register(api: str, key: str, seller: str) -> None:
    """Put the simulated seller on record, or give it its present address."""
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=api, headers=headers, trust_env=False, timeout=10) as client:
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
        elif found.json()["baseUrl"] != seller:
            match = {"If-Match": found.headers["etag"]}
            client.patch(f"/v1/sellers/{_SELLER_ID}", json={"baseUrl": seller}, headers=match).raise_for_status()


def _describe(
    api: str, seller: str, url: str, key: str, processes: Mapping[str, subprocess.Popen[bytes]]
) -> dict[str, Any]:
    return {
        "apiUrl": api,
        "callbackUrl": api,
        "apiKey": key,
        "sellerId": _SELLER_ID,
        "sellerUrl": seller,
        "databaseUrl": url,
        "pid": os.getpid(),
        "pids": {"dev": os.getpid(), **{name: process.pid for name, process in processes.items()}},
    }


def _banner(described: Mapping[str, Any], data: Path, *, embedded: bool) -> str:
    api, seller = described["apiUrl"], described["sellerUrl"]
    return f"""
chain-orders runs.   service {api}   simulated seller {seller}
data {data}   PostgreSQL {"of its own" if embedded else "from CHAIN_ORDERS_DATABASE_URL"}
Callbacks at the root are open to anybody on this machine: development only.

Try, in another terminal:

  export KEY={described["apiKey"]}
  curl -s {api}/v1/sellers/{_SELLER_ID}/orders -H "Authorization: Bearer $KEY" \\
       -H 'Content-Type: application/json' -H 'Prefer: wait=5' -d @docs/samples/order.json
  curl -s "{api}/v1/orders?q=HARBOR1001" -H "Authorization: Bearer $KEY"

Ctrl-C stops everything and keeps the data.
"""


def _watch(processes: Mapping[str, subprocess.Popen[bytes]]) -> None:
    while True:
        for name, process in processes.items():
            if process.poll() is not None:
                raise DevFailed(f"the {name} ended with {process.returncode}; everything is stopped")
        time.sleep(0.3)
