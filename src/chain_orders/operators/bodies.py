"""How calls and notifications are shown, with what was said in them: masked unless the reader may see it whole, and cut
where they are many. What proves a callback base is shown to nobody, for nobody needs it who reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import capability, masking
from ..deliveries.models import WAITING, Attempt, Delivery
from ..notifications.models import Notification
from ..vtex import codes
from .holding import Held
from .schemas import moment


def delivery_view(
    delivery: Delivery,
    attempts: Sequence[Attempt],
    order_group: str | None,
    held: Held | None = None,
    *,
    whole: bool = False,
    listed: bool = False,
) -> dict[str, Any]:
    """A call with its attempts, their answers masked unless `whole`. `listed`: the attempts were loaded as `LISTED`."""
    next_at = held.next_at(delivery.next_at) if held is not None else delivery.next_at
    whose, _, owner = delivery.lane.partition(":")
    return {
        "id": delivery.id,
        "orderId": str(delivery.order_id) if delivery.order_id else None,
        "orderGroup": order_group,
        "sellerId": owner if whose == "seller" else None,
        "webhookId": owner if whose == "subscription" else None,
        "kind": delivery.kind,
        "state": delivery.state,
        "method": delivery.method,
        "target": delivery.target,
        "attempts": [_attempt_view(attempt, whole, listed) for attempt in attempts],
        "nextAttemptAt": moment(next_at) if delivery.state in WAITING else None,
        "heldBy": held.code if held is not None else None,
        "lastError": delivery.last_error,
        "lastCode": delivery.last_code,
        "createdAt": moment(delivery.created_at),
        "settledAt": moment(delivery.settled_at),
    }


def _attempt_view(attempt: Attempt, whole: bool, listed: bool) -> dict[str, Any]:
    """Of a long answer in a list `whole` shows the beginning, and the mask nothing."""
    answer = (attempt.beginning if listed else attempt.response) or b""
    size = (attempt.size or 0) if listed else len(answer)
    shown = answer if whole or len(answer) == size else b""
    return {
        "at": moment(attempt.at),
        "phase": attempt.phase,
        "durationMs": attempt.duration_ms,
        "status": attempt.status,
        "code": attempt.code,
        "explanation": codes.describe(attempt.code) if attempt.code else None,
        "outcome": attempt.outcome or "in-flight",
        "error": attempt.error,
        "response": _body(shown, whole) or None,
        "responseLength": size,
        "truncated": len(shown) < size,
    }


def notification_view(notification: Notification, repeats: int, *, whole: bool = False) -> dict[str, Any]:
    """What a seller told, masked unless `whole`."""
    return _notification_view(notification, repeats, notification.body, len(notification.body), whole=whole)


def listed_notification_view(notification: Notification, repeats: int, *, whole: bool = False) -> dict[str, Any]:
    """The same of one that was loaded as `LISTED`. Of a long body `whole` shows the beginning, and the mask nothing:
    what a part of a document holds cannot be told."""
    body = b"" if notification.is_long and not whole else notification.beginning
    return _notification_view(notification, repeats, body, notification.size, whole=whole)


def _notification_view(
    notification: Notification, repeats: int, body: bytes, size: int, *, whole: bool
) -> dict[str, Any]:
    path = notification.path if whole else masking.mask_path(notification.path)
    return {
        "id": notification.id,
        "orderId": str(notification.order_id) if notification.order_id else None,
        "kind": notification.kind,
        "state": notification.state,
        "reason": notification.reason,
        "receipt": notification.receipt,
        "repeats": repeats,
        "path": path.decode("ascii", "replace"),
        "body": _body(body, whole),
        "bodyLength": size,
        "truncated": len(body) < size,
        "receivedAt": moment(notification.received_at),
        # One that is parked keeps when it was tried.
        "appliedAt": moment(notification.applied_at) if notification.state == "applied" else None,
    }


def _body(raw: bytes, whole: bool) -> str:
    """A body as it is shown."""
    return capability.hide(raw if whole else masking.mask_body(raw)).decode("utf-8", "replace")
