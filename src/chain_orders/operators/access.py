"""Who may call: bearer keys and their roles. A key is 256 random bits, so its SHA-256 is all that is stored."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256

from fastapi import Request
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from ..database import Database, now, read_clock
from ..errors import Forbidden, Malformed, Sentence, Unauthenticated
from . import edges
from .models import ApiKey
from .roles import ROLES, Role

_PREFIX = "co_"


@dataclass(frozen=True, slots=True)
class Operator:
    """Whoever holds the key."""

    name: str
    role: str
    key_id: uuid.UUID | None = None

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


async def find_key(session: AsyncSession, key: str) -> ApiKey | None:
    """The key in force that this is, or that it was until it was rotated away."""
    given = digest(key)
    before = (ApiKey.digest_before == given) & (ApiKey.before_until > now())
    found = select(ApiKey).where(ApiKey.revoked_at.is_(None), (ApiKey.digest == given) | before)
    return (await session.scalars(found)).one_or_none()


async def rotate_key(session: AsyncSession, key: ApiKey, overlap: timedelta) -> str:
    """Give a locked key a new secret, and return it. The one before holds until the overlap is over."""
    made = _PREFIX + secrets.token_urlsafe(32)
    key.before_until = await read_clock(session) + overlap
    key.digest_before = key.digest if overlap else None
    key.digest = digest(made)
    await session.flush()
    return made


async def has_admin(session: AsyncSession) -> bool:
    """Whether there is an admin's key. Two who ask at once to make the first one wait for each other."""
    await session.execute(text("select pg_advisory_xact_lock(hashtextextended('chain-orders bootstrap', 0))"))
    found = select(ApiKey.id).where(ApiKey.role == "admin", ApiKey.revoked_at.is_(None)).limit(1)
    return await session.scalar(found) is not None


def allow(least: Role) -> Callable[[Request], Awaitable[Operator]]:
    """A dependency: the operator behind the request's key, whose role is at least `least`."""

    async def operator(request: Request) -> Operator:
        if b"%00" in request.scope["raw_path"] or b"%00" in request.scope["query_string"]:
            raise Malformed("nul-in-address", "no id and no filter holds a NUL character")
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            raise _unauthenticated()
        database: Database = request.app.state.database
        async with database.transaction() as session:
            found = await find_key(session, key.strip())
            if found is not None:
                await mark_used(session, found.id)
        if found is None:
            raise _unauthenticated()
        if ROLES.index(found.role) < ROLES.index(least):
            request.app.state.refusals.count("denied", str(found.id))
            told = Sentence("this needs the role {least}; the key has the role {role}", least=least, role=found.role)
            raise Forbidden("role-too-low", told)
        edges.check_parameters(request)
        return Operator(found.name, found.role, found.id)

    return operator


async def mark_used(session: AsyncSession, key_id: uuid.UUID) -> None:
    """Remember that the key is in use."""
    await session.execute(_USED, {"id": key_id})


async def holds(database: Database, operator: Operator) -> bool:
    """Whether the key still may call."""
    found = select(ApiKey.id).where(ApiKey.id == operator.key_id, ApiKey.revoked_at.is_(None))
    async with database.transaction() as session:
        return await session.scalar(found) is not None


# Once a minute a key, and nobody waits for anybody: the row is left alone while another request writes it.
_USED = text(
    """
    update api_keys set last_used_at = clock_timestamp()
     where id in (select id from api_keys
                   where id = :id and coalesce(last_used_at < clock_timestamp() - interval '1 minute', true)
                     for no key update skip locked)
    """
)


def _unauthenticated() -> Unauthenticated:
    return Unauthenticated(
        "key-unknown",
        "send `Authorization: Bearer` with a valid API key",
        headers={"WWW-Authenticate": 'Bearer realm="chain-orders"'},
    )
