"""Signing in with an API key, and out again."""

from __future__ import annotations

from starlette.responses import Response

from . import sessions
from .texts import _
from .visits import HOME, SIGN_IN, Visit, local


async def show(visit: Visit) -> Response:
    """The form. Whoever is signed in already may sign in as somebody else."""
    return _form(visit)


async def sign_in(visit: Visit) -> Response:
    """Exchange the key for a session, in a cookie that scripts cannot read."""
    key = visit.given("key").removeprefix("Bearer ").strip()
    opened = None
    if key:
        async with visit.desk.database.transaction() as session:
            opened = await sessions.open_session(session, key, visit.request.cookies.get(visit.cookie, ""))
    if opened is None:
        told = _("No key in force reads like this. Paste the whole key, as it was shown when it was made.")
        return _form(visit, 401, told if key else _("Paste an API key."))
    answer = visit.redirect(local(visit.given("next")))
    answer.set_cookie(
        visit.cookie, opened[0], path="/", secure=visit.secure, httponly=True, samesite="lax", max_age=None
    )
    return answer


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
    )
