"""An alert as it is shown, told to subscribers, and mailed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from ..events.types import RAISED, RECOVERED
from ..webhooks import outbox
from .models import Alert
from .rules import RULES


def view(alert: Alert) -> dict[str, Any]:
    """What happened, to whom, and what to do."""
    return {
        "id": alert.id,
        "code": alert.code,
        "sellerId": alert.seller_id,
        "webhookId": alert.webhook_id,
        "reason": alert.reason,
        "do": advice(alert.code),
        "raisedAt": outbox.moment(alert.raised_at),
        "recoveredAt": outbox.moment(alert.recovered_at) if alert.recovered_at is not None else None,
    }


def advice(code: str) -> str:
    """What to do, in plain words. An alert of an earlier release may have a code that is no longer known."""
    return RULES[code].do if code in RULES else ""


async def tell(session: AsyncSession, alert: Alert) -> None:
    """Owe it to the webhooks that ask for it. Its data is what the API shows."""
    if alert.recovered_at is None:
        await outbox.tell(session, RAISED, alert.raised_at, alert.seller_id, view(alert), f"alert_{alert.id}_raised")
    else:
        at, name = alert.recovered_at, f"alert_{alert.id}_recovered"
        await outbox.tell(session, RECOVERED, at, alert.seller_id, view(alert), name)


def letter(raised: Sequence[Alert], recovered: Sequence[Alert]) -> tuple[str, str]:
    """Subject and text of one mail that tells of all of them."""
    counts = [f"{len(alerts)} {word}" for alerts, word in ((raised, "raised"), (recovered, "recovered")) if alerts]
    lines = [line for alert in raised for line in (*_lines("RAISED", alert, alert.raised_at), _advice(alert), "")]
    lines += [line for alert in recovered for line in (*_lines("RECOVERED", alert, alert.recovered_at), "")]
    return f"chain-orders: {', '.join(counts)}", "\n".join(lines)


def _lines(word: str, alert: Alert, at: datetime | None) -> tuple[str, str]:
    told = at.astimezone(UTC).isoformat(timespec="seconds") if at is not None else ""
    return f"{word} {alert.code} ({alert.subject or 'the service'})", f"  at {told}: {alert.reason}"


def _advice(alert: Alert) -> str:
    return f"  what to do: {advice(alert.code)}"
