"""Routes of the sellers this marketplace sells for."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from ..database import Database
from ..deliveries import lanes
from ..sellers import directory
from ..sellers.models import Seller
from . import access, audit, edges, idempotency, schemas, versions
from .access import Operator
from .edges import DryRun
from .schemas import NewSeller, SellerChange

router = APIRouter(prefix="/v1/sellers", tags=["sellers"])

Admin = Annotated[Operator, Depends(access.allow("admin"))]
Viewer = Annotated[Operator, Depends(access.allow("viewer"))]
_NULLABLE = ("currency", "callback_base")


@router.post("", status_code=201, openapi_extra=edges.described(NewSeller, nullable=_NULLABLE))
async def add_seller(
    request: Request,
    operator: Admin,
    body: Annotated[NewSeller, Depends(edges.parsed(NewSeller))],
    dry_run: DryRun = False,
) -> Response:
    """Put a seller on record, with the credentials that VTEX issued in its account."""
    state = request.app.state
    given = {**schemas.changes(body, nullable=_NULLABLE)}
    seller_id = given.pop("seller_id", body.account_name)
    sealed = directory.seal(state.vault, seller_id, app_key=given.pop("app_key"), app_token=given.pop("app_token"))
    base_url = given.pop("base_url", directory.default_base_url(body.account_name))
    seller = Seller(
        id=seller_id, base_url=_checked(request, base_url), **{**given, **_callback_base(request, given)}, **sealed
    )
    database: Database = state.database
    async with database.transaction() as session:
        once = await idempotency.begin(session, request, operator)
        if once.answer is not None:
            return once.answer
        audit.note(session, operator, "seller.add", seller)
        await directory.add(session, seller)
        await lanes.keep(session, seller)
        if dry_run:
            return await edges.rehearsed(session, lambda: schemas.seller_view(seller))
        headers = {"Location": f"/v1/sellers/{seller.id}", **edges.etag(seller.version)}
        return once.keep(edges.Answer(schemas.seller_view(seller), 201, headers))


@router.get("")
async def list_sellers(request: Request, _: Viewer, limit: edges.Limit = 200, cursor: edges.Cursor = None) -> Response:
    """Every seller, by id."""
    async with request.app.state.database.transaction() as session:
        sellers = await directory.all_of(session)
    views = [schemas.seller_view(seller) for seller in sellers]
    return edges.portion(request, views, "sellerId", cursor, limit)


@router.get("/{seller_id}")
async def get_seller(request: Request, _: Viewer, seller_id: str) -> Response:
    """One seller. The `ETag` is the version that a change must name."""
    async with request.app.state.database.transaction() as session:
        seller = await directory.get(session, seller_id)
    return edges.Answer(schemas.seller_view(seller), headers=edges.etag(seller.version))


@router.patch("/{seller_id}", openapi_extra=edges.described(SellerChange, nullable=_NULLABLE))
async def change_seller(
    request: Request,
    operator: Admin,
    seller_id: str,
    body: Annotated[SellerChange, Depends(edges.parsed(SellerChange))],
    dry_run: DryRun = False,
) -> Response:
    """Change what is given. New credentials or a new address also close the lane's breaker."""
    given = {**schemas.changes(body, nullable=_NULLABLE)}
    sealed = directory.seal(
        request.app.state.vault, seller_id, app_key=given.pop("app_key", None), app_token=given.pop("app_token", None)
    )
    if "base_url" in given:
        given["base_url"] = _checked(request, given["base_url"])
    given |= _callback_base(request, given)
    async with request.app.state.database.transaction() as session:
        seller = await directory.get(session, seller_id, lock=True)
        await versions.check_seller(request, session, seller)
        audit.note(session, operator, "seller.change", seller, credentialsReplaced=bool(sealed))
        await directory.change(session, seller, {**given, **sealed})
        await lanes.keep(session, seller, forgive=bool(sealed or "base_url" in given))
        if dry_run:
            return await edges.rehearsed(session, lambda: schemas.seller_view(seller))
    request.app.state.bell.ring("deliveries")
    return edges.Answer(schemas.seller_view(seller), headers=edges.etag(seller.version))


async def _set_paused(request: Request, operator: Operator, seller_id: str, *, paused: bool, dry_run: bool) -> Response:
    async with request.app.state.database.transaction() as session:
        once = await idempotency.begin(session, request, operator)
        if once.answer is not None:
            return once.answer
        seller = await directory.get(session, seller_id, lock=True)
        audit.note(session, operator, "seller.pause" if paused else "seller.resume", seller)
        if seller.paused != paused:
            await directory.change(session, seller, {"paused": paused})
            await lanes.keep(session, seller)
        if dry_run:
            return await edges.rehearsed(session, lambda: schemas.seller_view(seller))
        answer = once.keep(edges.Answer(schemas.seller_view(seller), headers=edges.etag(seller.version)))
    request.app.state.bell.ring("deliveries")
    return answer


@router.post("/{seller_id}/pause")
async def pause_seller(
    request: Request,
    operator: Annotated[Operator, Depends(access.allow("operator"))],
    seller_id: str,
    dry_run: DryRun = False,
) -> Response:
    """Stop the seller's lane: calls wait, none is dropped."""
    return await _set_paused(request, operator, seller_id, paused=True, dry_run=dry_run)


@router.post("/{seller_id}/resume")
async def resume_seller(
    request: Request,
    operator: Annotated[Operator, Depends(access.allow("operator"))],
    seller_id: str,
    dry_run: DryRun = False,
) -> Response:
    """Let the seller's lane go on."""
    return await _set_paused(request, operator, seller_id, paused=False, dry_run=dry_run)


@router.post("/{seller_id}/callback-token")
async def make_callback_token(request: Request, operator: Admin, seller_id: str) -> Response:
    """The seller's secret for the callback addresses at the root, for one that cannot be given a base an order.

    To be sent as `?token=`, as the password of HTTP Basic, or as `Authorization: Bearer`. The same until the first
    key of `CHAIN_ORDERS_CALLBACK_KEYS` changes; older ones hold as long as their key stays. A repeat with the same
    `Idempotency-Key` shows null.
    """
    async with request.app.state.database.transaction() as session:
        once = await idempotency.begin(session, request, operator)
        if once.answer is not None:
            return once.answer
        seller = await directory.get(session, seller_id)
        keyring = request.app.state.bases.keyring
        audit.note(session, operator, "seller.callback-token", seller, kid=keyring.minting)
        once.keep(edges.Answer({"sellerId": seller.id, "token": None}))
    return edges.Answer({"sellerId": seller.id, "token": keyring.token(seller.id)})


def _checked(request: Request, base_url: str) -> str:
    settings: Any = request.app.state.limits
    return directory.check_base_url(base_url, hosts=settings.seller_hosts, development=settings.development)


def _callback_base(request: Request, given: dict[str, Any]) -> dict[str, str]:
    """A callback base of the seller's own must be reachable over https, like our public URL."""
    base = given.get("callback_base")
    return {"callback_base": directory.check_callback_base(base, request.app.state.limits.development)} if base else {}
