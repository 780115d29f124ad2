"""A seller that stops for a while and comes back: one alert and one recovery, by webhook and by mail, and no more.

`make faults-alerts` runs it for two minutes with the settings of production, and forces nothing; `test_telling.py`
briefly, with a probe that goes at once.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import update

from chain_orders.alerts.alarm import Alarm
from chain_orders.database import Database
from chain_orders.deliveries.models import Lane
from chain_orders.settings import Settings
from chain_orders.simulator.app import create_app as create_simulator
from chain_orders.simulator.server import running

from ..builders import KEYS, SimulatedSeller, calling, order, until
from ..conftest import serving
from ..faults.own_server import own_server
from ..faults.process import free_port
from ..webhooks.receiver import Heard, receiving, subscribe
from .sink import sinking

TO = ["watch@harbor.example"]
Looks = Callable[[int], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Plan:
    down_seconds: float = 0.0
    """The seller stays away at least so long, and until the alert has come."""
    orders: int = 3
    forced: bool = True
    """The breaker's next probe goes at once: fifteen seconds are long in a test."""
    patience: float = 60.0


@dataclass(slots=True)
class Told:
    documents: list[Any] = field(default_factory=list)
    """What the webhook was told, verified with its secret by the public library."""
    shown: list[Any] = field(default_factory=list)
    """The alerts that the API shows at the end, recovered ones too."""
    metric: bool = False
    mails: list[Any] = field(default_factory=list)
    raised_after: float = 0.0
    recovered_after: float = 0.0

    def hold(self) -> None:
        """Raise AssertionError unless there was one alert and one recovery, told alike everywhere."""
        raised, recovered = self.documents
        assert [raised["type"], recovered["type"]] == ["alert.raised", "alert.recovered"]
        assert (raised["sellerId"], raised["data"]["code"], raised["data"]["recoveredAt"]) == (
            "acme", "breaker-open", None,
        )  # fmt: skip
        assert "wait" in raised["data"]["do"]
        assert recovered["data"] == {**raised["data"], "recoveredAt": recovered["at"]}
        assert self.shown == [recovered["data"]]
        assert self.metric
        assert [mail["subject"] for mail in self.mails] == ["chain-orders: 1 raised", "chain-orders: 1 recovered"]
        assert [mail["to"] for mail in self.mails] == TO * 2
        first, second = (mail.get_content() for mail in self.mails)
        assert "RAISED breaker-open (seller:acme)" in first
        assert "what to do: " in first
        assert "RECOVERED breaker-open (seller:acme)" in second


async def run(plan: Plan, database: Database, settings: Settings, book: Path) -> Told:
    """One outage on an empty, migrated database."""
    told, port = Told(), free_port()
    async with receiving() as receiver, sinking() as sink:
        mailing = {"alert_smtp_url": SecretStr(sink.url), "alert_to": TO}
        async with serving(database, settings.model_copy(update=mailing)) as marketplace:
            with _looking() as looks:
                made = await subscribe(marketplace, receiver.url, events=["alert.*"])
                await marketplace.add_seller(f"http://127.0.0.1:{port}")
                stopped = time.monotonic()
                answers = [await marketplace.post_order(order()) for _ in range(plan.orders)]
                await receiver.hears(1, plan.patience)
                told.raised_after = time.monotonic() - stopped
                await asyncio.sleep(max(0.0, plan.down_seconds - told.raised_after))
                metrics = (await marketplace.client.get("/metrics")).text
                told.metric = 'chain_orders_alert{code="breaker-open",seller="acme",webhook=""} 1.0' in metrics
                await looks(3)
                async with _seller_on(port, book):
                    back = time.monotonic()
                    if plan.forced:
                        await _probe_now(database)
                    for answer in answers:
                        await marketplace.becomes(answer.json()["id"], "placed", plan.patience)
                    await receiver.hears(2, plan.patience)
                    told.recovered_after = time.monotonic() - back
                    await looks(3)
                told.documents = [one.proven(made["secret"]) for one in _once(receiver.all)]
                told.shown = (await marketplace.client.get("/v1/alerts")).json()["items"]
                told.mails = list(sink.mails)
    return told


def _once(heard: list[Heard]) -> list[Heard]:
    assert len({one.id for one in heard}) == len(heard)
    return heard


@contextlib.contextmanager
def _looking() -> Iterator[Looks]:
    """Lets wait for further looks of the service at everything: what was not told by then is not told."""
    rounds, original = 0, Alarm.post

    async def post(self: Alarm) -> None:
        nonlocal rounds
        await original(self)
        rounds += 1

    async def looks(more: int) -> None:
        wanted = rounds + more

        async def reached() -> bool:
            return rounds >= wanted

        await until(reached, 300)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Alarm, "post", post)
        yield looks


@contextlib.asynccontextmanager
async def _seller_on(port: int, book: Path) -> AsyncIterator[SimulatedSeller]:
    async with (
        running(create_simulator(book_path=book), port=port) as url,
        calling(url) as client,
    ):
        yield SimulatedSeller(url, client)


async def _probe_now(database: Database) -> None:
    async with database.transaction() as session:
        await session.execute(update(Lane).where(Lane.breaker == "open").values(next_at=None))


async def _at_length(seconds: float) -> None:
    """At production's settings, on a durable PostgreSQL of its own; development only allows the addresses."""
    async with own_server() as (database, _, folder):
        given: dict[str, Any] = {"callback_keys": KEYS, "credential_keys": KEYS, "public_url": "http://127.0.0.1:1"}
        settings = Settings(environment="development", database_url=SecretStr(database.url), **given)
        plan = Plan(seconds, orders=12, forced=False, patience=600)
        told = await run(plan, database, settings, folder / "book.jsonl")
    types, subjects = [one["type"] for one in told.documents], [mail["subject"] for mail in told.mails]
    after = f"raised after {told.raised_after:.0f} s, recovered {told.recovered_after:.0f} s after it was back"
    print(f"away for {seconds:.0f} s: {after}; webhooks {types}, mails {subjects}", flush=True)
    told.hold()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=120)
    asyncio.run(_at_length(options.parse_args().seconds))


if __name__ == "__main__":
    main()
