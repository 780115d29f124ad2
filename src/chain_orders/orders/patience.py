"""A seller that does not know its own chain order yet: VTEX may need a while before it shows a new one everywhere."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from ..deliveries.queue import Claimed
from ..outbound import Exchange
from ..outcome import Again
from .models import Order

NOT_THERE_YET = "not-there-yet"


def not_there_yet(exchange: Exchange) -> Again | None:
    """What it means when a call about a chain order is answered 404; None for any other answer."""
    return Again("the seller does not know the chain order yet", answered=True) if exchange.status == 404 else None


async def lose_patience(
    session: AsyncSession, order: Order, claimed: Claimed, reason: str, patience: timedelta
) -> None:
    """Tell a person, once the seller has taken too long. It is tried on."""
    waited = await session.scalar(_SAID_FOR, {"id": claimed.id})
    if waited is not None and waited >= patience:
        order.ask_attention(NOT_THERE_YET, reason)


# Since when the seller has answered that it cannot take an authorization yet.
_SAID_FOR = text(
    """
    select clock_timestamp() - min(at) from attempts
     where delivery_id = :id and phase = 'send' and status is not null and outcome = 'again'
    """
)
