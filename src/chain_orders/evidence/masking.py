"""Masking: what of a body may be shown to somebody who needs no names. Pure.

By permission, not by prohibition: only fields known to hold ids, money, quantities, times and states are kept, and
only inside containers known to hold such fields. Whatever else somebody sent is replaced, whatever it is called.
"""

from __future__ import annotations

import re
from typing import Any

from .. import strict_json

MASK = "[masked]"

_CONTAINERS = frozenset(
    {
        "items", "shippingdata", "logisticsinfo", "authorizationreceipt", "packages", "packageattachment", "pricetags",
        "error", "orders", "sellers", "totals", "cancellationdata",
    }
)  # fmt: skip
_FIELDS = frozenset(
    {
        "id", "uniqueid", "quantity", "seller", "price", "sellingprice", "listprice", "value", "itemindex",
        "selectedsla", "lockttl", "shippingestimate", "marketplaceordergroup", "marketplaceorderid",
        "marketplacepaymentvalue", "ordergroup", "orderid", "sellerorderid", "affiliateid", "saleschannel", "status",
        "iscompleted", "isgift", "date", "receipt", "invoicenumber", "invoicevalue", "invoicekey", "issuancedate",
        "type", "courier", "trackingnumber", "code", "operationid", "requestid", "requestedbyuser",
    }
)  # fmt: skip
_HEADERS = frozenset({"content-type", "x-vtex-operation-id", "x-request-id", "traceparent"})
_SEALED = re.compile(rb"sha256:[0-9a-f]{64}")
_LOOKS_PERSONAL = re.compile(r"[^\s@]+@[^\s@]+|\d{3}\.\d{3}\.\d{3}-\d{2}|\+\d[\d ()-]{7,}")


def mask_body(raw: bytes) -> bytes:
    """A body without names, addresses, documents, e-mail and phone. One that is sealed stays as it is."""
    if _SEALED.fullmatch(raw) or not raw:
        return raw
    try:
        document = strict_json.parse(raw)
    except strict_json.NotJson:
        return f"[masked: {len(raw)} bytes that are not JSON]".encode()
    return strict_json.dump(_container(document))


def mask_headers(raw: bytes) -> bytes:
    if _SEALED.fullmatch(raw) or not raw:
        return raw
    headers = strict_json.parse(raw)
    return strict_json.dump({name: value if name in _HEADERS else MASK for name, value in headers.items()})


def _container(value: Any) -> Any:
    if isinstance(value, dict):
        return {_name(name): _member(name, inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_container(inner) if isinstance(inner, dict | list) else MASK for inner in value]
    return MASK


def _member(name: str, value: Any) -> Any:
    known = name.lower()
    if isinstance(value, dict | list):
        return _container(value) if known in _CONTAINERS else MASK
    if known not in _FIELDS:
        return MASK
    return _LOOKS_PERSONAL.sub(MASK, value) if isinstance(value, str) else value


def _name(name: str) -> str:
    """Names of fields are shown as they are, unless somebody put a value there."""
    return name if re.fullmatch(r"[A-Za-z][\w-]{0,40}", name, re.ASCII) else MASK
