"""Signing in with an API key, and out again."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.responses import Response

from . import sessions, zones
from .texts import _
from .visits import DRAFT, HOME, SIGN_IN, Visit, local


async def show(visit: Visit) -> Response:
    """The form. Whoever is signed in already may sign in as somebody else."""
    return _form(visit)


async def sign_in(visit: Visit) -> Response:
    """Exchange the key for a session, in a cookie that scripts cannot read."""
    key, wanted = visit.typed("key").removeprefix("Bearer ").strip(), local(visit.typed("next"))
    kept = _draft(visit)
    opened = None
    if key:
        draft = {"path": urlsplit(wanted).path, "fields": kept} if kept else None
        zone = zones.known(visit.typed("zone"))
        before = visit.request.cookies.get(visit.cookie, "")
        async with visit.desk.database.transaction() as session:
            opened = await sessions.open_session(session, key, before, draft=draft, zone=zone)
    if opened is None:
        told = _("No key in force reads like this. Paste the whole key, as it was shown when it was made.")
        return _form(visit, 401, told if key else _("Paste an API key."))
    answer = visit.redirect(wanted)
    answer.set_cookie(
        visit.cookie, opened[0], path="/", secure=visit.secure, httponly=True, samesite="lax", max_age=None
    )
    return answer


def _draft(visit: Visit) -> dict[str, str]:
    """What was typed into another form, carried along by this one."""
    return {name.removeprefix(DRAFT): values[-1] for name, values in visit.form.items() if name.startswith(DRAFT)}


async def sign_out(visit: Visit) -> Response:
    """End the session here, not only in the browser."""
    if visit.signed_in is not None:
        async with visit.desk.database.transaction() as session:
            await sessions.close_session(session, visit.signed_in)
    answer = visit.redirect(f"{SIGN_IN}?out=1")
    answer.delete_cookie(visit.cookie, path="/", secure=visit.secure, httponly=True, samesite="lax")
    return answer


def _form(visit: Visit, status: int = 200, wrong: str = "") -> Response:
    wanted = local(visit.given("next"))
    return visit.render(
        "sign_in.html",
        status,
        wrong=wrong,
        next=wanted if wanted != HOME else "",
        out="out" in visit.request.query_params,
        ended=False,
        draft=_draft(visit),
    )
