"""The callback doctor: what stands between us and a seller, in plain words. Changes nothing anywhere.

Calls our own callback address the way a seller would, reads the seller with its credentials, and asks it for a price
with the sales channel and the affiliate. Nothing of an order is needed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ..capability import Keyring
from ..errors import Sentence
from ..outbound import Exchange, Wire
from ..vtex import answers, codes
from ..vtex.client import SellerClient
from ..vtex.messages import read_error, read_order
from .models import Seller

PROBE = "check"
"""The path below a callback base under which a service says that the base is its own."""
SERVICE = "chain-orders"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried. `ok` is None where nothing can be said."""

    check: str
    ok: bool | None
    code: str
    detail: str

    def as_dict(self) -> dict[str, Any]:
        return {"check": self.check, "ok": self.ok, "code": self.code, "detail": self.detail}


async def callbacks(address: str, where: str, wire: Wire, keyring: Keyring) -> Finding:
    """Call a callback base below an address as a seller would; only a service with our key can answer it.

    `where` names the setting that the address is from.
    """
    base = keyring.base(address.rstrip("/"), keyring.minting, keyring.new_ref())
    exchange = await wire.exchange("GET", f"{base}/{PROBE}", headers={})
    if not exchange.answered:
        told = Sentence(
            "nothing answers at {where} ({error}): sellers cannot tell us of invoices and cancellations. "
            "Check the name, the certificate, the load balancer and the firewall; where this machine may not reach "
            "its own public address, call it from outside",
            where=where,
            error=exchange.error,
        )
        return Finding("callbacks", False, "callback-unreachable", told)
    if exchange.status == 200 and _is_ours(exchange.body):
        return Finding("callbacks", True, "callback-ok", "a call to a callback address reaches this service")
    if exchange.status == 404:
        told = Sentence(
            "{where} leads to a server that does not know our callback addresses: another service, another "
            "deployment with other callback keys, or a proxy that changes the path below /cb",
            where=where,
        )
        return Finding("callbacks", False, "callback-not-ours", told)
    if exchange.status in {301, 302, 307, 308}:
        told = Sentence(
            "{where} answers with a redirect, which sellers do not follow: give the address it leads to", where=where
        )
        return Finding("callbacks", False, "callback-redirected", told)
    if exchange.status in {401, 403}:
        told = Sentence(
            "something in front of the service asks for a sign-in ({status}); let /cb through without one",
            status=exchange.status,
        )
        return Finding("callbacks", False, "callback-guarded", told)
    told = Sentence(
        "{where} answers {status}, not as this service does: look at what stands in front of it",
        where=where,
        status=exchange.status,
    )
    return Finding("callbacks", False, "callback-wrong-answer", told)


def _is_ours(body: bytes) -> bool:
    try:
        answer = json.loads(body)
    except ValueError:
        return False
    return isinstance(answer, dict) and answer.get("service") == SERVICE


async def credentials(seller: Seller, client: SellerClient) -> Finding:
    """Read an order that does not exist: whoever may read is told so, whoever may not is refused."""
    exchange = await client.read_order(f"{seller.affiliate_id}-check-01")
    found = answers.found(exchange, read_order)
    if not exchange.answered:
        told = Sentence(
            "the seller does not answer at {address} ({error}): check the account name",
            address=seller.base_url,
            error=exchange.error,
        )
        return Finding("credentials", False, "seller-unreachable", told)
    if exchange.status in {401, 403}:
        told = Sentence(
            "the seller refuses the AppKey and AppToken ({status}): check that they belong to the account {account} "
            "and that their role may view orders and has full access to orders",
            status=exchange.status,
            account=seller.account_name,
        )
        return Finding("credentials", False, "credentials-refused", told)
    if isinstance(found, answers.Unread):
        return Finding(
            "credentials",
            None,
            "credentials-unclear",
            Sentence("nothing can be said now: {reason}", reason=found.reason),
        )
    return Finding("credentials", True, "credentials-ok", "the seller accepts the AppKey and AppToken")


async def trade(seller: Seller, client: SellerClient, items: list[dict[str, Any]]) -> Finding:
    """Ask for a price with the sales channel and the affiliate."""
    exchange = await client.simulate(seller.sales_channel, seller.affiliate_id, _simulation(items))
    if exchange.status == 200:
        told = Sentence(
            "the seller knows sales channel {channel} and affiliate {affiliate}",
            channel=seller.sales_channel,
            affiliate=seller.affiliate_id,
        )
        return Finding("trade", True, "trade-ok", told)
    if not exchange.answered:
        told = Sentence("the seller does not answer ({error})", error=exchange.error)
        return Finding("trade", False, "seller-unreachable", told)
    return refusal("trade", exchange)


def refusal(check: str, exchange: Exchange) -> Finding:
    """What a seller's refusal means, by its code."""
    code, _ = read_error(exchange.body)
    if code is not None and codes.lookup(code) is not None:
        return Finding(check, False, code, codes.describe(code))
    told = Sentence("the seller answered {status} to a simulation", status=exchange.status)
    return Finding(check, False, "seller-refused", told)


def _simulation(items: list[dict[str, Any]]) -> bytes:
    return json.dumps({"items": items}, separators=(",", ":")).encode()
