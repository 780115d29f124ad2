"""Opening, finding and closing the console's sessions.

A session is 256 random bits in a cookie. It is looked up on every request, so that closing it, or revoking its key,
takes effect at once. Whoever signs in gets a new one.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Interval, cast, delete, func, null, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from ..database import now
from ..operators import audit
from ..operators.access import Operator, digest, find_key, mark_used
from ..operators.models import ApiKey
from .models import ConsoleSession

IDLE = timedelta(minutes=30)
LONGEST = timedelta(hours=12)
_SEEN_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Who is behind a session, the secret that its forms carry, and what it keeps for the page that is asked for."""

    operator: Operator
    csrf: str
    digest: bytes
    zone: str | None = None
    flash: str = ""
    draft: dict[str, Any] | None = None


async def open_session(session: AsyncSession, key: str, instead: str = "", **kept: Any) -> tuple[str, SignedIn] | None:
    """Exchange an API key for a session: its token, shown once. None when no such key is in force. The session that
    the browser had before, `instead`, is over. `kept`: `zone` and `draft`."""
    found = await find_key(session, key)
    if found is None:
        return None
    token, csrf = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    over = (ConsoleSession.expires_at < now()) | (ConsoleSession.digest == digest(instead))
    await session.execute(delete(ConsoleSession).where(over))
    ends = now() + cast(LONGEST, Interval)
    session.add(ConsoleSession(digest=digest(token), key_id=found.id, csrf=csrf, expires_at=ends, **kept))
    await session.flush()
    await mark_used(session, found.id)
    operator = Operator(found.name, found.role, found.id)
    audit.note(session, operator, "console.sign-in", f"key:{found.id}")
    return token, SignedIn(operator, csrf, digest(token))


async def find_session(session: AsyncSession, token: str, *, touch: bool, path: str = "") -> SignedIn | None:
    """The session of a token, unless it is over. `touch` counts as its owner's being there: a page's own polling
    does not, and is not told what the session keeps for the next page, or for the form at this path."""
    row = (
        await session.execute(
            select(ConsoleSession, ApiKey.id, ApiKey.name, ApiKey.role)
            .join(ApiKey, ApiKey.id == ConsoleSession.key_id)
            .where(ConsoleSession.digest == digest(token), *in_force())
        )
    ).one_or_none()
    if row is None:
        return None
    found, operator = row[0], Operator(row.name, row.role, row.id)
    if not touch:
        return SignedIn(operator, found.csrf, found.digest, found.zone)
    draft = found.draft if found.draft and found.draft.get("path") == path else None
    signed_in = SignedIn(operator, found.csrf, found.digest, found.zone, found.flash or "", draft)
    seen = await session.scalar(
        update(ConsoleSession)
        .where(_is(signed_in), ConsoleSession.seen_at < func.clock_timestamp() - cast(_SEEN_EVERY, Interval))
        .values(seen_at=now())
        .returning(ConsoleSession.key_id)
    )
    if seen is not None:
        await mark_used(session, seen)
    return signed_in


def in_force() -> tuple[ColumnElement[bool], ...]:
    """What holds of a session, joined with its key, until it is over."""
    return (
        ConsoleSession.expires_at > now(),
        ConsoleSession.seen_at > now() - cast(IDLE, Interval),
        ApiKey.revoked_at.is_(None),
        # A session that a key opened which was rotated away ends with that key.
        ApiKey.before_until.is_(None)
        | (ApiKey.before_until > now())
        | (ConsoleSession.created_at > ApiKey.before_until),
    )


async def forget_told(session: AsyncSession, signed_in: SignedIn) -> None:
    """What was kept for this page has been shown."""
    told = {"flash": null()} if signed_in.flash else {}
    told |= {"draft": null()} if signed_in.draft else {}
    if told:
        await session.execute(update(ConsoleSession).where(_is(signed_in)).values(**told))


async def remember(session: AsyncSession, signed_in: SignedIn, **values: Any) -> None:
    """Keep something with the session: `flash`, `zone`."""
    await session.execute(update(ConsoleSession).where(_is(signed_in)).values(**values))


def _is(signed_in: SignedIn) -> ColumnElement[bool]:
    return ConsoleSession.digest == signed_in.digest


async def close_session(session: AsyncSession, signed_in: SignedIn) -> None:
    """End it: its token is worth nothing afterwards."""
    await session.execute(delete(ConsoleSession).where(_is(signed_in)))
