"""A name that leads somewhere else each time it is asked for: what is called is what was checked."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import httpcore
import pytest

from chain_orders.outbound import Exchange, Wire
from chain_orders.outcome import Again
from chain_orders.vtex import answers
from chain_orders.webhooks import sending

PUBLIC, PRIVATE = "93.184.215.14", "10.0.0.7"


class FlipFlop:
    """A resolver that is asked again and again, and the connections that follow from what it says."""

    def __init__(self, *answers: list[str] | OSError) -> None:
        self._answers: Iterator[list[str] | OSError] = iter(answers)
        self.asked = 0
        self.connected: list[str] = []

    def getaddrinfo(self, host: str, port: int, *_: Any, **__: Any) -> list[tuple[Any, ...]]:
        self.asked += 1
        found = next(self._answers)
        if isinstance(found, OSError):
            raise found
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    async def connect_tcp(self, host: str) -> httpcore.AsyncNetworkStream:
        self.connected.append(host)
        raise httpcore.ConnectError("nobody is there")


async def called(
    flip: FlipFlop, monkeypatch: pytest.MonkeyPatch, times: int, host: str = "hooks.harbor.example"
) -> list[Exchange]:
    wire = Wire(deadline=5, connect=2, allow_private=False)
    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", flip.getaddrinfo)
        patch.setattr(httpcore.AnyIOBackend, "connect_tcp", lambda _, host, *__, **___: flip.connect_tcp(host))
        try:
            url = f"https://{host}/orders"
            return [await wire.exchange("POST", url, headers={}, content=b"{}", reuse=True) for _ in range(times)]
        finally:
            await wire.close()


async def test_a_name_that_turns_private_after_it_was_checked_is_never_called_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flip = FlipFlop([PUBLIC], [PRIVATE], [PUBLIC], [PRIVATE])

    exchanges = await called(flip, monkeypatch, 4)

    assert flip.asked == 4, "each call asks once, and goes to the answer that was checked"
    assert flip.connected == [PUBLIC, PUBLIC]
    assert {(one.status, one.sent) for one in exchanges} == {(None, False)}


async def test_one_private_address_among_public_ones_refuses_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    flip = FlipFlop([PUBLIC, PRIVATE], [PRIVATE, PUBLIC], ["::ffff:10.0.0.7", PUBLIC], ["64:ff9b::a00:7"])

    await called(flip, monkeypatch, 4)

    assert (flip.asked, flip.connected) == (4, [])


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("::1", False),
        ("::7f00:1", False),
        ("::ffff:10.0.0.7", False),
        ("::ffff:0:7f00:1", False),
        ("64:ff9b:1::a00:7", False),
        ("fec0::7", False),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
    ],
)
async def test_an_address_that_stands_in_the_url_is_judged_as_a_name_is(
    monkeypatch: pytest.MonkeyPatch, address: str, public: bool
) -> None:
    flip = FlipFlop()

    await called(flip, monkeypatch, 1, host=f"[{address}]")

    assert (flip.asked, flip.connected) == (0, [address] if public else [])


@pytest.mark.parametrize("why", [socket.EAI_NONAME, socket.EAI_AGAIN, socket.EAI_FAIL])
async def test_a_name_that_does_not_resolve_is_sent_nothing_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, why: int
) -> None:
    flip = FlipFlop(socket.gaierror(why, "it does not resolve"), [PUBLIC])

    unresolved, resolved = await called(flip, monkeypatch, 2)

    assert (unresolved.status, unresolved.sent, unresolved.error) == (None, False, "ConnectError")
    assert flip.connected == [PUBLIC]
    for exchange in (unresolved, resolved):
        assert isinstance(sending.read(exchange), Again)
        assert isinstance(answers.read(exchange), Again)
