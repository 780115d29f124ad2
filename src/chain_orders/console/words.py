"""What the service's own words mean to a person: states, turns, events and reasons, each in a sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar, cast

from ..errors import Problem, Sentence
from ..notifications.models import DISMISSED
from ..vtex import codes
from .texts import N_, _


@dataclass(frozen=True, slots=True)
class Word:
    """A short label, its tone (`good`, `busy`, `wait`, `bad`, `quiet`), and a sentence that explains it."""

    label: str
    tone: str
    sentence: str = ""


Meaning = TypeVar("Meaning")


class Told(Mapping[str, Meaning]):
    """Words by name, each translated when it is looked up."""

    def __init__(self, words: dict[str, Meaning]) -> None:
        self._words = words

    def __getitem__(self, name: str) -> Meaning:
        return _told(self._words[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._words)

    def __len__(self) -> int:
        return len(self._words)


def _told(found: Meaning) -> Meaning:
    said: object = found
    if isinstance(found, Word):
        said = Word(_(found.label), found.tone, _(found.sentence))
    elif isinstance(found, str):
        said = _(found)
    elif isinstance(found, tuple):
        said = tuple(_(one) for one in found)
    return cast(Meaning, said)


STATUSES: Mapping[str, Word] = Told(
    {
        "accepted": Word(N_("Accepted"), "busy", N_("Taken from you; the call that places it is owed to the seller.")),
        "placing": Word(N_("Placing"), "busy", N_("The call that places it was begun, and is not over.")),
        "placement-unknown": Word(
            N_("Placement unclear"),
            "wait",
            N_("The seller may or may not have it. It is being read before anything more."),
        ),
        "rejected": Word(N_("Rejected"), "bad", N_("The seller refused the order as it was sent.")),
        "placed": Word(
            N_("Placed"), "wait", N_("The seller has the order and waits for your word that payment is approved.")
        ),
        "authorizing": Word(N_("Authorizing"), "busy", N_("The authorization is owed to the seller, or on its way.")),
        "authorized": Word(N_("Authorized"), "busy", N_("Payment is approved; the seller prepares the goods.")),
        "partially-invoiced": Word(
            N_("Partly invoiced"), "busy", N_("Some of the goods are invoiced; the seller owes the rest.")
        ),
        "invoiced": Word(N_("Invoiced"), "good", N_("Everything is invoiced.")),
        "cancel-requested": Word(
            N_("Cancellation asked"), "wait", N_("The seller was asked to cancel, and has not said how it ends.")
        ),
        "cancelled": Word(N_("Cancelled"), "quiet", N_("The order is cancelled.")),
    }
)

TURNS: Mapping[str, Word] = Told(
    {
        "operator": Word(N_("Your turn"), "wait", N_("It waits until you have acted.")),
        "us": Word(N_("Our turn"), "busy", N_("The service is at work; you need not do anything.")),
        "seller": Word(N_("Seller's turn"), "busy", N_("It goes on when the seller acts.")),
        "nobody": Word(N_("Nobody's turn"), "quiet", N_("Nothing is left to do.")),
    }
)

KINDS: Mapping[str, str] = Told(
    {
        "place": N_("Place the order"),
        "authorize": N_("Authorize"),
        "cancel": N_("Ask to cancel"),
        "webhook": N_("Tell a webhook"),
    }
)
TO_SELLERS = ("place", "authorize", "cancel")
"""Kinds of calls to sellers; the others go to webhooks."""

DELIVERY_STATES: Mapping[str, Word] = Told(
    {
        "ready": Word(N_("Ready"), "busy", N_("It leaves as soon as its turn comes.")),
        "sending": Word(N_("Sending"), "busy", N_("It is under way right now.")),
        "retrying": Word(N_("Retrying"), "wait", N_("It failed, and is tried again by itself.")),
        "unknown": Word(N_("Unclear"), "wait", N_("It may have arrived. The seller is read before it is sent again.")),
        "delivered": Word(N_("Delivered"), "good", N_("It has arrived.")),
        "rejected": Word(N_("Rejected"), "bad", N_("It was refused, and is not sent again.")),
        "dead": Word(N_("Dead"), "bad", N_("Its tries are used up. It waits for you to try it again.")),
        "withdrawn": Word(N_("Withdrawn"), "quiet", N_("It was taken back before it was done.")),
    }
)

NOTIFICATION_STATES: Mapping[str, Word] = Told(
    {
        "received": Word(N_("Received"), "busy", N_("Stored and acknowledged; applied in a moment.")),
        "applied": Word(N_("Applied"), "good", N_("The order shows what it says.")),
        "parked": Word(N_("Parked"), "wait", N_("It cannot be applied yet, and is tried again by itself.")),
        "conflict": Word(
            N_("Conflict"), "bad", N_("It contradicts what is known. Both facts are kept for you to decide.")
        ),
        "ignored": Word(N_("Ignored"), "quiet", N_("It says nothing new, or somebody decided against it.")),
        "unreadable": Word(N_("Unreadable"), "bad", N_("It is not what the protocol says. Its bytes are kept.")),
    }
)

NOTIFICATION_KINDS: Mapping[str, str] = Told(
    {
        "invoice": N_("Invoice"),
        "cancellation": N_("Cancellation"),
        "tracking": N_("Tracking"),
        "change": N_("Change"),
        "unreadable": N_("Something unreadable"),
    }
)

HEARD: Mapping[str, str] = Told(
    {
        "invoice": N_("Told by the seller: an invoice"),
        "cancellation": N_("Told by the seller: a cancellation"),
        "tracking": N_("Told by the seller: tracking"),
        "change": N_("Told by the seller: a change"),
        "unreadable": N_("Told by the seller: something unreadable"),
    }
)

PARKED: Mapping[str, str] = Told(
    {
        "not-placed": N_("The order is not known to be placed yet."),
        "verifying": N_("It waits until the seller itself shows it."),
        "foreign-id": N_("It came to this order's address and names another order."),
        "ambiguous": N_("It does not say which of several chain orders it means."),
        "order-unknown": N_("No order goes by the names in it."),
        "rejected-but-known": N_("The seller speaks of an order that it refused."),
        "cancelled-but-known": N_("The seller speaks of an order that was cancelled before it was known to be placed."),
        "invoice-unknown": N_("The invoice that it is of has not come."),
        "path-unknown": N_("It came to a path that is not understood."),
        "apply-failed": N_("Applying it failed; it is kept and tried again."),
    }
)

EVENTS: Mapping[str, Word] = Told(
    {
        "order.accepted": Word(N_("Order taken"), "busy"),
        "order.corrected": Word(N_("Order corrected"), "busy"),
        "order.placed": Word(N_("Order placed at the seller"), "good"),
        "order.rejected": Word(N_("Order refused by the seller"), "bad"),
        "order.placement-unknown": Word(N_("Nobody knows yet whether it was placed"), "wait"),
        "order.authorization-given": Word(N_("Authorization receipt given"), "busy"),
        "order.authorization-unknown": Word(N_("Nobody knows yet whether the authorization arrived"), "wait"),
        "order.attention": Word(N_("Needs attention"), "bad"),
        "order.attention-cleared": Word(N_("Attention cleared"), "good"),
        "order.resolved": Word(N_("Decided"), "good"),
        "order.cancellation-asked": Word(N_("Cancellation asked for"), "wait"),
        "order.cancelled": Word(N_("Order cancelled"), "quiet"),
        "order.notified": Word(N_("The seller sent word of another kind"), "quiet"),
        "order.rebuilt": Word(N_("Set right from what was told"), "wait"),
        "order.sealed": Word(N_("Personal data removed"), "quiet"),
        "delivery.retried": Word(N_("Tried again by hand"), "busy"),
        "chain-order.authorized": Word(N_("Authorized at the seller"), "good"),
        "chain-order.authorization-refused": Word(N_("Authorization refused by the seller"), "bad"),
        "chain-order.authorization-withdrawn": Word(N_("Authorization withdrawn"), "quiet"),
        "chain-order.authorized-after-cancellation": Word(N_("Authorized after it was cancelled"), "bad"),
        "chain-order.cancellation-asked": Word(N_("Cancellation asked for"), "wait"),
        "chain-order.cancellation-requested": Word(N_("The seller took the request to cancel"), "wait"),
        "chain-order.cancellation-denied": Word(N_("The seller does not cancel"), "bad"),
        "chain-order.cancellation-after-invoice": Word(N_("Cancelled after it was invoiced"), "bad"),
        "chain-order.cancelled": Word(N_("Cancelled"), "quiet"),
        "chain-order.invoiced": Word(N_("Invoiced"), "good"),
        "chain-order.partially-invoiced": Word(N_("Partly invoiced"), "busy"),
        "chain-order.invoice-after-cancellation": Word(N_("Invoiced after it was cancelled"), "bad"),
        "chain-order.invoice-changed": Word(N_("An invoice came again with another value"), "bad"),
        "chain-order.returned": Word(N_("Goods returned"), "wait"),
        "chain-order.tracked": Word(N_("Tracking came"), "busy"),
        "chain-order.delivered": Word(N_("Delivered to the shopper"), "good"),
        "chain-order.change-told": Word(N_("The seller tells a change"), "wait"),
        "chain-order.change-refused": Word(N_("A change was refused"), "quiet"),
        "chain-order.changed": Word(N_("Its value changed"), "busy"),
        "notification.replayed": Word(N_("A notification is applied again"), "busy"),
        "notification.dismissed": Word(N_("A notification was dismissed"), "quiet"),
        "alert.raised": Word(N_("An alert was raised"), "bad"),
        "alert.recovered": Word(N_("An alert is over"), "good"),
        "webhook.test": Word(N_("A test"), "quiet"),
    }
)

OUTCOMES: Mapping[str, Word] = Told(
    {
        "answered": Word(N_("done"), "good"),
        "absent": Word(N_("not there"), "quiet"),
        "refused": Word(N_("refused"), "bad"),
        "conflicting": Word(N_("contradicts"), "bad"),
        "already-there": Word(N_("there already"), "wait"),
        "again": Word(N_("failed"), "wait"),
        "ambiguous": Word(N_("unclear"), "wait"),
        "throttled": Word(N_("told to wait"), "wait"),
        "denied": Word(N_("credentials refused"), "bad"),
        "untrusted": Word(N_("certificate refused"), "bad"),
        "given-back": Word(N_("not sent"), "quiet"),
        "recalled": Word(N_("taken back"), "quiet"),
        "abandoned": Word(N_("the worker stopped"), "wait"),
    }
)

ROLES: Mapping[str, str] = Told(
    {
        "viewer": N_("Viewer: sees orders, calls, notifications, sellers; changes nothing"),
        "operator": N_("Operator: also acts on orders, calls, notifications; checks and pauses sellers"),
        "admin": N_("Admin: also changes sellers, webhooks, keys; sees the audit and whole bodies"),
    }
)

NAMES: Mapping[str, str] = Told(
    {
        "id": N_("our id"),
        "order-group": N_("order group"),
        "chain-order": N_("chain order"),
        "seller-order": N_("seller's order"),
        "seller-order-group": N_("seller's order group"),
        "marketplace-order": N_("marketplace's order"),
        "sku": N_("SKU"),
        "invoice": N_("invoice number"),
        "tracking": N_("tracking number"),
    }
)

DONE: Mapping[str, str] = Told(
    {
        "authorized": N_("The authorization is given. The order shows what becomes of it."),
        "cancel": N_("The cancellation is asked for. The order shows how it ends."),
        "retried": N_("The call is tried again now."),
        "retried-later": N_("The call is due, and leaves as soon as calls go on again."),
        "corrected": N_("The corrected order is owed to the seller. The order shows what becomes of it."),
        "tested": N_("A test is owed to it. Its attempt stands below once it is made."),
        "enabled": N_("The webhook goes on where it stopped."),
        "disabled": N_("The webhook is stopped. What it is owed waits."),
        "resolved": N_("Your decision is on record."),
        "added": N_("The seller is on record. Its calls can begin."),
        "changed": N_("The changes are saved."),
        "paused": N_("Calls to the seller are paused. They wait; none is dropped."),
        "resumed": N_("Calls to the seller go on."),
        "told-again": N_("It is told again, in order."),
        "zone": N_("Times and days are of this zone now."),
        "replayed": N_("The notification is applied again."),
        "dismissed": N_("The notification is dismissed."),
        "revoked": N_("The key is revoked. Its sessions are over."),
    }
)

WARNINGS: Mapping[str, str] = Told(
    {
        "amounts-adjusted": N_("amounts were adjusted"),
        "amounts-differ": N_("amounts do not add up"),
        "endpoint-replaced": N_("the callback address was replaced"),
        "lock-ttl-missing": N_("no time that stock is reserved for"),
        "logistics-missing": N_("an item without its logistics"),
        "order-group-hyphen": N_("a hyphen in the order group"),
        "order-group-long": N_("a long order group"),
        "pickup-address-missing": N_("a pickup without its address"),
        "profile-thin": N_("little of the shopper"),
        "postal-code-missing": N_("a delivery without a postal code"),
        "sku-repeated": N_("one SKU in several lines"),
    }
)

INVOICE_TYPES: Mapping[str, str] = Told({"Output": N_("sale"), "Input": N_("return")})

_REFUSED: Mapping[str, str] = Told(
    {
        "delivery-in-flight": N_("The call is under way right now."),
        "delivery-ended": N_("It has ended (%s) and is not tried again."),
        "notification-settled": N_("It is settled (%s) and is not applied again."),
        "order-invoiced": N_("What is invoiced is not cancelled any more: its seller takes it back as a return."),
        "notification-contradicts": N_("It contradicts what is known: decide about its order instead."),
    }
)

FAILURES: Mapping[str, str] = Told(
    {
        "ConnectError": N_("no connection could be made"),
        "ConnectTimeout": N_("no connection came about in time"),
        "ReadTimeout": N_("nothing was answered in time"),
        "ReadError": N_("the connection broke before the answer"),
        "RemoteProtocolError": N_("the connection broke before the answer"),
        "WriteError": N_("the connection broke while it was sent"),
        "deadline": N_("it was not over in time"),
        "answer-too-large": N_("the answer was too large"),
    }
)


class Stored(str):
    """A sentence that the service wrote down, in English."""


_REFUSALS = frozenset({"burnt", "permanent", "state"})
_ACTS: Mapping[str, str] = {"seller": N_("The seller must act."), "us": N_("The service settles it by itself.")}
_OTHER = Word("", "quiet")
_PLAIN_WORD = re.compile(r"[a-z]+ ")


def word(words: Mapping[str, Word], name: str | None) -> Word:
    """The word for a name; one that is not known stands for itself."""
    return words.get(name or "") or Word(name or "", _OTHER.tone)


def standing(reason: str | None) -> str:
    """Why a notification was not applied; nothing where the service wrote a sentence of its own down."""
    given_up, code = (reason or "").startswith(DISMISSED), (reason or "").removeprefix(DISMISSED)
    told = NOTIFICATION_STATES[code].sentence if code == "unreadable" else PARKED.get(code, "")
    return _("It was dismissed. Before that: %(why)s") % {"why": told or code} if given_up else told


def refusal(problem: Problem) -> str:
    """Why something was refused: in the console's own words where it has any for the code and the state beside it."""
    own, state = _REFUSED.get(problem.code), problem.extra.get("state")
    if own is None or ("%s" in own and state is None):
        return _sentence(said(problem.detail))
    return own.replace("%s", (DELIVERY_STATES.get(state or "") or word(NOTIFICATION_STATES, state)).label)


def _sentence(told: str) -> str:
    """As a sentence begins, unless it begins with a name, and as it ends."""
    begun = told[0].upper() + told[1:] if _PLAIN_WORD.match(told) else told
    return f"{begun}." if begun[-1:].isalnum() else begun


def said(detail: str) -> str:
    """A sentence of the API's."""
    if not isinstance(detail, Sentence):
        return _(detail)
    return _(detail.pattern).format_map({name: _put_in(name, one) for name, one in detail.put_in.items()})


def _put_in(name: str, one: object) -> object:
    """What is put into a sentence: a sentence itself, a name, or a number without what follows a whole one."""
    if isinstance(one, float):
        return f"{one:.12g}"
    return said(one) if isinstance(one, str) and name == "wrong" else one


def code(name: str | None) -> str:
    """What a code of VTEX's means; of our own, the sentence beside it says it. Whether a refusal is tried again and
    whose turn it is, pages say by themselves."""
    known = codes.lookup(name) if name else None
    if known is None:
        return ""
    means, *following = codes.meaning(known)
    told = [means, *(following if known.class_ not in _REFUSALS else ()), _ACTS.get(known.owner, "")]
    return f"{name}: {' '.join(_(one) for one in told if one)}"


def last_error(sentence: str | None) -> str:
    """What went wrong last, as the service wrote it down; whose turn it is, the page says by itself."""
    return (sentence or "").removesuffix(codes.UNLISTED).rstrip()


def event(type_: str) -> tuple[str, str]:
    """An event's label and tone."""
    known = EVENTS.get(type_)
    return (known.label, known.tone) if known else (type_.replace(".", ": ").replace("-", " "), "quiet")


def message(name: str) -> str:
    """What a call to a webhook carries, by the name of its message: an event of the feed goes by its position."""
    kind, _underscore, position = name.partition("_")
    if kind == "evt":
        return _("event at position %s of the feed") % position
    return {"test": _("a test"), "alert": _("an alert")}.get(kind, name)
