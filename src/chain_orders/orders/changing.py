"""Changes of chain orders, as sellers tell them: what is added and what is taken away, in cents.

Each seller's `changePolicy` says what becomes of one: `record` leaves the value until a person decides, `accept` moves
it, `refuse` keeps it out. Pure: moves an order in memory and says what came of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from .. import masking, strict_json
from ..money import written
from ..vtex.messages import Change as ChangeMessage
from .applied import Applied, Contradicts, Ignored, Result
from .models import ChainOrder, Change, Order
from .states import Status

RECORD, ACCEPT, REFUSE = "record", "accept", "refuse"


def record_change(order: Order, chain: ChainOrder, told: ChangeMessage, policy: str, receipt: str) -> Result:
    """Apply a change to the chain order it means, as `policy` says. One that is known is not applied twice."""
    digest = sha256(strict_json.canonical(told.model_dump(by_alias=True, mode="json"))).digest()
    change = _known(chain.changes, told, digest)
    if change is not None:
        # One that was refused and is sent again under another policy was answered anew: it is decided anew.
        if change.state != "refused" or change.digest != digest or policy == REFUSE:
            return _repeated(order, chain, change, told, digest)
        change.state, change.receipt = "recorded", receipt
    else:
        change = Change(
            request_id=told.request_id,
            digest=digest,
            increment_cents=told.increment_value,
            discount_cents=told.discount_value,
            state="recorded",
            receipt=receipt,
        )
        chain.changes.append(change)
    order.touch()
    return _decide(order, chain, change, policy)


def _decide(order: Order, chain: ChainOrder, change: Change, policy: str) -> Result:
    if policy == REFUSE:
        change.state = "refused"
        order.tell("chain-order.change-refused", "service", chain_order=chain, **_facts(change))
        return Applied()
    if chain.status == Status.CANCELLED:
        reason = f"a change of {chain.chain_order_id} came after it was cancelled: {change.amounts}"
        order.ask_attention("changed-after-cancellation", reason, chain)
        return Contradicts("changed-after-cancellation", reason, chain.key)
    if policy == ACCEPT:
        accept(order, chain, change, "service")
        return Applied()
    order.tell("chain-order.change-told", "seller", chain_order=chain, **_facts(change))
    reason = f"the seller tells a change of {chain.chain_order_id}: {change.amounts}"
    order.ask_attention("change-received", reason, chain)
    return Applied()


def accept_recorded(order: Order, chain: ChainOrder, actor: str) -> None:
    """A person lets the changes that wait move the chain order's value."""
    for change in chain.changes:
        if change.state == "recorded":
            accept(order, chain, change, actor)


def dismiss(order: Order) -> None:
    """A person leaves out the changes that wait."""
    for chain in order.chain_orders:
        for change in chain.changes:
            if change.state == "recorded":
                change.state = "dismissed"


def accept(order: Order, chain: ChainOrder, change: Change, actor: str) -> None:
    """Let a change move the chain order's value, never below 0; what is invoiced may thereby be all of it."""
    before = chain.value_cents
    chain.value_cents = max(before + change.increment_cents - change.discount_cents, 0)
    change.state = "accepted"
    moved = {"before": before, "value": chain.value_cents}
    order.tell("chain-order.changed", actor, chain_order=chain, **moved, **_facts(change))
    settled = chain.invoiced_cents and chain.invoiced_cents >= chain.value_cents
    if settled and Status.PARTIALLY_INVOICED in {chain.status, chain.status_before_request}:
        chain.move(Status.INVOICED)
        order.tell("chain-order.invoiced", actor, chain_order=chain, value=chain.invoiced_cents)
    elif chain.status == Status.INVOICED and chain.invoiced_cents != chain.value_cents:
        order.ask_attention(
            "changed-after-invoice",
            f"{chain.chain_order_id} was invoiced with {written(chain.invoiced_cents)} "
            f"and is worth {written(chain.value_cents)} now",
        )
    order.touch()
    order.settle_status()


def _known(changes: Iterable[Change], told: ChangeMessage, digest: bytes) -> Change | None:
    """The change that was told before: by its request's id, or where it has none by its content."""
    for change in changes:
        if change.digest == digest or (told.request_id is not None and change.request_id == told.request_id):
            return change
    return None


def _repeated(order: Order, chain: ChainOrder, known: Change, told: ChangeMessage, digest: bytes) -> Result:
    if known.digest != digest:
        named = masking.mask_id(told.request_id or "")
        reason = f"the change {named} of {chain.chain_order_id} came again with other content"
        order.ask_attention("change-differs", reason, chain)
        return Contradicts("change-differs", reason, chain.key)
    if told.request_id is None:
        ask_about_repeat(order, chain, known)
    return Ignored("the change is known")


def ask_about_repeat(order: Order, chain: ChainOrder, known: Change) -> None:
    """Without a request's id nobody can tell a repeat from a second change of the same amounts."""
    order.ask_attention(
        "change-repeated", f"the same change of {chain.chain_order_id} came again, without a requestId: {known.amounts}"
    )


def _facts(change: Change) -> dict[str, object]:
    named = {"requestId": masking.mask_id(change.request_id)} if change.request_id else {}
    return {"increment": change.increment_cents, "discount": change.discount_cents, **named}
