"""Deliberately broken builds: `python -m tests.faults.sabotage NAME serve …` runs the service with one promise broken.

A test that cannot fail proves nothing: each guarantee is checked again on the build that breaks it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Interval, bindparam, text

from chain_orders import cli
from chain_orders.deliveries import queue
from chain_orders.notifications import inbox
from chain_orders.outcome import Again
from chain_orders.vtex import answers

SABOTAGES: dict[str, Callable[[], None]] = {}


def _sabotage(act: Callable[[], None]) -> Callable[[], None]:
    SABOTAGES[act.__name__.replace("_", "-")] = act
    return act


@_sabotage
def dedupe() -> None:
    """Every notification counts as new."""
    inbox.Incoming.dedupe_key = property(lambda _: os.urandom(32))  # type: ignore[assignment]


@_sabotage
def answer_before_commit() -> None:
    """A notification is answered while its statement still waits."""

    async def store(self: inbox.Inbox, batch: Sequence[Any]) -> None:
        for one in batch:
            one.answered.set_result(one.incoming.answer())
        await asyncio.sleep(0.2)
        await self._commit(batch)

    inbox.Inbox._store = store  # type: ignore[method-assign]


@_sabotage
def resend_after_silence() -> None:
    """No answer counts as not done."""
    answers._silence = lambda exchange: Again(f"no answer ({exchange.error})")


@_sabotage
def resend_after_crash() -> None:
    """A call that was under way when its worker died is simply made again."""
    told = queue._ABANDON.text.replace("phase = 'verify', next_at", "phase = 'send', next_at")
    queue._ABANDON = text(told.replace("state = 'unknown'", "state = 'ready'")).bindparams(
        bindparam("after", type_=Interval)
    )


if __name__ == "__main__":
    SABOTAGES[sys.argv.pop(1)]()
    cli.main()
