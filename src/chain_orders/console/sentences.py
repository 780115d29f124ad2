"""What codes, alerts, acts and settings mean to a person, and what to do about them in this console."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .texts import N_, _
from .words import Told

_ASK = N_("Ask the seller which holds, then decide.")
_WAITS = N_("Ask the seller what was meant. It waits by itself; dismiss it if it can never be applied.")

ATTENTION: Mapping[str, tuple[str, str]] = Told(
    {
        "order-group-burnt": (N_("The order group is used up"), N_("Place the order again under a new group.")),
        "placement-conflict": (
            N_("The seller has another order of this group"),
            N_("Compare the two and ask the seller. Nothing is sent meanwhile."),
        ),
        "said-to-be-there": (
            N_("The seller says that it has the order, and shows none"),
            N_("It is cancelled here. Ask the seller whether it has it, and to cancel it there."),
        ),
        "incomplete-at-seller": (
            N_("The order is incomplete at the seller"),
            N_("Place it again under a new group; its stock may stay reserved for days."),
        ),
        "not-recorded": (
            N_("The seller's answer could not be recorded"),
            N_("Read the delivery; ask the seller whether the order is there."),
        ),
        "value-differs": (N_("The seller shows another value"), N_("Compare the two, and ask the seller.")),
        "not-there-yet": (
            N_("The seller does not take it yet"),
            N_("See what it says in the story; try it again once the cause is gone."),
        ),
        "split-incomplete": (N_("The seller shows a part of the order only"), N_("Ask the seller for the rest.")),
        "items-differ": (N_("The seller lists other items"), N_("Compare the items, and ask the seller.")),
        "retries-used-up": (
            N_("Its tries are used up"),
            N_("See what went wrong in the story, remove the cause, and try it again."),
        ),
        "authorization-refused": (
            N_("The seller refuses the authorization"),
            N_("Read its reason, remove the cause, and authorize again."),
        ),
        "cancelled-at-seller": (
            N_("The seller shows it as cancelled"),
            N_("Refund the shopper, and ask the seller why nothing was said."),
        ),
        "cancellation-denied": (
            N_("The seller does not cancel"),
            N_("Tell the shopper, or settle it with the seller; then decide."),
        ),
        "not-at-seller": (
            N_("The seller does not show what was told"),
            N_("It was not applied. Ask the seller who sent it."),
        ),
        "cancellation-not-at-seller": (
            N_("A cancellation that the seller does not show"),
            N_("It was applied. Ask the seller before money moves."),
        ),
        "return-not-at-seller": (
            N_("A return that the seller does not show"),
            N_("It was applied. Ask the seller before money moves."),
        ),
        "missing-at-seller": (N_("The seller no longer shows it"), N_("Ask the seller what became of it.")),
        "not-authorized-at-seller": (
            N_("The seller took the authorization and still waits for it"),
            N_("Ask the seller: it prepares nothing until it has it."),
        ),
        "authorized-after-cancellation": (N_("Authorized after it was cancelled"), _ASK),
        "cancelled-after-invoice": (N_("Cancelled after it was invoiced"), _ASK),
        "invoiced-after-cancellation": (N_("Invoiced after it was cancelled"), _ASK),
        "invoice-changed": (N_("An invoice came again with another value"), _ASK),
        "reverted": (N_("An earlier word came again"), _ASK),
        "invoice-unknown": (N_("Tracking came without its invoice"), _WAITS),
        "change-received": (
            N_("The seller tells a change of the value"),
            N_("Decide: accept it, or leave the order as it is."),
        ),
        "change-repeated": (N_("The same change came again"), N_("It counts once. Ask the seller if it was meant.")),
        "change-differs": (N_("A change came again and differs"), _ASK),
        "changed-after-cancellation": (N_("Changed after it was cancelled"), _ASK),
        "changed-after-invoice": (N_("Changed after it was invoiced"), _ASK),
        "over-invoiced": (N_("Invoices exceed the value"), _ASK),
        "over-returned": (N_("Returns exceed what was invoiced"), _ASK),
        "invoice-number-odd": (
            N_("An invoice number of odd characters"),
            N_("VTEX may lose its tracking: watch that it arrives."),
        ),
        "notification-unreadable": (
            N_("Something came that cannot be read"),
            N_("See its bytes under Notifications, and tell the seller. Dismiss it once that is done."),
        ),
        "foreign-id": (N_("A notification names another order"), _WAITS),
        "ambiguous": (N_("A notification names no chain order"), _WAITS),
        "rejected-but-known": (N_("The seller speaks of an order that it refused"), _WAITS),
        "cancelled-but-known": (
            N_("The seller speaks of an order that was cancelled unplaced"),
            N_("Ask the seller at once whether it has the order, and to cancel it there. What it told waits."),
        ),
        "path-unknown": (N_("A path that is not understood"), N_("Report it: it is a defect of this service.")),
        "apply-failed": (
            N_("A notification could not be applied"),
            N_("It is kept and tried again. Report it: it is a defect of this service."),
        ),
    }
)

_STUCK = N_("See these orders and their calls.")
_ASK_SELLER = N_("Ask the seller; these are the orders.")

ALERTS: Mapping[str, tuple[str, str]] = Told(
    {
        "breaker-open": (
            N_("Calls to the seller are stopped"),
            N_("See why on the seller's page. If it is down, wait; if it refuses the credentials, give it new ones."),
        ),
        "webhook-disabled": (
            N_("A webhook is disabled"),
            N_("Find out why its owner gave the address up, correct it, and enable it."),
        ),
        "dead-deliveries": (
            N_("Calls have used up their tries"),
            N_("Read why, remove the cause, and try them again."),
        ),
        "conflicts": (
            N_("Notifications contradict what is known"),
            N_("Ask the seller which holds, and decide on each order."),
        ),
        "differs-at-seller": (
            N_("Orders are not what the seller shows"),
            N_("Compare each with the seller's, and decide."),
        ),
        "bad-mac-burst": (
            N_("Many calls were refused for a wrong secret"),
            N_("Somebody may be guessing, or a seller uses an address that was changed. If it is a key, revoke it."),
        ),
        "out-of-reach": (
            N_("A worker cannot reach whom others reach"),
            N_("Its machine has no way out, or none to these: look at its network. Other workers make the calls."),
        ),
        "behind-long": (
            N_("A webhook is behind"),
            N_("Is a worker running? Its log says why if it cannot."),
        ),
        "waiting-long": (
            N_("Calls wait for long"),
            N_("Is a worker running, is the rate too low, is the seller paused?"),
        ),
        "unknown-long": (
            N_("Calls stay unclear"),
            N_("See what reading the seller came to. Nothing is sent again before it is clear."),
        ),
        "unread-long": (
            N_("Orders cannot be read at the seller"),
            N_("What they lost on its way is not found meanwhile. Ask the seller, and look at what the key may do."),
        ),
        "paused-long": (
            N_("The seller is paused for long"),
            N_("Resume it if the pause was forgotten."),
        ),
        "parked-long": (
            N_("Notifications wait for long"),
            N_("Read the reasons. Each is tried again by itself; dismiss what can never be applied."),
        ),
        "unapplied-long": (
            N_("Notifications are stored and not applied"),
            N_("Is a worker running? Its log says why if it cannot."),
        ),
        "unnumbered-long": (
            N_("Events are not in the feed yet"),
            N_("Is a worker running? Its log says why if it cannot."),
        ),
        "stuck-accepted": (N_("Orders are not being placed"), _STUCK),
        "stuck-placing": (N_("Placing does not move"), _STUCK),
        "stuck-placement-unknown": (
            N_("Orders may or may not be placed"),
            _STUCK,
        ),
        "stuck-authorizing": (N_("Authorizing does not move"), _STUCK),
        "stuck-placed": (
            N_("Orders wait for their authorization"),
            N_("Authorize or cancel them."),
        ),
        "stuck-cancel-requested": (
            N_("Cancellations are not answered"),
            _ASK_SELLER,
        ),
        "stuck-authorized": (N_("Orders are not invoiced"), _ASK_SELLER),
        "stuck-partially-invoiced": (
            N_("Orders are invoiced in part only"),
            _ASK_SELLER,
        ),
    }
)

WEBHOOK_ALERTS: Mapping[str, tuple[str, str]] = Told(
    {
        "breaker-open": (
            N_("Calls to a webhook are stopped"),
            N_("See what its latest attempts came to. Calls go on by themselves once one is answered."),
        ),
        "dead-deliveries": (
            N_("Calls to a webhook have used up their tries"),
            N_("Read why, remove the cause, and try them again."),
        ),
        "waiting-long": (
            N_("Calls to a webhook wait for long"),
            N_("Is a worker running, is the rate too low? See what its latest attempts came to."),
        ),
        "paused-long": (N_("A webhook is stopped for long"), N_("Let it go on if that was forgotten.")),
    }
)
"""What is said of a seller by the same code, said of a webhook."""

ALERT_LINKS = {
    "breaker-open": "/console/sellers/{seller}",
    "dead-deliveries": "/console/deliveries?state=dead&seller={seller}",
    "conflicts": "/console/notifications?state=conflict&seller={seller}",
    "differs-at-seller": "/console/orders?attention=yes&seller={seller}",
    "bad-mac-burst": "/console/keys",
    "out-of-reach": "/console/health",
    "waiting-long": "/console/deliveries?state=ready&seller={seller}",
    "unknown-long": "/console/deliveries?state=unknown&seller={seller}",
    "unread-long": "/console/sellers/{seller}",
    "paused-long": "/console/sellers/{seller}",
    "parked-long": "/console/notifications?state=parked&seller={seller}",
    "unapplied-long": "/console/health",
    "unnumbered-long": "/console/health",
    "stuck-accepted": "/console/orders?status=accepted&seller={seller}",
    "stuck-placing": "/console/orders?status=placing&seller={seller}",
    "stuck-placement-unknown": "/console/orders?status=placement-unknown&seller={seller}",
    "stuck-authorizing": "/console/orders?status=authorizing&seller={seller}",
    "stuck-placed": "/console/orders?status=placed&seller={seller}",
    "stuck-cancel-requested": "/console/orders?status=cancel-requested&seller={seller}",
    "stuck-authorized": "/console/orders?status=authorized&seller={seller}",
    "stuck-partially-invoiced": "/console/orders?status=partially-invoiced&seller={seller}",
}
"""Where each is dealt with. One of a webhook leads to the webhook."""

CHECKS: Mapping[str, str] = Told(
    {
        "callbacks": N_("Sellers reach us"),
        "credentials": N_("The seller takes our credentials"),
        "trade": N_("Sales channel and affiliate"),
    }
)

ACTS: Mapping[str, str] = Told(
    {
        "console.sign-in": N_("Signed in at the console"),
        "credentials.seal": N_("Sealed credentials anew"),
        "delivery.retry": N_("Tried a call again"),
        "key.create": N_("Made a key"),
        "key.revoke": N_("Revoked a key"),
        "key.rotate": N_("Gave a key a new secret"),
        "notification.dismiss": N_("Dismissed a notification"),
        "notification.replay": N_("Applied a notification again"),
        "order.authorize": N_("Authorized an order"),
        "order.cancel": N_("Asked to cancel an order"),
        "order.correct": N_("Corrected a rejected order"),
        "order.erase": N_("Erased personal data"),
        "order.evidence": N_("Took whole evidence"),
        "order.place": N_("Placed an order"),
        "order.repair": N_("Set an order right from what was told"),
        "order.resolve": N_("Decided about an order"),
        "personal-data.read": N_("Saw personal data"),
        "retention.run": N_("Removed personal data that was due"),
        "seller.add": N_("Added a seller"),
        "seller.callback-token": N_("Took a callback token"),
        "seller.change": N_("Changed a seller"),
        "seller.pause": N_("Paused a seller"),
        "seller.resume": N_("Resumed a seller"),
        "webhook.add": N_("Added a webhook"),
        "webhook.change": N_("Changed a webhook"),
        "webhook.remove": N_("Removed a webhook"),
        "webhook.replay": N_("Replayed a webhook"),
        "webhook.rotate": N_("Gave a webhook a new secret"),
        "webhook.test": N_("Tested a webhook"),
    }
)

SETTINGS: Mapping[str, str] = Told(
    {
        "environment": N_("Environment"),
        "open_callbacks": N_("Callbacks without proof"),
        "pool_size": N_("Database connections"),
        "worker_slots": N_("Calls at once, all sellers"),
        "poll_seconds": N_("Looks for work every"),
        "sweep_seconds": N_("Tries what is parked again after"),
        "connect_seconds": N_("Waits to connect"),
        "exchange_seconds": N_("Waits for an answer"),
        "lease_seconds": N_("A worker holds a call for at most"),
        "reconcile_seconds": N_("Reads open orders every"),
        "not_there_seconds": N_("A seller may not know an order for"),
        "replay_dead_seconds": N_("Tries dead calls again after"),
        "retry_schedule": N_("Waits between tries"),
        "verify_at": N_("Reads the seller after an unclear call"),
        "confirm_at": N_("Confirms what a seller told after"),
        "closed_at": N_("Reads an order again after its end"),
    }
)

SELLER_FIELDS: Mapping[str, str] = Told(
    {
        "accountName": N_("VTEX account name"),
        "sellerId": N_("Our name for it"),
        "baseUrl": N_("Address"),
        "salesChannel": N_("Sales channel"),
        "affiliateId": N_("Affiliate id"),
        "appKey": N_("App key"),
        "appToken": N_("App token"),
        "currency": N_("Currency"),
        "concurrency": N_("Calls at once"),
        "ratePerSecond": N_("Calls a second"),
        "authorizationGroup": N_("Authorizations name"),
        "omitAuthorizationItems": N_("Leave the items out of authorizations"),
        "strictAmounts": N_("Refuse orders whose amounts do not add up"),
        "callbackTrust": N_("Cancellations and returns are believed"),
        "changePolicy": N_("Changes of an order are"),
        "callbackBase": N_("Callback address of its own"),
    }
)

SELLER_CHOICES: Mapping[str, str] = Told(
    {
        "group": N_("the order group"),
        "chainOrderId": N_("the chain order"),
        "base": N_("at the order's own address"),
        "always-verify": N_("once the seller shows them"),
        "record": N_("yours to decide"),
        "accept": N_("accepted"),
        "refuse": N_("refused"),
        "yes": N_("yes"),
        "": N_("no"),
    }
)

ROLES: Mapping[str, str] = Told({"viewer": N_("Viewer"), "operator": N_("Operator"), "admin": N_("Admin")})


def attention(code: str | None) -> tuple[str, str]:
    """What an attention code means, and what to do."""
    return ATTENTION.get(code or "") or (_("Needs attention"), "")


_VALUES: Mapping[str, str] = Told(
    {"True": N_("yes"), "False": N_("no"), "development": N_("development"), "production": N_("production")}
)


def setting(name: str, value: str, length: Callable[[float], str]) -> tuple[str, str]:
    """A setting's name and value in words. `length` writes lengths of time."""
    if name.endswith("_seconds") or name in {"retry_schedule", "verify_at", "confirm_at", "closed_at"}:
        seconds = [float(one) for one in value.split(",") if one.strip()]
        shown = ", ".join(length(one) for one in seconds if one) or _("never")
    else:
        shown = _VALUES.get(value, value)
    return SETTINGS.get(name, name), shown
