"""The API keys: who may call and sign in, making one, and revoking one."""

from __future__ import annotations

import uuid

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from ..database import now
from ..errors import Conflict, Problem, Unknown
from ..operators import access, audit, edges
from ..operators.models import ApiKey
from ..operators.roles import ROLES
from ..operators.schemas import KeyRotation, NewKey
from . import mistakes, once, sessions
from .models import ConsoleSession
from .texts import N_
from .visits import Visit

_PAGE = 40


async def show(visit: Visit) -> Response:
    """Every key, those in force first. A key itself is never shown again."""
    return await _page(visit)


async def _page(visit: Visit, made: str = "", problem: Problem | None = None) -> Response:
    begin = edges.number(visit.given("cursor") or None)
    ordered = select(ApiKey).order_by(ApiKey.revoked_at.is_not(None), ApiKey.created_at.desc(), ApiKey.id)
    async with visit.desk.database.transaction() as session:
        keys = list(await session.scalars(ordered.offset(begin).limit(_PAGE + 1)))
        opened = await _sessions(session)
    return visit.render(
        "keys.html",
        200 if problem is None else problem.status,
        keys=keys[:_PAGE],
        following=edges.encode_cursor(begin + _PAGE) if len(keys) > _PAGE else "",
        started=begin > 0,
        sessions=opened,
        made=made,
        banner=mistakes.banner(problem),
        wrong=mistakes.beside(problem),
        name=visit.typed("name") if not made else "",
        chosen=visit.typed("role") if not made else "",
        roles=ROLES,
    )


async def _sessions(session: AsyncSession) -> dict[uuid.UUID, int]:
    """How many sessions each key has opened that are not over."""
    counted = select(ConsoleSession.key_id, func.count().label("sessions")).join(ApiKey).where(*sessions.in_force())
    return {row.key_id: row.sessions for row in await session.execute(counted.group_by(ConsoleSession.key_id))}


async def make(visit: Visit) -> Response:
    """Make a key, and show it this once."""
    given = {"name": visit.typed("name"), "role": visit.typed("role", "viewer")}
    try:
        body = edges.validated(NewKey, given)
        name, role = body.name, body.role
        async with visit.desk.database.transaction() as session:
            await once.check_unseen(session, visit)
            if await session.scalar(select(ApiKey.id).where(ApiKey.name == name)) is not None:
                raise Conflict("key-exists", N_("There is a key of this name already; names are used once."))
            made = await access.create_key(session, name, role)
            key_id = await session.scalar(select(ApiKey.id).where(ApiKey.name == name))
            audit.note(session, visit.operator, "key.create", f"key:{key_id}", name=name, role=role)
    except Problem as problem:
        return await _page(visit, problem=problem)
    return await _page(visit, made)


async def show_rotate(visit: Visit, problem: Problem | None = None) -> Response:
    """Whose key gets a new secret, and for how long the one before holds beside it."""
    async with visit.desk.database.transaction() as session:
        key = await _found(session, visit.given("id"))
    return visit.render(
        "act_rotate.html",
        200 if problem is None else problem.status,
        key=key,
        banner=mistakes.banner(problem),
        wrong=mistakes.beside(problem),
        reason=visit.typed("reason"),
    )


async def rotate(visit: Visit) -> Response:
    """Replace a key by a new one of the same name and role, and show it this once."""
    try:
        reason, overlap = mistakes.reason_of(visit), mistakes.overlap_of(visit, KeyRotation)
        async with visit.desk.database.transaction() as session:
            await once.check_unseen(session, visit)
            key = await _found(session, visit.given("id"))
            audit.note(session, visit.operator, "key.rotate", key, reason=reason)
            made = await access.rotate_key(session, key, overlap)
    except Problem as problem:
        return await show_rotate(visit, problem)
    return await _page(visit, made)


async def show_revoke(visit: Visit, problem: Problem | None = None) -> Response:
    """Whose key it is, what ends with it, and why."""
    async with visit.desk.database.transaction() as session:
        key = await _found(session, visit.given("id"))
        opened = await _sessions(session)
    return visit.render(
        "act_revoke.html",
        200 if problem is None else problem.status,
        key=key,
        sessions=opened.get(key.id, 0),
        banner=mistakes.banner(problem),
        wrong=mistakes.beside(problem),
        reason=visit.typed("reason"),
    )


async def revoke(visit: Visit) -> Response:
    """End a key, and with it every session that was opened with it."""
    try:
        reason = mistakes.reason_of(visit)
    except Problem as problem:
        return await show_revoke(visit, problem)
    try:
        async with visit.desk.database.transaction() as session:
            if await once.first(session, visit):
                await _revoke(session, visit, reason)
    except Problem as problem:
        return await _page(visit, problem=problem)
    return await visit.finished("revoked", "/console/keys")


async def _revoke(session: AsyncSession, visit: Visit, reason: str) -> None:
    key = await _found(session, visit.given("id"))
    if key.name == visit.operator.name:
        raise Conflict("key-in-use", N_("You are signed in with this key. Sign in with another to revoke it."))
    audit.note(session, visit.operator, "key.revoke", key, reason=reason)
    key.revoked_at = await session.scalar(select(now()))


async def _found(session: AsyncSession, text: str) -> ApiKey:
    try:
        key = await session.get(ApiKey, uuid.UUID(text), with_for_update=True)
    except ValueError:
        key = None
    if key is None or key.revoked_at is not None:
        raise Unknown("key-unknown", N_("There is no such key in force."))
    return key
