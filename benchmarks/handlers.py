"""The handlers that one would write first, to stand beside ours: they are measured, never used.

`place`: a PUT inside the request, on SQLAlchemy's ORM. `echo`: reads a notification with pydantic and stores nothing.
`orm`: insert, update, insert in one ORM session. `raw`: one insert a request with bare asyncpg.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any

import asyncpg
import httpx
from fastapi import Depends, FastAPI, Request
from pydantic import BaseModel
from sqlalchemy import JSON
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

URL = os.environ.get("BENCH_DATABASE_URL", "")


class Base(DeclarativeBase):
    type_annotation_map = {dict[str, Any]: JSON}


class Placement(Base):
    __tablename__ = "bench_placements"
    id: Mapped[int] = mapped_column(primary_key=True)
    group: Mapped[str]
    status: Mapped[str]
    body: Mapped[dict[str, Any]]
    answer: Mapped[dict[str, Any] | None]


class Heard(Base):
    __tablename__ = "bench_heard"
    id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[str] = mapped_column(unique=True)
    status: Mapped[str]
    body: Mapped[dict[str, Any]]


class Told(Base):
    __tablename__ = "bench_told"
    id: Mapped[int] = mapped_column(primary_key=True)
    heard_id: Mapped[int]
    type: Mapped[str]


class Item(BaseModel):
    id: str
    quantity: int
    price: int


class Invoice(BaseModel):
    type: str
    invoiceNumber: str
    invoiceValue: int
    issuanceDate: datetime
    items: list[Item]


class Receipt(BaseModel):
    date: datetime
    orderId: str
    receipt: str


def _receipt(invoice: Invoice) -> Receipt:
    return Receipt(date=datetime.now(UTC), orderId=invoice.invoiceNumber, receipt=secrets.token_hex(16))


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    engine = create_async_engine(URL, pool_size=10, max_overflow=0)
    app.state.sessions = async_sessionmaker(engine, expire_on_commit=False)
    limits = httpx.Limits(max_connections=64, max_keepalive_connections=0)
    app.state.client = httpx.AsyncClient(trust_env=False, timeout=35, limits=limits)
    app.state.pool = await asyncpg.create_pool(URL.replace("+asyncpg", ""), min_size=10, max_size=10)
    yield
    await app.state.client.aclose()
    await app.state.pool.close()
    await engine.dispose()


async def _session(request: Request) -> AsyncIterator[AsyncSession]:
    async with request.app.state.sessions() as session:
        yield session


Session = Annotated[AsyncSession, Depends(_session)]

place = FastAPI(lifespan=_lifespan)
echo = FastAPI()
orm = FastAPI(lifespan=_lifespan)
raw = FastAPI(lifespan=_lifespan)


@place.post("/orders")
async def _place(document: dict[str, Any], request: Request, session: Session) -> dict[str, Any]:
    row = Placement(group=document["marketplaceOrderGroup"], status="placing", body=document, answer=None)
    session.add(row)
    await session.commit()
    answer = await request.app.state.client.put(
        os.environ["BENCH_SELLER"], json=document, headers={"X-VTEX-API-AppKey": "simulated-key",
                                                            "X-VTEX-API-AppToken": "simulated-token"}
    )  # fmt: skip
    answer.raise_for_status()
    row.status, row.answer = "placed", answer.json()
    await session.commit()
    return {"id": row.id, "status": row.status}


@echo.post("/invoice")
async def _echo(invoice: Invoice) -> Receipt:
    return _receipt(invoice)


@orm.post("/invoice")
async def _orm(invoice: Invoice, session: Session) -> Receipt:
    heard = Heard(number=invoice.invoiceNumber, status="received", body=invoice.model_dump(mode="json"))
    session.add(heard)
    await session.flush()
    heard.status = "applied"
    await session.flush()
    session.add(Told(heard_id=heard.id, type="invoiced"))
    await session.commit()
    return _receipt(invoice)


@raw.post("/invoice")
async def _raw(request: Request, invoice: Invoice) -> Receipt:
    receipt = _receipt(invoice)
    await request.app.state.pool.execute(
        "insert into bench_raw (number, receipt, body) values ($1, $2, $3)",
        invoice.invoiceNumber,
        receipt.receipt,
        await request.body(),
    )
    return receipt


async def make_tables(url: str) -> None:
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
        await connection.exec_driver_sql(
            "create table bench_raw (number text primary key, receipt text not null, body bytea not null)"
        )
    await engine.dispose()
