"""The values of the bodies: ids, amounts, dates and texts, read as sellers write them, each in several ways.

Each is a type with a reader of its own, which refuses what cannot be meant, or what nobody could list or store.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import MAXYEAR, MINYEAR, UTC, datetime, timedelta, timezone
from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

MAXIMUM_CENTS = 10**12
MAXIMUM_NAME = 500
"""Characters of an id or a number: orders are found by them, and no index holds longer ones."""
MAXIMUM_ADDRESS = 4000
MAXIMUM_ENTRIES = 1000
"""Of a list. Each entry of millions that are wrong would be a fault to tell."""


def cents(value: Any) -> Any:
    """Cents as an integer, a digit string, or a float without a fraction."""
    if isinstance(value, str) and re.fullmatch(r"\s*\d{1,13}\s*", value, re.ASCII):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise PydanticCustomError("cents", "must be a whole number of cents, as a number or a text of digits")
    if not 0 <= value <= MAXIMUM_CENTS:
        raise PydanticCustomError("cents", "must be between 0 and 1,000,000,000,000 cents")
    return value


def identifier(value: Any) -> Any:
    """An id as text or number, trimmed."""
    if isinstance(value, str) and (trimmed := value.strip()):
        return _bounded(trimmed)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise PydanticCustomError("identifier", "must be a text or a number, and not blank")


def _bounded(name: Any) -> Any:
    if isinstance(name, str) and len(name) > MAXIMUM_NAME:
        raise PydanticCustomError("too-long", "must have at most 500 characters")
    return name


def _address(value: Any) -> Any:
    """The text of a URL. Whoever lists orders is given it."""
    if isinstance(value, str) and len(value) > MAXIMUM_ADDRESS:
        raise PydanticCustomError("too-long", "must have at most 4,000 characters")
    return _absent_if_blank(value)


def if_readable(read: Callable[[Any], Any], value: Any) -> Any:
    """What `read` makes of a value; absent when it can make nothing of it."""
    try:
        return read(value)
    except PydanticCustomError:
        return None


def _absent_if_blank(value: Any) -> Any:
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value


def quantity(value: Any) -> Any:
    if isinstance(value, str) and re.fullmatch(r"\d{1,9}", value, re.ASCII):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise PydanticCustomError("quantity", "must be a whole number of units")
    return value


_MOMENT = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:[.,](\d+))?)?)?\s*(Z|z|[+-]\d{2}(?::?\d{2})?)?",
    re.ASCII,
)
_HOUR = r"(?:[01]\d|2[0-3])"
_USUAL = re.compile(
    rf"[12]\d{{3}}-\d\d-\d\dT{_HOUR}:[0-5]\d:[0-5]\d(?:\.\d{{1,9}})?(?:Z|[+-]{_HOUR}:?[0-5]\d)?", re.ASCII
)


def moment(text: Any) -> datetime:
    """A point in time as sellers write it: any number of fraction digits, `-0300`, no offset (UTC), a date alone."""
    told = _local(text)
    try:
        told.astimezone(UTC)  # .NET's least date with an offset lies before the year 1
    except OverflowError as wrong:
        raise PydanticCustomError("moment", "must be a date and time that exists") from wrong
    return told


def _local(text: Any) -> datetime:
    """A moment as it is written, also where it lies outside of the years 1 to 9999 of UTC."""
    if isinstance(text, datetime):
        return text
    if isinstance(text, str) and _USUAL.fullmatch(text):
        return _zoned(text)
    found = _MOMENT.fullmatch(text.strip()) if isinstance(text, str) else None
    if found is None:
        raise PydanticCustomError("moment", "must be an ISO 8601 date or date and time")
    year, month, day, hour, minute, second, fraction, offset = found.groups()
    try:
        return datetime(
            int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0),
            int((fraction or "0").ljust(6, "0")[:6]), _zone(offset),
        )  # fmt: skip
    except ValueError as wrong:
        raise PydanticCustomError("moment", "must be a date and time that exists") from wrong


def _zoned(text: str) -> datetime:
    """A moment in the usual form, which the library reads by itself, and faster."""
    try:
        told = datetime.fromisoformat(text)
    except ValueError as wrong:
        raise PydanticCustomError("moment", "must be a date and time that exists") from wrong
    return told if told.tzinfo is not None else told.replace(tzinfo=UTC)


def _zone(offset: str | None) -> timezone:
    if offset is None or offset in {"Z", "z"}:
        return UTC
    digits = offset[1:].replace(":", "").ljust(4, "0")
    ahead = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-ahead if offset[0] == "-" else ahead)


def date(value: Any) -> datetime | None:
    """A moment. The least year and the greatest are what .NET writes where there is no date; and of their outermost
    moments the database makes infinities, which are no dates when they are read again."""
    told = _local(value)
    return None if told.year in (MINYEAR, MAXYEAR) else told


Cents = Annotated[int, BeforeValidator(cents)]
Identifier = Annotated[str, BeforeValidator(identifier)]
Optional = Annotated[str | None, BeforeValidator(_absent_if_blank)]
Loose = Annotated[str | None, BeforeValidator(lambda v: if_readable(identifier, v))]
Name = Annotated[str | None, BeforeValidator(lambda v: _bounded(_absent_if_blank(v)))]
Address = Annotated[str | None, BeforeValidator(_address)]
Date = Annotated[datetime | None, BeforeValidator(date)]
Quantity = Annotated[int, BeforeValidator(quantity)]
FEW = Field(max_length=MAXIMUM_ENTRIES)
