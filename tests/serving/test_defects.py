"""The last resort: what nobody foresaw is answered as a problem without details, logged once under the id that the
answer carries, and leaves nothing behind that a repeat would find twice.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from chain_orders import logs
from chain_orders.notifications.inbox import Inbox
from chain_orders.orders import taking

from ..builders import Marketplace, SimulatedSeller, invoice, order

SECRET = "s3cret-invented"


def _fails_once(told: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Does what it should the first time, and fails then, as nothing of ours does."""
    failed = []

    async def fails(*given: Any, **named: Any) -> Any:
        result = await told(*given, **named)
        if not failed:
            failed.append(True)
            raise LookupError(SECRET)
        return result

    return fails


def _is_the_last_resort(answer: httpx.Response, told: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    document = answer.json()
    assert document["code"] == "internal"
    assert set(document) == {"type", "title", "status", "detail", "code", "instance", "requestId"}
    assert SECRET not in answer.text
    (line,) = [one for one in told if one["event"] == "request-failed"]
    assert line["request_id"] == document["requestId"]
    assert line.keys() <= logs.ALLOWED | {"exc_info", "log_level"}
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def _count(marketplace: Marketplace, table: str) -> int:
    async with marketplace.database.transaction() as session:
        return await session.scalar(text(f"select count(*) from {table}")) or 0


async def test_a_defect_while_a_seller_is_heard_is_told_once_and_stores_nothing_twice(
    marketplace: Marketplace,
    simulated: SimulatedSeller,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    placed = await marketplace.place(order("DEFECT1"))
    address = f"{await simulated.base('DEFECT1')}/pvt/orders/DEFECT1/invoice"
    monkeypatch.setattr(Inbox, "receive", _fails_once(Inbox.receive))

    with capture_logs() as told:
        failed = await marketplace.notify(address, invoice())

    _is_the_last_resort(failed, told, caplog)
    assert (await marketplace.notify(address, invoice())).status_code == 200
    await marketplace.becomes(placed["id"], "invoiced")
    assert await _count(marketplace, "notifications") == 1


async def test_a_defect_while_an_operator_acts_is_told_once_and_leaves_nothing(
    marketplace: Marketplace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(taking, "take", _fails_once(taking.take))

    with capture_logs() as told:
        failed = await marketplace.post_order(order("DEFECT2"))

    _is_the_last_resort(failed, told, caplog)
    assert await _count(marketplace, "orders") == 0
    await marketplace.place(order("DEFECT2"))
    assert await _count(marketplace, "deliveries") == 1
