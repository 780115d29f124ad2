"""The seller's side of the protocol, as calls: place, authorize, read, simulate.

Knows addresses and headers and nothing of orders or tables: it is given a base URL, credentials and bytes, and
returns what happened on the wire. Reading what an answer means is `answers`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ..outbound import Exchange, Wire
from . import addresses


@dataclass(frozen=True, slots=True)
class Credentials:
    """An AppKey and its AppToken, as VTEX issues them in the seller's account."""

    app_key: str = field(repr=False)
    app_token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SellerClient:
    """One seller's account. `base_url` has no trailing slash."""

    wire: Wire
    base_url: str
    credentials: Credentials

    async def send(self, method: str, target: str, body: bytes, in_time: Callable[[], bool]) -> Exchange:
        """Send a stored request as it was stored, on a connection of its own, so that silence has one cause less."""
        headers = {**self._headers(), "Content-Type": "application/json"}
        url = self.base_url + target
        return await self.wire.exchange(method, url, headers=headers, content=body, in_time=in_time)

    async def read_order(self, chain_order_id: str) -> Exchange:
        return await self._read(addresses.order(chain_order_id))

    async def read_group(self, group: str) -> Exchange:
        return await self._read(addresses.order_group(group))

    async def simulate(self, sales_channel: str, affiliate_id: str, body: bytes) -> Exchange:
        """Ask for price and delivery. Nothing is reserved. Source: protocol.md D.3."""
        headers = {**self._headers(), "Content-Type": "application/json"}
        url = f"{self.base_url}{addresses.SIMULATION}?{addresses.placement_query(sales_channel, affiliate_id)}"
        return await self.wire.exchange("POST", url, headers=headers, content=body, reuse=True)

    async def _read(self, target: str) -> Exchange:
        return await self.wire.exchange("GET", self.base_url + target, headers=self._headers(), reuse=True)

    def _headers(self) -> dict[str, str]:
        return {"X-VTEX-API-AppKey": self.credentials.app_key, "X-VTEX-API-AppToken": self.credentials.app_token}
