"""What is wrong with a deployment, in plain words: its database, its clock, its keys, its schema, its public address.

Opens the database, changes nothing. `ok` is None for what works and still deserves a look.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from . import schema
from .app import Parts
from .database import check as check_server
from .database import read_clock
from .operators.models import ApiKey
from .sellers import check, directory
from .sellers.check import Finding
from .sellers.vault import Unsealable

_CLOCK_SECONDS = 2.0


async def examine(parts: Parts) -> AsyncIterator[Finding]:
    """One finding after the other. Nothing can be asked of a database that is away or has another schema."""
    try:
        with schema.reaching():
            await schema.check(parts.database)
    except schema.Unreachable as away:
        yield Finding("database", False, "database-unreachable", str(away))
        return
    except schema.Outdated as old:
        yield Finding("schema", False, "schema-outdated", str(old))
        return
    yield Finding("schema", True, "schema-ok", "every migration of this release is applied")
    wrong = await check_server(parts.database, development=False)
    yield _durability(wrong, development=parts.settings.development)
    async with parts.database.transaction() as session:
        yield await _standby(session)
        yield await _clock(session)
        yield await _callback_keys(session, parts)
        yield await _credential_keys(session, parts)
        yield await _admins(session)
    yield await check.callbacks(parts.settings.public_url, "CHAIN_ORDERS_PUBLIC_URL", parts.wire, parts.keyring)


def _durability(wrong: list[str], *, development: bool) -> Finding:
    if not wrong:
        return Finding("durability", True, "durability-ok", "what the database commits survives a power cut")
    told = "the database can lose what it committed: " + "; ".join(wrong)
    return Finding("durability", None if development else False, "durability-lacking", told)


async def _standby(session: AsyncSession) -> Finding:
    if await session.scalar(text("select current_setting('synchronous_standby_names')")):
        return Finding("standby", True, "standby-ok", "commits wait for a standby")
    told = "no synchronous standby: what was acknowledged is lost if this one server's disk is"
    return Finding("standby", None, "standby-missing", told)


async def _clock(session: AsyncSession) -> Finding:
    apart = abs((await read_clock(session) - datetime.now(UTC)).total_seconds())
    if apart < _CLOCK_SECONDS:
        return Finding("clock", True, "clock-ok", "this machine and the database agree on the time")
    told = f"this machine and the database are {apart:.0f} seconds apart; leases and due times go by the database's"
    return Finding("clock", False, "clock-differs", told)


async def _callback_keys(session: AsyncSession, parts: Parts) -> Finding:
    carried = set(await session.scalars(text("select distinct kid from orders where sealed_at is null")))
    missing = sorted(carried - set(parts.keyring.keys))
    if not missing:
        return Finding("callback-keys", True, "callback-keys-ok", "every order's callback address can be verified")
    told = f"CHAIN_ORDERS_CALLBACK_KEYS lacks {', '.join(missing)}: sellers' calls about those orders are refused"
    return Finding("callback-keys", False, "callback-key-missing", told)


async def _credential_keys(session: AsyncSession, parts: Parts) -> Finding:
    sealed = []
    for seller in await directory.all_of(session):
        try:
            directory.client_of(seller, parts.wire, parts.vault)
        except Unsealable as unsealable:
            sealed.append(f"{seller.id} ({unsealable})")
    if not sealed:
        return Finding("credential-keys", True, "credential-keys-ok", "every seller's credentials can be opened")
    told = f"CHAIN_ORDERS_CREDENTIAL_KEYS cannot open the credentials of {', '.join(sealed)}"
    return Finding("credential-keys", False, "credential-key-missing", told)


async def _admins(session: AsyncSession) -> Finding:
    admin = select(ApiKey.id).where(ApiKey.role == "admin", ApiKey.revoked_at.is_(None)).limit(1)
    if await session.scalar(admin) is not None:
        return Finding("admin-key", True, "admin-key-ok", "there is an admin's key")
    return Finding("admin-key", False, "admin-key-missing", "nobody is admin: chain-orders key create NAME --bootstrap")
