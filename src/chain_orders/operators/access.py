"""Who may call: bearer keys and their roles. A key is 256 random bits, so its SHA-256 is all that is stored."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

from fastapi import Request
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from ..database import Database
from ..errors import Forbidden, Unauthenticated
from .models import ROLES, ApiKey

Role = Literal["viewer", "operator", "admin"]
_PREFIX = "co_"


@dataclass(frozen=True, slots=True)
class Operator:
    """Whoever holds the key."""

    name: str
    role: str

    @property
    def actor(self) -> str:
        """How the operator is named in timelines."""
        return f"operator:{self.name}"


def digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogateescape")).digest()


async def create_key(session: AsyncSession, name: str, role: Role, key: str | None = None) -> str:
    """Make a key and return it: the only time that it can be seen. `key` is one that was made elsewhere."""
    key = key or _PREFIX + secrets.token_urlsafe(32)
    session.add(ApiKey(id=uuid7(), name=name, role=role, digest=digest(key)))
    await session.flush()
    return key


def allow(least: Role) -> Callable[[Request], Awaitable[Operator]]:
    """A dependency: the operator behind the request's key, whose role is at least `least`."""

    async def operator(request: Request) -> Operator:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            raise _unauthenticated()
        database: Database = request.app.state.database
        async with database.transaction() as session:
            found = await session.scalar(
                select(ApiKey).where(ApiKey.digest == digest(key.strip()), ApiKey.revoked_at.is_(None))
            )
        if found is None:
            raise _unauthenticated()
        if ROLES.index(found.role) < ROLES.index(least):
            raise Forbidden("role-too-low", f"this needs the role {least}; the key has the role {found.role}")
        return Operator(found.name, found.role)

    return operator


def _unauthenticated() -> Unauthenticated:
    return Unauthenticated(
        "key-unknown",
        "send `Authorization: Bearer` with a valid API key",
        headers={"WWW-Authenticate": 'Bearer realm="chain-orders"'},
    )
