"""Every page of the console as docs/pages.md shows it: where it is, what is done there first, and what it is for.

`screenshots` takes the pictures, `docs_pages` shows them; `test_docs` fails when an address of the console has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "docs" / "images"
SCHEMES = ("light", "dark")
WIDE, NARROW, WIDEST = 1280, 360, 2560
MOST_SEEN = frozenset({"overview", "order"})
"""Pages of which there is a picture of a large screen too."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A page: its path, in which `{story}` and the like stand for ids of the invented day; the buttons that are pressed
    there one after the other; the reason that is given where one is asked; what is chosen among the acts on many; what
    the form saw of its order before somebody else moved it."""

    path: str
    shows: str
    presses: tuple[str, ...] = ()
    reason: str = ""
    what: str = ""
    saw: str = ""


EMPTY = {"empty": Picture("/console/orders", "A list that is empty says what to do.")}
"""Taken before anything happened."""

VIEWERS = {"viewer": Picture("/console/sellers/acme", "The same for a viewer, who changes nothing.")}

PICTURES: Mapping[str, Mapping[str, Picture]] = {
    "Coming in": {
        "sign-in": Picture("/console/sign-in", "Signing in with an API key."),
        "overview": Picture("/console", "The day at a glance: alerts, what needs a person, queues, sellers."),
        "zone": Picture("/console/zone", "The zone that every time and every day is of."),
    },
    "Orders": {
        "orders": Picture("/console/orders", "Finding orders, filters in the address."),
        **EMPTY,
        "order": Picture("/console/orders/{story}", "An order: where it stands, its money, its invoices, its story."),
        "authorize": Picture("/console/orders/{placed}/authorize", "Saying that payment is approved."),
        "cancel": Picture(
            "/console/orders/{split}/cancel",
            "Asking the seller to cancel, shown before it is done.",
            ("Show what will be sent",),
            "out of stock",
        ),
        "moved": Picture(
            "/console/orders/{story}/cancel",
            "What an act shows when its order has moved since.",
            ("Show what will be sent", "Ask the seller to cancel"),
            "out of stock",
            saw="authorized seller - 1300 0 0 0 1300",
        ),
        "decide": Picture("/console/orders/{conflict}/resolve", "Two facts that contradict each other, side by side."),
        "rejected": Picture("/console/orders/{rejected}", "An order that its seller refused, in words."),
        "correct": Picture("/console/orders/{rejected}/correct", "Correcting it, and sending it again."),
        "bulk": Picture(
            "/console/orders?chosen=all",
            "What cancelling several orders would come to.",
            ("Show what would come of it",),
            what="cancel",
        ),
    },
    "Deliveries": {
        "deliveries": Picture("/console/deliveries", "Calls that are owed to sellers."),
        "delivery": Picture("/console/deliveries/{call}", "A call, with each of its attempts."),
        "retry": Picture("/console/deliveries/{call}/retry", "Trying it again: the seller is read first."),
        "reveal-call": Picture("/console/deliveries/{call}/whole", "Seeing it whole takes a reason."),
        "results": Picture(
            "/console/deliveries?state=dead",
            "Acts on many have a result each.",
            ("Try all that match", "Try them again now"),
            "its host is back",
        ),
    },
    "Notifications": {
        "notifications": Picture("/console/notifications", "What sellers told us."),
        "notification": Picture("/console/notifications/{unreadable}", "One that cannot be read, with its bytes."),
        "replay": Picture("/console/notifications/{parked}/replay", "Applying one again that waits."),
        "dismiss": Picture("/console/notifications/{parked}/dismiss", "Giving one up that can never be applied."),
        "reveal": Picture("/console/notifications/{unreadable}/whole", "Seeing one whole takes a reason."),
    },
    "Sellers": {
        "sellers": Picture("/console/sellers", "How each seller fares, and the callback keys that orders carry."),
        "seller": Picture("/console/sellers/acme", "One seller's settings."),
        **VIEWERS,
        "seller-new": Picture("/console/sellers/new", "Adding one."),
        "check": Picture("/console/sellers/acme/check", "What its check found, in words.", ("Check now",)),
        "pause": Picture("/console/sellers/acme/pause", "Pausing its calls."),
        "token": Picture("/console/sellers/acme/token", "Its callback token, for one fixed address."),
    },
    "Webhooks": {
        "webhooks": Picture("/console/webhooks", "Who is told what happens."),
        "webhook": Picture("/console/webhooks/{webhook}", "How far one is behind, and its attempts."),
        "webhook-new": Picture("/console/webhooks/new", "Adding one, with the types that there are."),
        "webhook-secret": Picture("/console/webhooks/{webhook}/secret", "A new secret beside the one before."),
        "tell-again": Picture("/console/webhooks/{webhook}/again", "Telling it again from a position."),
    },
    "Keys, audit, health": {
        "keys": Picture("/console/keys", "Who may call and sign in."),
        "replace-key": Picture("/console/keys/rotate?id={key}", "Replacing a key, with an overlap."),
        "revoke-key": Picture("/console/keys/revoke?id={key}", "Revoking one."),
        "alerts": Picture("/console/alerts", "What is wrong now, and what to do about it."),
        "audit": Picture("/console/audit", "Who did what, when and why."),
        "health": Picture("/console/health", "Whether the service is well, and what it runs with."),
        "error": Picture("/console/nowhere", "An error is a page in words."),
    },
}
ALL: Mapping[str, Picture] = {name: one for section in PICTURES.values() for name, one in section.items()}


def file(name: str, width: int, scheme: str) -> str:
    return f"{name}-{width}-{scheme}.png"


def widths(name: str) -> tuple[int, ...]:
    return (WIDE, NARROW, WIDEST) if name in MOST_SEEN else (WIDE, NARROW)


def files() -> set[str]:
    """The names of all pictures that there must be."""
    return {file(name, width, scheme) for name in ALL for width in widths(name) for scheme in SCHEMES}
