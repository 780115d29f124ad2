"""Putting a webhook on record, giving it a new secret, and telling it again: each secret is shown once."""

from __future__ import annotations

import re

from starlette.responses import Response

from ..errors import Problem
from ..events import feed, types
from ..operators import audit, edges, schemas
from ..operators.webhooks import NewWebhook, ReplayBody, RotationBody
from ..webhooks import directory
from ..webhooks.models import Subscription
from . import mistakes, once, words
from .visits import Visit
from .webhooks import done, webhook_id

_FIELDS = ("url", "events", "sellers", "description")


async def show_new(visit: Visit, problem: Problem | None = None) -> Response:
    """The form for another webhook."""
    wrong = {name.partition("/")[0]: told for name, told in mistakes.beside(problem).items()}
    return visit.render(
        "webhook_new.html",
        200 if problem is None else problem.status,
        values={name: visit.typed(name) for name in _FIELDS},
        types=[(one, words.event(one)[0]) for one in sorted(types.ALL)],
        banner=mistakes.banner(problem),
        wrong=wrong,
    )


async def add(visit: Visit) -> Response:
    """Put it on record, told of what happens from now on, and show its secret this once."""
    try:
        body = edges.validated(NewWebhook, _body(visit))
        given = {"sellers": None, "description": None, **schemas.changes(body)}
        directory.check_url(body.url, development=visit.desk.development)
        async with visit.desk.database.transaction() as session:
            await once.check_unseen(session, visit)
            found, secret = await directory.add(session, visit.desk.vault, after=None, **given)
            audit.note(session, visit.operator, "webhook.add", audit.name_of(found), **audit.state_of(found))
    except Problem as problem:
        return await show_new(visit, problem)
    return _secret(visit, found, secret)


def _body(visit: Visit) -> dict[str, object]:
    """The form as the API's body: what is empty is left out."""
    many = {name: re.split(r"[\s,]+", visit.typed(name)) for name in ("events", "sellers") if visit.typed(name)}
    text = {"description": visit.typed("description")} if visit.typed("description") else {}
    return {"url": visit.typed("url"), **many, **text}


async def show_secret(visit: Visit, problem: Problem | None = None) -> Response:
    """What a new secret does, and for how long the one before signs beside it."""
    async with visit.desk.database.transaction() as session:
        found = await directory.get(session, webhook_id(visit))
    return _secret(visit, found, "", problem)


async def make_secret(visit: Visit) -> Response:
    """Make a new secret, and show it this once."""
    try:
        overlap = mistakes.overlap_of(visit, RotationBody)
        async with visit.desk.database.transaction() as session:
            await once.check_unseen(session, visit)
            found = await directory.get(session, webhook_id(visit), lock=True)
            audit.note(session, visit.operator, "webhook.rotate", found)
            secret = await directory.rotate(session, visit.desk.vault, found, overlap)
    except Problem as problem:
        return await show_secret(visit, problem)
    return _secret(visit, found, secret)


def _secret(visit: Visit, found: Subscription, secret: str, problem: Problem | None = None) -> Response:
    status = 200 if problem is None else problem.status
    return visit.render("webhook_secret.html", status, webhook=found, secret=secret, banner=mistakes.banner(problem))


async def show_replay(visit: Visit, problem: Problem | None = None) -> Response:
    """From which position of the feed on it is to be told again."""
    async with visit.desk.database.transaction() as session:
        found = await directory.get(session, webhook_id(visit))
        last = await feed.last_position(session)
    return visit.render(
        "act_tell_again.html",
        200 if problem is None else problem.status,
        webhook=found,
        last=last,
        after=visit.typed("after"),
        banner=mistakes.banner(problem),
        wrong=mistakes.beside(problem),
        reason=visit.typed("reason"),
    )


async def replay(visit: Visit) -> Response:
    """Tell it again of every event after a position, in order and under the same ids."""
    try:
        reason = mistakes.reason_of(visit)
        text = visit.typed("after")
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else text
        after = edges.validated(ReplayBody, {"after": number}).after
        async with visit.desk.database.transaction() as session:
            found = await directory.get(session, webhook_id(visit), lock=True)
            if await once.first(session, visit):
                audit.note(session, visit.operator, "webhook.replay", found, reason=reason)
                await directory.replay(session, found, after)
    except Problem as problem:
        return await show_replay(visit, problem)
    return await done(visit, "told-again")
