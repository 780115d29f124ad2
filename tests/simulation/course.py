"""One order's whole life under a virtual clock, from one seed: what the service does, what its seller does, and what
goes wrong between them.

The service's own code decides and reads: handlers, acts, `retry.decide`, `judging`, `applying.apply`, `comparing`.
Here are only the claim, the lease and the settlement, as their SQL says, and no lanes: how fast a seller is called
changes when something happens, and nothing of what.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import random
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import count
from typing import Any

from chain_orders.capability import Keyring
from chain_orders.database import one_moment
from chain_orders.deliveries import retry, settling
from chain_orders.deliveries.queue import Claimed
from chain_orders.deliveries.settling import Contradiction, Ended
from chain_orders.deliveries.worker import Attempted
from chain_orders.errors import Conflict
from chain_orders.notifications.applying import VERIFYING, apply
from chain_orders.notifications.models import Notification
from chain_orders.orders import authorizing, cancelling, comparing, taking
from chain_orders.orders.authorizing import Authorize
from chain_orders.orders.cancelling import Cancel
from chain_orders.orders.models import Order
from chain_orders.orders.placing import Bases, Place
from chain_orders.orders.reads import Plan
from chain_orders.orders.receipts import GivenReceipt
from chain_orders.orders.states import Status
from chain_orders.outcome import name
from chain_orders.sellers.models import Seller as KnownSeller
from chain_orders.vtex import answers
from chain_orders.vtex.client import Credentials, SellerClient
from chain_orders.vtex.messages import read_order

from ..builders import KEY_BYTES
from ..builders import order as document
from .seller import Booked, Seller
from .tables import HOLDING, Owed, Tables

LEASE, WINDOW = 60.0, timedelta(seconds=60)
SCHEDULE = [timedelta(seconds=after) for after in (5, 30, 120, 600, *[1800] * 4, *[3600] * 8)]
VERIFY_AT = [timedelta(seconds=after) for after in (5, 15, 60)]
PATIENCE = timedelta(seconds=120)
_READ_AT = (3_000.0, 80_000.0, 160_000.0)
"""When the seller is read whatever happens. By the last of them everything must have come to its end."""
_BASES = Bases("http://marketplace.example", Keyring({"k1": KEY_BYTES}))


class _Vault:
    """Nothing is sealed here."""

    def open(self, sealed: bytes, **_: str) -> str:
        return sealed.decode()


def _at_once(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine returns that waits for nothing: tables and seller answer at once."""
    try:
        coroutine.send(None)
    except StopIteration as ended:
        return ended.value
    raise AssertionError("it waits for something that the simulation does not know")


class Course:
    """Promises: the same seed is the same course. `after_each` is called whenever something has happened."""

    def __init__(self, seed: int, after_each: Callable[[Course], None]) -> None:
        self.chance, self.now, self._after_each = random.Random(seed), 0.0, after_each
        self._coming: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers, self._heard = count(), set[tuple[str, bytes]]()
        self._works_at = 0.0
        self._due_now: list[Callable[[], None]] = []
        self.seller = Seller(self.chance, lambda: self.now, self._live)
        self.known = KnownSeller(
            id="acme", account_name="acme", base_url="http://seller.example", sales_channel="1", affiliate_id="MKP",
            sealed_app_key=b"key", sealed_app_token=b"token", authorization_group="group",
            omit_authorization_items=False, callback_base=None,
        )  # fmt: skip
        self.order = self._taken(seed)
        self.tables = Tables(self.order, self.known, lambda: self.now, self._confirm)
        self._handlers = self._made_handlers()
        self._policy = retry.Policy(SCHEDULE, VERIFY_AT, self.chance.random)
        self._trusted = self.chance.random() < 0.8
        self._dies, self._freezes = self.chance.choice([0.0, 0.15]), self.chance.choice([0.0, 0.1])

    def run(self) -> None:
        taking.owe_placement(self.order, self.known)
        self._soon(self._work)
        self._in(self.chance.uniform(0, 900), self._authorize)
        if self.chance.random() < 0.35:
            self._in(self.chance.uniform(0, 9000), self._ask_to_cancel)
        for at in _READ_AT:
            self._in(at, partial(self._read, last=at == _READ_AT[-1]))
        while self._coming:
            self.now, _, act = heapq.heappop(self._coming)
            if act in self._due_now:
                self._due_now.remove(act)
            with one_moment(self.tables.moment):
                act()
            self.tables.write()
            self._after_each(self)

    def _in(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._coming, (self.now + seconds, next(self._numbers), act))

    def _soon(self, act: Callable[[], None]) -> None:
        """At once, and only once however many things call for it."""
        if act not in self._due_now:
            self._due_now.append(act)
            self._in(0, act)

    # The service: what is taken and asked for.

    def _taken(self, seed: int) -> Order:
        items = [{"id": "8", "quantity": 1, "seller": "1", "price": 1200}]
        if self.chance.random() < 0.5:
            items.append({"id": "9", "quantity": 2, "seller": "1", "price": 50})
        group, ref = f"SIM{seed}", "r" * 26
        base = _BASES.of(self.known, "k1", ref)
        body = {**document(group, items=items), "marketplaceServicesEndpoint": base}
        return Order(
            id=uuid.UUID(int=seed), seller_id="acme", affiliate_id="MKP", sales_channel="1", order_group=group,
            ref=ref, kid="k1", status=Status.ACCEPTED, version=1, applied_seq=0, items=items, warnings=[],
            total_cents=sum(item["price"] * item["quantity"] for item in items) + 100, chain_orders=[],
            placement_body=json.dumps(body).encode(),
        )  # fmt: skip

    def _made_handlers(self) -> dict[str, Any]:
        given: Any = (self.tables, self.seller, _Vault())
        plan = Plan(timedelta(minutes=30), [PATIENCE])
        return {
            "place": Place(*given, _BASES, WINDOW, plan),
            "authorize": Authorize(*given, timedelta(hours=1)),
            "cancel": Cancel(*given, timedelta(hours=1)),
        }

    def _authorize(self) -> None:
        with contextlib.suppress(Conflict):
            session: Any = self.tables
            _at_once(authorizing.authorize(session, self.order, self.known, GivenReceipt(), "operator:sim"))
        self._soon(self._work)

    def _ask_to_cancel(self) -> None:
        with contextlib.suppress(Conflict):
            session: Any = self.tables
            _at_once(cancelling.request(session, self.order, self.known, "the shopper withdrew", "operator:sim"))
        self._soon(self._work)

    # The service: sending.

    def _work(self) -> None:
        """Claim what is due, and come again when something will be."""
        while (owed := self._due()) is not None:
            self._attempt(owed)
        waiting = [one.next_at for one in self.tables.owed if one.state in {"ready", "retrying", "unknown"}]
        later = min((at for at in waiting if at > self.now), default=None)
        if later is not None and later != self._works_at:
            self._works_at = later
            self._in(later - self.now, self._work)

    def _due(self) -> Owed | None:
        owed = self.tables.owed
        if any(one.state == "sending" for one in owed):
            return None
        due = [one for one in owed if one.state in {"ready", "retrying", "unknown"} and one.next_at <= self.now]
        heads = [one for one in due if not any(self._holds(other, one) for other in owed)]
        return min(heads, key=lambda one: (one.next_at, one.id), default=None)

    @staticmethod
    def _holds(other: Owed, one: Owed) -> bool:
        return other.delivery.sequence == one.delivery.sequence and other.id < one.id and other.state in HOLDING

    def _attempt(self, owed: Owed) -> None:
        """The call, unless the worker dies before; it may also die after, or go on when its lease is long over."""
        owed.state, owed.lease_until = "sending", self.now + LEASE
        owed.calls.append(None)
        self._in(LEASE, lambda: self._abandon(owed))
        claimed = self._claimed(owed)
        if self.chance.random() < self._dies:
            return
        self.seller.took = 0.0
        attempted = self._called(claimed)
        if self.chance.random() < self._dies:
            return
        frozen = self.chance.uniform(30, 400) if self.chance.random() < self._freezes else 0.0
        self._in(self.seller.took + frozen, lambda: self._settle(owed, claimed, attempted))

    def _claimed(self, owed: Owed) -> Claimed:
        delivery, body = owed.delivery, owed.delivery.body
        unclear = timedelta(seconds=self.now - owed.unclear_since if owed.unclear_since is not None else 0)
        if delivery.kind == "place":
            body = None if self.order.status == Status.CANCEL_REQUESTED else self.order.placement_body
            if self.order.status == Status.ACCEPTED:
                self.order.status = Status.PLACING
        elif delivery.kind == "authorize":
            chain = next(chain for chain in self.order.chain_orders if chain.key == delivery.chain_order_key)
            body = body if chain.status in authorizing._WAITING else None
        return Claimed(
            id=owed.id, kind=delivery.kind, lane="seller:acme", order_id=self.order.id,
            chain_order_key=delivery.chain_order_key, method=delivery.method, target=delivery.target, body=body,
            attempt=len(owed.calls), lane_troubled=False,
            course=retry.Course(owed.phase == "verify", owed.failures, owed.absences, unclear),
        )  # fmt: skip

    def _called(self, claimed: Claimed) -> Attempted:
        handler = self._handlers[claimed.kind]
        call = handler.verify(claimed, self.known) if claimed.course.verifying else None
        found: Attempted = _at_once(call or handler.send(claimed, self.known, lambda: True))
        return found

    def _settle(self, owed: Owed, claimed: Claimed, attempted: Attempted) -> None:
        if owed.state != "sending" or len(owed.calls) != claimed.attempt:
            return  # the fence
        verdict = retry.decide(attempted.outcome, claimed.course, self._policy)
        ended = Ended(claimed, attempted.outcome, verdict, attempted.exchange)
        handler = self._handlers[claimed.kind]
        try:
            recorded = _at_once(handler.record(self.tables, [ended]))
        except Contradiction as contradiction:
            ended = replace(ended, verdict=settling._beyond_recording(contradiction))
            recorded = _at_once(handler.record(self.tables, [ended]))
        stands = replace(ended, verdict=recorded.withdrawn.get(claimed.id, ended.verdict))
        self._follow(owed, settling._following(stands))
        owed.calls[-1] = name(attempted.outcome)
        self._soon(self._work)
        self._soon(self._apply)

    def _follow(self, owed: Owed, row: dict[str, Any]) -> None:
        owed.state, owed.phase = row["state"], row["phase"]
        owed.next_at = self.now + row["after"].total_seconds()
        owed.failures += row["burns"]
        owed.absences = 0 if row["fresh"] else owed.absences + row["absent"]
        if row["fresh"]:
            owed.unclear_since = self.now
        elif owed.phase == "send":
            owed.unclear_since = None

    def _abandon(self, owed: Owed) -> None:
        if owed.state != "sending" or owed.lease_until > self.now:
            return
        if owed.phase == "send":
            owed.unclear_since, owed.absences = self.now, 0
        owed.state, owed.phase, owed.next_at = "unknown", "verify", self.now + VERIFY_AT[0].total_seconds()
        owed.calls[-1] = "abandoned"
        if owed.delivery.kind == "place" and self.order.status in {Status.ACCEPTED, Status.PLACING}:
            self.order.status = Status.PLACEMENT_UNKNOWN
        self._soon(self._work)

    # The seller's life, and what it tells of it.

    def _live(self, booked: Booked) -> None:
        self._in(self.chance.uniform(60, 7200), lambda: self._act(booked, tries=3))

    def _act(self, booked: Booked, tries: int) -> None:
        if booked.status == "canceled" or (booked.status == "invoiced" and self.chance.random() < 0.6):
            return
        if booked.status == "waiting-for-seller-decision" and self.chance.random() < 0.5:
            booked.wishes[-1]["deniedBySeller"], booked.status = True, "payment-approved"
        elif booked.status in {"waiting-for-seller-decision", "invoiced"} or self.chance.random() < 0.12:
            booked.status = "canceled"  # also what it has invoiced: sellers contradict themselves
            told = {"id": "sellerOrderCancelled", "sellerOrderId": booked.chain_order_id}
            self._tell("cancellation", f"pvt/orders/order-group/{booked.group}/notifications", told)
        elif booked.authorized_at is not None or self.chance.random() < 0.1:
            self._invoice(booked)
        if tries or booked.packages:
            self._in(self.chance.uniform(60, 3600), lambda: self._act(booked, tries - 1))

    def _invoice(self, booked: Booked) -> None:
        left = booked.value - booked.invoiced
        value = left if left < 2 or self.chance.random() < 0.6 else self.chance.randint(1, left)
        number = f"NF-{booked.chain_order_id}-{len(booked.packages)}"
        booked.packages.append({"type": "Output", "invoiceNumber": number, "invoiceValue": value})
        booked.status = "invoiced" if booked.invoiced == booked.value else "invoice"
        items = [{"id": item["id"], "quantity": item["quantity"], "price": item["price"]} for item in booked.items]
        told = {"type": "Output", "invoiceNumber": number, "invoiceValue": value, "items": items}
        self._tell("invoice", f"pvt/orders/{booked.chain_order_id}/invoice", told)

    def _tell(self, kind: str, path: str, told: dict[str, Any]) -> None:
        """Notifications come late, several times, out of order, or never."""
        body = json.dumps(told).encode()
        for _ in range(self.chance.choice([0, 1, 1, 2, 3])):
            self._in(self.chance.uniform(0.1, 5000), lambda: self._hear(kind, path, body))

    # The service: hearing and reading.

    def _hear(self, kind: str, path: str, body: bytes) -> None:
        if (path, body) in self._heard:
            return
        self._heard.add((path, body))
        note = Notification(
            kind=kind, caller="base", path=path.encode(), body=body, receipt="0" * 32, tries=0, state="received",
            received_at=self.tables.moment,
        )  # fmt: skip
        self.tables.notes.append(note)
        note.id = len(self.tables.notes)
        self._in(self.chance.uniform(0, 2), self._apply)

    def _apply(self) -> None:
        due = [note for note in self.tables.notes if note.state in {"received", "parked"}]
        before = {chain.key: chain.status for chain in self.order.chain_orders}
        look = [apply(self.order, note, trusted=self._trusted, patience=PATIENCE) for note in due]
        self.tables.write()
        if any(look):
            self._confirm()
        self._overtake(before, "the seller says so")
        if any(note.state == "parked" and note.tries < 5 for note in due):
            self._in(30, self._apply)

    def _overtake(self, before: dict[int, str], reason: str) -> None:
        """What the acts that move a chain order past a call of ours do next."""
        session: Any = self.tables
        for chain in self.order.chain_orders:
            was = before.get(chain.key)
            if was is not None and authorizing.is_overtaken(self.order, chain, was):
                _at_once(authorizing.overtake(session, self.order, chain, reason))
        self._soon(self._work)

    def _confirm(self) -> None:
        for after in (1.0, PATIENCE.total_seconds() + 1):
            self._in(after, partial(self._read, last=after > 1))

    def _read(self, *, last: bool) -> None:
        """What the reconciler does with each chain order."""
        credentials = Credentials("key", "token")
        client: Any = SellerClient(self.seller, self.known.base_url, credentials)  # type: ignore[arg-type]
        before = {chain.key: chain.status for chain in self.order.chain_orders}
        for chain in self.order.chain_orders:
            found = answers.found(_at_once(client.read_order(chain.chain_order_id)), read_order)
            if isinstance(found, answers.Unread):
                self._in(60, partial(self._read, last=last))
                break
            chain.seller_read_at = self.tables.moment
            comparing.compare(self.order, chain, found, waited_long_enough=last)
        self.order.settle_status()
        self._overtake(before, "the seller shows it")
        for note in self.tables.notes:
            if note.state == "parked" and note.reason == VERIFYING:
                note.state = "received"
        self._soon(self._apply)
