"""The commands of operators, against a running service: what they print, and how they exit."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import json
import os
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from chain_orders import cli
from chain_orders.commands import bulk

from ..builders import KEYS, Marketplace, SimulatedSeller, order


@dataclass(frozen=True, slots=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


Command = Callable[..., Coroutine[Any, Any, Said]]


def _run(arguments: tuple[str, ...]) -> Said:
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["chain-orders", *arguments])
        try:
            cli.main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        out.flush()
        out.seek(0)
        return Said(code, out.read(), err.getvalue())


@pytest.fixture
async def command(marketplace: Marketplace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Runs a command with the service's address and an admin's key in the environment, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHAIN_ORDERS_API_URL", marketplace.url)
    monkeypatch.setenv("CHAIN_ORDERS_API_KEY", marketplace.client.headers["Authorization"].removeprefix("Bearer "))

    async def run(*arguments: str) -> Said:
        return await asyncio.to_thread(_run, arguments)

    return run


def _file(name: str, *documents: Any) -> str:
    Path(name).write_text("".join(json.dumps(one) + "\n" for one in documents))
    return name


def _text(name: str) -> str:
    return Path(name).read_text()


async def test_an_order_is_placed_found_shown_authorized_and_watched_to_its_end(
    command: Command, simulated: SimulatedSeller
) -> None:
    await simulated.behave(invoiceAfterAuthorization=True)
    placed = await command("order", "place", _file("order.json", order("CLI1")), "--json")
    found = await command("order", "list", "cli1*", "--turn", "operator")
    authorized = await command("order", "authorize", "CLI1", "--receipt", "pay_1", "--json")
    watched = await command("order", "watch", "CLI1", "--json")
    shown = await command("order", "show", "MKP-CLI1-01")

    assert [said.code for said in (placed, found, authorized, watched, shown)] == [0, 0, 0, 0, 0]
    assert placed.json["status"] == "placed"
    assert "CLI1" in found.out
    assert "13.00" in found.out
    assert authorized.json["authorizationReceipt"]["receipt"] == "pay_1"
    assert [event["type"] for event in watched.lines][-1] == "chain-order.invoiced"
    assert "invoiced" in shown.out


async def test_a_refusal_is_told_in_words_with_exit_code_1(command: Command) -> None:
    said = await command("order", "place", _file("order.json", order("BAD", items=[])), "--seller", "acme")
    nothing = await command("order", "show", "NOWHERE")

    assert (said.code, nothing.code) == (1, 1)
    assert said.err.startswith("chain-orders: ")
    assert "/items" in said.err
    assert nothing.err == "chain-orders: no order goes by NOWHERE\n"


async def test_a_wrong_use_is_exit_code_2(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = await command("order", "place")
    missing = await command("order", "place", "nowhere.json")
    neither = await command("delivery", "retry")
    monkeypatch.delenv("CHAIN_ORDERS_API_URL")
    nowhere = await command("order", "list")

    assert [said.code for said in (wrong, missing, neither, nowhere)] == [2, 2, 2, 2]
    assert "CHAIN_ORDERS_API_URL" in nowhere.err


async def test_a_service_that_is_away_is_exit_code_3(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAIN_ORDERS_API_URL", "http://127.0.0.1:9")

    for arguments in (("order", "list"), ("events", "follow"), ("order", "export")):
        said = await command(*arguments)
        assert (said.code, said.err) == (3, "chain-orders: http://127.0.0.1:9 cannot be reached (ConnectError)\n")


async def test_the_folder_of_dev_says_where_the_service_is(
    command: Command, marketplace: Marketplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = os.environ["CHAIN_ORDERS_API_KEY"]
    monkeypatch.delenv("CHAIN_ORDERS_API_URL")
    monkeypatch.delenv("CHAIN_ORDERS_API_KEY")
    os.mkdir(".chain-orders")
    _file(".chain-orders/dev.json", {"apiUrl": marketplace.url, "apiKey": key})

    assert (await command("seller", "list")).code == 0


async def test_an_import_tells_every_line_and_how_many_were_good(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "LINES_A_REQUEST", 2)
    documents = [order("I1"), order("I2"), order("I3", items=[]), order("I4")]
    first = await command("order", "import", _file("orders.ndjson", *documents))
    again = await command("order", "import", _file("orders.ndjson", *documents), "--json")
    good = await command("order", "import", _file("good.ndjson", order("I5")), "--dry-run")

    assert [said.code for said in (first, again, good)] == [4, 4, 0]
    assert first.out.startswith("line 3: refused: ")
    assert first.err == "3 accepted, 1 refused\n"
    assert [(one["line"], one["result"]) for one in again.lines] == [
        (1, "exists"),
        (2, "exists"),
        (3, "refused"),
        (4, "exists"),
    ]
    assert good.err == "1 accepted (dry run)\n"


async def test_an_export_is_whole_on_the_screen_and_in_a_file(command: Command, marketplace: Marketplace) -> None:
    for n in range(3):
        await marketplace.place(order(f"E{n}"))

    printed = await command("order", "export", "--status", "placed")
    written = await command("order", "export", "E1", "-o", "one.csv")

    assert [row["orderGroup"] for row in csv.DictReader(io.StringIO(printed.out))] == ["E2", "E1", "E0"]
    assert written.err == "1 orders\n"
    assert [row["orderGroup"] for row in csv.DictReader(_text("one.csv").splitlines())] == ["E1"]


async def test_deliveries_are_listed_and_what_has_ended_is_not_retried(
    command: Command, marketplace: Marketplace
) -> None:
    await marketplace.place(order("D1"))
    listed = await command("delivery", "list", "--json")
    (delivery,) = listed.json["items"]

    refused = await command("delivery", "retry", str(delivery["id"]))
    none = await command("delivery", "retry", "--all")

    assert (refused.code, none.code) == (1, 0)
    assert "not tried again" in refused.out
    assert none.err == "0 tried again, 0 refused\n"


async def test_a_seller_is_added_checked_paused_and_resumed(
    command: Command, simulated: SimulatedSeller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAIN_ORDERS_APP_TOKEN", "simulated-token")
    options = ("--sales-channel", "1", "--affiliate", "MKP", "--app-key", "simulated-key", "--base-url", simulated.url)
    added = await command("seller", "add", "beta", *options)
    checked = await command("seller", "check", "beta")
    paused = await command("seller", "pause", "beta", "--json")
    resumed = await command("seller", "resume", "beta", "--json")
    await simulated.behave(credentials="revoked")
    broken = await command("seller", "check", "beta")

    assert [said.code for said in (added, checked, paused, resumed, broken)] == [0, 0, 0, 0, 1]
    assert "simulated-token" not in added.out
    assert (paused.json["paused"], resumed.json["paused"]) == (True, False)
    assert "WRONG: the seller refuses the AppKey" in " ".join(broken.out.split())


async def test_the_feed_is_followed(command: Command, marketplace: Marketplace) -> None:
    await marketplace.place(order("F1"))

    said = await command("events", "follow", "--after", "0", "--limit", "2", "--json")

    assert [event["type"] for event in said.lines] == ["order.accepted", "order.placed"]


async def test_keys_are_made_listed_and_revoked(command: Command, marketplace: Marketplace) -> None:
    made = await command("key", "create", "back-office", "--role", "viewer")
    revoked = await command("key", "revoke", "back-office")
    listed = await command("key", "list")
    headers = {"Authorization": f"Bearer {made.out.strip()}"}
    async with httpx.AsyncClient(trust_env=False) as holder:
        answer = await holder.get(f"{marketplace.url}/v1/orders", headers=headers)

    assert (made.code, revoked.code, listed.code) == (0, 0, 0)
    assert answer.status_code == 401
    assert "back-office" in listed.out


async def test_the_first_key_is_made_once(
    command: Command, marketplace: Marketplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAIN_ORDERS_DATABASE_URL", marketplace.database.url)

    said = await command("key", "create", "me", "--bootstrap")

    assert (said.code, said.err) == (1, "chain-orders: there is an admin's key already; make others with it\n")


async def test_the_doctor_says_what_is_wrong(
    command: Command, marketplace: Marketplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    await marketplace.place()
    for name, value in {
        "ENVIRONMENT": "development",
        "DATABASE_URL": marketplace.database.url,
        "PUBLIC_URL": marketplace.url,
        "CALLBACK_KEYS": KEYS,
        "CREDENTIAL_KEYS": KEYS,
    }.items():
        monkeypatch.setenv(f"CHAIN_ORDERS_{name}", value)
    well = await command("doctor", "--json")
    monkeypatch.setenv("CHAIN_ORDERS_CALLBACK_KEYS", KEYS.replace("k1:", "k2:"))
    monkeypatch.setenv("CHAIN_ORDERS_CREDENTIAL_KEYS", KEYS.replace("k1:", "k2:"))
    ill = await command("doctor", "--json")

    assert (well.code, ill.code) == (0, 1)
    assert {one["code"] for one in well.json if one["ok"]} >= {"schema-ok", "clock-ok", "callback-ok", "admin-key-ok"}
    assert {one["code"] for one in ill.json if one["ok"] is False} == {
        "callback-key-missing",
        "credential-key-missing",
        "callback-not-ours",
    }


async def test_every_help_text_has_an_example_where_it_takes_something(command: Command) -> None:
    for group, names in {"order": ["place", "list", "import", "export", "cancel"], "delivery": ["retry"]}.items():
        for name in names:
            said = await command(group, name, "--help")
            assert said.code == 0
            assert f"Example: chain-orders {group} {name}" in said.out


async def test_a_key_is_rotated_and_printed_once(command: Command, marketplace: Marketplace) -> None:
    made = await command("key", "create", "terminal", "--role", "viewer")
    rotated = await command("key", "rotate", "terminal", "--overlap", "0")
    unknown = await command("key", "rotate", "nobody")

    for said, status in ((made, 401), (rotated, 200)):
        headers = {"Authorization": f"Bearer {said.out.strip()}"}
        assert (await marketplace.client.get("/v1/orders", headers=headers)).status_code == status
    assert (unknown.code, "there is no key nobody" in unknown.err) == (1, True)
