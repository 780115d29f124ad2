"""Callback bases: addresses that say which order is meant and prove that we handed them out.

A base is `{public}/cb/{kid}/{ref}/{mac}`: `ref` is a random name of the order, `mac` an HMAC-SHA256 over it under
key `kid`, both 128 bits in lower-case base32. It is verified in constant time and before any query, so a caller
without one learns nothing and costs nothing.

A marketplace that must give one fixed base to everybody has a token for each seller instead: `{kid}.{seller}.{mac}`.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

PREFIX = "cb"
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
_SHIFTS = range(120, -10, -10)
_BITS = 128
_LENGTH = 26  # of 128 bits in base32 without padding
_ORDER, _SELLER = b"cb1", b"seller1"
# Also where a slash is written in another way, and where a text was cut within what proves the base.
_SLASH = rb"(?:\\?/|\\u002f|%2f)"
_IN_TEXT = re.compile(
    rb"(cb%b[\w.~-]{1,64}%b[a-z2-7]{26}%b)(?:[a-z2-7]{26}(?![a-z2-7])|[a-z2-7]{1,25}\Z)" % ((_SLASH,) * 3),
    re.IGNORECASE,
)


def _base32(raw: bytes) -> str:
    """128 bits in lower-case base32, without padding. (The library's own takes longer than the HMAC.)"""
    number = int.from_bytes(raw, "big") << 2
    return "".join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])


def _bits(text: str) -> bytes:
    """The 128 bits that a text in base32 stands for, whatever its letter case; none where it is no such text.

    What is given is read, since to write out what is expected takes longer than the HMAC. It is as strict as to compare
    the texts: no two of them, letter case aside, stand for the same bits, for the two that are left over must be zero.
    """
    digits = text.encode("utf-8", "surrogatepass").translate(_DIGITS)
    try:
        number = int(digits, 32) if len(digits) == _LENGTH else 1
    except ValueError:
        return b""
    return b"" if number & 3 else (number >> 2).to_bytes(_BITS // 8, "big")


# From the alphabet to the digits that `int` reads; whatever is not of the alphabet becomes none.
_DIGITS = (
    bytes(
        b"0123456789abcdefghijklmnopqrstuv"[_ALPHABET.index(letter)] if letter in _ALPHABET else ord("!")
        for letter in map(str.lower, map(chr, range(128)))
    )
    + b"!" * 128
)


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keys that sign bases. The first kid mints; every kid verifies."""

    keys: Mapping[str, bytes] = field(repr=False)

    @property
    def minting(self) -> str:
        return next(iter(self.keys))

    def new_ref(self) -> str:
        """A fresh random name of an order, to be committed before the base leaves the house."""
        return _base32(secrets.token_bytes(_BITS // 8))

    def base(self, public_url: str, kid: str, ref: str) -> str:
        """The address to hand to a seller. Raises KeyError when `kid` is not on the ring."""
        return f"{public_url}/{PREFIX}/{kid}/{ref}/{self._mac(self.keys[kid], ref)}"

    def verify(self, kid: str, ref: str, mac: str) -> bool:
        """Whether `mac` is ours for `ref`. Letter case is ignored; an unknown kid costs the same time."""
        key = self.keys.get(kid)
        expected = self._digest(key if key is not None else b"\0" * 32, fold(ref))
        return hmac.compare_digest(_bits(mac), expected) and key is not None and len(ref) == _LENGTH

    def token(self, seller_id: str) -> str:
        """A seller's own secret for the addresses at the root."""
        return f"{self.minting}.{seller_id}.{self._mac(self.keys[self.minting], seller_id, _SELLER)}"

    def seller_of(self, token: str) -> str | None:
        """Whose token it is; None when it is nobody's. An unknown kid costs the same time."""
        kid, _, rest = token.partition(".")
        seller_id, _, mac = rest.rpartition(".")
        key = self.keys.get(kid)
        expected = self._mac(key if key is not None else b"\0" * 32, seller_id, _SELLER)
        given = mac.encode("utf-8", "surrogatepass")
        return seller_id if hmac.compare_digest(given, expected.encode("ascii")) and key is not None else None

    @classmethod
    def _mac(cls, key: bytes, name: str, purpose: bytes = _ORDER) -> str:
        return _base32(cls._digest(key, name, purpose))

    @staticmethod
    def _digest(key: bytes, name: str, purpose: bytes = _ORDER) -> bytes:
        return hmac.digest(key, purpose + b"|" + name.encode("utf-8", "surrogatepass"), "sha256")[: _BITS // 8]


def hide(raw: bytes) -> bytes:
    """The same with a mask over what proves a base, wherever one stands in it."""
    return _IN_TEXT.sub(rb"\1[masked]", raw)


def fold(text: str) -> str:
    """Lower-case the ASCII letters only: `str.lower` would also turn a Kelvin sign into a `k`."""
    if text.isascii():
        return text.lower()
    return text.encode("utf-8", "surrogatepass").lower().decode("utf-8", "surrogatepass")
