"""Gathering what is stored of one order: each request, answer, reading and notification as a file of its own."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from .. import capability, masking
from ..deliveries.models import Attempt, Delivery
from ..notifications.models import Notification, Receipt
from ..orders.models import ChainOrder, Order, PlacementRevision
from ..orders.seen import Seen
from .archive import File


async def gather(session: AsyncSession, order_id: uuid.UUID, views: Mapping[str, Any], *, whole: bool) -> list[File]:
    """The files of an order. `views` are documents without personal data, by name; bodies are masked unless `whole`.
    What proves its callback base is masked in any case: an archive is made to be handed on.

    Read it all in one snapshot: the transaction should be repeatable.
    """
    files = [_document(name, view) for name, view in views.items()]
    files += await _placement(session, order_id, whole)
    files += await _deliveries(session, order_id, whole)
    files += await _notifications(session, order_id, whole)
    files += await _reads(session, order_id)
    return files


async def _placement(session: AsyncSession, order_id: uuid.UUID, whole: bool) -> list[File]:
    current = await session.scalar(select(Order.placement_body).where(Order.id == order_id))
    earlier = await session.scalars(
        select(PlacementRevision).where(PlacementRevision.order_id == order_id).order_by(PlacementRevision.revision)
    )
    files = [_body(f"placement/before-version-{one.revision}.request", one.placement_body, whole) for one in earlier]
    return [*files, _body("placement/request", current, whole)]


async def _deliveries(session: AsyncSession, order_id: uuid.UUID, whole: bool) -> list[File]:
    deliveries = list(
        await session.scalars(select(Delivery).where(Delivery.order_id == order_id).order_by(Delivery.id))
    )
    ids = [delivery.id for delivery in deliveries]
    attempts = await session.scalars(select(Attempt).where(Attempt.delivery_id.in_(ids)).order_by(Attempt.id))
    files = []
    for delivery in deliveries:
        folder = f"deliveries/{delivery.id}-{delivery.kind}"
        files.append(_document(f"{folder}/delivery.json", _plain(delivery, _DELIVERY)))
        if delivery.body is not None:
            files.append(_body(f"{folder}/request", delivery.body, whole))
    kinds = {delivery.id: delivery.kind for delivery in deliveries}
    for attempt in attempts:
        name = f"deliveries/{attempt.delivery_id}-{kinds[attempt.delivery_id]}/attempt-{attempt.number}"
        files.append(_document(f"{name}.json", _plain(attempt, _ATTEMPT)))
        if attempt.response is not None:
            files.append(_body(f"{name}.answer", attempt.response, whole))
    return files


async def _notifications(session: AsyncSession, order_id: uuid.UUID, whole: bool) -> list[File]:
    notes = list(
        await session.scalars(
            select(Notification)
            .where(Notification.order_id == order_id)
            .order_by(Notification.id)
            .execution_options(populate_existing=True)
        )
    )
    headers = {
        row.id: row.headers
        for row in await session.execute(
            select(Notification.id, Notification.headers).where(Notification.order_id == order_id)
        )
    }
    keys = [note.dedupe_key for note in notes]
    answers = await session.scalars(select(Receipt).where(Receipt.dedupe_key.in_(keys)))
    answered = {receipt.dedupe_key: receipt for receipt in answers}
    files = []
    for note in notes:
        folder = f"notifications/{note.id}-{note.kind}"
        receipt = answered.get(note.dedupe_key)
        path = note.path if whole else masking.mask_path(note.path)
        told = {**_plain(note, _NOTIFICATION), "path": path.decode("ascii", "replace")}
        told["repeats"] = receipt.repeats if receipt else 0
        files.append(_document(f"{folder}/notification.json", told))
        files.append(_body(f"{folder}/headers", headers[note.id], whole, masking.mask_headers))
        files.append(_body(f"{folder}/request", note.body, whole))
        if receipt is not None:
            files.append(_body(f"{folder}/answer", receipt.answer, whole, masking.mask_answer))
    return files


async def _reads(session: AsyncSession, order_id: uuid.UUID) -> list[File]:
    """What the seller showed when it was read. The answers are stored masked, with the hash of what came."""
    shown = await session.execute(
        select(Seen, ChainOrder.chain_order_id)
        .join(ChainOrder, ChainOrder.key == Seen.chain_order_key)
        .where(Seen.order_id == order_id)
        .order_by(Seen.id)
    )
    files = []
    for one, chain_order_id in shown:
        told = {**_plain(one, _SEEN), "chain_order_id": chain_order_id, "sha256": one.digest.hex()}
        files += [_document(f"reads/{one.id}.json", told), File(f"reads/{one.id}.answer", capability.hide(one.answer))]
    return files


_SEEN = ("id", "status", "first_at", "last_at", "times")
_DELIVERY = (
    "id", "kind", "method", "target", "state", "attempts", "failures", "last_error", "last_code", "created_at",
    "settled_at",
)  # fmt: skip
_ATTEMPT = ("number", "phase", "at", "duration_ms", "status", "code", "outcome", "error")
_NOTIFICATION = ("id", "kind", "caller", "receipt", "state", "reason", "received_at", "applied_at", "applied_seq")


def _plain(row: Any, names: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in names}


def _document(name: str, value: Any) -> File:
    return File(name, json.dumps(value, indent=1, ensure_ascii=False, default=_shown).encode())


def _shown(value: Any) -> str:
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else str(value)


def _body(name: str, raw: bytes | None, whole: bool, mask: Any = masking.mask_body) -> File:
    stored = raw or b""
    shown = capability.hide(stored if whole else mask(stored))
    return File(name, shown, original=None if whole and shown == stored else stored)
