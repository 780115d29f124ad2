"""Who calls: named by the address or by a token, without a query.

A stranger learns nothing: whatever is wrong is one and the same 404. Guessing tokens is slow: once a process has seen
a few bad ones, each further one waits for its answer.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple
from urllib.parse import parse_qs

from starlette.requests import Request

from .. import capability
from ..alerts.refusals import Kind
from ..capability import Keyring
from ..errors import Unknown
from ..vtex import addresses

_TOKENS_PER_SECOND = 5.0
_TOKENS_AT_ONCE = 20.0
_LONGEST_WAIT = 1.0
_MOST_WAITING = 100
_FIELDS = 100
"""Fields of a query that are looked at for a token; one with more has none."""


class Caller(NamedTuple):
    """Who calls: `ref` names the order whose base was used, `seller_id` the seller whose token; neither in open mode.

    `path` is what stands below the base, split and decoded.
    """

    kind: str
    ref: str | None
    path: list[str]
    seller_id: str | None = None

    @property
    def scope(self) -> str:
        """What its notifications are told apart by."""
        return self.ref or (f"seller:{self.seller_id}" if self.seller_id else "open")

    @property
    def known(self) -> bool:
        return self.ref is not None or self.seller_id is not None


class Doorkeeper:
    """Names callers."""

    def __init__(self, keyring: Keyring, refused: Callable[[Kind, str], None], *, open_mode: bool) -> None:
        self._keyring, self._refused = keyring, refused
        self._open = open_mode
        self._bad = _Bucket()

    async def identify(self, request: Request, parts: list[str]) -> Caller:
        """Name the caller. Raises the one 404 that every stranger gets."""
        if parts[0] == capability.PREFIX:
            if len(parts) >= 4:
                _, kid, ref, mac, *rest = parts
                if self._keyring.verify(kid, ref, mac):
                    return Caller("base", capability.fold(ref), rest or _glued(request))
                self._count("bad-mac", kid)
            raise nothing_here()
        given = None
        for token in _tokens(request):
            given = token
            seller_id = self._keyring.seller_of(token)
            if seller_id is not None:
                return Caller("token", None, parts, seller_id)
        if self._open:
            return Caller("open", None, parts)
        if given is not None:
            self._count("bad-token", given.partition(".")[0])
            await self._bad.take()
        raise nothing_here()

    def _count(self, kind: Kind, kid: str) -> None:
        self._refused(kind, kid if kid in self._keyring.keys else "unknown")


def nothing_here() -> Unknown:
    return Unknown("not-found", "there is nothing at this address")


def _glued(request: Request) -> list[str]:
    """The path that somebody appended to a base with a query, so that it stands behind the query."""
    _, slash, path = bytes(request.scope["query_string"]).partition(b"/")
    return addresses.split(path) if slash else []


def _tokens(request: Request) -> Iterator[str]:
    """The tokens that a request carries: in the query, as a password, as a bearer's."""
    query = bytes(request.scope["query_string"])
    if b"token=" in query:
        try:
            yield from parse_qs(query.decode("latin-1"), max_num_fields=_FIELDS).get("token", [])[:1]
        except ValueError:  # too many fields: nobody's token
            yield ""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        yield value.strip()
    elif scheme.lower() == "basic":
        try:
            yield base64.b64decode(value, validate=True).decode("utf-8").partition(":")[2]
        except (binascii.Error, ValueError):
            yield ""


class _Bucket:
    """Lets a few through at once, and the others at a steady rate: each waits, up to a second, as long as few wait.

    More who wait would cost connections, to slow down a guess of 128 bits that is hopeless at any rate.
    """

    def __init__(self) -> None:
        self._left, self._filled_at, self._waiting = _TOKENS_AT_ONCE, time.monotonic(), 0

    async def take(self) -> None:
        at = time.monotonic()
        self._left = min(_TOKENS_AT_ONCE, self._left + (at - self._filled_at) * _TOKENS_PER_SECOND) - 1
        self._filled_at = at
        self._left = max(self._left, -_LONGEST_WAIT * _TOKENS_PER_SECOND)
        if self._left >= 0 or self._waiting >= _MOST_WAITING:
            return
        self._waiting += 1
        try:
            await asyncio.sleep(-self._left / _TOKENS_PER_SECOND)
        finally:
            self._waiting -= 1
