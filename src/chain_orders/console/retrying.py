"""Trying calls again: one, those that were chosen, or all that match; shown first, with a reason, a result for each."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select
from starlette.responses import Response

from .. import masking
from ..deliveries.models import Delivery
from ..errors import Conflict, Problem, Unknown
from ..operators import again, holding
from . import deliveries, mistakes, once, words
from .deliveries import RETRIABLE
from .texts import N_, _
from .visits import Visit, list_at

_LIST = "/console/deliveries"
AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one of many."""

    label: str
    link: str
    ok: bool
    told: str
    under: str = ""


async def show(visit: Visit, problem: Problem | None = None) -> Response:
    """What trying it again will do."""
    async with visit.desk.database.transaction() as session:
        delivery = await deliveries.found_one(session, visit)
        if delivery.state not in RETRIABLE:
            raise again.ended(delivery)
        order, seller, body = await deliveries.about(session, delivery)
        held = await holding.at_gate(session, delivery.lane)
    return visit.render(
        "act_retry.html",
        200 if problem is None else problem.status,
        delivery=delivery,
        order=order,
        seller=seller,
        held=held,
        body=masking.mask_body(body or b""),
        **_form(visit, problem),
    )


def _form(visit: Visit, problem: Problem | None) -> dict[str, object]:
    return {
        "banner": mistakes.banner(problem),
        "wrong": mistakes.beside(problem),
        "reason": visit.typed("reason"),
    }


async def retry(visit: Visit) -> Response:
    """Make it due now. Raises Conflict when it has ended or is under way."""
    try:
        reason = mistakes.reason_of(visit)
    except Problem as problem:
        return await show(visit, problem)
    async with visit.desk.database.transaction() as session:
        delivery = await deliveries.found_one(session, visit)
        if await once.first(session, visit):
            await again.call(session, delivery, visit.operator, reason)
        order_id, held = delivery.order_id, await holding.at_gate(session, delivery.lane)
    visit.desk.bell.ring("deliveries")
    done = "retried-later" if held else "retried"
    return await visit.finished(done, f"/console/orders/{order_id}" if order_id else f"{_LIST}/{delivery.id}")


async def show_list(visit: Visit) -> Response:
    """Whoever comes by the address alone, as to results that were seen before, has chosen nothing yet."""
    return visit.redirect(list_at(visit, _LIST))


async def retry_many(visit: Visit) -> Response:
    """The preview of those that were chosen, and once it is confirmed, a result for each."""
    if not visit.typed("confirm"):
        return await _preview(visit)
    try:
        reason = mistakes.reason_of(visit)
    except Problem as problem:
        return await _preview(visit, problem)
    await once.begin(visit)
    results = [await _result(visit, delivery_id, reason) for delivery_id in _ids(visit)]
    visit.desk.bell.ring("deliveries")
    return visit.render("results.html", results=results, back=list_at(visit, _LIST), what=_("Try again"))


async def _preview(visit: Visit, problem: Problem | None = None) -> Response:
    """What will be tried: at most so many at once, the oldest first."""
    if visit.given("all"):
        query = deliveries.matching(deliveries.chosen_in(visit))
    else:
        query = select(Delivery).where(Delivery.id.in_(_ids(visit)))
    query = query.where(Delivery.state.in_(RETRIABLE))
    async with visit.desk.database.transaction() as session:
        rows = list(await session.scalars(query.order_by(Delivery.id).limit(AT_ONCE)))
        groups = await deliveries.groups_of(session, rows)
        matching = len(rows)
        if matching == AT_ONCE:
            bounded = query.with_only_columns(Delivery.id).limit(10_001).subquery()
            matching = await session.scalar(select(func.count()).select_from(bounded)) or 0
    return visit.render(
        "act_retry_many.html",
        200 if problem is None else problem.status,
        rows=rows,
        groups=groups,
        matching=matching,
        back=list_at(visit, _LIST),
        **_form(visit, problem),
    )


def _ids(visit: Visit) -> list[int]:
    given = visit.form.get("id", [])
    return [int(one) for one in given if one.isascii() and one.isdigit() and len(one) < 19][:AT_ONCE]


async def _result(visit: Visit, delivery_id: int, reason: str) -> Result:
    label, link, group = _("Delivery %s") % delivery_id, f"/console/deliveries/{delivery_id}", ""
    try:
        async with visit.desk.database.transaction() as session:
            delivery = await session.get(Delivery, delivery_id)
            if delivery is None:
                raise Unknown("delivery-unknown", N_("There is no such delivery."))
            label = words.KINDS.get(delivery.kind, label)
            group = "".join((await deliveries.groups_of(session, [delivery])).values())
            await again.call(session, delivery, visit.operator, reason)
            held = await holding.at_gate(session, delivery.lane)
    except (Conflict, Unknown) as refused:
        return Result(label, link, False, words.refusal(refused), group)
    return Result(label, link, True, words.DONE["retried-later"] if held else _("It is tried again now."), group)
