"""A callback as a step of its order's trace, for those who collect traces.

Only what came to an order's own base. Who has none is a stranger, or names its order in a way that is understood later:
`notifications.routing` records it then.
"""

from __future__ import annotations

from sqlalchemy import select

from .. import logs, tracing
from ..database import Database, is_passing
from ..orders.models import Order
from .callers import Caller

log = logs.get("receivers")


async def tell(database: Database, caller: Caller | None, method: str, status: int, started_ns: int) -> None:
    """Record the step. Call it once the answer has left: looking for the order's trace costs the seller nothing."""
    if caller is None or caller.ref is None or not tracing.on():
        return
    try:
        async with database.transaction() as session:
            found = (
                await session.execute(select(Order.id, Order.traceparent).where(Order.ref == caller.ref))
            ).one_or_none()
    except Exception as failure:  # the notification is stored; only its place in the trace is not known
        log.warning("trace-lost", passing=is_passing(failure), exc_info=failure)
        return
    if found is not None:
        tracing.record(
            "callback",
            found.traceparent,
            started_ns,
            order_id=str(found.id),
            http__request__method=method,
            http__response__status_code=status,
        )
