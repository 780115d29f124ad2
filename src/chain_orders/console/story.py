"""The story of an order: events, every attempt of every call, and what the seller told us, in one line of time."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, tzinfo
from typing import Any

from sqlalchemy import ColumnElement, Row, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from .. import masking
from ..deliveries.models import WAITING, Attempt, Delivery
from ..events.models import Event
from ..notifications.models import LISTED, Notification, Receipt
from ..operators.holding import Held
from ..orders.models import Order
from ..vtex import addresses
from . import facts, gates, rendering, words
from .texts import _, ngettext
from .words import Word

PAGE = 50
_CLIPPED = 600
_TOGETHER = 24_000
"""How many bytes of bodies the story shows, each and together; the delivery's and the notification's own pages show
more."""
_FACTS_TOGETHER = 32_000
BRIEF = 120
"""How many characters of a fact are shown."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where an entry stands in the line: by time, and where times are equal by what it is and by its id."""

    at: datetime
    kind: int
    id: int

    def __str__(self) -> str:
        return f"{self.at.isoformat()}|{self.kind}|{self.id}"

    def precedes(self, kind: int, at: Any, id_: Any) -> ColumnElement[bool]:
        """The condition that a row of this kind stands before this place."""
        if kind == self.kind:
            return tuple_(at, id_) < tuple_(self.at, self.id)
        return at <= self.at if kind < self.kind else at < self.at  # type: ignore[no-any-return]


EVENT, ATTEMPT, OWED, NOTIFICATION = range(4)


def place(text: str) -> Place | None:
    """The place that an address names; None where it names none."""
    at, kind, id_ = [*text.split("|"), "", ""][:3]
    try:
        found = Place(datetime.fromisoformat(at), int(kind), int(id_))
    except ValueError:
        return None
    known = found.at.tzinfo is not None and 1970 < found.at.year < 9999 and 0 <= found.id < 2**63
    return found if known else None


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened. `side`: `event`, `out` for a call of ours, `in` for what the seller told us."""

    place: Place
    side: str
    title: str
    tone: str
    who: str = ""
    badge: Word | None = None
    facts: list[tuple[str, str]] = field(default_factory=list)
    folds: list[tuple[str, str]] = field(default_factory=list)
    link: str = ""
    link_label: str = ""
    left_out: bool = False
    """Whether there are bodies that are not shown for the page's sake."""

    @property
    def at(self) -> datetime:
        return self.place.at

    @property
    def key(self) -> str:
        """Its name on the page, so that it stays itself when others come before it."""
        return f"{self.place.kind}-{self.place.id}"


@dataclass(frozen=True, slots=True)
class Story:
    """The latest entries first, and from where the earlier ones go on."""

    entries: list[Entry]
    earlier: Place | None


async def tell(
    session: AsyncSession,
    order: Order,
    currency: str | None,
    zone: tzinfo,
    before: Place | None = None,
    held: Held | None = None,
) -> Story:
    """The latest part of a loaded order's story, or what came before a place. Bodies are masked. `held`: what holds its
    calls back."""
    entries = [
        *[of_event(event, currency, zone) for event in await _events(session, order.id, before)],
        *await _calls(session, order, before, held),
        *[_of_notification(note, repeats or 0) for note, repeats in await _notifications(session, order.id, before)],
    ]
    entries.sort(key=lambda entry: entry.place, reverse=True)
    shown = _affordable(entries[:PAGE])
    return Story(shown, shown[-1].place if len(entries) > len(shown) else None)


def _affordable(entries: list[Entry]) -> list[Entry]:
    """The latest entries that the page can afford, with the latest bodies that it can: what is left out is said, and
    the entries go on with the next page."""
    bodies, rest, found = _TOGETHER, _FACTS_TOGETHER, list[Entry]()
    for entry in entries:
        rest -= sum(rendering.size(rendering.brief(text, BRIEF)) for _name, text in entry.facts)
        if rest < 0 and found:
            break
        folds = []
        for title, text in entry.folds:
            bodies -= rendering.size(text)
            folds += [(title, text)] if bodies > 0 else []
        found.append(replace(entry, folds=folds, left_out=len(folds) < len(entry.folds)))
    return found


async def _events(session: AsyncSession, order_id: uuid.UUID, before: Place | None) -> Sequence[Event]:
    query = select(Event).where(Event.order_id == order_id)
    if before is not None:
        query = query.where(before.precedes(EVENT, Event.at, Event.id))
    return (await session.scalars(query.order_by(Event.at.desc(), Event.id.desc()).limit(PAGE + 1))).all()


async def _notifications(
    session: AsyncSession, order_id: uuid.UUID, before: Place | None
) -> Sequence[Row[Notification, int]]:
    """Each with how often it was repeated."""
    query = select(Notification, Receipt.repeats).outerjoin(Receipt, Receipt.dedupe_key == Notification.dedupe_key)
    query = query.where(Notification.order_id == order_id).options(*LISTED)
    if before is not None:
        query = query.where(before.precedes(NOTIFICATION, Notification.received_at, Notification.id))
    latest = query.order_by(Notification.received_at.desc(), Notification.id.desc())
    return (await session.execute(latest.limit(PAGE + 1))).all()


async def _calls(session: AsyncSession, order: Order, before: Place | None, held: Held | None) -> list[Entry]:
    """Attempts of the order's calls, and the calls of which none has been made yet."""
    query = select(Attempt, Delivery).join(Delivery, Delivery.id == Attempt.delivery_id)
    query = query.where(Delivery.order_id == order.id)
    unmade = select(Delivery).where(Delivery.order_id == order.id, Delivery.attempts == 0)
    if before is not None:
        query = query.where(before.precedes(ATTEMPT, Attempt.at, Attempt.id))
        unmade = unmade.where(before.precedes(OWED, Delivery.created_at, Delivery.id))
    latest = query.order_by(Attempt.at.desc(), Attempt.id.desc())
    rows = (await session.execute(latest.limit(PAGE + 1))).all()
    owed = await session.scalars(unmade.order_by(Delivery.created_at.desc(), Delivery.id.desc()).limit(PAGE + 1))
    placed = await session.scalar(select(Order.placement_body).where(Order.id == order.id))

    def sent(delivery: Delivery) -> str:
        return _shown(placed if delivery.kind == "place" else delivery.body)

    made = [
        _of_attempt(attempt, delivery, requests(order, delivery, attempt), sent(delivery), held)
        for attempt, delivery in rows
    ]
    return [*made, *[_of_owed(one, sent(one), held) for one in owed]]


def _shown(raw: bytes | None) -> str:
    return rendering.text_of(masking.mask_body(raw or b""), _CLIPPED)


def of_event(event: Event, currency: str | None, zone: tzinfo) -> Entry:
    """An event as an entry of a story, with its place in the feed once it has one."""
    label, tone = words.event(event.type)
    told = facts.of(_in_words(event), currency, zone)
    if event.chain_order_id:
        told.insert(0, (_("chain order"), event.chain_order_id))
    if event.position is not None:
        told.append((_("position in the feed"), str(event.position)))
    return Entry(Place(event.at, EVENT, event.id), "event", label, tone, who=actor(event.actor), facts=told)


def _in_words(event: Event) -> dict[str, Any]:
    """What an event tells, with what the service wrote down as such, and nothing twice."""
    told = dict(event.data)
    if words.code(told.get("code")):
        told.pop("reason", None)  # it is the code's meaning
    elif told.get("reason") and (event.actor == "service" or "code" in told):
        told["reason"] = words.Stored(words.last_error(told["reason"]))
    return told


def actor(name: str) -> str:
    """Who did it, as a person says it."""
    kind, _colon, who = name.partition(":")
    return {"operator": who, "service": _("the service"), "seller": _("the seller")}.get(kind, name)


def requests(order: Order | None, delivery: Delivery, attempt: Attempt) -> list[str]:
    """What an attempt asked for: the call, or what reading the seller asks for until something is found."""
    if attempt.phase != "verify" or order is None:
        return [f"{delivery.method} {delivery.target}"]
    if delivery.kind != "place":
        named = [chain.chain_order_id for chain in order.chain_orders if chain.key == delivery.chain_order_key]
        return [f"GET {addresses.order(one)}" for one in named]
    name = f"{order.affiliate_id}-{order.order_group}"
    read = (addresses.order(f"{name}-01"), addresses.order_group(name), addresses.order_group(order.order_group))
    return [f"GET {address}" for address in read]


def _of_attempt(attempt: Attempt, delivery: Delivery, asked: list[str], sent: str, held: Held | None) -> Entry:
    outcome = words.word(words.OUTCOMES, attempt.outcome) if attempt.outcome else Word(_("under way"), "busy")
    read = attempt.phase == "verify"
    title = _("Read the seller") if read else words.KINDS.get(delivery.kind, delivery.kind)
    number = {"number": attempt.number}
    told: list[tuple[str, str]] = [(_("attempt"), str(attempt.number))]
    told += [(_("request") if at == 0 else _("else"), one) for at, one in enumerate(asked)]
    if attempt.status:
        told.append((_("answer"), str(attempt.status)))
    if attempt.duration_ms is not None:
        told.append((_("took"), rendering.duration(attempt.duration_ms)))
    if attempt.error:
        told.append((_("failure"), words.FAILURES.get(attempt.error, attempt.error)))
    if attempt.outcome != "refused" and (meaning := words.code(attempt.code)):  # of a refusal its event says it
        told.append((_("meaning"), meaning))
    told += _next_try(attempt, delivery, held)
    folds = []
    if sent and not read:
        folds.append((_("What was sent"), sent))
    if attempt.response:
        folds.append((_("Answer to attempt %(number)s") % number, _shown(attempt.response)))
    link = (f"/console/deliveries/{delivery.id}", _("Delivery %s") % delivery.id)
    at = Place(attempt.at, ATTEMPT, attempt.id)
    return Entry(at, "out", title, outcome.tone, _("the service"), outcome, told, folds, *link)


def _next_try(attempt: Attempt, delivery: Delivery, held: Held | None) -> list[tuple[str, str]]:
    """When it is tried again, said beside its latest attempt."""
    if delivery.state not in WAITING or attempt.number != delivery.attempts:
        return []
    what = _("read again") if delivery.phase == "verify" else _("next try")
    return [(what, leaves(delivery, held))]


def leaves(delivery: Delivery, held: Held | None) -> str:
    """When a call that waits may leave, in words."""
    if held is None:
        return rendering.until(delivery.next_at)
    return gates.goes_on(delivery.lane, held.code) or rendering.until(held.next_at(delivery.next_at))


def _of_owed(delivery: Delivery, sent: str, held: Held | None) -> Entry:
    state = words.word(words.DELIVERY_STATES, delivery.state)
    told: list[tuple[str, str]] = [(_("request"), f"{delivery.method} {delivery.target}")]
    if delivery.state in WAITING:
        told.append((_("leaves"), leaves(delivery, held)))
    if delivery.last_error:
        told.append(
            (_("reason"), words.code(delivery.last_code) or words.Stored(words.last_error(delivery.last_error)))
        )
    title = _("%s: owed to the seller") % words.KINDS.get(delivery.kind, delivery.kind)
    folds = [(_("What will be sent"), sent)] if sent else []
    link = (f"/console/deliveries/{delivery.id}", _("Delivery %s") % delivery.id)
    at = Place(delivery.created_at, OWED, delivery.id)
    return Entry(at, "out", title, state.tone, _("the service"), state, told, folds, *link)


def _of_notification(note: Notification, repeats: int) -> Entry:
    state = words.word(words.NOTIFICATION_STATES, note.state)
    told: list[tuple[str, str]] = [(_("path"), rendering.text_of(masking.mask_path(note.path), 200))]
    if note.reason:
        told.append((_("reason"), words.standing(note.reason) or words.Stored(note.reason)))
    told.append((_("receipt"), note.receipt))
    if repeats:
        told.append((_("repeated"), ngettext("%(num)d time", "%(num)d times", repeats) % {"num": repeats}))
    title = words.HEARD.get(note.kind, note.kind)
    folds = [(_("What it said"), _shown(note.beginning))] if not note.is_long else []
    link = (f"/console/notifications/{note.id}", _("Notification %s") % note.id)
    at = Place(note.received_at, NOTIFICATION, note.id)
    return Entry(at, "in", title, state.tone, _("the seller"), state, told, folds, *link)
