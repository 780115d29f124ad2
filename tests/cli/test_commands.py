"""The commands of operators, against a running service: what they print, and how they exit."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from starlette.responses import PlainTextResponse

from chain_orders import cli
from chain_orders.commands import bulk, overview, show
from chain_orders.commands import deliveries as delivery_commands
from chain_orders.commands.show import Column, fitting
from chain_orders.deliveries import reach

from ..builders import KEYS, Marketplace, SimulatedSeller, calling, order
from ..conftest import serving_app


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


def _held(name: str) -> str:
    return Path(name).read_text()


def _file(name: str, *documents: Any) -> str:
    Path(name).write_text("".join(json.dumps(one) + "\n" for one in documents))
    return name


def _written(name: str, content: str) -> str:
    Path(name).write_text(content)
    return name


def _read(name: str) -> str:
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
    neither = await command("delivery", "retry", "--reason", "r")
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


def _heeds_ctrl_c() -> None:
    """A shell that runs these tests in the background ignores Ctrl-C, and its processes would, too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


async def test_an_import_that_is_interrupted_says_how_to_go_on(tmp_path: Path) -> None:
    """Ctrl-C while the second part is on its way: the first one's results are told, and what is left."""
    lines = [json.dumps({"line": nth, "result": "accepted"}) + "\n" for nth in range(1, bulk.LINES_A_REQUEST + 1)]
    first, second = "".join(lines), asyncio.Event()
    answers = iter([f"HTTP/1.1 200 OK\r\nContent-Length: {len(first)}\r\n\r\n{first}".encode()])

    async def service(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split()[0]))
            if (answer := next(answers, None)) is None:
                break
            writer.write(answer)
        second.set()
        await reader.read()
        writer.close()

    (tmp_path / "two.ndjson").write_text("{}\n" * (bulk.LINES_A_REQUEST + 7))
    async with await asyncio.start_server(service, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        importing = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "chain_orders", "order", "import", "two.ndjson", "--seller", "acme"),
            cwd=tmp_path,
            env={**os.environ, "CHAIN_ORDERS_API_URL": url, "CHAIN_ORDERS_API_KEY": "co_k"},
            stderr=-1,
            preexec_fn=_heeds_ctrl_c,
        )
        await asyncio.wait_for(second.wait(), 60)
        importing.send_signal(signal.SIGINT)
        _, told = await asyncio.wait_for(importing.communicate(), 60)

    assert importing.returncode == 130
    assert told.decode() == (
        "100 accepted; 7 lines without, of which some may be placed: run the same command again, what is there already "
        "stays one order\n"
    )


async def test_an_export_is_whole_on_the_screen_and_in_a_file(command: Command, marketplace: Marketplace) -> None:
    for n in range(3):
        await marketplace.place(order(f"E{n}"))

    printed = await command("order", "export", "--status", "placed")
    written = await command("order", "export", "E1", "-o", "one.csv")

    assert [row["orderGroup"] for row in csv.DictReader(io.StringIO(printed.out))] == ["E2", "E1", "E0"]
    assert written.err == "1 orders\n"
    assert [row["orderGroup"] for row in csv.DictReader(_read("one.csv").splitlines())] == ["E1"]


async def test_deliveries_are_listed_and_what_has_ended_is_not_retried(
    command: Command, marketplace: Marketplace
) -> None:
    await marketplace.place(order("D1"))
    listed = await command("delivery", "list", "--json")
    (delivery,) = listed.json["items"]

    refused = await command("delivery", "retry", str(delivery["id"]), "--reason", "r")
    none = await command("delivery", "retry", "--all", "--reason", "r")

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


async def test_a_broken_stream_is_taken_up_after_the_last_event_that_came_whole(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = [json.dumps({"id": n, "at": None, "type": "t", "orderGroup": "G", "chainOrderId": None}) for n in range(9)]
    frames = [f"id: {n}\nevent: t\ndata: {event}\n\n" for n, event in enumerate(events)]
    sent = iter([f"id: 5\n\n{frames[6]}{frames[7][:40]}", "", f"id: 6\n\n{frames[7]}{frames[8]}"])
    asked: list[str] = []

    async def service(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        asked.append(head.partition("last-event-id: ")[2].partition("\r")[0])
        body = next(sent)
        if body:  # the length says that more would come
            writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{body}".encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(service, "127.0.0.1", 0) as server:
        monkeypatch.setenv("CHAIN_ORDERS_API_URL", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        said = await command("events", "follow", "--limit", "3", "--json")

    assert [event["id"] for event in said.lines] == [6, 7, 8]
    assert asked == ["", "6", "6"]


async def test_keys_are_made_listed_and_revoked(command: Command, marketplace: Marketplace) -> None:
    made = await command("key", "create", "back-office", "--role", "viewer")
    revoked = await command("key", "revoke", "back-office")
    listed = await command("key", "list")
    headers = {"Authorization": f"Bearer {made.out.strip()}"}
    async with calling() as holder:
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
    async with marketplace.database.transaction() as session:
        await reach.show(session, "a worker without a way out", ["seller:acme"])
    monkeypatch.setenv("CHAIN_ORDERS_CALLBACK_KEYS", KEYS.replace("k1:", "k2:"))
    monkeypatch.setenv("CHAIN_ORDERS_CREDENTIAL_KEYS", KEYS.replace("k1:", "k2:"))
    ill = await command("doctor", "--json")

    assert (well.code, ill.code) == (0, 1)
    assert {one["code"] for one in well.json if one["ok"]} >= {"schema-ok", "clock-ok", "callback-ok", "admin-key-ok"}
    assert {one["code"] for one in ill.json if one["ok"] is False} == {
        "callback-key-missing",
        "credential-key-missing",
        "callback-not-ours",
        "out-of-reach",
    }


async def test_a_key_is_rotated_and_printed_once(command: Command, marketplace: Marketplace) -> None:
    made = await command("key", "create", "terminal", "--role", "viewer")
    rotated = await command("key", "rotate", "terminal", "--overlap", "0")
    unknown = await command("key", "rotate", "nobody")

    for said, status in ((made, 401), (rotated, 200)):
        headers = {"Authorization": f"Bearer {said.out.strip()}"}
        assert (await marketplace.client.get("/v1/orders", headers=headers)).status_code == status
    assert (unknown.code, "there is no key nobody" in unknown.err) == (1, True)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("URL", "http://[::1", "CHAIN_ORDERS_API_URL is not a URL"),
        ("URL", "ftp://service.example", "CHAIN_ORDERS_API_URL must begin with http"),
        ("KEY", "schlüssel", "CHAIN_ORDERS_API_KEY is not a key"),
    ],
)
async def test_a_setting_that_cannot_be_meant_is_told_in_one_line(
    command: Command, monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv(f"CHAIN_ORDERS_API_{name}", value)

    said = await command("order", "list")

    assert said.code == 2
    assert told in said.err
    assert said.err.count("\n") == 1


async def test_a_wrong_key_names_its_setting(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAIN_ORDERS_API_KEY", "co_wrong")

    said = await command("order", "list")

    assert said.code == 1
    assert "CHAIN_ORDERS_API_KEY" in said.err


async def test_an_address_that_goes_too_far_names_its_setting(
    command: Command, marketplace: Marketplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAIN_ORDERS_API_URL", f"{marketplace.url}/v1")

    said = await command("order", "list")

    assert said.code == 1
    assert "CHAIN_ORDERS_API_URL is the part before /v1" in said.err


@pytest.mark.parametrize(
    "option", [("--status", "nonsense"), ("--turn", "nobodys"), ("--created-from", "soon"), ("--limit", "0")]
)
async def test_a_filter_that_is_none_is_wrong_use(command: Command, option: tuple[str, str]) -> None:
    assert (await command("order", "list", *option)).code == 2


async def test_an_answer_that_is_not_the_services_is_told(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    async def page(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("welcome")(scope, receive, send)

    async with serving_app(page) as url:
        monkeypatch.setenv("CHAIN_ORDERS_API_URL", url)
        said = await command("order", "list")

    assert (said.code, said.err) == (
        3,
        f"chain-orders: {url} answers something that is not JSON: is it this service?\n",
    )


async def test_a_files_bytes_are_sent_as_they_are(command: Command) -> None:
    odd = await command("order", "place", _written("odd.json", '{"marketplacePaymentValue": NaN}'))
    twice = await command("order", "place", _written("twice.json", '{"items": [], "items": []}'))

    assert (odd.code, twice.code) == (1, 1)
    assert "(not-json)" in odd.err
    assert "(not-json)" in twice.err


async def test_a_rejected_order_says_why_and_is_corrected(command: Command, simulated: SimulatedSeller) -> None:
    await simulated.behave(fail=1, failStatus=400)
    placed = await command("order", "place", _file("order.json", order("REJ1")), "--wait", "10")
    await simulated.behave(fail=0)
    again = await command("order", "place", _file("order.json", order("REJ1")), "--wait", "0")
    watched = await command("order", "watch", "REJ1")
    shown = await command("order", "show", "REJ1")
    stale = await command("order", "correct", "REJ1", "order.json", "--version", "1")
    tried = await command("order", "correct", "REJ1", "order.json", "--dry-run", "--json")
    corrected = await command("order", "correct", "REJ1", "order.json", "--json")

    assert [said.code for said in (placed, again, watched, shown, stale)] == [1, 1, 1, 0, 1]
    assert "It is not tried again. An operator must act." in " ".join(shown.out.split())
    assert "acts: operator" in shown.out
    assert "version-differs" in stale.err
    assert "order.rejected seller" in stale.err
    assert (tried.json["dryRun"], tried.json["status"], corrected.json["status"]) == (True, "accepted", "accepted")


async def test_an_order_is_told_of_in_every_way_and_decided(command: Command, marketplace: Marketplace) -> None:
    placed = await marketplace.place(order("ALL1"))
    tried = await command("order", "cancel", "ALL1", "--reason", "the shopper withdrew", "--dry-run", "--json")
    told = [await command("order", part, "ALL1") for part in ("timeline", "deliveries", "notifications")]
    cancelled = await command("order", "cancel", "ALL1", "--reason", "the shopper withdrew")
    await marketplace.becomes(placed["id"], "cancelled")
    erased = await command("order", "erase", "ALL1", "--reason", "request 17", "--yes", "--json")
    kept = await command("order", "evidence", "ALL1", "-o", "all.zip")
    checked = await command("evidence", "check", "all.zip")
    nothing = await command("order", "list", "NONE1")
    kinds = (
        ("order", "deliveries", "ALL1"),
        ("order", "notifications", "ALL1"),
        ("delivery", "list"),
        ("notification", "list"),
    )
    unreasoned = [await command(*kind, "--whole") for kind in kinds]
    whole = [await command(*kind, "--whole", "--reason", "dispute 7") for kind in kinds]
    decided = await command("order", "resolve", "ALL1", "dismiss", "--reason", "all is well")

    assert [said.code for said in (*told, cancelled, erased, kept)] == [0, 0, 0, 0, 0, 0]
    assert "verified=no chainOrderIds=MKP-ALL1-01" in told[0].out
    assert (tried.json["dryRun"], tried.err) == (True, "Dry run: nothing was done.\n")
    assert [(one.code, "personal data" in one.err) for one in unreasoned] == [(1, True)] * 4
    assert [one.code for one in whole] == [0] * 4
    assert (nothing.code, nothing.err) == (0, "There is none.\n")
    assert "delivered" in told[1].out
    assert erased.json["erased"]["placements"] == 1
    assert "nothing was changed" in checked.out
    assert decided.code == 1  # there was nothing to decide


async def test_what_can_never_be_applied_is_dismissed_from_the_terminal(
    command: Command, marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("DROP1"))
    await marketplace.notify(f"{await simulated.base('DROP1')}/pvt/orders/DROP1/invoice", b"not json")
    note = str((await marketplace.notified(placed["id"], "unreadable"))["id"])
    words = ("notification", "dismiss", note, "--reason", "the seller sent it by mistake")

    unreasoned = await command(*words[:3])
    tried = await command(*words, "--dry-run", "--json")
    done = await command(*words, "--json")
    again = await command(*words)
    replayed = await command("notification", "replay", note, "--reason", "that was a mistake", "--json")

    assert [said.code for said in (unreasoned, tried, done, again, replayed)] == [2, 0, 0, 1, 0]
    assert (tried.json["dryRun"], tried.json["state"]) == (True, "ignored")
    assert (done.json["state"], done.json["reason"]) == ("ignored", "dismissed: unreadable")
    assert "notification-not-waiting" in again.err
    assert replayed.json["state"] == "received"


async def test_a_seller_is_changed_priced_and_given_its_token(command: Command) -> None:
    changed = await command("seller", "change", "acme", "--set", "concurrency=3", "--set", "salesChannel=2", "--json")
    tried = await command("seller", "change", "acme", "--set", "concurrency=4", "--dry-run", "--json")
    stale = await command("seller", "change", "acme", "--set", "concurrency=5", "--version", "1")
    nothing = await command("seller", "change", "acme")
    wrong = await command("seller", "change", "acme", "--set", "concurrency")
    priced = await command("seller", "simulate", "acme", _file("basket.json", {"items": [{"id": "8", "quantity": 1}]}))
    token = await command("seller", "callback-token", "acme")

    assert [said.code for said in (changed, tried, stale, nothing, wrong, token)] == [0, 0, 1, 2, 2, 0]
    assert (changed.json["concurrency"], changed.json["salesChannel"]) == (3, "2")
    assert re.search(r"seller\.change operator:\S+ concurrency salesChannel\n", stale.err)
    assert (tried.json["concurrency"], tried.json["dryRun"]) == (4, True)
    assert priced.code in {0, 1}
    assert "acme" in token.out


async def test_webhooks_are_added_changed_tested_and_removed(command: Command, marketplace: Marketplace) -> None:
    added = await command("webhook", "add", "http://127.0.0.1:9/hooks", "--event", "order.*", "--json")
    id_ = added.json["id"]
    changed = await command("webhook", "change", id_, "--set", "enabled=false", "--json")
    stood = await command("stats")
    done = [
        await command("webhook", *words)
        for words in (
            ("list",), ("show", id_), ("rotate-secret", id_), ("test", id_), ("replay", id_, "--after", "0"),
            ("remove", id_),
        )
    ]  # fmt: skip

    assert (added.code, changed.json["enabled"]) == (0, False)
    assert added.json["secret"]
    assert id_ in stood.out
    async with marketplace.database.transaction() as session:
        named = await session.scalar(text("select count(*) from idempotency_keys"))
    assert named == 4  # of add, rotate-secret, test and replay: a proxy that repeats one does no harm
    assert [said.code for said in done] == [0, 0, 0, 0, 0, 0]


async def test_the_day_is_seen_from_the_terminal(command: Command, marketplace: Marketplace) -> None:
    placed = await marketplace.place(order("DAY1"))
    (delivery,) = (await marketplace.get(placed["id"], "/deliveries"))["items"]
    said = [
        await command(*words)
        for words in (
            ("stats",), ("alerts",), ("audit", "--action", "order.place", "--csv", "acts.csv"),
            ("events", "list"), ("notification", "list"),
            ("delivery", "show", str(delivery["id"])), ("delivery", "list"),
        )
    ]  # fmt: skip

    assert [one.code for one in said] == [0] * 7
    assert "orders placed" in said[0].out
    assert said[2].err == "1 acts\n"
    assert "order.place" in _held("acts.csv")
    assert "DAY1" in said[3].out
    assert "DAY1" in said[6].out


async def test_a_list_is_as_long_as_is_asked_for(command: Command, marketplace: Marketplace) -> None:
    async with marketplace.database.transaction() as session:
        await session.execute(
            text(
                "insert into api_keys (id, name, role, digest) "
                "select gen_random_uuid(), 'k' || lpad(n::text, 4, '0'), 'viewer', decode(md5(n::text), 'hex') "
                "from generate_series(1, 450) n"
            )
        )

    every = await command("key", "list", "--limit", "1000", "--json")
    some = await command("key", "list", "--limit", "210", "--json")

    assert len(every.json["items"]) == 451
    assert (len(some.json["items"]), some.json["next"] is not None) == (210, True)


@pytest.mark.parametrize("state", ["dead", "unknown"])
async def test_all_calls_are_tried_again_whatever_their_number(
    command: Command, monkeypatch: pytest.MonkeyPatch, marketplace: Marketplace, state: str
) -> None:
    monkeypatch.setattr(delivery_commands, "_MOST_AT_ONCE", 2)
    await marketplace.client.post("/v1/sellers/acme/pause")
    for n in range(5):
        await marketplace.post_order(order(f"MANY{n}"))
    async with marketplace.database.transaction() as session:
        await session.execute(text("update deliveries set state = :state"), {"state": state})
    asked = ("delivery", "retry", "--all", "--state", state, "--seller", "acme", "--reason", "r")

    rehearsed, said = await command(*asked, "--dry-run"), await command(*asked)

    assert rehearsed.err.endswith("5 tried again, 0 refused\n")
    assert (said.code, said.err) == (0, "5 tried again, 0 refused\n")


def test_an_import_goes_in_parts_that_the_service_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "LINES_A_REQUEST", 3)
    monkeypatch.setattr(bulk, "BYTES_A_REQUEST", 10)
    lines = [b"1", b"2", b"3", b"4", b"x" * 8, b"y" * 20, b"5"]

    assert list(bulk.parts(lines)) == [(0, lines[0:3]), (3, lines[3:5]), (5, lines[5:6]), (6, lines[6:7])]
    assert list(bulk.parts([])) == []


COLUMNS = (
    Column("group", str, 0),
    Column("seller", str, 5),
    Column("status", str, 0),
    Column("total", str, 0, right=True),
    Column("reason", str, 1, text=True),
)


@pytest.mark.parametrize(
    ("room", "shown"), [(200, [0, 1, 2, 3, 4]), (80, [0, 2, 3, 4]), (50, [0, 2, 3]), (10, [0, 2, 3])]
)
def test_a_table_leaves_out_what_matters_least_and_cuts_no_id_and_no_amount(room: int, shown: list[int]) -> None:
    assert fitting(COLUMNS, [20, 30, 11, 9, 60], room) == shown


def test_a_long_text_is_cut_and_takes_no_room_from_an_id(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(show, "_PIPED_WIDTH", 40)
    columns = [show.field("id", right=True), show.field("kind"), show.field("why", text=True)]

    show.table(columns, [{"id": 17, "kind": "place", "why": "the payment total differs from what is computed"}])

    row = capsys.readouterr().out.splitlines()[-1]
    assert row.split()[:2] == ["17", "place"]
    assert (len(row), row[-1]) == (40, "…")


@pytest.mark.parametrize("typed", ["order export", "order list --json", "events list", "events follow --after 0"])
async def test_a_command_whose_reader_leaves_ends_quietly(
    command: Command, marketplace: Marketplace, typed: str
) -> None:
    for n in range(3):
        await marketplace.place(order(f"PIPE{n}"))
    ours, theirs = os.pipe()
    os.close(ours)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "chain_orders", *typed.split(), stdout=theirs, stderr=asyncio.subprocess.PIPE
    )
    os.close(theirs)
    _, err = await process.communicate()

    assert process.returncode == 0
    assert b"Traceback" not in err
    assert b"Broken" not in err


async def test_output_for_which_there_is_no_room_is_told_in_one_line(command: Command) -> None:
    process = await asyncio.create_subprocess_shell(
        f"{sys.executable} -m chain_orders stats --json > /dev/full", stderr=asyncio.subprocess.PIPE
    )
    _, err = await process.communicate()

    assert process.returncode == 1
    assert err == b"chain-orders: the output cannot be written (No space left on device)\n"


@pytest.mark.parametrize("typed", ["cancel ASK1", "erase ASK1 --reason x"])
async def test_what_is_asked_where_nobody_answers_is_wrong_use(
    command: Command, marketplace: Marketplace, monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    await marketplace.place(order("ASK1"))
    monkeypatch.setattr(sys, "stdin", io.StringIO())

    said = await command("order", *typed.split())

    assert said.code == 2
    assert "nobody answers: give it as an option" in said.err


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.4, "0 s"), (119.9, "119 s"), (120, "2 min"), (7300, "2 h"), (7_511_622, "86 d")]
)
def test_a_time_that_has_passed_is_told_in_its_own_unit(seconds: float, told: str) -> None:
    assert show.span(seconds) == told


def test_alerts_of_one_code_are_told_once() -> None:
    told = overview._counted(["paused-long", "stuck-placed", "paused-long"])

    assert told == "2 paused-long, stuck-placed"


async def test_the_version_is_that_of_the_package(command: Command) -> None:
    said = await command("--version")

    assert (said.code, said.out) == (0, f"chain-orders {version('chain-orders')}\n")
