"""The sellers: the list with how each fares, one seller's settings, adding one, pausing and resuming its lane."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from ..deliveries import lanes
from ..deliveries.models import WAITING, Delivery, Lane
from ..errors import Invalid, Problem, Stale
from ..operators import audit, edges, holding, schemas, stats
from ..operators.schemas import NewSeller, SellerChange
from ..sellers import directory
from ..sellers.models import Seller
from . import checking, meanwhile, mistakes, once
from .texts import N_
from .visits import Visit

PAGE = 40
_NULLABLE = ("currency", "callback_base")
_FLAGS = ("strictAmounts", "omitAuthorizationItems")
_TEXTS = (
    "baseUrl", "salesChannel", "affiliateId", "appKey", "appToken", "currency", "callbackBase", "callbackTrust",
    "changePolicy", "authorizationGroup",
)  # fmt: skip
_NEW = ("sellerId", "accountName")
_LEFT_OUT_WHEN_EMPTY = frozenset({"sellerId", "appKey", "appToken", "baseUrl"})


async def show(visit: Visit) -> Response:
    """The sellers with their lanes, by id; those whose ids begin with what is looked for."""
    wanted = visit.given("id")[:63].replace("\x00", "").lower()
    after = edges.decode_cursor(visit.given("cursor") or None)
    query = select(Seller).where(Seller.id.startswith(wanted, autoescape=True)).order_by(Seller.id).limit(PAGE + 1)
    async with visit.desk.database.transaction() as session:
        found = list(await session.scalars(query.where(Seller.id > after) if after else query))
        numbers = {lane["sellerId"]: lane for lane in await stats.lanes(session) if "sellerId" in lane}
        keys = await checking.callback_keys(session, visit)
    return visit.render(
        "sellers.html",
        sellers=found[:PAGE],
        wanted=wanted,
        following=edges.encode_cursor(found[PAGE - 1].id) if len(found) > PAGE else "",
        started=bool(after),
        numbers=numbers,
        callback_keys=keys,
    )


async def show_new(visit: Visit) -> Response:
    """The form for a seller that is not on record yet."""
    return _form(visit, None, _again(visit) if visit.resumed else {}, None)


async def show_one(visit: Visit) -> Response:
    """One seller: its lane and its settings."""
    return await _page(visit)


async def _page(visit: Visit, given: Mapping[str, str] | None = None, problem: Problem | None = None) -> Response:
    async with visit.desk.database.transaction() as session:
        seller = await directory.get(session, visit.request.path_params["seller_id"])
        lane = await session.scalar(select(Lane).where(Lane.lane == seller.lane))
        held = await holding.at_gate(session, seller.lane)
        waits = await _waiting(session, seller) if seller.paused else 0
        missed = None
        if given is not None and isinstance(problem, Stale):
            typed = {name: value for name, value in given.items() if name not in _NEW}
            missed = await meanwhile.of_seller(session, seller, given["version"], _values(seller), typed)
            given = {**given, "version": str(seller.version)}  # what is sent after this was seen is saved
    if given is None:
        given = _again(visit) if visit.resumed else _values(seller)
    return visit.render(
        "seller.html",
        200 if problem is None else problem.status,
        seller=seller,
        lane=lane,
        held=held,
        waits=waits,
        values=given,
        missed=missed,
        banner=mistakes.banner(problem),
        wrong=mistakes.beside(problem),
        minting=visit.desk.bases.keyring.minting,
        new=False,
        may_change=visit.may("admin"),
    )


def _form(visit: Visit, seller: None, values: Mapping[str, str], problem: Problem | None) -> Response:
    shown = {"callbackTrust": "base", "changePolicy": "record", "authorizationGroup": "group", "concurrency": "10"}
    return visit.render(
        "seller_new.html",
        200 if problem is None else problem.status,
        values={**shown, "ratePerSecond": "50", **values},
        banner=mistakes.banner(problem),
        wrong=mistakes.beside(problem),
        new=True,
        may_change=True,
        seller=seller,
    )


async def add(visit: Visit) -> Response:
    """Put a seller on record, or say what is wrong beside each field."""
    given = _typed(visit, _NEW)
    try:
        body = edges.validated(NewSeller, given)
        values = _columns(visit, body)
        seller_id = values.pop("seller_id", body.account_name)
        values |= directory.seal(visit.desk.vault, seller_id, app_key=body.app_key, app_token=body.app_token)
        base_url = values.pop("base_url", directory.default_base_url(body.account_name))
        seller = Seller(id=seller_id, base_url=_checked(visit, base_url), **values)
        async with visit.desk.database.transaction() as session:
            if await once.first(session, visit):
                await directory.add(session, seller)
                audit.note(session, visit.operator, "seller.add", audit.name_of(seller))
                await lanes.keep(session, seller)
    except Problem as problem:
        return _form(visit, None, _again(visit), problem)
    return await visit.finished("added", f"/console/sellers/{seller.id}")


async def change(visit: Visit) -> Response:
    """Save what the form says. Credentials that are left empty stay as they are."""
    given = _typed(visit, ())
    seller_id = visit.request.path_params["seller_id"]
    try:
        body = edges.validated(SellerChange, given)
        values = _columns(visit, body)
        sealed = directory.seal(visit.desk.vault, seller_id, app_key=body.app_key, app_token=body.app_token)
        async with visit.desk.database.transaction() as session:
            if await once.first(session, visit):
                await _change(session, visit, values, sealed)
    except Problem as problem:
        return await _page(visit, _again(visit), problem)
    visit.desk.bell.ring("deliveries")
    return await visit.finished("changed", f"/console/sellers/{seller_id}")


async def _change(session: AsyncSession, visit: Visit, values: dict[str, Any], sealed: dict[str, Any]) -> None:
    """Raises Stale when somebody has changed the seller since the form was opened, Invalid for a wrong address."""
    seller = await directory.get(session, visit.request.path_params["seller_id"], lock=True)
    if visit.typed("version") != str(seller.version):
        told = N_("The seller was changed since you opened this form, and nothing of yours is saved yet.")
        raise Stale("version-differs", told)
    changed = {name: value for name, value in values.items() if getattr(seller, name) != value}
    moved = "base_url" in changed
    if moved:  # one that stays was allowed when it was given, whatever the rule is now
        changed["base_url"] = _checked(visit, changed["base_url"])
    audit.note(session, visit.operator, "seller.change", seller, credentialsReplaced=bool(sealed))
    await directory.change(session, seller, {**changed, **sealed})
    await lanes.keep(session, seller, forgive=bool(sealed) or moved)


async def show_pause(visit: Visit, problem: Problem | None = None) -> Response:
    """What pausing means, what waits already, and why it is done."""
    async with visit.desk.database.transaction() as session:
        seller = await directory.get(session, visit.request.path_params["seller_id"])
        waits = await _waiting(session, seller)
    return visit.render(
        "act_pause.html",
        200 if problem is None else problem.status,
        seller=seller,
        waits=waits,
        banner=mistakes.banner(problem),
        wrong=mistakes.beside(problem),
        reason=visit.typed("reason"),
    )


async def _waiting(session: AsyncSession, seller: Seller) -> int:
    """How many calls wait for it. Served by deliveries_due_idx."""
    waiting = select(func.count()).where(Delivery.lane == seller.lane, Delivery.state.in_(WAITING))
    return await session.scalar(waiting) or 0


async def pause(visit: Visit) -> Response:
    """Stop the lane: calls wait, none is dropped."""
    try:
        return await _set_paused(visit, True, mistakes.reason_of(visit))
    except Invalid as problem:
        return await show_pause(visit, problem)


async def resume(visit: Visit) -> Response:
    """Let the lane go on."""
    return await _set_paused(visit, False)


async def _set_paused(visit: Visit, paused: bool, reason: str | None = None) -> Response:
    seller_id = visit.request.path_params["seller_id"]
    async with visit.desk.database.transaction() as session:
        seller = await directory.get(session, seller_id, lock=True)
        if await once.first(session, visit) and seller.paused != paused:
            audit.note(session, visit.operator, "seller.pause" if paused else "seller.resume", seller, reason=reason)
            await directory.change(session, seller, {"paused": paused})
            await lanes.keep(session, seller)
    visit.desk.bell.ring("deliveries")
    return await visit.finished("paused" if paused else "resumed", f"/console/sellers/{seller.id}")


def _typed(visit: Visit, also: tuple[str, ...]) -> dict[str, Any]:
    """The form as the API's body: texts, flags, numbers; what is empty is absent or null."""
    given: dict[str, Any] = {}
    for name in (*also, *_TEXTS):
        text = visit.typed(name)
        if text or name not in _LEFT_OUT_WHEN_EMPTY:
            given[name] = text or None
    given |= {name: visit.typed(name) == "yes" for name in _FLAGS}
    given["concurrency"] = _number(visit.typed("concurrency"), int)
    given["ratePerSecond"] = _number(visit.typed("ratePerSecond"), float)
    return given


def _number(text: str, kind: type[int] | type[float]) -> Any:
    """The number, or the text for the validation to refuse."""
    try:
        return kind(text)
    except ValueError:
        return text


def _columns(visit: Visit, body: BaseModel) -> dict[str, Any]:
    """The seller's columns that the form gives, without credentials."""
    found = {**schemas.changes(body, nullable=_NULLABLE)}
    found.pop("app_key", None)
    found.pop("app_token", None)
    if found.get("callback_base"):
        found["callback_base"] = directory.check_callback_base(found["callback_base"], visit.desk.development)
    return found


def _checked(visit: Visit, base_url: str) -> str:
    return directory.check_base_url(base_url, hosts=visit.desk.seller_hosts, development=visit.desk.development)


def _again(visit: Visit) -> dict[str, str]:
    """What was typed, to be shown again; never a credential."""
    names = (*_NEW, *_TEXTS, *_FLAGS, "concurrency", "ratePerSecond", "version")
    return {name: visit.typed(name) for name in names if name not in {"appKey", "appToken"}}


def _values(seller: Seller) -> dict[str, str]:
    view = schemas.seller_view(seller)
    view["ratePerSecond"] = f"{view['ratePerSecond']:.12g}"
    texts = {name: "" if value is None else str(value) for name, value in view.items()}
    return {**texts, **{name: "yes" if view[name] else "" for name in _FLAGS}}
