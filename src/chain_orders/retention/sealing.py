"""Sealing an order: what may hold personal data becomes its SHA-256, the rest stays.

Personal data lies in the bodies of placements, of notifications with their headers and paths, and of the seller's
answers. A sealed order keeps its ids, money, receipts, invoices and events, and an event that holds the hash of its
state. Our own answers stay too, for repeats, but for an id in one that no order is known by. What a seller called a
change by stays where it looks like an id.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Any

from sqlalchemy import Interval, TextClause, bindparam, text
from sqlalchemy.ext.asyncio import AsyncSession

from .. import masking, strict_json
from ..database import now
from ..errors import Conflict
from ..orders.models import ChainOrder, Invoice, Order

_HASH_BYTES = len("sha256:") + 64
GRACE = timedelta(days=30)
"""A notification that waits keeps its body, and the job away from its order, for so long."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """How many rows gave their bodies up."""

    placements: int = 0
    notifications: int = 0
    attempts: int = 0

    def __add__(self, other: Sealed) -> Sealed:
        return Sealed(
            self.placements + other.placements,
            self.notifications + other.notifications,
            self.attempts + other.attempts,
        )

    def __bool__(self) -> bool:
        return bool(self.placements or self.notifications or self.attempts)


def _hashed(column: str) -> str:
    return f"convert_to('sha256:' || encode(sha256({column}), 'hex'), 'UTF8')"


def whole(column: str) -> str:
    """Whether a column holds anything but a hash, as SQL."""
    hashed = f"octet_length({column}) = {_HASH_BYTES} and encode({column}, 'escape') ~ '^sha256:[0-9a-f]{{64}}$'"
    return f"({column} is not null and not ({hashed}))"


BODY_GOES = f"""
       {whole("n.body")}
   and (n.state not in ('received', 'parked')
        or (n.state = 'parked' or n.tries > 0) and n.received_at <= clock_timestamp() - :grace)
"""
"""Whether sealing its order takes a notification's body: SQL over `n`. What is still to be applied keeps it."""


def _statement(sql: str) -> TextClause:
    return text(sql)  # only names of columns, all of them in this file, are ever put in


async def erase(session: AsyncSession, order: Order, actor: str) -> Sealed:
    """Seal a final order now, whatever still waits for it; `order` is locked. A repeat finds nothing left to do.

    Raises Conflict while a call for it is under way.
    """
    if await session.scalar(_IN_FLIGHT, {"orders": [order.id]}):
        raise Conflict("delivery-in-flight", "a call for the order is under way right now")
    return await seal(session, order, actor, grace=timedelta())


async def seal(session: AsyncSession, order: Order, actor: str, *, grace: timedelta = GRACE) -> Sealed:
    """Replace the order's bodies by their hashes and tell it in the timeline; `order` is locked and final.

    Calls that were not made are withdrawn: their bodies are gone. What still waits to be applied is let go once it
    has waited for `grace`.
    """
    values = {"orders": [order.id], "grace": grace}
    await session.execute(_WITHDRAW, values)
    await session.execute(_LET_GO, values)
    gone = Sealed(
        placements=await _count(session, _PLACEMENTS, values) + await _count(session, _REVISIONS, values),
        notifications=await _seal_notifications(session, _NOTIFICATIONS, values, _names(order)),
        attempts=await _count(session, _ATTEMPTS, values),
    )
    _mask_requests(order)
    first = order.sealed_at is None
    order.sealed_at, order.sealed_seq = order.sealed_at or now(), order.applied_seq
    if first or gone:
        order.tell(
            "order.sealed",
            actor,
            state=state_hash(order),
            placements=gone.placements,
            notifications=gone.notifications,
            attempts=gone.attempts,
        )
    return gone


async def seal_strays(session: AsyncSession, after: timedelta) -> int:
    """Hash notifications that belong to no order and are older than `after`; says how many."""
    return await _seal_notifications(session, _STRAYS, {"after": after}, set())


async def _seal_notifications(
    session: AsyncSession, statement: TextClause, values: dict[str, Any], known: Collection[str]
) -> int:
    """Hash what the statement finds, and mask what our answers to it echo; says how many."""
    keys = list(await session.scalars(statement, values))
    for row in (await session.execute(_ANSWERS, {"keys": keys})).all():
        masked = masking.mask_answer(row.answer, known)
        if masked != row.answer:
            await session.execute(_MASK_ANSWER, {"key": row.dedupe_key, "answer": masked})
    return len(keys)


def _mask_requests(order: Order) -> None:
    for chain in order.chain_orders:
        for change in chain.changes:
            change.request_id = change.request_id and masking.mask_id(change.request_id)


def _names(order: Order) -> set[str]:
    """The ids that a seller may call the order by."""
    chains = order.chain_orders
    names = {name for chain in chains for name in (chain.chain_order_id, chain.seller_order_id) if name}
    return names | {order.order_group, f"{order.affiliate_id}-{order.order_group}"}


async def _count(session: AsyncSession, statement: TextClause, values: dict[str, Any]) -> int:
    return len((await session.execute(statement, values)).all())


def state_hash(order: Order) -> str:
    """SHA-256 of what stays of an order, in canonical form."""
    return sha256(strict_json.canonical(_state(order))).hexdigest()


def _state(order: Order) -> dict[str, Any]:
    return {
        "id": str(order.id),
        "sellerId": order.seller_id,
        "affiliateId": order.affiliate_id,
        "orderGroup": order.order_group,
        "status": order.status,
        "total": order.total_cents,
        "items": order.items,
        "receiptDate": order.receipt_date,
        "receipt": order.receipt,
        "placement": order.placement_digest.hex(),
        "chainOrders": [_chain(chain) for chain in order.chain_orders],
    }


def _chain(chain: ChainOrder) -> dict[str, Any]:
    return {
        "chainOrderId": chain.chain_order_id,
        "sellerOrderId": chain.seller_order_id,
        "status": chain.status,
        "value": chain.value_cents,
        "items": chain.items,
        "invoices": [_invoice(invoice) for invoice in chain.invoices],
    }


def _invoice(invoice: Invoice) -> dict[str, Any]:
    return {
        "type": invoice.type,
        "number": invoice.number,
        "value": invoice.value_cents,
        "key": invoice.key,
        "trackingNumber": invoice.tracking_number,
        "receipt": invoice.receipt,
    }


_ORDERS = "any(cast(:orders as uuid[]))"

_IN_FLIGHT = text(
    "select 1 from deliveries where order_id = any(cast(:orders as uuid[])) and state = 'sending' limit 1"
)

# What could still be sent has lost its body: it may never be claimed again.
_WITHDRAW = text(
    """
    update deliveries
       set state = 'withdrawn', settled_at = clock_timestamp(), last_error = 'the order was sealed'
     where order_id = any(cast(:orders as uuid[])) and state in ('ready', 'retrying', 'unknown', 'dead')
    """
)

# A parked one is `received` for the moment in which it is tried again.
_LET_GO = text(
    """
    update notifications set state = 'ignored', reason = 'sealed'
     where order_id = any(cast(:orders as uuid[])) and (state = 'parked' or (state = 'received' and tries > 0))
       and received_at <= clock_timestamp() - :grace
    """
).bindparams(bindparam("grace", type_=Interval))

_PLACEMENTS = _statement(
    f"""
    update orders set placement_body = {_hashed("placement_body")}
     where id = {_ORDERS} and {whole("placement_body")}
    returning id
    """  # noqa: S608
)

_REVISIONS = _statement(
    f"""
    update placement_revisions set placement_body = {_hashed("placement_body")}
     where order_id = {_ORDERS} and {whole("placement_body")}
    returning order_id
    """  # noqa: S608
)

# Served by notifications_order_idx.
_NOTIFICATIONS = _statement(
    f"""
    update notifications n
       set body = {_hashed("body")}, headers = {_hashed("headers")}, path = {_hashed("path")}
     where n.order_id = {_ORDERS} and {BODY_GOES}
    returning n.dedupe_key
    """  # noqa: S608
).bindparams(bindparam("grace", type_=Interval))

_ANSWERS = text(
    "select dedupe_key, answer from receipts where dedupe_key = any(cast(:keys as bytea[])) order by dedupe_key"
)
_MASK_ANSWER = text("update receipts set answer = :answer where dedupe_key = :key")

_ATTEMPTS = _statement(
    f"""
    update attempts set response = {_hashed("response")}
     where delivery_id in (select id from deliveries where order_id = {_ORDERS}) and {whole("response")}
    returning id
    """  # noqa: S608
)

STRAY = f"order_id is null and received_at < statement_timestamp() - :after and {whole('body')}"
"""Whether a notification belongs to no order and its time is over, as SQL."""

_STRAYS = _statement(
    f"""
    update notifications
       set body = {_hashed("body")}, headers = {_hashed("headers")}, path = {_hashed("path")},
           state = case when state in ('received', 'parked') then 'ignored' else state end,
           reason = coalesce(reason, 'sealed')
     where id in (select id from notifications
                   where {STRAY}
                   limit 200 for no key update skip locked)
    returning dedupe_key
    """  # noqa: S608
).bindparams(bindparam("after", type_=Interval))
