"""The operator's time zone: told by the browser at signing in, or chosen; UTC until then."""

from __future__ import annotations

from zoneinfo import available_timezones

from babel.core import get_global
from starlette.responses import Response

from . import sessions
from .texts import _
from .visits import HOME, Visit

ZONES = ("UTC", *sorted(one for one in available_timezones() if "/" in one and not one.startswith("Etc/")))


def known(name: str) -> str | None:
    """A zone by the name that this machine has it under. Browsers say some by names that systems have given up."""
    return next((one for one in (name, get_global("zone_aliases").get(name)) if one in ZONES), None)


async def show(visit: Visit) -> Response:
    """The zones to choose from."""
    return visit.render("zone.html", zones=ZONES, banner="")


async def choose(visit: Visit) -> Response:
    """Keep the zone with the session."""
    chosen = visit.typed("zone")
    if chosen not in ZONES:
        return visit.render("zone.html", 422, zones=ZONES, banner=_("There is no such zone."))
    async with visit.desk.database.transaction() as session:
        await sessions.remember(session, visit.session, zone=chosen)
    return await visit.finished("zone", HOME)
