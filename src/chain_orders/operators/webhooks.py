"""Routes of outgoing webhooks: who is told of what, and with which secret."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import AfterValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError
from sqlalchemy.ext.asyncio import AsyncSession

from ..database import Database, read_clock
from ..errors import Unknown
from ..events import feed, types
from ..webhooks import directory, outbox
from ..webhooks.models import Subscription, covers
from . import access, audit, edges, idempotency, schemas
from .access import Operator
from .edges import DryRun
from .schemas import _Body
from .texts import SellerId, in_words

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])

Admin = Annotated[Operator, Depends(access.allow("admin"))]
_NULLABLE = ("description", "sellers")


def _of_something(pattern: str) -> str:
    """A type that nothing has would never be told."""
    if not any(covers(pattern, type_) for type_ in types.ALL):
        raise PydanticCustomError("unknown-value", "is not the type of any event")
    return pattern


Pattern = Annotated[
    str,
    StringConstraints(pattern=r"^([a-z-]+(\.[a-z-]+)*(\.?\*)?|\*)$", max_length=100),
    in_words("must be a type such as order.placed, or the beginning of one and a *"),
    AfterValidator(_of_something),
]


class _Settings(_Body):
    description: Annotated[str, StringConstraints(max_length=200)] | None = None
    sellers: Annotated[list[SellerId], Field(min_length=1, max_length=1000)] | None = None
    concurrency: Annotated[int, Field(ge=1, le=100)] | None = None
    rate_per_second: Annotated[float, Field(ge=0.01, le=10000, strict=False)] | None = None


class NewWebhook(_Settings):
    """`POST /v1/webhooks`. `events`: types, or beginnings of types followed by `*`. `after`: a position of the feed to
    start at; without it, only what happens from now on is told."""

    url: Annotated[str, StringConstraints(max_length=500)]
    events: Annotated[list[Pattern], Field(min_length=1, max_length=100)]
    after: Annotated[int, Field(ge=0, le=2**62)] | None = None


class WebhookChange(_Settings):
    """`PATCH /v1/webhooks/{id}`: only what is given changes. `enabled: true` goes on where it stopped."""

    url: Annotated[str, StringConstraints(max_length=500)] | None = None
    events: Annotated[list[Pattern], Field(min_length=1, max_length=100)] | None = None
    enabled: bool | None = None


class RotationBody(_Body):
    """`POST /v1/webhooks/{id}/secret`: for how long the secret before signs as well, at most a week."""

    overlap_seconds: Annotated[int, Field(ge=0, le=7 * 86400)] = int(directory.OVERLAP.total_seconds())


class ReplayBody(_Body):
    """`POST /v1/webhooks/{id}/replay`: the position of the feed after which everything is told again."""

    after: Annotated[int, Field(ge=0, le=2**62)]


@router.post("", status_code=201, openapi_extra=edges.described(NewWebhook, nullable=(*_NULLABLE, "after")))
async def add_webhook(
    request: Request, operator: Admin, body: Annotated[NewWebhook, Depends(edges.parsed(NewWebhook))]
) -> Response:
    """Subscribe an address to events. The answer is the only time that the secret is shown: a repeat shows null."""
    given = {**schemas.changes(body, nullable=(*_NULLABLE, "after"))}
    given["url"] = _checked(request, given["url"])
    database: Database = request.app.state.database
    async with database.transaction() as session:
        once = await idempotency.begin(session, request, operator)
        if once.answer is not None:
            return once.answer
        subscription, secret = await directory.add(
            session, request.app.state.vault, **{"after": None, "description": None, "sellers": None, **given}
        )
        made = audit.state_of(subscription)
        audit.note(session, operator, "webhook.add", audit.name_of(subscription), **made)
        headers = {"Location": f"/v1/webhooks/{subscription.id}", **edges.etag(subscription.version)}
        once.keep(edges.Answer({**webhook_view(subscription), "secret": None}, 201, headers))
    return edges.Answer({**webhook_view(subscription), "secret": secret}, 201, headers)


@router.get("")
async def list_webhooks(request: Request, _: Admin, limit: edges.Limit = 200, cursor: edges.Cursor = None) -> Response:
    """Every webhook, oldest first, without secrets."""
    async with request.app.state.database.transaction() as session:
        found = await directory.all_of(session)
    return edges.portion(request, [webhook_view(one) for one in found], "id", cursor, limit)


@router.get("/{webhook_id}")
async def get_webhook(request: Request, _: Admin, webhook_id: str) -> Response:
    """One webhook: `behind` positions of the feed, and `waiting` messages that it is owed. The `ETag` is the version
    that a change must name."""
    async with request.app.state.database.transaction() as session:
        subscription = await directory.get(session, _id(webhook_id))
        view = await _standing(session, subscription)
    return edges.Answer(view, headers=edges.etag(subscription.version))


@router.patch("/{webhook_id}", openapi_extra=edges.described(WebhookChange, nullable=_NULLABLE))
async def change_webhook(
    request: Request,
    operator: Admin,
    webhook_id: str,
    body: Annotated[WebhookChange, Depends(edges.parsed(WebhookChange))],
    dry_run: DryRun = False,
) -> Response:
    """Change what is given. Disabled, what is owed waits; enabled again, it goes on in order."""
    given = {**schemas.changes(body, nullable=_NULLABLE)}
    if "url" in given:
        given["url"] = _checked(request, given["url"])
    async with request.app.state.database.transaction() as session:
        subscription = await directory.get(session, _id(webhook_id), lock=True)
        edges.check_version(request, subscription.version, required=True)
        audit.note(session, operator, "webhook.change", subscription)
        await directory.change(session, subscription, given)
        if dry_run:
            return await edges.rehearsed(session, lambda: webhook_view(subscription))
    _ring(request)
    return edges.Answer(webhook_view(subscription), headers=edges.etag(subscription.version))


@router.delete("/{webhook_id}", status_code=204)
async def remove_webhook(request: Request, operator: Admin, webhook_id: str) -> Response:
    """Take a webhook off the record. What it is still owed is withdrawn."""
    async with request.app.state.database.transaction() as session:
        subscription = await directory.get(session, _id(webhook_id), lock=True)
        edges.check_version(request, subscription.version, required=False)
        audit.note(session, operator, "webhook.remove", subscription)
        await directory.remove(session, subscription)
    return Response(status_code=204)


@router.post("/{webhook_id}/secret", openapi_extra=edges.described(RotationBody, optional=True))
async def rotate_secret(
    request: Request,
    operator: Admin,
    webhook_id: str,
    body: Annotated[RotationBody, Depends(edges.parsed(RotationBody, optional=True))],
) -> Response:
    """Make a new secret, shown this once. Until the overlap is over, the one before signs beside it."""
    overlap = timedelta(seconds=body.overlap_seconds)
    async with request.app.state.database.transaction() as session:
        once = await idempotency.begin(session, request, operator)
        if once.answer is not None:
            return once.answer
        subscription = await directory.get(session, _id(webhook_id), lock=True)
        edges.check_version(request, subscription.version, required=False)
        audit.note(session, operator, "webhook.rotate", subscription)
        secret = await directory.rotate(session, request.app.state.vault, subscription, overlap)
        headers = edges.etag(subscription.version)
        once.keep(edges.Answer({**webhook_view(subscription), "secret": None}, headers=headers))
    return edges.Answer({**webhook_view(subscription), "secret": secret}, headers=headers)


@router.post("/{webhook_id}/test", status_code=202)
async def send_test(request: Request, operator: Admin, webhook_id: str) -> Response:
    """Send an event of the type `webhook.test`, whatever the webhook asked for; its delivery."""
    async with request.app.state.database.transaction() as session:
        once = await idempotency.begin(session, request, operator)
        if once.answer is not None:
            return once.answer
        subscription = await directory.get(session, _id(webhook_id))
        audit.note(session, operator, "webhook.test", subscription)
        delivery_id = await outbox.test(session, subscription, await read_clock(session))
        answer = once.keep(edges.Answer({"deliveryId": delivery_id}, 202))
    _ring(request)
    return answer


@router.post("/{webhook_id}/replay", status_code=202, openapi_extra=edges.described(ReplayBody))
async def replay_webhook(
    request: Request,
    operator: Admin,
    webhook_id: str,
    body: Annotated[ReplayBody, Depends(edges.parsed(ReplayBody))],
    dry_run: DryRun = False,
) -> Response:
    """Tell again of every event after a position of the feed, in order and under the same ids."""
    async with request.app.state.database.transaction() as session:
        once = await idempotency.begin(session, request, operator)
        if once.answer is not None:
            return once.answer
        subscription = await directory.get(session, _id(webhook_id), lock=True)
        audit.note(session, operator, "webhook.replay", subscription)
        back = await directory.replay(session, subscription, body.after)
        view = {**webhook_view(subscription), "behind": back}
        if dry_run:
            return await edges.rehearsed(session, lambda: view)
        answer = once.keep(edges.Answer(view, 202, edges.etag(subscription.version)))
    _ring(request)
    return answer


async def _standing(session: AsyncSession, subscription: Subscription) -> dict[str, Any]:
    """The subscription, with how many positions of the feed it has not passed, and how many messages wait for it."""
    behind = max(await feed.last_position(session) - subscription.position, 0)
    return {
        **webhook_view(subscription),
        "behind": behind,
        "waiting": await outbox.waiting(session, subscription),
    }


def webhook_view(subscription: Subscription) -> dict[str, Any]:
    """A subscription without its secrets."""
    return {
        "id": str(subscription.id),
        "url": subscription.url,
        "description": subscription.description,
        "events": subscription.events,
        "sellers": subscription.sellers,
        "enabled": subscription.enabled,
        "disabledReason": subscription.disabled_reason,
        "concurrency": subscription.concurrency,
        "ratePerSecond": subscription.rate_per_second,
        "position": subscription.position,
        "secretBeforeUntil": schemas.moment(subscription.before_until),
        "version": subscription.version,
        "createdAt": schemas.moment(subscription.created_at),
        "updatedAt": schemas.moment(subscription.updated_at),
    }


def _id(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise Unknown("webhook-unknown", "there is no such webhook; their ids are UUIDs") from None


def _checked(request: Request, url: str) -> str:
    return directory.check_url(url, development=request.app.state.limits.development)


def _ring(request: Request) -> None:
    for topic in (feed.TOPIC, "deliveries"):
        request.app.state.bell.ring(topic)
