"""Applying one notification to its order, in memory. Pure but for the clock that the database fills in.

The applier calls it with what has just come, a rebuild with everything that ever came: both reach the same facts.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from pydantic import ValidationError

from .. import strict_json
from ..database import now
from ..orders import lookup
from ..orders.applied import Applied, Contradicts, Ignored, Result
from ..orders.cancelling import CANCELLED_BY_SELLER, record_cancellation
from ..orders.changing import RECORD, record_change
from ..orders.comparing import shown_cancelled
from ..orders.invoicing import record_invoice, record_tracking
from ..orders.models import ChainOrder, Order
from ..orders.models import Invoice as KnownInvoice
from ..orders.states import Status
from ..vtex import addresses
from ..vtex.addresses import Callback, Kind
from ..vtex.messages import Cancellation, CancellationAsked, Change, Invoice, Tracking
from .models import Notification

UNREADABLE = "unreadable"
VERIFYING = "verifying"
INVOICE_UNKNOWN = "invoice-unknown"
_DISBELIEVED = "somebody told us of"
_PATIENT_TRIES = 5
"""How often something is tried again before a person hears that what it waits for has not come."""
_LONGEST_WAIT = 128  # sweeps


class Parked(Exception):
    """It cannot be applied yet. `attention` when a person should know, `later` when only after many tries."""

    def __init__(self, code: str, reason: str, *, attention: bool, later: bool = False) -> None:
        super().__init__(reason)
        self.code, self.reason, self.attention = code, reason, attention
        self.at_try = _PATIENT_TRIES if later else 0


def apply(order: Order, note: Notification, *, trusted: bool, patience: timedelta) -> bool:
    """Apply one notification to its order; says whether the seller should be read to confirm it.

    A cancellation or a return of somebody who is not `trusted` waits until a read shows it, for `patience` at most.
    """
    order.applied_seq += 1
    note.applied_seq = order.applied_seq
    note.applied_at = now()
    try:
        result, confirmable = _result(order, note, trusted, patience)
    except Parked as parked:
        tried = note.tries if note.reason == parked.code else 0
        if parked.attention and tried == parked.at_try:
            order.ask_attention(parked.code, parked.reason)
        park(note, parked.code)
        return parked.code == VERIFYING
    except _Unreadable:
        note.state = UNREADABLE
        order.ask_attention("notification-unreadable", "the seller sent something that cannot be read; it is kept")
        return False
    match result:
        case Applied():
            note.state, note.reason = "applied", None
        case Ignored(reason):
            note.state, note.reason = "ignored", reason
        case Contradicts(code, reason, chain_order_key):
            note.state, note.reason = "conflict", reason
            note.contradicts, note.chain_order_key = code, chain_order_key
    return confirmable and isinstance(result, Applied)


def park(note: Notification, reason: str) -> None:
    """Keep it until it can be applied. Tries are counted anew when it waits for something else."""
    note.tries = note.tries + 1 if note.reason == reason else 1
    note.state, note.reason = "parked", reason


def put_off(note: Notification, sweep: timedelta) -> None:
    """Say when a parked one is tried again: after a sweep at first, and then twice as long each time."""
    note.next_at = now() + sweep * min(2 ** max(note.tries - 1, 0), _LONGEST_WAIT)


class _Unreadable(Exception):
    """Nobody can say what it means. It is kept."""


def _result(order: Order, note: Notification, trusted: bool, patience: timedelta) -> tuple[Result, bool]:
    """What came of it, and whether it is of the kind that the seller must show as well."""
    if note.kind == UNREADABLE:
        raise _Unreadable
    called = addresses.callback(addresses.split(note.path))
    if called is None:
        raise Parked("path-unknown", "a notification came to a path that is no longer understood", attention=True)
    try:
        message = read(called, note.body)
    except (strict_json.NotJson, ValidationError):  # it came through another release's door
        raise _Unreadable from None
    if not order.chain_orders:
        return _unplaced(order, message), False
    if not lookup.belongs(order, called.named):
        raise _foreign()
    match message:
        case Cancellation() | CancellationAsked():
            return _cancellation(order, note, called, message, None if trusted else patience)
        case Invoice():
            return _invoice(order, note, called, message, None if trusted else patience)
        case Tracking():
            chain, invoice = _tracked(order, called)
            return record_tracking(order, chain, invoice, message, note.received_at, nth=note.id or 0), False
        case Change():
            skus = [item.id for item in message.items_removed]
            chain = _only(lookup.meant(order, [called.named], skus))
            return record_change(order, chain, message, note.policy or RECORD, note.receipt), False


def _unplaced(order: Order, told: Message) -> Result:
    """The order has no chain orders. What was given up before it was known to be placed may be at the seller yet."""
    if order.status == Status.REJECTED:
        raise Parked("rejected-but-known", "the seller speaks of an order that it refused", attention=True)
    if order.status != Status.CANCELLED:
        raise Parked("not-placed", "the order is not known to be placed yet", attention=False)
    if isinstance(told, Cancellation | CancellationAsked):
        return Ignored("it is cancelled already")
    reason = "the seller speaks of an order that was cancelled before it was known to be placed"
    raise Parked("cancelled-but-known", reason, attention=True)


Message = Cancellation | CancellationAsked | Invoice | Tracking | Change


def model(called: Callback) -> type[Message]:
    """What a body below this path is."""
    match called.kind:
        case Kind.CANCELLATION:
            return CancellationAsked if called.one_level else Cancellation
        case Kind.INVOICE:
            return Invoice
        case Kind.TRACKING:
            return Tracking
        case Kind.CHANGE:
            return Change


def read(called: Callback, body: bytes) -> Message:
    """The message. A cancellation of one level may come without a body. Raises NotJson, ValidationError."""
    document = {} if called.one_level and not body.strip() else strict_json.parse(body)
    return model(called).model_validate(document)


def _cancellation(
    order: Order,
    note: Notification,
    called: Callback,
    told: Cancellation | CancellationAsked,
    patience: timedelta | None,
) -> tuple[Result, bool]:
    if isinstance(told, Cancellation):
        if told.id.lower() != CANCELLED_BY_SELLER.lower():
            order.tell("order.notified", "seller", notificationId=note.id)  # what it was may be any text
            return Ignored("its type is not one that is known"), False
        names = [told.seller_order_id, called.named]
    else:
        names = [called.named, *filter(None, [told.marketplace_order_id, told.marketplace_order_group])]
    chain = _only(lookup.meant(order, names))
    shown = chain.status == Status.CANCELLED or shown_cancelled(chain)
    if patience is not None and not shown:
        return _unproven(order, note, chain, patience), False
    return record_cancellation(order, chain), True


def _invoice(
    order: Order, note: Notification, called: Callback, told: Invoice, patience: timedelta | None
) -> tuple[Result, bool]:
    chain = _only(lookup.meant(order, [called.order_id], [item.id for item in told.items]))
    is_return = told.type == "Input"
    if is_return and patience is not None and _known(chain, told) is None:
        return _unproven(order, note, chain, patience), False
    return record_invoice(order, chain, told, note.receipt, nth=note.id or 0), is_return


def _tracked(order: Order, called: Callback) -> tuple[ChainOrder, KnownInvoice]:
    """The invoice whose number the path holds; a sale's before a return's."""
    found = [
        (chain, invoice)
        for chain in lookup.meant(order, [called.named])
        for invoice in chain.invoices
        if invoice.number == called.invoice_number
    ]
    if not found:
        raise Parked(
            INVOICE_UNKNOWN, "tracking came, and the invoice that it is of has not", attention=True, later=True
        )
    _only([chain for chain in order.chain_orders if any(chain is holder for holder, _ in found)])
    return next((one for one in found if one[1].type == "Output"), found[0])


def invoice_of(order: Order, called: Callback, told: Invoice | Tracking) -> KnownInvoice | None:
    """The invoice that an invoice or its tracking is told of, if that is plain and it is known."""
    try:
        if isinstance(told, Tracking):
            return _tracked(order, called)[1]
        chain = _only(lookup.meant(order, [called.order_id], [item.id for item in told.items]))
    except Parked:
        return None
    return _known(chain, told)


def _known(chain: ChainOrder, told: Invoice) -> KnownInvoice | None:
    named = (told.type, told.invoice_number)
    return next((one for one in chain.invoices if (one.type, one.number) == named), None)


def _unproven(order: Order, note: Notification, chain: ChainOrder, patience: timedelta) -> Result:
    """It is believed once the seller shows it, which a read will have applied; after a while it is disbelieved."""
    if chain.seller_read_at is None or chain.seller_read_at < note.received_at + patience:
        raise Parked(VERIFYING, "it waits for the seller to show it", attention=False)
    reason = f"{_DISBELIEVED} a {note.kind} that the seller does not show for {chain.chain_order_id}"
    order.ask_attention("not-at-seller", reason, chain)
    return Contradicts("not-at-seller", reason, chain.key)


def disbelieved(note: Notification) -> bool:
    """Whether it was left out because the seller did not show it."""
    return _DISBELIEVED in (note.reason or "")


def _foreign() -> Parked:
    return Parked("foreign-id", "a notification to this order's address names another order", attention=True)


def _only(meant: Sequence[ChainOrder]) -> ChainOrder:
    if not meant:
        raise _foreign()
    if len(meant) > 1:
        raise Parked("ambiguous", "a notification does not say which of several chain orders it means", attention=True)
    return meant[0]
