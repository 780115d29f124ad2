"""Masking: what of a body may be shown to somebody who needs no names. Pure.

By permission, not by prohibition: only fields known to hold ids, money, quantities, times and states are kept, only
inside containers known to hold such fields, and only with values of the form that such a field has. Whatever else
somebody sent is replaced, whatever it is called and wherever it stands.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from . import strict_json

MASK = "[masked]"

_CONTAINERS = frozenset(
    {
        "items", "shippingdata", "logisticsinfo", "authorizationreceipt", "packages", "packageattachment", "pricetags",
        "error", "orders", "sellers", "totals", "cancellationdata",
    }
)  # fmt: skip
# An id has a digit: a word without one may be somebody's name.
_ID = r"(?=[^\d]*\d)[A-Za-z0-9][\w.:/#-]{0,99}"
_NUMBER = r"-?\d{1,15}(\.\d{1,6})?"
_TIME = r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?)?(Z|[+-]\d\d:?\d\d)?"
_FORMS = {
    rf"{_ID}|sellerOrderCancelled": ("id",),  # of a cancellation, always: it is no id
    _ID: (
        "uniqueid", "marketplaceordergroup", "marketplaceorderid", "ordergroup", "orderid", "sellerorderid",
        "receipt", "invoicenumber", "invoicekey", "trackingnumber", "code", "operationid", "requestid",
    ),
    _NUMBER: (
        "quantity", "price", "sellingprice", "listprice", "value", "itemindex", "marketplacepaymentvalue",
        "invoicevalue", "saleschannel",
    ),
    _TIME: ("date", "issuancedate"),
    r"\d{1,6}(bd|d|h|m)": ("shippingestimate", "lockttl"),
    r"[a-z\d][a-z\d-]{0,62}": ("seller",),
    r"[A-Z\d]{1,10}": ("affiliateid",),
    r"[a-z-]{1,40}": ("status",),
    r"(?i:input|output)": ("type",),
    r"(?i:true|false)": ("iscompleted", "isgift", "requestedbyuser"),
}  # fmt: skip
_FIELDS = {name: re.compile(form, re.ASCII) for form, names in _FORMS.items() for name in names}
_HEADERS = {
    "content-type": re.compile(r"[\w.+/-]{1,80}(; ?charset=[\w-]{1,20})?", re.ASCII),
    **dict.fromkeys(("x-vtex-operation-id", "x-request-id", "traceparent"), re.compile(_ID, re.ASCII)),
}
_PATH_WORDS = frozenset(
    {
        "api", "oms", "pvt", "pub", "orders", "order-group", "notifications", "seller-cancellation", "invoice",
        "tracking", "cancel", "changes",
    }
)  # fmt: skip
UNREADABLE = re.compile(rb"\[masked: (\d+) bytes that are not JSON\]")
"""What stands for a body that is no JSON."""
_SEALED = re.compile(rb"sha256:[0-9a-f]{64}")
_LOOKS_PERSONAL = re.compile(r"@|\d{3}\.\d{3}\.\d{3}-\d\d|\d\d\.\d{3}\.\d{3}/\d{4}-\d\d|\+\d[\d ()-]{7,}", re.ASCII)
_DIGITS = re.compile(r"\d+", re.ASCII)
_OUR_RECEIPT = re.compile(r"[0-9a-f]{32}")  # random, so that it may look like a document and be none


def is_sealed(raw: bytes) -> bool:
    """Whether bytes have been replaced by their hash."""
    return _SEALED.fullmatch(raw) is not None


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
    return strict_json.dump({name: _value(_HEADERS.get(name), value) for name, value in headers.items()})


def mask_path(raw: bytes) -> bytes:
    """A callback's path: the protocol's own words and ids are kept. One that is sealed stays as it is."""
    if _SEALED.fullmatch(raw):
        return raw
    return "/".join(_part(unquote_to_bytes(part).decode("utf-8", "replace")) for part in raw.split(b"/")).encode()


def _part(part: str) -> str:
    return part if part in _PATH_WORDS or not part else quote(mask_id(part), safe="[]")


def mask_id(value: str, known: Collection[str] = ()) -> str:
    """An id that somebody else gave: kept if it is one of those that are `known`, or has the form of one."""
    return value if value in known else str(_value(_FIELDS["id"], value))


def mask_answer(raw: bytes, known: Collection[str] = ()) -> bytes:
    """Our answer to a notification, which echoes the id in its path, and a change's own id as the receipt. Where both
    are shown, every byte stays."""
    answer = strict_json.parse(raw) if raw else {}
    masked = {name: _echo(name, value, known) for name, value in answer.items()}
    return raw if masked == answer else strict_json.dump(masked)


def _echo(name: str, value: str, known: Collection[str]) -> str:
    if name == "orderId":
        return mask_id(value, known)
    return mask_id(value) if name == "receipt" and not _OUR_RECEIPT.fullmatch(value) else value


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
    return _value(_FIELDS.get(known), value)


def _value(form: re.Pattern[str] | None, value: Any) -> Any:
    """A value that has the form of its field and is nobody's document."""
    if form is None:
        return MASK
    if value is None or isinstance(value, bool):
        return value
    told = str(value)
    return MASK if form.fullmatch(told) is None or _is_personal(told) else value


def _is_personal(told: str) -> bool:
    return bool(_LOOKS_PERSONAL.search(told)) or any(map(_is_document, _DIGITS.findall(told)))


def _is_document(digits: str) -> bool:
    """Whether a run of digits is a CPF or a CNPJ: both end in two digits that check the rest."""
    if len(digits) not in _LAST_WEIGHTS:
        return False
    for length in (len(digits) - 2, len(digits) - 1):
        most = _LAST_WEIGHTS[len(digits)]
        weights = ((length - at - 1) % (most - 1) + 2 for at in range(length))
        rest = sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=False)) % 11
        if int(digits[length]) != (0 if rest < 2 else 11 - rest):
            return False
    return True


_LAST_WEIGHTS = {11: 12, 14: 9}
"""How long a CPF and a CNPJ are, and up to which weight their digits count before it begins again at 2."""


def _name(name: str) -> str:
    """Names of fields are shown as they are, unless somebody put a value there."""
    return name if strict_json.NAME.fullmatch(name) else MASK
