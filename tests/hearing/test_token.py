"""A seller's own token at the root addresses: whom it names, what it may do, and what a bad one learns."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest
from starlette.requests import Request

from chain_orders.capability import Keyring
from chain_orders.operators import access
from chain_orders.receivers.routes import _headers

from ..builders import KEY_BYTES, Marketplace, SimulatedSeller, calling, cancellation, invoice, order, until

INVOICE = "/api/oms/pvt/orders/TOK1/invoice"
CANCELLATION = "/pvt/orders/order-group/TOK1/notifications/seller-cancellation"


async def _token(marketplace: Marketplace, seller_id: str = "acme") -> str:
    answer = await marketplace.client.post(f"/v1/sellers/{seller_id}/callback-token")
    assert answer.status_code == 200
    return str(answer.json()["token"])


def _basic(token: str) -> str:
    return "Basic " + base64.b64encode(f"vtex:{token}".encode()).decode()


WAYS: dict[str, Any] = {
    "query": lambda url, token: ((f"{url}{INVOICE}?an=acme&token={token}"), {}),
    "basic": lambda url, token: (url + INVOICE, {"Authorization": _basic(token)}),
    "bearer": lambda url, token: (url + INVOICE, {"Authorization": f"Bearer {token}"}),
}


@pytest.mark.parametrize("way", WAYS)
async def test_each_way_of_sending_a_token_is_taken(marketplace: Marketplace, way: str) -> None:
    placed = await marketplace.place(order("TOK1"))
    url, headers = WAYS[way](marketplace.url, await _token(marketplace))

    answers = [await marketplace.notify(url, invoice(), **headers) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].content == answers[1].content
    await marketplace.becomes(placed["id"], "invoiced")


async def test_a_token_finds_its_own_sellers_orders_only(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    await marketplace.add_seller(simulated.url, "other")
    token = await _token(marketplace, "other")
    placed = await marketplace.place(order("TOK1"))

    answer = await marketplace.notify(f"{marketplace.url}{INVOICE}?token={token}", invoice())

    assert answer.status_code == 200

    async def parked() -> bool:
        items = (await marketplace.client.get("/v1/notifications", params={"seller": "other"})).json()["items"]
        return bool(items and items[0]["state"] == "parked" and items[0]["reason"] == "order-unknown")

    await until(parked)
    assert (await marketplace.get(placed["id"]))["status"] == "placed"


async def test_a_cancellation_by_token_waits_until_the_seller_shows_it(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("TOK1"))
    token = await _token(marketplace)
    await simulated.cancel("MKP-TOK1-01", times=0)

    await marketplace.notify(f"{marketplace.url}{CANCELLATION}?token={token}", cancellation("MKP-TOK1-01"))

    await marketplace.becomes(placed["id"], "cancelled")


@pytest.mark.parametrize("body", [cancellation("MKP-TOK1-01"), invoice("DEV-1", 100, type="Input")])
async def test_what_a_token_tells_and_the_seller_does_not_show_is_not_believed(
    marketplace: Marketplace, body: dict[str, Any]
) -> None:
    placed = await marketplace.place(order("TOK1"))
    token = await _token(marketplace)
    address = INVOICE if "type" in body else CANCELLATION

    await marketplace.notify(f"{marketplace.url}{address}?token={token}", body)

    await marketplace.notified(placed["id"], "conflict")
    assert (await marketplace.get(placed["id"]))["attention"]["code"] == "not-at-seller"


async def test_what_cannot_be_read_is_kept(marketplace: Marketplace) -> None:
    placed = await marketplace.place(order("TOK1"))
    token = await _token(marketplace)

    answer = await marketplace.notify(f"{marketplace.url}{INVOICE}?token={token}", b'{"invoiceNumber": NaN}')

    assert answer.status_code == 400
    await marketplace.notified(placed["id"], "unreadable")


async def test_only_an_admin_gets_a_token(marketplace: Marketplace) -> None:
    async with marketplace.database.transaction() as session:
        key = await access.create_key(session, "a-viewer", "operator")

    answer = await marketplace.client.post(
        "/v1/sellers/acme/callback-token", headers={"Authorization": f"Bearer {key}"}
    )

    assert answer.status_code == 403
    assert (await marketplace.client.post("/v1/sellers/nobody/callback-token")).status_code == 404


async def test_bad_tokens_get_the_one_404_and_are_slowed_down(marketplace: Marketplace) -> None:
    good = await _token(marketplace)
    bad = [f"{good[:-1]}{'a' if good[-1] != 'a' else 'b'}", "k1.acme.", "x", "", "k1.other." + good.rpartition(".")[2]]
    async with calling(marketplace.url) as stranger:
        plain = await stranger.post(INVOICE, json=invoice())
        started = time.monotonic()
        answers = [await stranger.post(INVOICE, params={"token": bad[n % len(bad)]}, json=invoice()) for n in range(30)]
        slowed = time.monotonic() - started
        told = await stranger.post(INVOICE, params={"token": good}, json=invoice())

    assert {(answer.status_code, answer.content) for answer in answers} == {(404, plain.content)}
    assert {tuple(sorted(set(answer.headers) - {"date"})) for answer in [plain, *answers]} == {
        tuple(sorted(set(plain.headers) - {"date"}))
    }
    assert told.status_code == 200
    assert slowed > 0.5  # 24 of them name a token: 20 at once, each further one 0.2 seconds after the one before


def test_every_changed_character_makes_a_token_nobodys() -> None:
    ring = Keyring({"k1": KEY_BYTES, "k2": bytes(32)})
    token = ring.token("acme")
    assert token.startswith("k1.acme.")
    assert ring.seller_of(token) == "acme"

    for at, character in enumerate(token):
        for other in "abz2.K\u212aé\ud800":
            if other != character:
                assert ring.seller_of(token[:at] + other + token[at + 1 :]) is None


def test_a_token_is_no_base_and_a_base_no_token() -> None:
    ring = Keyring({"k1": KEY_BYTES})
    kid, seller_id, mac = ring.token("acme").split(".")

    assert not ring.verify(kid, seller_id, mac)
    *_, base_kid, ref, base_mac = ring.base("", "k1", ring.new_ref()).split("/")
    assert ring.seller_of(f"{base_kid}.{ref}.{base_mac}") is None


def test_what_is_kept_beside_the_body_holds_no_credential() -> None:
    headers = [(b"user-agent", b"seller"), (b"authorization", b"Bearer secret"), (b"x-app-key", b"secret")]
    query = b"an=acme&token=secret&%74oken=secret&Token=secret&x=1"

    kept = _headers(Request({"type": "http", "headers": headers, "query_string": query}))

    assert json.loads(kept) == {"user-agent": "seller", "query": "an=acme&x=1"}
