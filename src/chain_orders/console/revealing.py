"""Showing a body whole: to an admin who says why, once; who saw what, and why, stands in the audit.

Everywhere else the console masks, as the API does: `operators.revealing` has the one rule.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.responses import Response

from ..errors import Problem
from ..operators.revealing import Wish
from . import deliveries, mistakes, notifications
from .texts import _
from .visits import Visit

Page = Callable[[Visit, Wish], Awaitable[Response]]


async def ask_notification(visit: Visit) -> Response:
    """Why a notification is to be shown whole."""
    async with visit.desk.database.transaction() as session:
        await notifications.find(session, visit)
    return _ask(visit)


async def ask_delivery(visit: Visit) -> Response:
    """Why a call is to be shown whole."""
    async with visit.desk.database.transaction() as session:
        await deliveries.found_one(session, visit)
    return _ask(visit)


def _ask(visit: Visit, problem: Problem | None = None) -> Response:
    back = visit.request.url.path.removesuffix("/whole")
    lists = {"notifications": _("Notifications"), "deliveries": _("Deliveries")}
    list_, _slash, id_ = back.removeprefix("/console/").partition("/")
    return visit.render(
        "act_whole.html",
        200 if problem is None else problem.status,
        back=back,
        steps=[(f"/console/{list_}", lists[list_]), (back, id_)],
        banner=mistakes.banner(problem),
        wrong=mistakes.beside(problem),
        reason=visit.typed("reason"),
    )


async def show_notification(visit: Visit) -> Response:
    """The notification with every byte of it."""
    return await _show(visit, notifications.show_one)


async def show_delivery(visit: Visit) -> Response:
    """The call with every byte that was sent and answered."""
    return await _show(visit, deliveries.show_one)


async def _show(visit: Visit, page: Page) -> Response:
    try:
        reason = mistakes.reason_of(visit)
    except Problem as problem:
        return _ask(visit, problem)
    return await page(visit, Wish(True, reason))
