"""What the service's own words mean to a person: states, turns, events and reasons, each in a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .texts import _


@dataclass(frozen=True, slots=True)
class Word:
    """A short label, its tone (`good`, `busy`, `wait`, `bad`, `quiet`), and a sentence that explains it."""

    label: str
    tone: str
    sentence: str = ""


STATUSES: Mapping[str, Word] = {
    "accepted": Word(_("Accepted"), "busy", _("Taken from you; the call that places it is about to leave.")),
    "placing": Word(_("Placing"), "busy", _("The call that places it is on its way to the seller.")),
    "placement-unknown": Word(
        _("Placement unclear"), "wait", _("The seller may or may not have it. It is being read before anything more.")
    ),
    "rejected": Word(_("Rejected"), "bad", _("The seller refused the order as it was sent.")),
    "placed": Word(
        _("Placed"), "wait", _("The seller has the order and waits for your word that payment is approved.")
    ),
    "authorizing": Word(_("Authorizing"), "busy", _("The authorization is on its way to the seller.")),
    "authorized": Word(_("Authorized"), "busy", _("Payment is approved; the seller prepares the goods.")),
    "partially-invoiced": Word(
        _("Partly invoiced"), "busy", _("Some of the goods are invoiced; the seller owes the rest.")
    ),
    "invoiced": Word(_("Invoiced"), "good", _("Everything is invoiced. Nothing is left to do.")),
    "cancel-requested": Word(
        _("Cancellation asked"), "wait", _("The seller was asked to cancel, and has not said how it ends.")
    ),
    "cancelled": Word(_("Cancelled"), "quiet", _("The order is cancelled. Nothing is left to do.")),
}

TURNS: Mapping[str, Word] = {
    "operator": Word(_("Your turn"), "wait", _("It goes on once you have acted.")),
    "us": Word(_("Our turn"), "busy", _("The service is at work; you need not do anything.")),
    "seller": Word(_("Seller's turn"), "busy", _("It goes on when the seller acts.")),
    "nobody": Word(_("Nobody's turn"), "quiet", _("It is finished.")),
}

KINDS: Mapping[str, str] = {
    "place": _("Place the order"),
    "authorize": _("Authorize"),
    "cancel": _("Ask to cancel"),
}

DELIVERY_STATES: Mapping[str, Word] = {
    "ready": Word(_("Ready"), "busy", _("It leaves as soon as the seller's lane lets it.")),
    "sending": Word(_("Sending"), "busy", _("It is under way right now.")),
    "retrying": Word(_("Retrying"), "wait", _("It failed, and is tried again by itself.")),
    "unknown": Word(_("Unclear"), "wait", _("It may have arrived. The seller is read before it is sent again.")),
    "delivered": Word(_("Delivered"), "good", _("The seller has it.")),
    "rejected": Word(_("Rejected"), "bad", _("The seller refused it; it is not sent again.")),
    "dead": Word(_("Dead"), "bad", _("Its tries are used up. It waits for you to try it again.")),
    "withdrawn": Word(_("Withdrawn"), "quiet", _("It was taken back before it was done.")),
}

NOTIFICATION_STATES: Mapping[str, Word] = {
    "received": Word(_("Received"), "busy", _("Stored and acknowledged; applied in a moment.")),
    "applied": Word(_("Applied"), "good", _("The order shows what it says.")),
    "parked": Word(_("Parked"), "wait", _("It cannot be applied yet, and is tried again by itself.")),
    "conflict": Word(_("Conflict"), "bad", _("It contradicts what is known. Both facts are kept for you to decide.")),
    "ignored": Word(_("Ignored"), "quiet", _("It says nothing new.")),
    "unreadable": Word(_("Unreadable"), "bad", _("It is not what the protocol says. Its bytes are kept.")),
}

NOTIFICATION_KINDS: Mapping[str, str] = {
    "invoice": _("Invoice"),
    "cancellation": _("Cancellation"),
    "tracking": _("Tracking"),
    "change": _("Change"),
    "unreadable": _("Something unreadable"),
}

PARKED: Mapping[str, str] = {
    "not-placed": _("The order is not known to be placed yet."),
    "verifying": _("It waits until the seller itself shows it."),
    "foreign-id": _("It came to this order's address and names another order."),
    "ambiguous": _("It does not say which of several chain orders it means."),
    "order-unknown": _("No order goes by the names in it."),
    "rejected-but-known": _("The seller speaks of an order that it refused."),
    "path-unknown": _("It came to a path that is not understood."),
    "apply-failed": _("Applying it failed; it is kept and tried again."),
}

EVENTS: Mapping[str, tuple[str, str]] = {
    "order.accepted": (_("Order taken"), "busy"),
    "order.corrected": (_("Order corrected"), "busy"),
    "order.placed": (_("Order placed at the seller"), "good"),
    "order.rejected": (_("Order refused by the seller"), "bad"),
    "order.placement-unknown": (_("Nobody knows yet whether it was placed"), "wait"),
    "order.authorization-given": (_("Authorization receipt given"), "busy"),
    "order.authorization-unknown": (_("Nobody knows yet whether the authorization arrived"), "wait"),
    "order.attention": (_("Needs attention"), "bad"),
    "order.attention-cleared": (_("Attention cleared"), "good"),
    "order.resolved": (_("Decided"), "good"),
    "order.cancellation-asked": (_("Cancellation asked for"), "wait"),
    "order.cancelled": (_("Order cancelled"), "quiet"),
    "order.notified": (_("The seller sent word of another kind"), "quiet"),
    "order.imported": (_("Order imported"), "busy"),
    "order.sealed": (_("Personal data removed"), "quiet"),
    "delivery.retried": (_("Tried again by hand"), "busy"),
    "chain-order.authorized": (_("Authorized at the seller"), "good"),
    "chain-order.authorization-refused": (_("Authorization refused by the seller"), "bad"),
    "chain-order.authorization-withdrawn": (_("Authorization withdrawn"), "quiet"),
    "chain-order.cancellation-asked": (_("Cancellation asked for"), "wait"),
    "chain-order.cancellation-requested": (_("The seller took the request to cancel"), "wait"),
    "chain-order.cancellation-denied": (_("The seller does not cancel"), "bad"),
    "chain-order.cancellation-after-invoice": (_("Cancelled after it was invoiced"), "bad"),
    "chain-order.cancelled": (_("Cancelled"), "quiet"),
    "chain-order.invoiced": (_("Invoiced"), "good"),
    "chain-order.partially-invoiced": (_("Partly invoiced"), "busy"),
    "chain-order.invoice-after-cancellation": (_("Invoiced after it was cancelled"), "bad"),
    "chain-order.invoice-changed": (_("An invoice came again with another value"), "bad"),
    "chain-order.returned": (_("Goods returned"), "wait"),
    "chain-order.tracked": (_("Tracking came"), "busy"),
    "chain-order.change-told": (_("The seller tells a change"), "wait"),
    "chain-order.change-refused": (_("A change was refused"), "quiet"),
    "chain-order.changed": (_("Its value changed"), "busy"),
    "notification.replayed": (_("A notification is applied again"), "busy"),
}

FACTS: Mapping[str, str] = {
    "code": _("code"),
    "reason": _("reason"),
    "number": _("number"),
    "type": _("type"),
    "value": _("value"),
    "total": _("total"),
    "receipt": _("receipt"),
    "date": _("date"),
    "courier": _("courier"),
    "trackingNumber": _("tracking number"),
    "warnings": _("warnings"),
    "verified": _("found by reading"),
    "chainOrderIds": _("chain orders"),
    "withoutItems": _("left out, without items"),
    "notificationId": _("notification"),
    "was": _("it was"),
    "requestId": _("request"),
    "kind": _("kind"),
    "deliveryId": _("delivery"),
    "source": _("learnt from"),
    "decision": _("decision"),
    "notification": _("notification"),
}

OUTCOMES: Mapping[str, Word] = {
    "answered": Word(_("done"), "good"),
    "absent": Word(_("not there"), "quiet"),
    "refused": Word(_("refused"), "bad"),
    "conflicting": Word(_("contradicts"), "bad"),
    "already-there": Word(_("there already"), "wait"),
    "again": Word(_("failed"), "wait"),
    "ambiguous": Word(_("unclear"), "wait"),
    "throttled": Word(_("told to wait"), "wait"),
    "denied": Word(_("credentials refused"), "bad"),
    "given-back": Word(_("not sent"), "quiet"),
    "recalled": Word(_("taken back"), "quiet"),
    "abandoned": Word(_("the worker stopped"), "wait"),
}

ROLES: Mapping[str, str] = {
    "viewer": _("Viewer: sees everything, changes nothing"),
    "operator": _("Operator: acts on orders and deliveries"),
    "admin": _("Admin: also sellers and keys"),
}

NAMES: Mapping[str, str] = {
    "id": _("our id"),
    "order-group": _("order group"),
    "chain-order": _("chain order"),
    "seller-order": _("seller's order"),
    "seller-group": _("seller's order group"),
    "invoice": _("invoice number"),
    "tracking": _("tracking number"),
}

DONE: Mapping[str, str] = {
    "authorized": _("The authorization is given. What is owed to the seller is on its way."),
    "cancel": _("The cancellation is asked for. The order shows how it ends."),
    "retried": _("The call is tried again now."),
    "resolved": _("Your decision is on record."),
    "added": _("The seller is on record. Its calls can begin."),
    "changed": _("The changes are saved."),
    "paused": _("The lane is paused. Calls wait; none is dropped."),
    "resumed": _("The lane goes on."),
    "replayed": _("The notification is applied again."),
    "revoked": _("The key is revoked. Its sessions are over."),
}

_OTHER = Word("", "quiet")


def word(words: Mapping[str, Word], name: str | None) -> Word:
    """The word for a name; one that is not known stands for itself."""
    return words.get(name or "") or Word(name or "", _OTHER.tone)


def event(type_: str) -> tuple[str, str]:
    """An event's label and tone."""
    return EVENTS.get(type_) or (type_.replace(".", ": ").replace("-", " "), "quiet")


def facts(data: Mapping[str, Any], money: Any) -> list[tuple[str, str]]:
    """An event's data as labelled texts; `money` writes cents."""
    shown = []
    for name, value in data.items():
        if value is None or value is False or value in ([], ""):
            continue
        if isinstance(value, list):
            text = ", ".join(str(one) for one in value)
        elif name in {"value", "total"} and isinstance(value, int):
            text = money(value)
        else:
            text = str(value)
        shown.append((FACTS.get(name, name), text))
    return shown
