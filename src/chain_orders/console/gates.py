"""What holds calls back, in words: whose doing it is, and when they go on. Said of a seller, or of a webhook."""

from __future__ import annotations

from collections.abc import Mapping

from .texts import N_
from .words import Told, Word

SELLER: Mapping[str, Word] = Told(
    {
        "calls-paused": Word(
            N_("Calls are paused"),
            "wait",
            N_("A person has paused the calls to the seller. What waits leaves once they are resumed."),
        ),
        "credentials-refused": Word(
            N_("Credentials are refused"),
            "bad",
            N_("The seller refuses our credentials, and calls to it are stopped. Ask it for new ones, and save them."),
        ),
        "calls-stopped": Word(
            N_("Calls are stopped"),
            "bad",
            N_("After failures in a row one call at a time probes the seller. Once one is answered, the others go on."),
        ),
        "asked-to-wait": Word(
            N_("The seller asks us to wait"), "wait", N_("Calls to it go on by themselves once that time is over.")
        ),
    }
)
_WEBHOOK: Mapping[str, Word] = Told(
    {
        "calls-paused": Word(
            N_("The webhook is stopped"), "wait", N_("What it is owed waits, and leaves in order once it goes on.")
        ),
        "calls-stopped": Word(
            N_("Calls are stopped"),
            "bad",
            N_(
                "After failures in a row one call at a time probes the webhook. Once one is answered, the others go on."
            ),
        ),
        "asked-to-wait": Word(
            N_("The webhook asks us to wait"), "wait", N_("Calls to it go on by themselves once that time is over.")
        ),
    }
)
_SELLER_GOES_ON: Mapping[str, str] = Told(
    {
        "calls-paused": N_("once calls to the seller are resumed"),
        "credentials-refused": N_("once the seller takes our credentials"),
        "calls-stopped": N_("once the seller answers again"),
    }
)
_WEBHOOK_GOES_ON: Mapping[str, str] = Told(
    {
        "calls-paused": N_("once the webhook goes on"),
        "calls-stopped": N_("once the webhook answers again"),
    }
)


def held(lane: str) -> Mapping[str, Word]:
    """What may hold the calls of this lane back."""
    return SELLER if lane.startswith("seller:") else _WEBHOOK


def goes_on(lane: str, code: str) -> str:
    """When they go on, where it takes more than time."""
    told = _SELLER_GOES_ON if lane.startswith("seller:") else _WEBHOOK_GOES_ON
    return told.get(code, "")
