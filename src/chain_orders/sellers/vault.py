"""Credentials at rest: AES-256-GCM under a named key, bound to the table, row and column they belong to.

A sealed value is `kid` + `:` + nonce + ciphertext. Moving it to another row or column, or opening it without its
key, fails; the plain text exists only while a call is made.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES = 12
_KEY_BYTES = 32


class Unsealable(Exception):
    """The value cannot be opened: its key is missing, or it is not this row's value."""


@dataclass(frozen=True, slots=True)
class Vault:
    """The first key seals; every key opens what it sealed."""

    keys: Mapping[str, bytes] = field(repr=False)

    def seal(self, plain: str, *, row: str, column: str, table: str = "sellers") -> bytes:
        kid, key = next(iter(self.keys.items()))
        nonce = os.urandom(_NONCE_BYTES)
        sealed = AESGCM(key[:_KEY_BYTES]).encrypt(nonce, plain.encode(), _bound_to(table, row, column, kid))
        return kid.encode() + b":" + nonce + sealed

    def open(self, sealed: bytes, *, row: str, column: str, table: str = "sellers") -> str:
        prefix, _, rest = sealed.partition(b":")
        kid = prefix.decode("ascii", "replace")
        key = self.keys.get(kid)
        if key is None:
            raise Unsealable(f"no credential key {kid!r} is configured")
        try:
            plain = AESGCM(key[:_KEY_BYTES]).decrypt(
                rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], _bound_to(table, row, column, kid)
            )
        except (InvalidTag, ValueError) as wrong:  # ValueError: cut off within its nonce
            raise Unsealable("the stored credential does not belong to this row") from wrong
        return plain.decode()


def _bound_to(table: str, row: str, column: str, kid: str) -> bytes:
    return f"{table}:{row}:{column}:{kid}".encode()
