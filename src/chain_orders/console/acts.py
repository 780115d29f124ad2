"""What an operator does to an order: authorize, ask to cancel, decide. Each is shown first, exactly as it will be sent.

The preview is the act itself, in a transaction that is rolled back: what it shows is what the act does. The forms
carry the version that was looked at, so that two operators cannot act past each other.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from ..deliveries.models import Delivery
from ..errors import Conflict, Invalid, Problem, Stale
from ..operators import audit, edges
from ..operators.schemas import AuthorizationBody, CancellationBody
from ..orders import authorizing, cancelling, lookup
from ..orders.models import Order
from ..orders.receipts import GivenReceipt
from ..orders.states import Status
from ..sellers import directory
from ..sellers.models import Seller
from . import meanwhile, mistakes, once, sessions
from .texts import N_
from .visits import Visit, kept

Move = Callable[[AsyncSession, Order, Seller], Awaitable[None]]


class Rehearsed(Exception):
    """Carries what an act would do out of the transaction that is rolled back."""

    def __init__(self, order: Order, seller: Seller, owed: list[Delivery], withdrawn: list[Delivery]) -> None:
        self.order, self.seller, self.owed, self.withdrawn = order, seller, owed, withdrawn
        self.after_status = str(order.status)


async def rehearse(visit: Visit, move: Move, order_id: uuid.UUID | None = None) -> Rehearsed:
    """What the move would do to the order of the page, or to another: the order after it, the calls it owes, the
    calls it takes back."""
    order_id = order_id or _id(visit)
    try:
        async with visit.desk.database.transaction() as session:
            last = await session.scalar(select(func.max(Delivery.id)))
            order = await lookup.locked(session, order_id)
            seller = await directory.get(session, order.seller_id)
            await move(session, order, seller)
            await session.flush()
            later = select(Delivery).where(Delivery.order_id == order.id, Delivery.id > (last or 0))
            taken_back = select(Delivery).where(
                Delivery.order_id == order.id,
                Delivery.state == "withdrawn",
                Delivery.settled_at >= func.transaction_timestamp(),
            )
            owed = list(await session.scalars(later.order_by(Delivery.id)))
            withdrawn = list(await session.scalars(taken_back))
            session.expunge_all()  # what is rolled back would forget what it looked like
            raise Rehearsed(order, seller, owed, withdrawn)
    except Rehearsed as rehearsed:
        return rehearsed


async def perform(visit: Visit, move: Move, done: str) -> Response:
    """The act, once: a form that is sent twice, as by a double click, is acted upon once and answered alike."""
    order_id = _id(visit)
    try:
        async with visit.desk.database.transaction() as session:
            if await once.first(session, visit):
                await _move(session, order_id, visit.typed("version"), move)
    except Stale as stale:
        return await _show_moved(visit, stale)
    visit.desk.bell.ring("deliveries")
    return await visit.finished(done, f"/console/orders/{order_id}")


async def _show_moved(visit: Visit, stale: Stale) -> Response:
    """What changed since the form was drawn. What was typed into it is there again when it is looked at again."""
    path = visit.request.url.path
    async with visit.desk.database.transaction() as session:
        order = await lookup.loaded(session, _id(visit))
        seller = await directory.get(session, order.seller_id)
        moved = await meanwhile.of_order(session, order, visit.typed("seen"), seller.currency, visit.zone)
        await sessions.remember(session, visit.session, draft={"path": path, "fields": kept(visit.form)})
    return visit.render("act_moved.html", stale.status, order=order, banner=mistakes.banner(stale), moved=moved)


async def perform_on(visit: Visit, order_id: uuid.UUID, version: str, move: Move) -> None:
    """The act on one of many. Raises Stale."""
    async with visit.desk.database.transaction() as session:
        await _move(session, order_id, version, move)


async def _move(session: AsyncSession, order_id: uuid.UUID, version: str, move: Move) -> None:
    """Raises Stale when somebody, or the seller, has moved the order since it was looked at."""
    order = await lookup.locked(session, order_id)
    if version != str(order.version):
        raise Stale(
            "version-differs", N_("The order has changed since you looked. Nothing was done: look at it again.")
        )
    await move(session, order, await directory.get(session, order.seller_id))


def _id(visit: Visit) -> uuid.UUID:
    return edges.order_id(visit.request.path_params["order_id"])


async def looked_at(visit: Visit) -> tuple[Order, Seller, str]:
    """The order, its seller, and what the form carries of it."""
    async with visit.desk.database.transaction() as session:
        event = await meanwhile.latest(session, _id(visit))
        order = await lookup.loaded(session, _id(visit))
        return order, await directory.get(session, order.seller_id), meanwhile.seen(order, event)


async def show_authorize(visit: Visit) -> Response:
    """What will be sent to say that payment is approved. A receipt that is not given is minted here, once."""
    order, seller, seen = await looked_at(visit)
    given, rehearsed, problem = _receipt(visit, order), None, None
    try:
        rehearsed = await rehearse(visit, _authorization(visit, given))
    except Invalid as wrong:
        problem = wrong
    return visit.render(
        "act_authorize.html",
        200 if problem is None else problem.status,
        order=order,
        seller=seller,
        seen=seen,
        preview=rehearsed,
        given=given,
        banner=mistakes.banner(problem),
        wrong={name.rpartition("/")[2]: told for name, told in mistakes.beside(problem).items()},
    )


async def authorize(visit: Visit) -> Response:
    """The preview with what was typed, and once it is confirmed, the act."""
    if not visit.typed("confirm"):
        return await show_authorize(visit)
    try:
        return await perform(visit, _authorization(visit, _receipt(visit)), "authorized")
    except Invalid:
        return await show_authorize(visit)


def _receipt(visit: Visit, order: Order | None = None) -> GivenReceipt:
    """What was typed, or one made now. A receipt that the order has already is resent, never changed: it is shown
    whatever a form says that was drawn before it was given."""
    if order is not None and order.receipt is not None:
        return GivenReceipt(order.receipt_date, order.receipt)
    minted = datetime.now(UTC).isoformat(timespec="milliseconds")
    return GivenReceipt(visit.typed("date") or minted, visit.typed("receipt") or secrets.token_hex(16))


def _authorization(visit: Visit, given: GivenReceipt) -> Move:
    """Raises Invalid for a receipt that the API would not take either."""
    edges.validated(AuthorizationBody, {"authorizationReceipt": {"date": given.date, "receipt": given.receipt}})

    async def move(session: AsyncSession, order: Order, seller: Seller) -> None:
        audit.note(session, visit.operator, "order.authorize", order)
        await authorizing.authorize(session, order, seller, given, visit.operator.actor)

    return move


async def show_cancel(visit: Visit, problem: Problem | None = None) -> Response:
    """Why, and which chain orders."""
    order, seller, seen = await looked_at(visit)
    status = 200 if problem is None else problem.status
    return visit.render(
        "act_cancel.html",
        status,
        order=order,
        seller=seller,
        seen=seen,
        banner=mistakes.banner(problem),
        wrong=mistakes.beside(problem),
        reason=visit.typed("reason"),
        chosen=visit.typed("chain"),
        preview=None,
        open_chains=_open(order),
        # What is invoiced is not cancelled: then the order is asked for by its other parts only.
        whole=all(chain.status != Status.INVOICED for chain in order.chain_orders),
    )


async def cancel(visit: Visit) -> Response:
    """The preview, and once it is confirmed, the act."""
    try:
        body = edges.validated(
            CancellationBody, {"reason": visit.typed("reason"), "chainOrderId": visit.typed("chain") or None}
        )
        move = cancellation(visit, body)
        if visit.typed("confirm"):
            return await perform(visit, move, "cancel")
        rehearsed = await rehearse(visit, move)
    except Problem as problem:
        return await show_cancel(visit, problem)
    order, seller, seen = await looked_at(visit)
    return visit.render(
        "act_cancel.html", order=order, seller=seller, seen=seen, banner="", wrong={}, reason=body.reason,
        chosen=body.chain_order_id or "", preview=rehearsed,
    )  # fmt: skip


def cancellation(visit: Visit, body: CancellationBody) -> Move:
    """Asking again for what was asked for is a success to programs. A person is told that it does nothing."""

    async def move(session: AsyncSession, order: Order, seller: Seller) -> None:
        actor, before = visit.operator.actor, _statuses(order)
        audit.note(session, visit.operator, "order.cancel", order, reason=body.reason)
        await cancelling.request(session, order, seller, body.reason, actor, body.chain_order_id)
        if _statuses(order) == before:
            told = N_("Nothing would change: its cancellation was asked for before, or it is cancelled.")
            raise Conflict("nothing-changes", told)

    return move


def _statuses(order: Order) -> list[str]:
    return [order.status, *[chain.status for chain in order.chain_orders]]


def _open(order: Order) -> list[str]:
    done = {Status.CANCELLED, Status.INVOICED, Status.CANCEL_REQUESTED}
    return [chain.chain_order_id for chain in order.chain_orders if chain.status not in done]
