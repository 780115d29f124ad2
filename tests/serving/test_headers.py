"""Every answer says what a browser must not do with it, whoever gives it."""

from __future__ import annotations

import asyncio
import socket
import struct
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from starlette.applications import Starlette

from chain_orders import body, capability
from chain_orders.serving import server

from ..builders import Marketplace, SimulatedSeller, order

PATHS = {
    "/v1/orders": 200,
    "/v1/orders/none": 404,
    "/v1/nowhere": 404,
    "/openapi.json": 200,
    "/livez": 200,
    "/readyz": 200,
    "/metrics": 200,
    "/nowhere": 404,
    "/cb/nobody/orders": 404,
    "/console/sign-in": 200,
    "/console/static/none": 404,
    "/console": 303,
}


@pytest.mark.parametrize("path", PATHS)
async def test_every_answer_is_guarded(marketplace: Marketplace, path: str) -> None:
    answer = await marketplace.client.get(path)

    assert answer.status_code == PATHS[path]
    named = [name for name, _value in answer.headers.raw]
    assert len(named) == len(set(named))
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    assert answer.headers["permissions-policy"]
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["referrer-policy"] == ("same-origin" if path.startswith("/console") else "no-referrer")
    assert "strict-transport-security" not in answer.headers  # plain http
    assert "server" not in answer.headers


async def test_an_answer_to_a_seller_is_guarded(marketplace: Marketplace) -> None:
    answer = await marketplace.notify(f"{marketplace.url}/cb/nobody/pub/orders/x/invoice", {})

    assert answer.status_code == 404
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"


async def _raw(url: str, *requests: str) -> list[bytes]:
    """The answers to requests on one connection, byte for byte but for the clock."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write("".join(requests).encode())
    async with asyncio.timeout(30):
        answers = (await reader.read()).split(b"HTTP/1.1 ")[1:]
    writer.close()
    return [b"\r\n".join(line for line in one.split(b"\r\n") if line[:5].lower() != b"date:") for one in answers]


def _request(method: str, path: str, *headers: str, content: str = "{}") -> str:
    lines = (f"{method} {path} HTTP/1.1", "Host: cb.example", f"Content-Length: {len(content)}", *headers, "", content)
    return "\r\n".join(lines)


def _other(text: str) -> str:
    return text[:-1] + ("a" if text[-1] != "a" else "e")


async def test_whatever_is_wrong_with_a_base_is_answered_with_the_same_bytes(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    await marketplace.place(order("SAME1"))
    *_, kid, ref, mac = (await simulated.base("SAME1")).split("/")
    invoice = "pvt/orders/SAME1/invoice"
    wrong = [
        ("POST", f"/cb/k9/{ref}/{mac}/{invoice}"), ("POST", f"/cb/{kid}/{_other(ref)}/{mac}/{invoice}"),
        ("POST", f"/cb/{kid}/{ref}/{_other(mac)}/{invoice}"), ("POST", f"/cb/{kid}/{ref}/{mac}/pvt/orders/SAME1/none"),
        ("POST", f"/cb/{kid}/{ref}/{mac[:-1]}/{invoice}"), ("POST", f"/cb/{kid}/{ref}/{mac}"), ("POST", "/cb"),
        ("GET", f"/cb/{kid}/{ref}/{mac}/{invoice}"), ("PUT", f"/cb/{kid}/{ref}/{mac}/{invoice}"),
        ("DELETE", f"/cb/{kid}/{ref}/{_other(mac)}/{invoice}"), ("TRACE", f"/cb/{kid}/{ref}/{mac}/{invoice}"),
        ("OPTIONS", f"/cb/{kid}/{ref}/{mac}/{invoice}"), ("POST", f"/pvt/orders/SAME1/invoice?token={kid}.acme.{mac}"),
    ]  # fmt: skip

    answers = await _raw(
        marketplace.url, *(_request(*one) for one in wrong), _request("POST", "/cb/nobody", "Connection: close")
    )

    assert len(answers) == len(wrong) + 1
    assert answers[0].startswith(b"404 ")
    assert set(answers[:-1]) == {answers[0]}


async def test_an_answer_to_who_asks_for_its_head_only_has_no_body(marketplace: Marketplace) -> None:
    path = f"/cb/k1/{'a' * capability._LENGTH}/none"

    asked, next_one = await _raw(marketplace.url, _request("HEAD", path), _request("POST", path, "Connection: close"))

    assert asked.partition(b"\r\n\r\n")[2] == b""
    assert next_one.startswith(b"404 ")


async def test_a_body_over_the_limit_of_operators_is_refused(marketplace: Marketplace) -> None:
    """As long as the limit, it is read: it is no JSON then."""
    longest, longer = [
        await marketplace.client.post("/v1/sellers/acme/orders", content=b" " * (body.OPERATOR + more))
        for more in (0, 1)
    ]

    assert (longest.status_code, longest.json()["code"]) == (400, "not-json")
    assert (longer.status_code, longer.json()["code"]) == (413, "body-too-large")


def test_as_many_callers_may_wait_to_be_let_in_as_may_be_served() -> None:
    """The server listens again on the socket, with what it was told."""
    listening = server.listen("127.0.0.1", 0)
    try:
        told = listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)
    finally:
        listening.close()

    most = min(server.BACKLOG, int(Path("/proc/sys/net/core/somaxconn").read_text()))
    assert struct.unpack("8B6I", told)[13] == most  # of a socket that listens
    assert server.config(Starlette()).backlog == server.BACKLOG
