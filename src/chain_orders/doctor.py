"""What is wrong with a deployment, in plain words: its database, its clock, its keys, its schema, its public address.

Opens the database, changes nothing. `ok` is None for what works and still deserves a look.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from . import schema
from .capability import Keyring
from .database import check as check_server
from .database import read_clock
from .deliveries import reach
from .operators.models import ApiKey
from .parts import Parts
from .rotation import Missing, missing_keys, unopened
from .sellers import check
from .sellers.check import Finding
from .sellers.vault import Vault

_CLOCK_SECONDS = 2.0
_NAMED = 5  # of many that are wrong in the same way


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
        missing = await missing_keys(session, parts.keyring.keys, parts.vault.keys)
        yield _callback_keys(missing)
        yield await _credential_keys(session, missing, parts.vault)
        yield await _seller_tokens(session, parts.keyring)
        yield await _admins(session)
        yield await _reach(session)
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


def _callback_keys(missing: Missing) -> Finding:
    if missing.callback is None:
        return Finding("callback-keys", True, "callback-keys-ok", "every order's callback address can be verified")
    told = f"{missing.callback}: sellers' calls about those orders are refused, and nothing starts"
    return Finding("callback-keys", False, "callback-key-missing", told)


async def _credential_keys(session: AsyncSession, missing: Missing, vault: Vault) -> Finding:
    sealed = await unopened(session, vault)
    if missing.credential is None and not sealed:
        told = "every seller's credentials and every webhook's secret can be opened"
        return Finding("credential-keys", True, "credential-keys-ok", told)
    told = missing.credential or "CHAIN_ORDERS_CREDENTIAL_KEYS holds another key under a known name"
    named = ", ".join(sealed[:_NAMED]) + (f" and {len(sealed) - _NAMED} others" if len(sealed) > _NAMED else "")
    return Finding("credential-keys", False, "credential-key-missing", f"{told}: it cannot open {named}")


async def _seller_tokens(session: AsyncSession, keyring: Keyring) -> Finding:
    """The last token that each seller was given: by the audit, since tokens themselves are not stored."""
    made = {row.seller: row.kid for row in await session.execute(_TOKENS)}
    dead = sorted(f"{seller} ({kid})" for seller, kid in made.items() if kid not in keyring.keys)
    old = sorted(f"{seller} ({kid})" for seller, kid in made.items() if kid in keyring.keys and kid != keyring.minting)
    if dead:
        told = f"CHAIN_ORDERS_CALLBACK_KEYS lacks the keys of the callback tokens of {', '.join(dead)}: give new ones"
        return Finding("seller-tokens", False, "seller-token-dead", told)
    if old:
        told = f"give new callback tokens to {', '.join(old)} before the older key is taken off"
        return Finding("seller-tokens", None, "seller-token-old", told)
    return Finding("seller-tokens", True, "seller-tokens-ok", "no seller holds a token of an older key")


# Served by audit_object_idx.
_TOKENS = text(
    """
    select s.id as seller, a.after ->> 'kid' as kid
      from sellers s cross join lateral (
           select after from audit
            where object = 'seller:' || s.id and action = 'seller.callback-token' and after ? 'kid'
            order by id desc limit 1
      ) a
    """
)


async def _reach(session: AsyncSession) -> Finding:
    cut_off = [f"{row.worker} ({len(row.lanes)})" for row in await session.execute(reach.SHOWN)]
    if not cut_off:
        return Finding("reach", True, "reach-ok", "every worker reaches whom the others reach")
    told = f"look at the network of these workers, which cannot reach whom others reach: {', '.join(cut_off)}"
    return Finding("reach", False, "out-of-reach", told)


async def _admins(session: AsyncSession) -> Finding:
    admin = select(ApiKey.id).where(ApiKey.role == "admin", ApiKey.revoked_at.is_(None)).limit(1)
    if await session.scalar(admin) is not None:
        return Finding("admin-key", True, "admin-key-ok", "there is an admin's key")
    return Finding("admin-key", False, "admin-key-missing", "nobody is admin: chain-orders key create NAME --bootstrap")
