"""Rotation of both keys: refused while something stored needs the old one, and without a failed request under load."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import text

from chain_orders.database import Database
from chain_orders.doctor import examine
from chain_orders.parts import Refused, assemble, check_database
from chain_orders.rotation import missing_keys, reseal
from chain_orders.sellers.vault import Vault
from chain_orders.settings import Settings

from ..builders import KEY_BYTES, KEYS, Marketplace, SimulatedSeller, invoice, order, settings_for, until
from ..conftest import serving
from ..faults import nursery
from ..webhooks.receiver import receiving, subscribe

NEW_BYTES = KEY_BYTES[::-1]
NEW = "k2:" + base64.urlsafe_b64encode(NEW_BYTES).decode().rstrip("=")
BOTH = {"k2": NEW_BYTES, "k1": KEY_BYTES}


async def refusal(database: Database, **keys: str) -> str:
    """Why a process with these keys does not start."""
    parts = assemble(Settings(**settings_for(database.url, **keys)))
    try:
        with pytest.raises(Refused) as refused:
            await check_database(parts)
        return str(refused.value)
    finally:
        await parts.close()


async def findings(database: Database, **keys: str) -> dict[str, tuple[bool | None, str]]:
    """What the doctor says of a deployment with these keys."""
    parts = assemble(Settings(**settings_for(database.url, **keys)))
    try:
        return {one.code: (one.ok, one.detail) async for one in examine(parts)}
    finally:
        await parts.close()


async def kids(database: Database) -> Counter[str]:
    """Which key has sealed how many values."""
    async with database.transaction() as session:
        rows = await session.execute(text("select sealed_app_key, sealed_app_token from sellers"))
        return Counter(bytes(value).partition(b":")[0].decode() for row in rows for value in row)


async def test_a_key_that_an_order_carries_cannot_be_left_out(marketplace: Marketplace) -> None:
    await marketplace.place()

    assert "CHAIN_ORDERS_CALLBACK_KEYS lacks k1" in await refusal(marketplace.database, callback_keys=NEW)


async def test_a_key_that_seals_a_credential_cannot_be_left_out(marketplace: Marketplace) -> None:
    assert "CHAIN_ORDERS_CREDENTIAL_KEYS lacks k1" in await refusal(marketplace.database, credential_keys=NEW)


async def test_a_key_that_only_sealed_orders_carry_cannot_be_left_out_either(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("ROT1"))
    await simulated.cancel("MKP-ROT1-01")
    await marketplace.becomes(placed["id"], "cancelled")
    await marketplace.client.post(f"/v1/orders/{placed['id']}/erasure", json={"reason": "request 17"})

    assert "CHAIN_ORDERS_CALLBACK_KEYS lacks k1" in await refusal(marketplace.database, callback_keys=NEW)


async def test_every_missing_key_is_named(marketplace: Marketplace) -> None:
    for _ in range(3):
        await marketplace.post_order(order())
    async with marketplace.database.transaction() as session:
        numbered = "select id as i, row_number() over () as n from orders"
        await session.execute(text(f"update orders set kid = 'k' || n from ({numbered}) o where id = i"))

    async with marketplace.database.transaction() as session:
        missing = await missing_keys(session, ["k2"], ["k1"])

    assert "lacks k1, k3," in (missing.callback or "")
    assert missing.credential is None


async def test_the_doctor_names_a_webhook_whose_secret_no_key_opens(marketplace: Marketplace) -> None:
    made = await subscribe(marketplace, "http://127.0.0.1:9/hooks")
    async with marketplace.database.transaction() as session:
        await session.execute(text("delete from sellers"))

    found = await findings(marketplace.database, credential_keys=NEW)

    ok, told = found["credential-key-missing"]
    assert ok is False
    assert "lacks k1" in told
    assert f"subscriptions:{made['id']}" in told
    other_key_of_the_name = await findings(marketplace.database, credential_keys=NEW.replace("k2:", "k1:"))
    assert f"subscriptions:{made['id']}" in other_key_of_the_name["credential-key-missing"][1]


async def test_the_doctor_names_sellers_with_a_token_of_an_older_key(marketplace: Marketplace) -> None:
    await marketplace.client.post("/v1/sellers/acme/callback-token")

    same = await findings(marketplace.database)
    older = await findings(marketplace.database, callback_keys=f"{NEW},{KEYS}")
    dead = await findings(marketplace.database, callback_keys=NEW)

    assert same["seller-tokens-ok"][0] is True
    assert (older["seller-token-old"][0], "acme (k1)" in older["seller-token-old"][1]) == (None, True)
    assert (dead["seller-token-dead"][0], "acme (k1)" in dead["seller-token-dead"][1]) == (False, True)


async def test_secrets_of_webhooks_are_sealed_anew_and_sign_as_before(database: Database) -> None:
    async with receiving() as receiver:
        async with serving(database, Settings(**settings_for(database.url))) as before:
            made = await subscribe(before, receiver.url)
            await before.client.post(f"/v1/webhooks/{made['id']}/secret")

        done = await reseal(database, Vault(BOTH))

        async with serving(database, Settings(**settings_for(database.url, credential_keys=NEW))) as after:
            await after.client.post(f"/v1/webhooks/{made['id']}/test")
            (heard, *_) = await receiver.hears(1, 60)
    assert (done.sealed, done.lost) == (1, [])
    assert heard.proven(made["secret"])


async def _sellers_beside_it(marketplace: Marketplace, url: str, many: int) -> None:
    for number in range(many):
        await marketplace.add_seller(url, f"seller-{number:03d}")


async def test_credentials_are_sealed_anew_and_still_open(
    marketplace: Marketplace, simulated: SimulatedSeller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chain_orders.rotation._BATCH", 4)
    await _sellers_beside_it(marketplace, simulated.url, 10)
    told: list[int] = []

    done = await reseal(marketplace.database, Vault(BOTH), lambda so_far: told.append(so_far.seen))

    assert (done.total, done.sealed, done.lost) == (11, 11, [])
    assert told == [4, 8, 11]
    assert await kids(marketplace.database) == {"k2": 22}
    async with marketplace.database.transaction() as session:
        sealed = await session.scalar(text("select sealed_app_token from sellers where id = 'acme'"))
    assert Vault({"k2": NEW_BYTES}).open(bytes(sealed), row="acme", column="sealed_app_token") == "simulated-token"


async def test_what_was_stopped_goes_on_where_it_was(
    marketplace: Marketplace, simulated: SimulatedSeller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chain_orders.rotation._BATCH", 4)
    await _sellers_beside_it(marketplace, simulated.url, 5)

    def stop(_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await reseal(marketplace.database, Vault(BOTH), stop)
    assert await kids(marketplace.database) == {"k2": 8, "k1": 4}
    done = await reseal(marketplace.database, Vault(BOTH))

    assert (done.total, done.sealed) == (2, 2)
    assert await kids(marketplace.database) == {"k2": 12}


async def test_a_credential_that_is_changed_meanwhile_wins(marketplace: Marketplace) -> None:
    given = Vault({"k1": KEY_BYTES}).seal("given-meanwhile", row="acme", column="sealed_app_token")
    done = await reseal(_Interrupted(marketplace.database, given), Vault(BOTH))  # type: ignore[arg-type]

    async with marketplace.database.transaction() as session:
        sealed = await session.scalar(text("select sealed_app_token from sellers where id = 'acme'"))
    assert done.seen == 1
    assert Vault(BOTH).open(bytes(sealed), row="acme", column="sealed_app_token") == "given-meanwhile"


class _Interrupted:
    """A database in which somebody gives a new token between the read of a batch and its writes."""

    def __init__(self, database: Database, given: bytes) -> None:
        self._database, self._given = database, given

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        async with self._database.transaction() as session:
            yield _Session(session, self._database, self._given)


class _Session:
    def __init__(self, session: Any, database: Database, given: bytes) -> None:
        self._session, self._database, self._given = session, database, given
        self.scalar = session.scalar

    async def execute(self, statement: Any, values: Any) -> Any:
        found = await self._session.execute(statement, values)
        if "after" in values:
            async with self._database.transaction() as other:
                await other.execute(text("update sellers set sealed_app_token = :given"), {"given": self._given})
        return found


async def test_what_no_key_opens_is_named_and_left(marketplace: Marketplace) -> None:
    done = await reseal(marketplace.database, Vault({"k2": NEW_BYTES}))

    assert (done.sealed, done.lost) == (0, ["sellers:acme"])
    assert await kids(marketplace.database) == {"k1": 2}


async def test_the_command_seals_anew(marketplace: Marketplace) -> None:
    settings = {
        "CHAIN_ORDERS_DATABASE_URL": marketplace.database.url,
        "CHAIN_ORDERS_CREDENTIAL_KEYS": f"{NEW},{KEYS}",
    }

    ended = await asyncio.to_thread(nursery.run, "rotate-credentials", **settings)

    assert (ended.code, ended.out) == (0, "sealed under k2: 1 of 1\n"), ended.complaint
    assert await kids(marketplace.database) == {"k2": 2}
    found = await marketplace.client.get("/v1/audit", params={"actor": "command:rotate-credentials"})
    (act,) = found.json()["items"]
    assert (act["action"], act["object"], act["after"]["sealed"]) == ("credentials.seal", "kid:k2", 1)


class Fleet:
    """Processes behind one door: each request goes to one that is there."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._members: dict[str, tuple[asyncio.Task[None], asyncio.Event]] = {}
        self.up: dict[str, Marketplace] = {}
        self.answers: Counter[int] = Counter()
        self._busy: Counter[str] = Counter()

    async def start(self, name: str, keys: str, credential_keys: str | None = None) -> None:
        given = {"callback_keys": keys, "credential_keys": credential_keys or keys, "pool_size": 4}
        settings = Settings(**settings_for(self._database.url, **given))
        started, leave = asyncio.Event(), asyncio.Event()

        async def member() -> None:
            async with serving(self._database, settings) as marketplace:
                self.up[name] = marketplace
                started.set()
                await leave.wait()

        self._members[name] = asyncio.create_task(member()), leave
        await asyncio.wait_for(started.wait(), 20)

    async def stop(self, name: str) -> None:
        """Out of rotation first, ended once its requests are answered, as a load balancer does it."""
        self.up.pop(name, None)
        await until(lambda: self._idle(name))
        task, leave = self._members.pop(name)
        leave.set()
        await task

    async def _idle(self, name: str) -> bool:
        return not self._busy[name]

    @contextlib.contextmanager
    def one(self, turn: int) -> Iterator[Marketplace]:
        """A process that is in rotation, kept from ending meanwhile."""
        name = list(self.up)[turn % len(self.up)]
        self._busy[name] += 1
        try:
            yield self.up[name]
        finally:
            self._busy[name] -= 1

    async def close(self) -> None:
        for name in list(self._members):
            await self.stop(name)

    async def place(self, turn: int, group: str) -> None:
        with self.one(turn) as marketplace:
            answer = await marketplace.post_order(order(group))
        self.answers[answer.status_code] += 1

    async def invoice(self, turn: int, base: str, group: str) -> None:
        with self.one(turn) as marketplace:
            through = marketplace.url + urlsplit(base).path
            answer = await marketplace.notify(f"{through}/pvt/orders/{group}/invoice", invoice())
        self.answers[answer.status_code] += 1


@pytest.fixture
async def fleet(database: Database, simulated: SimulatedSeller) -> AsyncIterator[Fleet]:
    fleet = Fleet(database)
    await fleet.start("old", KEYS)
    await fleet.up["old"].add_seller(simulated.url)
    try:
        yield fleet
    finally:
        await fleet.close()


async def test_both_keys_rotate_under_load_without_a_failed_request(
    fleet: Fleet, database: Database, simulated: SimulatedSeller
) -> None:
    stop = asyncio.Event()
    groups: list[str] = []

    async def load(lane: int) -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            group = f"LOAD{lane}x{turn}"
            await fleet.place(turn, group)
            await until(lambda group=group: simulated.book(group), 20)
            await fleet.invoice(turn + 1, await simulated.base(group), group)
            groups.append(group)

    async with asyncio.TaskGroup() as running:
        for lane in range(3):
            running.create_task(load(lane))
        try:
            await _rotate(fleet, database, groups)
        finally:
            stop.set()

    assert set(fleet.answers) <= {200, 202}, fleet.answers
    assert Counter(booked["group"] for booked in await simulated.book()) == Counter(groups)
    assert await kids(database) == {"k2": 2}
    async with database.transaction() as session:
        carried = set(await session.scalars(text("select distinct kid from orders")))
    assert carried == {"k1", "k2"}

    async def all_invoiced() -> bool:
        async with database.transaction() as session:
            left = await session.scalar(text("select count(*) from orders where status <> 'invoiced'"))
        return left == 0

    await until(all_invoiced, 30)


async def _rotate(fleet: Fleet, database: Database, groups: list[str]) -> None:
    """As docs/operations.md says: the new key beside the old one, then first, then sealing anew, then without it."""

    async def more() -> None:
        enough = len(groups) + 6
        await until(lambda: _reached(groups, enough), 30)

    await more()
    await fleet.start("knows", f"{KEYS},{NEW}")
    await fleet.stop("old")
    await more()
    await fleet.start("uses", f"{NEW},{KEYS}")
    await more()
    await fleet.stop("knows")
    done = await reseal(database, Vault(BOTH))
    assert done.lost == []
    await fleet.start("done", f"{NEW},{KEYS}", credential_keys=NEW)
    await fleet.stop("uses")
    await more()


async def _reached(groups: list[str], enough: int) -> bool:
    return len(groups) >= enough
