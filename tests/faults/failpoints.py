"""Where a worker can be made to die by `kill -9`: at each step of a call's way, for each kind of call.

The builds are named `die-STEP-KIND` and break no promise. They are sabotages like the others: `tests.faults.nursery`
starts them.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from functools import partial
from typing import Any

from httpcore import AsyncConnectionInterface
from httpcore._async.http11 import AsyncHTTP11Connection

from chain_orders.deliveries import settling, worker
from chain_orders.deliveries.queue import Claimed
from chain_orders.vtex.client import SellerClient

from .sabotage import SABOTAGES, replace

KINDS = ("place", "authorize", "cancel")
_leaving: ContextVar[str] = ContextVar("leaving", default="")
"""The kind of the call that is being sent."""


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _sends(claimed: Claimed, kind: str) -> bool:
    return claimed.kind == kind and claimed.phase == "send"


def _kind(method: str, target: str) -> str:
    return "place" if method == "PUT" else "cancel" if target.endswith("/cancel") else "authorize"


def claiming(kind: str) -> None:
    """The attempt is written, and not committed."""
    told = worker._sellers

    async def sellers(session: Any, claimed: Sequence[Claimed]) -> Any:
        found = await told(session, claimed)
        if any(_sends(one, kind) for one in claimed):
            await session.flush()
            _die()
        return found

    replace(worker, "_sellers", sellers)


def claimed(kind: str) -> None:
    """The claim is committed, and no byte has left."""
    send = SellerClient.send

    async def never(self: SellerClient, method: str, target: str, *given: Any) -> Any:
        if _kind(method, target) == kind:
            _die()
        return await send(self, method, target, *given)

    replace(SellerClient, "send", never)


def sent(kind: str) -> None:
    """All bytes have left, and nothing of the answer was read."""
    send, receive = SellerClient.send, AsyncHTTP11Connection._receive_response_headers

    async def noted(self: SellerClient, method: str, target: str, *given: Any) -> Any:
        _leaving.set(_kind(method, target))
        return await send(self, method, target, *given)

    async def never(self: AsyncConnectionInterface, *given: Any, **named: Any) -> Any:
        if _leaving.get() == kind:
            _die()
        return await receive(self, *given, **named)

    replace(SellerClient, "send", noted)
    replace(AsyncHTTP11Connection, "_receive_response_headers", never)


def answered(kind: str) -> None:
    """The answer was read, and nothing of it is written."""
    send = SellerClient.send

    async def last(self: SellerClient, method: str, target: str, *given: Any) -> Any:
        exchange = await send(self, method, target, *given)
        if _kind(method, target) == kind:
            _die()
        return exchange

    replace(SellerClient, "send", last)


def settling_(kind: str) -> None:
    """All that follows from the answer is written, and not committed."""
    tell = settling._tell_lanes

    async def last(session: Any, ended: Sequence[settling.Ended], *given: Any) -> None:
        await tell(session, ended, *given)
        if any(_sends(one.claimed, kind) for one in ended):
            _die()

    replace(settling, "_tell_lanes", last)


def settled(kind: str) -> None:
    """It is committed, and nobody has heard of it."""
    settle = settling.Settler.settle

    async def last(self: settling.Settler, ended: settling.Ended) -> Any:
        verdict = await settle(self, ended)
        if _sends(ended.claimed, kind):
            _die()
        return verdict

    replace(settling.Settler, "settle", last)


STEPS: dict[str, Callable[[str], None]] = {
    "claiming": claiming,
    "claimed": claimed,
    "sent": sent,
    "answered": answered,
    "settling": settling_,
    "settled": settled,
}
"""A call's way, in its order."""


def _of_its_own(step: str, kind: str) -> None:
    """Such a worker serves one seller, which is named as the kind is: the others have workers of their own."""
    replace(worker, "_SELLERS", f"seller:{kind}")
    STEPS[step](kind)


SABOTAGES.update({f"die-{step}-{kind}": partial(_of_its_own, step, kind) for step in STEPS for kind in KINDS})
