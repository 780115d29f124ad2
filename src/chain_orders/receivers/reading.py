"""What the body of a callback says, and what makes two of them mean the same."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter, ValidationError

from .. import body, strict_json
from ..errors import Malformed
from ..notifications.applying import Message, model
from ..vtex.addresses import Callback
from ..vtex.faults import faults, told
from ..vtex.messages import Invoice


def read(called: Callback, raw: bytes) -> tuple[Message, bytes]:
    """The message, and its content in canonical form: spellings of the same id, amount or type are one.

    A cancellation of one level may come without a body. Raises Malformed.
    """
    document = {} if called.one_level and not raw.strip() else body.parse(raw)
    if not isinstance(document, dict):
        raise Malformed("schema-invalid", "the body must be a JSON object")
    try:
        message: Message = model(called).model_validate(document)
    except ValidationError as wrong:
        found = faults(wrong)
        raise Malformed("schema-invalid", told(found), faults=found) from wrong
    return message, _meaning(document, message)


def _meaning(document: dict[str, Any], message: Message) -> bytes:
    """Whatever the document says. Most invoices say only what was read of them, and that is quickly written."""
    if isinstance(message, Invoice) and document.keys() <= _INVOICE_NAMES and not _says_more(message):
        return _INVOICES.dump_json(message, by_alias=True)
    return strict_json.canonical(_overlaid(document, message.model_dump(by_alias=True, mode="json")))


_INVOICES = TypeAdapter(Invoice)
_INVOICE_NAMES = frozenset(field.alias for field in Invoice.model_fields.values())


def _says_more(invoice: Invoice) -> bool:
    """Whether something is said of an item that only tells one notification from another."""
    return any(item.model_extra for item in invoice.items)


def _overlaid(document: dict[str, Any], read: dict[str, Any]) -> dict[str, Any]:
    """The document with what was read of it in place of its spellings. What could not be read stays as it is."""
    unread = {name for name, value in read.items() if value is None and not _is_blank(document.get(name))}
    return {**document, **{name: value for name, value in read.items() if name not in unread}}


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())
