"""Whether the service is well: its database, its workers, its queues, and the settings that it runs with."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from ..deliveries.models import WAITING
from ..operators import again, stats
from . import rendering, sentences, words
from .texts import _, ngettext
from .visits import Visit
from .words import Word

_LATE_SECONDS = 60.0
_WORKERS = 5
Waits = tuple[int, float]
"""So many, the oldest for so many seconds."""
# Every exchange names its worker. Served by attempts_at_idx.
_SEEN = text(
    """
    select worker, max(at) as at from attempts where at > statement_timestamp() - interval '5 minutes'
     group by worker order by max(at) desc
    """
)
# Served by events_unnumbered_idx.
_UNNUMBERED = text(
    """
    select count(*) as number, extract(epoch from clock_timestamp() - min(at))::float8 as oldest
      from events where position is null
    """
)


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, what was found, and where to see it."""

    name: str
    found: Word
    more: str = ""
    link: str = ""
    workers: Sequence[tuple[str, datetime]] = ()
    """Who made a call lately, and when the last one."""


async def show(visit: Visit) -> Response:
    """Checks in words, and settings that are no secret."""
    async with visit.desk.database.transaction() as session:
        checks = [*await _database(session), *await _work(session, visit.may("admin"))]
        schema = await session.scalar(text("select version_num from alembic_version"))
        size = await session.scalar(select(func.pg_size_pretty(func.pg_database_size(func.current_database()))))
    facts = {
        _("Release"): visit.desk.version,
        _("Schema"): str(schema),
        _("Size of the database"): str(size),
        _("Public address"): visit.desk.public_url,
    }
    settings = [sentences.setting(name, value, rendering.exact) for name, value in visit.desk.facts.items()]
    return visit.render("health.html", checks=checks, facts=facts, settings=settings)


async def _database(session: AsyncSession) -> list[Check]:
    began = time.monotonic()
    version = await session.scalar(select(func.current_setting("server_version")))
    took = int((time.monotonic() - began) * 1000)
    kept = await session.scalar(select(func.current_setting("synchronous_commit"))) in {"on", "remote_apply"}
    return [
        Check(_("Database"), Word(_("answers"), "good"), _("PostgreSQL %s, in %s ms") % (version, took)),
        Check(
            _("Commits are kept"),
            Word(_("yes"), "good") if kept else Word(_("no"), "wait"),
            _("A commit is answered once it is on disk.") if kept else _("A power cut may lose it."),
        ),
    ]


async def _work(session: AsyncSession, is_admin: bool) -> list[Check]:
    """Who works, what waits for them, and what waits for a person. Webhooks are for admins to see."""
    sellers = await stats.queues(session, words.TO_SELLERS)
    webhooks = (await stats.queues(session, ["webhook"]))["deliveries"]
    events = (await session.execute(_UNNUMBERED)).one()
    queues = [
        (_("Calls to sellers"), _waits(sellers["deliveries"], WAITING)),
        (_("Calls to webhooks"), _waits(webhooks, WAITING)),
        (_("What sellers told us"), _waits(sellers["notifications"], ("received",))),
        (_("Events on their way to the feed"), (events.number, events.oldest or 0.0)),
    ]
    late = any(oldest > _LATE_SECONDS for _name, (_count, oldest) in queues)
    seen = (await session.execute(_SEEN)).all()
    dead, troubled = _waits(sellers["deliveries"], ("dead",)), _waits(sellers["notifications"], again.UNSETTLED)
    return [
        _workers([(row.worker, row.at) for row in seen], late=late),
        *[_queue(name, waits) for name, waits in queues],
        _stuck(_("Dead calls to sellers"), dead, "/console/deliveries?state=dead"),
        _stuck(_("Dead calls to webhooks"), _waits(webhooks, ("dead",)), "/console/webhooks" if is_admin else ""),
        _stuck(_("What cannot be applied"), troubled, "/console/notifications"),
    ]


def _workers(seen: Sequence[tuple[str, datetime]], *, late: bool) -> Check:
    """A worker shows itself by its calls: one that has nothing to do is not seen, and not missed."""
    name = _("Workers")
    if seen:
        label = ngettext("one seen lately", "%(count)s seen lately", len(seen)) % {"count": len(seen)}
        more = _("and %(more)s more") % {"more": len(seen) - _WORKERS} if len(seen) > _WORKERS else ""
        return Check(name, Word(label, "good"), more, workers=seen[:_WORKERS])
    if late:
        told = _("Nothing was called for five minutes, and what is due waits. Start one, or read its log.")
        return Check(name, Word(_("none seen"), "bad"), told)
    return Check(name, Word(_("none needed"), "quiet"), _("Nothing was called for five minutes, and nothing waits."))


def _waits(states: Mapping[str, Mapping[str, Any]], which: Sequence[str]) -> Waits:
    found = [states[state] for state in which if state in states]
    return sum(int(one["count"]) for one in found), max([one["oldestSeconds"] for one in found], default=0.0)


def _queue(name: str, waits: Waits) -> Check:
    """A queue whose oldest item waits for more than a minute is behind."""
    count, oldest = waits
    if not count:
        return Check(name, Word(_("nothing waits"), "good"))
    found = Word(_("behind"), "wait") if oldest > _LATE_SECONDS else Word(_("at work"), "busy")
    return Check(name, found, _waiting(waits))


def _stuck(name: str, waits: Waits, link: str = "") -> Check:
    """What goes on only when a person acts."""
    if not waits[0]:
        return Check(name, Word(_("none"), "good"))
    return Check(name, Word(_("wait for you"), "bad"), _waiting(waits), link)


def _waiting(waits: Waits) -> str:
    told = ngettext("%(count)s waits, for %(span)s", "%(count)s wait, the oldest for %(span)s", waits[0])
    return told % {"count": rendering.count(waits[0]), "span": rendering.span(waits[1])}
