"""A visit: one request to the console, who makes it, and what may be done in it.

`page` admits whoever is signed in; `act` also demands a form of ours: the session's secret, and a browser that says
the form came from this origin. Both turn every failure into a page in words.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, tzinfo
from typing import Any
from urllib.parse import parse_qs, parse_qsl, quote, urlencode, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from .. import body, logs
from ..alerts.refusals import Kind
from ..database import Bell, Database, is_passing
from ..errors import Forbidden, Problem, Sentence, TooLarge, Unavailable, UnsupportedMedia
from ..events.feed import Tail
from ..operators.access import Operator
from ..operators.roles import ROLES, Role
from ..orders.placing import Bases, Place
from ..outbound import Wire
from ..sellers.vault import Vault
from . import rendering, sentences, sessions, words
from .charts import Counted, Hours, Kept
from .sessions import SignedIn
from .texts import N_

log = logs.get("console")

HOME = "/console"
SIGN_IN = "/console/sign-in"
SIGN_OUT = "/console/sign-out"
POLLING = "x-live"
"""The header of a request that the page's script makes by itself."""
LIVE = "/console/live"
DRAFT = "draft."
"""Before the names of another form's fields that the sign-in form carries along."""
_FILE = re.compile(r"(\.csv|/evidence)$")
"""How addresses end that answer with a file. Who signs in on the way there goes on to its page: with a file a browser
would stay where it is."""
_FORM_BYTES = 256 * 1024
_DRAFT_BYTES = 8 * 1024
_NOT_KEPT = frozenset({"csrf", "once", "seen", "confirm", "key", "appKey", "appToken", "document"})
"""Fields of a form that are not kept while somebody signs in again: secrets, personal data, and what belongs to the
old form. Its version is kept, so that what somebody else changed meanwhile is told."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What the console works with."""

    database: Database
    bell: Bell
    tail: Tail
    vault: Vault
    wire: Wire
    bases: Bases
    place: Place
    refused: Callable[[Kind, str], None]
    """Counts a call whose key has too low a role."""
    development: bool
    seller_hosts: list[str]
    public_url: str
    version: str
    evidence_seed: bytes | None = field(default=None, repr=False)
    facts: dict[str, str] = field(default_factory=dict)
    """Settings worth showing, none of them secret."""
    counted: Kept[Counted] = field(default_factory=Kept)
    """The numbers of the overview's pictures."""
    hours: Hours = field(default_factory=Hours)


@dataclass(frozen=True, slots=True)
class Visit:
    """One request. `form` is empty unless it is a post."""

    request: Request
    desk: Desk
    signed_in: SignedIn | None = None
    form: dict[str, list[str]] = field(default_factory=dict)

    @property
    def session(self) -> SignedIn:
        """The session. Raises SignedOut."""
        if self.signed_in is None:
            raise SignedOut
        return self.signed_in

    @property
    def operator(self) -> Operator:
        """Who is signed in. Raises SignedOut."""
        return self.session.operator

    @property
    def secure(self) -> bool:
        """Whether the browser talks TLS to us, or to what stands before us."""
        encrypted = self.request.url.scheme == "https" or urlsplit(self.desk.public_url).scheme == "https"
        return encrypted or not self.desk.development

    @property
    def zone(self) -> tzinfo:
        """The zone that every time and every day of the page is of."""
        try:
            return ZoneInfo(self.zone_name)
        except (ZoneInfoNotFoundError, ValueError):
            return UTC

    @property
    def zone_name(self) -> str:
        return (self.signed_in and self.signed_in.zone) or "UTC"

    @property
    def cookie(self) -> str:
        """A browser takes `__Host-` only with Secure, and Secure only over TLS."""
        return "__Host-sid" if self.secure else "sid"

    def may(self, least: Role) -> bool:
        return self.signed_in is not None and ROLES.index(self.operator.role) >= ROLES.index(least)

    def given(self, name: str, default: str = "") -> str:
        """A field of the form, or a parameter of the address, without the blanks around it."""
        posted = self.request.method == "POST"  # a link must not fill in what somebody else sends
        found = self.form.get(name) if posted else self.request.query_params.getlist(name)
        return found[-1].strip() if found else default

    def typed(self, name: str, default: str = "") -> str:
        """A field of the form, without the blanks around it. Never from the address: whoever makes a link would
        otherwise fill in what somebody else sends. What was typed when an earlier session was over is shown again."""
        found = self.form.get(name)
        if found is None and self.signed_in and self.signed_in.draft:
            found = [str(self.signed_in.draft["fields"].get(name, default))]
        return found[-1].strip() if found else default

    @property
    def resumed(self) -> bool:
        """Whether this form was being filled in when an earlier session was over."""
        return self.signed_in is not None and self.signed_in.draft is not None

    def render(self, template: str, status: int = 200, **context: Any) -> Response:
        """A page. Every template knows who looks at it, and where."""
        common = {
            "visit": self,
            "who": self.signed_in.operator if self.signed_in else None,
            "csrf": self.signed_in.csrf if self.signed_in else "",
            "once_name": secrets.token_urlsafe(9),
            "path": self.request.url.path,
            "done": words.DONE.get(self.signed_in.flash, "") if self.signed_in else "",
        }
        return rendering.render(template, status, {**common, **context})

    def redirect(self, path: str) -> Response:
        return RedirectResponse(path, 303)

    async def finished(self, what: str, path: str) -> Response:
        """Go on to a page that says, this once, what was done."""
        async with self.desk.database.transaction() as session:
            await sessions.remember(session, self.session, flash=what)
        return self.redirect(path)

    def fail(self, problem: Problem) -> Response:
        """The failure as a page."""
        answer = self.render("error.html", problem.status, problem=problem)
        answer.headers.update(problem.headers)
        return answer


class SignedOut(Exception):
    """Nobody is signed in. Carries the form that came all the same."""

    def __init__(self, form: dict[str, list[str]] | None = None) -> None:
        self.form = form or {}


Handler = Callable[[Visit], Awaitable[Response]]
Endpoint = Callable[[Request], Awaitable[Response]]


def page(desk: Desk, handler: Handler, least: Role = "viewer") -> Endpoint:
    """A page for whoever has at least this role."""

    async def endpoint(request: Request) -> Response:
        return await _answered(Visit(request, desk), _admitted(handler, least, posted=False))

    return endpoint


def act(desk: Desk, handler: Handler, least: Role = "operator") -> Endpoint:
    """What a form of ours asks for."""

    async def endpoint(request: Request) -> Response:
        return await _answered(Visit(request, desk), _admitted(handler, least, posted=True))

    return endpoint


def public(desk: Desk, handler: Handler) -> Endpoint:
    """For everybody: signing in. A post must come from this origin all the same."""

    async def opened(visit: Visit) -> Response:
        if visit.request.method == "POST":
            check_origin(visit)
            visit = replace(visit, form=await _form(visit.request))
        return await handler(visit)

    async def endpoint(request: Request) -> Response:
        return await _answered(Visit(request, desk), opened)

    return endpoint


def _admitted(handler: Handler, least: Role, *, posted: bool) -> Handler:
    async def admitted(visit: Visit) -> Response:
        if posted:
            check_origin(visit)
            visit = replace(visit, form=await _form(visit.request))
        visit = await _signed_in(visit)
        if posted:
            _check_secret(visit)
        if not visit.may(least):
            visit.desk.refused("denied", str(visit.operator.key_id))
            pattern, roles = N_("This needs the role {least}; you are signed in as {role}."), sentences.ROLES
            told = Sentence(pattern, least=roles[least], role=roles[visit.operator.role])
            raise Forbidden("role-too-low", told)
        return await handler(visit)

    return admitted


async def _answered(visit: Visit, handler: Handler) -> Response:
    try:
        try:
            return await handler(visit)
        except SignedOut as out:
            return _to_sign_in(replace(visit, form=out.form))
        except Problem as problem:
            return (await recognized(visit)).fail(problem)
    except Exception as failure:  # a defect is a page in words too, and says nothing of what broke
        return visit.fail(_failed(visit, failure))


def _failed(visit: Visit, failure: Exception) -> Problem:
    """What is told of a failure. What a form asked for may have been done all the same: before it, or by a commit
    whose answer never came."""
    method = visit.request.method
    unsure = method == "POST"
    if is_passing(failure):
        log.warning("database-away", method=method, exc_info=failure)
        told = N_("The database is away or busy. Whether this was done is not known: look before you do it again.")
        later = N_("The database is away or busy. Try again in a moment.")
        return Unavailable("database-away", told if unsure else later, headers={"Retry-After": "2"})
    log.error("console-failed", method=method, exc_info=failure)
    told = N_("The service failed. Whether this was done is not known: look before you do it again.")
    return Problem("internal", told if unsure else N_("The service failed, and its log says why."))


async def _signed_in(visit: Visit) -> Visit:
    """The visit with its session. Raises SignedOut."""
    found = await recognized(visit)
    if found.signed_in is None:
        raise SignedOut(visit.form)
    return found


async def recognized(visit: Visit) -> Visit:
    """The visit, with its session if there is one."""
    request, found = visit.request, None
    token = request.cookies.get(visit.cookie, "")
    if token:
        async with visit.desk.database.transaction() as session:
            found = await sessions.find_session(session, token, touch=not _by_itself(request), path=request.url.path)
            if found is not None and request.method == "GET":
                await sessions.forget_told(session, found)
    return replace(visit, signed_in=found)


def _by_itself(request: Request) -> bool:
    """Whether the page's script asks, and not a person."""
    return POLLING in request.headers or request.url.path == LIVE


def _to_sign_in(visit: Visit) -> Response:
    request = visit.request
    if _by_itself(request):
        return Response(status_code=401)
    if request.method == "POST":
        return visit.redirect(f"{SIGN_IN}?out=1") if request.url.path == SIGN_OUT else _ended(visit)
    target = _FILE.sub("", request.url.path) + (f"?{request.url.query}" if request.url.query else "")
    wanted = target if target != HOME else ""
    return visit.redirect(SIGN_IN + (f"?next={quote(wanted, safe='')}" if wanted else ""))


def _ended(visit: Visit) -> Response:
    """A form came after its session was over: say so, and keep what was typed for after the next signing in."""
    wanted = _left(visit)
    return visit.render("sign_in.html", 401, wrong="", out=False, ended=True, next=wanted, draft=kept(visit.form))


def _left(visit: Visit) -> str:
    """The page that the form was on, as the browser says; the list where an act on many began, as its form says: the
    page between is reached by that form alone."""
    if visit.typed("back"):
        return local(visit.typed("back"))
    form = urlsplit(visit.request.headers.get("referer", ""))
    return local(form.path + (f"?{form.query}" if form.query else ""))


def list_at(visit: Visit, path: str) -> str:
    """The list that an act on many goes back to, filtered as it was, but with nothing chosen. `path`: its address."""
    came = urlsplit(_left(visit))
    kept_filters = urlencode([one for one in parse_qsl(came.query) if one[0] != "chosen"])
    return path + (f"?{kept_filters}" if came.path == path and kept_filters else "")


def kept(form: Mapping[str, list[str]]) -> dict[str, str]:
    """What was typed into a form, to be shown again; nothing where it is much."""
    found = {name: values[-1] for name, values in form.items() if name not in _NOT_KEPT}
    small = sum(len(name) + len(value) for name, value in found.items()) <= _DRAFT_BYTES
    return found if small else {}


def local(path: str) -> str:
    """A path to go on to after signing in: one of the console's, or its first page. Never another site's."""
    parts = urlsplit(path)
    ours = not parts.scheme and not parts.netloc and (parts.path == HOME or parts.path.startswith(f"{HOME}/"))
    return path if ours and path.isascii() and path.isprintable() and "\\" not in path else HOME


def check_origin(visit: Visit) -> None:
    """Raise Forbidden unless the browser says that the form is of this origin.

    Browsers send `Sec-Fetch-Site` to hosts that they trust; to others, as over plain http, `Origin` alone. Who sends
    neither is no browser, and has the API.
    """
    headers = visit.request.headers
    site, scheme = headers.get("sec-fetch-site"), "https" if visit.secure else "http"
    own = f"{scheme}://{headers.get('host', '')}".lower()
    if not (site == "same-origin" if site is not None else headers.get("origin", "").lower() == own):
        raise Forbidden("cross-site", N_("The form did not come from this console. Nothing was changed."))


def _check_secret(visit: Visit) -> None:
    expected = visit.signed_in.csrf if visit.signed_in else ""
    if not hmac.compare_digest(visit.typed("csrf").encode(), expected.encode()):
        raise Forbidden("form-expired", N_("The form is of an earlier session. Go back, reload the page, try again."))


async def _form(request: Request) -> dict[str, list[str]]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise UnsupportedMedia("content-type", N_("The console takes forms only."))
    raw = await body.read(request, limit=_FORM_BYTES)
    try:
        read = parse_qs(raw.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=1000)
    except ValueError:
        raise TooLarge("form-too-large", Sentence("A form has at most {many} fields.", many=1000)) from None
    # No text of the database holds a NUL; it is shown as what it is, something that cannot be read.
    return {name: [value.replace("\0", "\ufffd") for value in values] for name, values in read.items()}
