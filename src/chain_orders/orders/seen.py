"""What reads of sellers showed, kept for the record: of each chain order the last few answers that differ.

An answer is kept masked, beside the SHA-256 of what came: reads are many, and who buys need not be stored with each.
The same answer again counts on the row that is there.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from hashlib import sha256

from sqlalchemy import ForeignKey, Identity, Index, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from .. import masking
from ..database import Base
from ..outbound import Exchange
from .models import ChainOrder

MOST = 20
"""Answers that are kept of a chain order."""
_BYTES = 256 * 1024


class Seen(Base):
    """An answer about a chain order, and how often it came in a row."""

    __tablename__ = "seen"
    __table_args__ = (Index("seen_chain_order_idx", "chain_order_key", "id"), Index("seen_order_idx", "order_id", "id"))

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    order_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("orders.id"))
    chain_order_key: Mapped[int] = mapped_column(ForeignKey("chain_orders.key"))
    status: Mapped[int]
    answer: Mapped[bytes]
    """Masked."""
    digest: Mapped[bytes]
    """SHA-256 of what came."""
    first_at: Mapped[datetime]
    last_at: Mapped[datetime]
    times: Mapped[int] = mapped_column(server_default=text("1"))


async def keep(session: AsyncSession, chain: ChainOrder, exchange: Exchange, at: datetime) -> None:
    """Keep the answer to a read that began at `at`. The order's row is locked."""
    digest = sha256(exchange.body).digest()
    last = await session.scalar(select(Seen).where(Seen.chain_order_key == chain.key).order_by(Seen.id.desc()).limit(1))
    if last is not None and (last.status, last.digest) == (exchange.status, digest):
        last.last_at, last.times = at, last.times + 1
        return
    session.add(
        Seen(
            order_id=chain.order_id,
            chain_order_key=chain.key,
            status=exchange.status,
            answer=masking.mask_body(exchange.body)[:_BYTES],
            digest=digest,
            first_at=at,
            last_at=at,
        )
    )
    await session.flush()
    await session.execute(_FORGET, {"chain": chain.key, "most": MOST})


# Served by seen_chain_order_idx.
_FORGET = text(
    """
    delete from seen where chain_order_key = :chain
       and id <= (select id from seen where chain_order_key = :chain order by id desc offset :most limit 1)
    """
)
