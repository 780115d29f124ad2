"""Whether the service is well: its database, its queues, and the settings that it runs with."""

from __future__ import annotations

import time

from sqlalchemy import func, select, text
from starlette.responses import Response

from ..operators import stats
from . import rendering, sentences
from .texts import _
from .visits import Visit
from .words import Word


async def show(visit: Visit) -> Response:
    """Checks in words, and settings that are no secret."""
    began = time.monotonic()
    async with visit.desk.database.transaction() as session:
        version = await session.scalar(select(func.current_setting("server_version")))
        took = int((time.monotonic() - began) * 1000)
        kept = await session.scalar(select(func.current_setting("synchronous_commit")))
        schema = await session.scalar(text("select version_num from alembic_version"))
        size = await session.scalar(select(func.pg_size_pretty(func.pg_database_size(func.current_database()))))
        numbers = await stats.queues(session)
    checks = [
        (_("Database"), Word(_("answers"), "good"), _("PostgreSQL %s, in %s ms") % (version, took)),
        (
            _("Commits are kept"),
            Word(_("yes"), "good") if kept in {"on", "remote_apply"} else Word(_("no"), "wait"),
            _("A commit is answered once it is on disk.")
            if kept in {"on", "remote_apply"}
            else _("A power cut may lose it."),
        ),
        _queue(_("Calls to sellers"), numbers["deliveries"], ("ready", "retrying", "unknown")),
        _queue(_("What sellers told us"), numbers["notifications"], ("received",)),
    ]
    facts = {
        _("Release"): visit.desk.version,
        _("Schema"): str(schema),
        _("Size of the database"): str(size),
        _("Public address"): visit.desk.public_url,
        **dict(sentences.setting(name, value) for name, value in visit.desk.facts.items()),
    }
    return visit.render("health.html", checks=checks, facts=facts)


def _queue(name: str, states: dict[str, dict[str, float]], waiting: tuple[str, ...]) -> tuple[str, Word, str]:
    """A queue whose oldest item waits for more than a minute is behind."""
    count = int(sum(states[state]["count"] for state in waiting if state in states))
    oldest = max([states[state]["oldestSeconds"] for state in waiting if state in states], default=0.0)
    if not count:
        return name, Word(_("nothing waits"), "good"), ""
    told = _("%(count)s wait, the oldest for %(span)s") % {"count": count, "span": rendering.span(oldest)}
    return name, Word(_("behind"), "wait") if oldest > 60 else Word(_("at work"), "busy"), told
