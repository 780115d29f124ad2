"""Every path of the protocol: the ones we call at a seller, and the ones sellers call on us.

Inbound paths are read from the raw bytes of the request target: `//` collapsed, a trailing `/` dropped, split, and
each part decoded exactly once, so that a `%2F` in an invoice number stays inside its part.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote, unquote_to_bytes, urlencode

ORDERS = "/api/checkout/pvt/orders"
OMS_ORDERS = "/api/oms/pvt/orders"


def placement_query(sales_channel: str, affiliate_id: str) -> str:
    return urlencode({"sc": sales_channel, "affiliateId": affiliate_id})


def authorization(chain_order_id: str) -> str:
    return f"{ORDERS}/{quote(chain_order_id, safe='')}/receipts/marketplace-order-authorization"


def cancellation(chain_order_id: str) -> str:
    return f"{order(chain_order_id)}/cancel"


def order(chain_order_id: str) -> str:
    return f"{OMS_ORDERS}/{quote(chain_order_id, safe='')}"


def order_group(group: str) -> str:
    return f"{OMS_ORDERS}/order-group/{quote(group, safe='')}"


class Kind(StrEnum):
    """What a seller's call is about."""

    CANCELLATION = "cancellation"
    INVOICE = "invoice"


@dataclass(frozen=True, slots=True)
class Callback:
    """A callback path, understood. Exactly one of `order_group` and `order_id` is what the path names."""

    kind: Kind
    order_group: str | None = None
    order_id: str | None = None

    @property
    def named(self) -> str:
        return self.order_group or self.order_id or ""


def split(raw_path: bytes) -> list[str]:
    """The decoded parts of a raw path, empty ones dropped. Bytes that are no UTF-8 become lone surrogates."""
    return [
        unquote_to_bytes(part).decode("utf-8", "surrogateescape")
        for part in raw_path.partition(b"?")[0].split(b"/")
        if part
    ]


def callback(parts: list[str]) -> Callback | None:
    """Understand a callback path, given its parts below the base; None when it is none of the protocol's.

    Source: the seed page's two routes, their `/pub` twins for external agents, and the older spellings that VTEX's
    pages show: without `/api/oms`, addressed by order group, and without the last segment of a cancellation.
    """
    match parts[2:] if parts[:2] == ["api", "oms"] else parts:
        case ["pvt" | "pub", "orders", "order-group", group, "notifications", *rest] if rest in (
            [],
            ["seller-cancellation"],
        ):
            return Callback(Kind.CANCELLATION, order_group=group)
        case ["pvt" | "pub", "orders", "order-group", group, "invoice"]:
            return Callback(Kind.INVOICE, order_group=group)
        case ["pvt" | "pub", "orders", order_id, "invoice"]:
            return Callback(Kind.INVOICE, order_id=order_id)
        case _:
            return None
