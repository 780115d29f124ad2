"""Hostile input over every receiver, through a real socket: nothing is a 5xx, nothing stops the service."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from chain_orders import body as reading
from chain_orders.vtex import addresses

from ..builders import Marketplace, SimulatedSeller, calling, cancellation, invoice, order, until

RECEIVERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "cancellation": ("POST", "/pvt/orders/order-group/HOST1/notifications", cancellation("MKP-HOST1-01")),
    "one-level": ("POST", "/pvt/orders/HOST1/cancel", {"reason": "out of stock"}),
    "invoice": ("POST", "/api/oms/pvt/orders/HOST1/invoice", invoice()),
    "tracking": ("PATCH", "/pvt/orders/HOST1/invoice/NF-1", {"courier": "Invented Couriers"}),
    "tracking-events": ("PUT", "/pvt/orders/HOST1/invoice/NF-1/tracking", {"isDelivered": True}),
    "change": ("POST", "/pvt/orders/HOST1/changes", {"requestId": "chg-1", "discountValue": 1}),
}
DEEP = b'{"id":' * 100_000
CORPUS: dict[str, bytes] = {
    "NaN": b'{"id": NaN}',
    "infinity": b'{"id": Infinity, "invoiceValue": -Infinity}',
    "too large a float": b'{"invoiceValue": 1e400}',
    "one name twice": b'{"id": "a", "id": "b"}',
    "5,000 digits": b'{"invoiceValue": ' + b"9" * 5000 + b"}",
    "a long fraction": b'{"invoiceValue": 1.' + b"1" * 5000 + b"}",
    "100,000 levels of objects": DEEP,
    "100,000 levels of lists": b"[" * 100_000,
    "33 levels, closed": b'{"id":' * 33 + b"1" + b"}" * 33,
    "a NUL byte": b'{"id": "a\0b"}',
    "an escaped NUL": b'{"id": "a\\u0000b", "invoiceNumber": "\\u0000", "requestId": "\\u0000"}',
    "half a surrogate pair": b'{"id": "\\ud800", "invoiceNumber": "\\udfff", "requestId": "\\ud83d"}',
    "half a pair as a name": b'{"\\ud800": 1}',
    "a byte-order mark": b'\xef\xbb\xbf{"id": "a"}',
    "UTF-16": json.dumps({"id": "a"}).encode("utf-16"),
    "UTF-32": json.dumps({"id": "a"}).encode("utf-32"),
    "no UTF-8": b'{"id": "\xff\xfe\x80"}',
    "an encoded surrogate": b'{"id": "\xed\xa0\x80"}',
    "an overlong slash": b'{"id": "\xc0\xaf"}',
    "trailing text": b'{"id": "a"} and more',
    "two documents": b"{}{}",
    "a cut document": b'{"id": "a',
    "a trailing comma": b'{"id": "a",}',
    "single quotes": b"{'id': 'a'}",
    "a comment": b"{/* */}",
    "a number": b"7",
    "a text": b'"text"',
    "null": b"null",
    "a list": b"[]",
    "blanks": b" \t\r\n ",
    "a form": b"id=a&sellerOrderId=b",
    "XML": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///nowhere">]><a>&b;</a>',
}
ODD_VALUES: dict[str, bytes] = {
    "NaN": b"NaN",
    "too large a float": b"1e400",
    "5,000 digits": b"9" * 5000,
    "one name twice": b'{"a": 1, "a": 2}',
    "33 levels": b"[" * 32 + b"]" * 32,
    "a NUL byte": b'"\0"',
    "an escaped NUL": b'"\\u0000"',
    "half a surrogate pair": b'"\\ud800"',
    "no UTF-8": b'"\xff"',
}
# A cancellation of one level needs no body at all.
FINE_WITHOUT = {("one-level", "blanks")}


def _spoiled(good: dict[str, Any]) -> dict[str, bytes]:
    """Bodies that nothing is wrong with but one thing that no JSON may hold, in a field that nobody reads."""
    whole = json.dumps(good).encode()
    odd = {f"{name} beside": whole[:-1] + b', "odd": ' + value + b"}" for name, value in ODD_VALUES.items()}
    return {**odd, "a mark before": b"\xef\xbb\xbf" + whole, "text behind": whole + b" x"}


@pytest.fixture
async def base(marketplace: Marketplace, simulated: SimulatedSeller) -> str:
    await marketplace.place(order("HOST1"))
    return await simulated.base("HOST1")


@pytest.mark.parametrize("receiver", RECEIVERS)
async def test_the_corpus_is_refused_and_kept_and_harms_nobody(
    marketplace: Marketplace, base: str, receiver: str
) -> None:
    method, path, good = RECEIVERS[receiver]
    refused = 0
    async with calling(timeout=30) as stranger:
        for name, body in {**CORPUS, **_spoiled(good)}.items():
            answer = await stranger.request(method, base + path, content=body)
            expected = 200 if (receiver, name) in FINE_WITHOUT else 400
            allowed = {expected, 413} if len(body) > 16_384 else {expected}
            assert answer.status_code in allowed, (name, answer.status_code, answer.text)
            assert answer.status_code == 200 or answer.headers["content-type"] == "application/problem+json"
            refused += answer.status_code == 400

        told = await stranger.request(method, base + path, json=good)
        assert told.status_code == 200, told.text
    async with marketplace.database.transaction() as session:
        kept = await session.scalar(text("select count(*) from notifications where kind = 'unreadable'"))
    assert kept == refused >= len(CORPUS) + len(ODD_VALUES) - 3


@pytest.mark.parametrize("receiver", RECEIVERS)
async def test_a_compressed_body_is_refused(marketplace: Marketplace, base: str, receiver: str) -> None:
    method, path, good = RECEIVERS[receiver]
    for coding in ("gzip", "deflate", "br", "zstd", "gzip, identity", "x"):
        answer = await marketplace.notify(
            base + path, gzip.compress(json.dumps(good).encode()), method, **{"Content-Encoding": coding}
        )
        assert answer.status_code == 415, coding


PATHS = [
    "%00", "HOST1%00", "%ff%fe", "%ed%a0%80", "%c0%af", "..%2f..%2f", "%2e%2e", "..", "%", "%zz", "%25%30%30",
    "a" * 3000,
    "%F0%9F%98%80", "%0d%0aX-Other:%201", "%5c", "'%20or%201=1--", "{}", "%7f", "order-group", "invoice", "tracking",
]  # fmt: skip


@pytest.mark.parametrize("root", ["base", "token", "cb"])
async def test_odd_paths_are_kept_or_not_found(marketplace: Marketplace, base: str, root: str) -> None:
    token = (await marketplace.client.post("/v1/sellers/acme/callback-token")).json()["token"]
    address = {"base": base, "token": marketplace.url, "cb": f"{marketplace.url}/cb"}[root]
    headers = {"Authorization": f"Bearer {token}"} if root == "token" else {}
    ours = {"base": f"{base}/", "token": f"{marketplace.url}/pvt/orders/", "cb": "nothing"}
    understood = 0
    async with calling(timeout=30, headers=headers) as stranger:
        for odd in PATHS:
            for method, below, body in (
                ("POST", f"/pvt/orders/{odd}/invoice", invoice()),
                ("POST", f"/pvt/orders/HOST1/invoice/{odd}", {}),
                ("POST", f"/pvt/orders/{odd}/changes", {}),
                ("POST", f"/pvt/orders/order-group/{odd}/notifications", cancellation("x")),
                ("POST", f"/{odd}", {}),
            ):
                answer = await stranger.request(method, address + below, json=body)
                assert answer.status_code in {200, 400, 404, 405, 414}, (below, answer.status_code, answer.text)
                went = str(answer.request.url)  # the client itself goes up where a path says so
                understood += went.startswith(ours[root]) and answer.status_code in {200, 400, 404}
        async with marketplace.database.transaction() as session:
            kept = await session.scalar(text("select coalesce(sum(1 + repeats), 0) from receipts"))
        assert kept == understood
        assert (kept > 0) is (root != "cb")
        placed = await stranger.post(f"{base}/pvt/orders/HOST1/invoice", json=invoice("AFTER"))
        assert placed.status_code == 200
    (found,) = (await marketplace.client.get("/v1/orders")).json()["items"]
    assert (await marketplace.becomes(found["id"], "invoiced"))["money"]["invoiced"] == 1300


async def _raw(base: str, *parts: bytes, wait: float = 5.0) -> bytes:
    """What comes back to bytes as they are, until the connection closes or nothing more comes."""
    address = urlsplit(base)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        got = b""
        while True:
            try:
                more = await asyncio.wait_for(reader.read(65536), wait if not got else 0.3)
            except (TimeoutError, ConnectionError):
                return got
            if not more:
                return got
            got += more
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_raw_requests_are_never_a_failure_of_ours(marketplace: Marketplace, base: str) -> None:
    path = f"{urlsplit(base).path}/pvt/orders/HOST1/invoice".encode()
    body = json.dumps(invoice("RAW")).encode()
    head = b"POST " + path + b" HTTP/1.1\r\nHost: cb.example\r\n"
    length = b"Content-Length: " + str(len(body)).encode() + b"\r\n"
    chunked = b"Transfer-Encoding: chunked\r\n\r\n" + hex(len(body))[2:].encode() + b"\r\n" + body + b"\r\n0\r\n\r\n"
    corpus: dict[str, tuple[bytes, ...]] = {
        "chunked": (head + chunked,),
        "chunked in single bytes": (head + b"Transfer-Encoding: chunked\r\n\r\n"
                                    + b"".join(b"1\r\n" + bytes([c]) + b"\r\n" for c in body) + b"0\r\n\r\n",),
        "a wrong chunk": (head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + body,),
        "both lengths": (head + length + chunked,),
        "two lengths": (head + length + b"Content-Length: 3\r\n\r\n" + body,),
        "a negative length": (head + b"Content-Length: -5\r\n\r\n" + body,),
        "a huge length": (head + b"Content-Length: 99999999999999999999\r\n\r\n" + body,),
        "bare line feeds": ((head + length + b"\r\n").replace(b"\r\n", b"\n") + body,),
        "a folded header": (head + b"X-One: a\r\n b\r\n" + length + b"\r\n" + body,),
        "a header of 100 kB": (head + b"X-Long: " + b"a" * 100_000 + b"\r\n" + length + b"\r\n" + body,),
        "2,000 headers": (head + b"".join(b"X-%d: 1\r\n" % n for n in range(2000)) + length + b"\r\n" + body,),
        "a NUL in a header": (head + b"X-One: a\0b\r\n" + length + b"\r\n" + body,),
        "bytes in a header": (head + b"User-Agent: \xff\xfe\r\nTraceparent: \x80\r\n" + length + b"\r\n" + body,),
        "bytes in a path": (head.replace(b"HOST1", b"HOST\xff1") + length + b"\r\n" + body,),
        "a blank in a path": (head.replace(b"HOST1", b"HO ST1") + length + b"\r\n" + body,),
        "an absolute target": (head.replace(path, b"http://cb.example" + path) + length + b"\r\n" + body,),
        "another method": (head.replace(b"POST", b"BREW", 1) + length + b"\r\n" + body,),
        "HTTP/0.9": (b"POST " + path + b"\r\n\r\n",),
        "another protocol": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),),
        "an asterisk": (head.replace(path, b"*") + length + b"\r\n" + body,),
        "a tunnel": (b"CONNECT cb.example:1 HTTP/1.1\r\nHost: cb.example\r\n\r\n" + body,),
        "200 upgrades at once": ((head + UPGRADES["h2c"] + b"Content-Length: 0\r\n\r\n") * 200,),
        "an expectation": (head + b"Expect: 100-continue\r\n" + length + b"\r\n", body),
        "a closed connection": (head + b"Content-Length: 500\r\n\r\n" + body,),
    }  # fmt: skip
    for name, parts in corpus.items():
        wait = 0.5 if name in {"a closed connection", "a huge length", "HTTP/0.9"} else 5.0
        answer = await _raw(base, *parts, wait=wait)
        statuses = [line.split(b" ")[1] for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
        assert all(status[:1] in b"124" for status in statuses), (name, answer)
        assert statuses or not answer, (name, answer)

    told = await marketplace.notify(f"{base}/pvt/orders/HOST1/invoice", invoice("RAW"))
    assert told.status_code == 200


async def test_a_body_that_does_not_arrive_is_given_up(
    base: str, marketplace: Marketplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "SECONDS", 0.3)
    head = f"POST {urlsplit(base).path}/pvt/orders/HOST1/invoice HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n"

    answer = await _raw(base, head.encode(), b'{"type":', wait=30.0)

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"body-timeout" in answer
    (found,) = (await marketplace.client.get("/v1/orders")).json()["items"]
    assert (await marketplace.get(found["id"], "/notifications"))["items"] == []


async def test_a_body_without_end_is_read_no_further_than_to_answer(base: str) -> None:
    address = urlsplit(base)
    head = f"POST {address.path}/pvt/orders/HOST1/invoice HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(head.encode())
    answer, sent, most = asyncio.create_task(reader.readuntil(b"\r\n\r\n")), 0, 64 * 1024 * 1024
    with contextlib.suppress(ConnectionError):
        while sent < most and not answer.done():
            writer.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
            await writer.drain()
            sent += 0x10000

    assert (await answer).startswith(b"HTTP/1.1 413 ")
    assert sent < most
    writer.close()


UPGRADES = {
    "h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQBAAAAAAIAAAAA\r\n",
    "websocket": b"Connection: upgrade\r\nUpgrade: websocket\r\n",
}


@pytest.mark.parametrize("asked", UPGRADES)
async def test_another_protocol_that_is_offered_does_not_cost_the_body(
    marketplace: Marketplace, base: str, asked: str
) -> None:
    address = urlsplit(base)
    calls = []
    for n, header in enumerate((UPGRADES[asked], b"Connection: close\r\n")):
        body = json.dumps(invoice(f"UP-{n}", 100)).encode()
        head = f"POST {address.path}/pvt/orders/HOST1/invoice HTTP/1.1\r\nHost: cb.example\r\n".encode()
        calls.append(head + header + b"Content-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body)
    sent = b"".join(calls)
    for parts in ([sent], [sent[:50], sent[50:-9], sent[-9:]]):
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        for part in parts:
            writer.write(part)
            await asyncio.sleep(0.05)
        answers = await asyncio.wait_for(reader.read(), 60)
        writer.close()
        assert answers.count(b"HTTP/1.1 200 OK") == 2, answers

    (found,) = (await marketplace.client.get("/v1/orders")).json()["items"]

    async def both() -> bool:
        return bool((await marketplace.get(found["id"]))["money"]["invoiced"] == 200)

    await until(both, 60)


QUERIES = [
    "token=a" + "&a=1" * 100, "token=" + "a" * 3000, "token=%00&token=%ff", "token", "&" * 1000 + "token=a", "token=%",
    "token=a;b=c&token[]=a", "=token=", "%74oken=a", "token=k1.acme.%ed%a0%80",
]  # fmt: skip


async def test_odd_queries_of_strangers_are_not_found(marketplace: Marketplace, base: str) -> None:
    plain = await marketplace.notify(f"{marketplace.url}/pvt/orders/HOST1/invoice", invoice())
    for query in QUERIES:
        for address, status in ((marketplace.url, 404), (base, 200)):
            answer = await marketplace.notify(f"{address}/pvt/orders/HOST1/invoice?{query}", invoice())
            assert answer.status_code == status, (query, answer.text)
            assert status == 200 or answer.content == plain.content


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
FIELDS = sorted({name for _, _, good in RECEIVERS.values() for name in good} | {"itemsAdded", "itemsRemoved"})
BODIES = (
    st.binary(max_size=200)
    | JSONS.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass"))
    | st.dictionaries(st.sampled_from(FIELDS), JSONS, max_size=6).map(lambda value: json.dumps(value).encode())
    | st.sampled_from([good for _, _, good in RECEIVERS.values()]).flatmap(
        lambda good: st.tuples(st.sampled_from(sorted(good)), JSONS).map(
            lambda pair: json.dumps({**good, pair[0]: pair[1]}).encode()
        )
    )
)


async def test_no_body_that_can_be_thought_of_is_a_failure(marketplace: Marketplace, base: str) -> None:
    found: list[tuple[str, bytes]] = []

    @settings(max_examples=250, deadline=None, database=None, derandomize=True,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(st.tuples(st.sampled_from(sorted(RECEIVERS)), BODIES))
    def think(pair: tuple[str, bytes]) -> None:
        found.append(pair)

    think()
    async with calling(timeout=30) as stranger:
        for at in range(0, len(found), 20):
            answers = await asyncio.gather(
                *(stranger.request(RECEIVERS[r][0], base + RECEIVERS[r][1], content=b) for r, b in found[at : at + 20])
            )
            for (receiver, body), answer in zip(found[at : at + 20], answers, strict=True):
                assert answer.status_code in {200, 400}, (receiver, body, answer.text)
    assert (await marketplace.client.get("/readyz")).status_code == 200


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=80))
def test_any_bytes_as_a_path_are_understood_or_not(raw: bytes) -> None:
    called = addresses.callback(addresses.split(b"/pvt/orders/" + raw))

    assert called is None or (called.named and addresses.storable(called.named + (called.invoice_number or "")))
