"""What notifies under load: orders to be heard of, requests as they go over the wire, and connections that cost much
less than what is tried.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from urllib.parse import urlsplit

from sqlalchemy import text

from chain_orders.capability import Keyring
from chain_orders.database import Database
from chain_orders.deliveries import lanes
from chain_orders.orders import lookup
from chain_orders.orders.models import ChainOrder
from chain_orders.orders.placing import Bases
from chain_orders.orders.states import Status
from chain_orders.orders.taking import take
from chain_orders.sellers import directory
from chain_orders.sellers.models import Seller

from ..builders import KEY_BYTES, cancellation, invoice, order

PARTS = 10
"""Invoices of one order; together they are its value."""
VALUE = 1300
CANCELLATION = -1
"""Stands for the number of an invoice where the order is cancelled instead."""


async def placed_orders(database: Database, groups: list[str]) -> dict[str, str]:
    """Orders as they are once a seller has accepted them; the path of each one's callback base, by group."""
    bases, paths = Bases("http://127.0.0.1", Keyring({"k1": KEY_BYTES})), {}
    sealed = {"sealed_app_key": b"k1:unused", "sealed_app_token": b"k1:unused"}
    async with database.transaction() as session:
        seller = Seller(
            id="acme", account_name="acme", base_url="http://127.0.0.1:1", sales_channel="1", affiliate_id="MKP",
            paused=True, **sealed,
        )  # fmt: skip
        await lanes.keep(session, await directory.add(session, seller))
    for start in range(0, len(groups), 50):
        async with database.transaction() as session:
            for group in groups[start : start + 50]:
                taken = await take(session, seller, order(group), None, bases, "operator:hearing")
                await session.flush()
                found = await lookup.locked(session, taken.order_id)
                chain = ChainOrder(
                    position=1, chain_order_id=f"MKP-{group}-01", status=Status.PLACED, value_cents=VALUE,
                    items=list(found.items), invoices=[],
                )  # fmt: skip
                found.chain_orders.append(chain)
                found.settle_status()
                found.new_names.add(("chain-order", chain.chain_order_id))
                await lookup.save_names(session, [found])
                paths[group] = urlsplit(bases.of(seller, found.kid, found.ref)).path
            await session.execute(text("update deliveries set state = 'delivered', settled_at = clock_timestamp()"))
    return paths


def named(number: int) -> str:
    """What the notification of this number is known by within its order."""
    return "cancellation" if number == CANCELLATION else f"NF-{number}"


def notification(base: str, group: str, number: int) -> bytes:
    """Another call each time: the request id is the call's, and not the notification's."""
    if number == CANCELLATION:
        path = f"order-group/{group}/notifications/seller-cancellation"
        body = json.dumps(cancellation(f"MKP-{group}-01")).encode()
    else:
        path = f"{group}/invoice"
        body = json.dumps(invoice(named(number), VALUE // PARTS, items=[])).encode()
    return (
        f"POST {base}/pvt/orders/{path} HTTP/1.1\r\nHost: marketplace\r\nContent-Type: application/json\r\n"
        f"X-Request-Id: {secrets.token_hex(8)}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


class Line:
    """One HTTP connection, made anew when it breaks. Much lighter than a client library, which would be the limit."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, request: bytes) -> bytes | None:
        """The body of a 200; None for everything else, silence included."""
        status, body = await self.exchange(request)
        return body if status == 200 else None

    async def exchange(self, request: bytes) -> tuple[int | None, bytes]:
        """Status and body; None for silence."""
        try:
            async with asyncio.timeout(6):
                if self._streams is None:
                    self._streams = await asyncio.open_connection("127.0.0.1", self._port)
                reader, writer = self._streams
                writer.write(request)
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
                body = await reader.readexactly(length)
            if b"connection: close" in head:
                self.close()
        except (OSError, EOFError, TimeoutError, ValueError, asyncio.LimitOverrunError):
            self.close()
            return None, b""
        return int(head.split(b" ", 2)[1]), body

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None
