"""Every path of the protocol: the ones we call at a seller, and the ones sellers call on us.

Inbound paths are read from the raw bytes of the request target: `//` collapsed, a trailing `/` dropped, split, and
each part decoded exactly once, so that a `%2F` in an invoice number stays inside its part.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes, urlencode

ORDERS = "/api/checkout/pvt/orders"
OMS_ORDERS = "/api/oms/pvt/orders"
SIMULATION = "/api/checkout/pub/orderForms/simulation"


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
    TRACKING = "tracking"
    CHANGE = "change"


class Callback(NamedTuple):
    """A callback path, understood. Exactly one of `order_group` and `order_id` is what the path names.

    `methods` are the ones it is called with; `invoice_number` is what a tracking's path holds behind `invoice`.
    """

    kind: Kind
    order_group: str | None = None
    order_id: str | None = None
    invoice_number: str | None = None
    methods: frozenset[str] = frozenset({"POST"})

    @property
    def named(self) -> str:
        return self.order_group or self.order_id or ""

    @property
    def one_level(self) -> bool:
        """Whether it is a cancellation as sellers of one level send it: named by the order, its body free."""
        return self.kind is Kind.CANCELLATION and self.order_id is not None


def split(raw_path: bytes) -> list[str]:
    """The decoded parts of a raw path, empty ones dropped. Bytes that are no UTF-8 become lone surrogates."""
    path = raw_path.partition(b"?")[0]
    if b"%" not in path:
        return [part for part in path.decode("utf-8", "surrogateescape").split("/") if part]
    return [unquote_to_bytes(part).decode("utf-8", "surrogateescape") for part in path.split(b"/") if part]


def callback(parts: list[str]) -> Callback | None:
    """Understand a callback path, given its parts below the base; None when it is none of the protocol's.

    Source: the seed page's two routes, their `/pub` twins for external agents, and the older spellings that VTEX's
    pages show: without `/api/oms`, addressed by order group, and without the last segment of a cancellation. Beside
    them the neighbours that a seller of one level calls: cancel, changes, and tracking below an invoice's number.
    """
    if not all(map(storable, parts)):
        return None
    match parts[2:] if parts[:2] == ["api", "oms"] else parts:
        case ["pvt" | "pub", "orders", "order-group", group, "notifications", *rest] if rest in (
            [],
            ["seller-cancellation"],
        ):
            return Callback(Kind.CANCELLATION, order_group=group)
        case ["pvt" | "pub", "orders", "order-group", group, "invoice", *rest]:
            return _invoice(rest, order_group=group)
        case ["pvt" | "pub", "orders", order_id, "invoice", *rest]:
            return _invoice(rest, order_id=order_id)
        case ["pvt" | "pub", "orders", order_id, "cancel"]:
            return Callback(Kind.CANCELLATION, order_id=order_id)
        case ["pvt" | "pub", "orders", group, "changes"]:
            return Callback(Kind.CHANGE, order_group=group)
        case _:
            return None


_TRACKED = frozenset({"POST", "PATCH"})
_TRACKING_EVENTS = frozenset({"POST", "PUT"})


def _invoice(rest: list[str], *, order_group: str | None = None, order_id: str | None = None) -> Callback | None:
    """An invoice, or the tracking of the number behind it. A number may hold slashes, written as such or as `%2F`."""
    if not rest:
        return Callback(Kind.INVOICE, order_group, order_id)
    events = rest[-1] == "tracking"
    number = "/".join(rest[:-1] if events else rest).strip()
    if not number:
        return None
    return Callback(Kind.TRACKING, order_group, order_id, number, _TRACKING_EVENTS if events else _TRACKED)


def storable(name: str) -> bool:
    """Whether a text can be kept: no NUL, and no bytes that were not UTF-8."""
    if name.isascii():
        return "\0" not in name
    return "\0" not in name and not any("\ud800" <= character <= "\udfff" for character in name)
