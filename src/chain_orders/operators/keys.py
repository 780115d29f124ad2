"""Routes of the API keys: who may call, since when, with which secret now, and no longer."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ..database import now
from ..errors import Conflict, Sentence, Unknown
from . import access, audit, edges, idempotency, schemas
from .access import Operator
from .edges import DryRun
from .models import ApiKey
from .schemas import KeyRotation, NewKey

router = APIRouter(prefix="/v1/keys", tags=["keys"])

Admin = Annotated[Operator, Depends(access.allow("admin"))]


@router.get("")
async def list_keys(request: Request, _: Admin, limit: edges.Limit = 200, cursor: edges.Cursor = None) -> Response:
    """Every key, by name, with its role and when it was last used. The keys themselves never come out."""
    async with request.app.state.database.transaction() as session:
        keys = list(await session.scalars(select(ApiKey).order_by(ApiKey.name)))
    return edges.portion(request, [schemas.key_view(key) for key in keys], "name", cursor, limit)


@router.post("", status_code=201, openapi_extra=edges.described(NewKey))
async def create_key(
    request: Request,
    operator: Admin,
    body: Annotated[NewKey, Depends(edges.parsed(NewKey))],
    dry_run: DryRun = False,
) -> Response:
    """Make a key. `key` is shown in this answer only; a repeat with the same `Idempotency-Key` shows null."""
    async with request.app.state.database.transaction() as session:
        once = await idempotency.begin(session, request, operator)
        if once.answer is not None:
            return once.answer
        if await session.scalar(select(ApiKey.id).where(ApiKey.name == body.name)) is not None:
            raise Conflict("key-exists", Sentence("there is a key of the name {name} already", name=body.name))
        key = await access.create_key(session, body.name, body.role)
        made = await session.scalar(select(ApiKey).where(ApiKey.name == body.name))
        view = schemas.key_view(made) if made is not None else {}
        audit.note(session, operator, "key.create", f"key:{view['id']}", name=body.name, role=body.role)
        if dry_run:
            return await edges.rehearsed(session, lambda: {**view, "id": None, "key": None})
        headers = {"Location": f"/v1/keys/{view['id']}"}
        once.keep(edges.Answer({**view, "key": None}, 201, headers))
    return edges.Answer({**view, "key": key}, 201, headers)


@router.post("/{key_id}/rotation", openapi_extra=edges.described(KeyRotation, optional=True))
async def rotate_key(
    request: Request,
    operator: Admin,
    key_id: str,
    body: Annotated[KeyRotation, Depends(edges.parsed(KeyRotation, optional=True))],
) -> Response:
    """Replace a key by a new one of the same name and role, shown in this answer only.

    Until the overlap is over the one before holds too; then it ends, and with it the console's sessions of until then.
    With 0 it ends at once, and so does one that was rotated away earlier. A repeat with the same `Idempotency-Key`
    shows null.
    """
    async with request.app.state.database.transaction() as session:
        once = await idempotency.begin(session, request, operator)
        if once.answer is not None:
            return once.answer
        key = await _locked(session, key_id)
        if key.revoked_at is not None:
            raise Conflict("key-revoked", "the key is revoked, for good; make another one")
        audit.note(session, operator, "key.rotate", key)
        made = await access.rotate_key(session, key, timedelta(seconds=body.overlap_seconds))
        view = schemas.key_view(key)
        once.keep(edges.Answer({**view, "key": None}))
    return edges.Answer({**view, "key": made})


@router.delete("/{key_id}")
async def revoke_key(request: Request, operator: Admin, key_id: str) -> Response:
    """Revoke a key, for good. A repeat is a success; the last admin's key stays."""
    async with request.app.state.database.transaction() as session:
        key = await _locked(session, key_id)
        if key.revoked_at is None:
            if key.role == "admin" and not await _other_admins(session, key):
                raise Conflict("last-admin-key", "this is the only admin key; make another one first")
            audit.note(session, operator, "key.revoke", key)
            key.revoked_at = now()
            await session.flush()
            await session.refresh(key)
    return edges.Answer(schemas.key_view(key))


async def _locked(session: AsyncSession, key_id: str) -> ApiKey:
    """The key. Every admin key is locked with it, in one order, so that two cannot revoke each other."""
    try:
        wanted = uuid.UUID(key_id)
    except ValueError:
        raise Unknown("key-unknown", "there is no such key; ids of keys are UUIDs") from None
    query = select(ApiKey).where((ApiKey.id == wanted) | (ApiKey.role == "admin")).order_by(ApiKey.id)
    keys = {key.id: key for key in await session.scalars(query.with_for_update())}
    if wanted not in keys:
        raise Unknown("key-unknown", Sentence("there is no key {id}", id=key_id))
    return keys[wanted]


async def _other_admins(session: AsyncSession, key: ApiKey) -> bool:
    others = select(ApiKey.id).where(ApiKey.role == "admin", ApiKey.revoked_at.is_(None), ApiKey.id != key.id)
    return await session.scalar(others.limit(1)) is not None
