"""Subscriptions on record: adding, changing, rotating secrets, disabling and enabling, replaying.

Whoever changes one holds its row's lock, and keeps its lane in step in the same transaction. A secret is shown when
it is made and never again; it is opened only while a message is signed.
"""

from __future__ import annotations

import ipaddress
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from ..database import now, read_clock
from ..deliveries import lanes
from ..errors import N_, Conflict, Fault, Invalid, Sentence, Unknown
from ..events import feed
from ..outbound import is_host, is_public
from ..sellers.models import Seller
from ..sellers.vault import Vault
from ..vtex.faults import told
from . import outbox, signing
from .models import Subscription

TABLE = "subscriptions"
OVERLAP = timedelta(hours=24)
BY_OPERATOR = "an operator disabled it"


def check_url(url: str, *, development: bool) -> str:
    """The URL itself. Raises Invalid unless it is https and leads to no private address that it names.

    A name is judged when it is called, by the addresses that it leads to then.
    """
    wrong = None
    try:
        address = urlsplit(url)
        host = (address.hostname or "").rstrip(".").lower()
        _ = address.port
    except ValueError:
        raise _refused(N_("is not a URL")) from None
    if any(one.isspace() or not one.isprintable() for one in url) or (host and not is_host(host)):
        wrong = N_("is not a URL")
    elif address.scheme not in {"https", "http"} or not host:
        wrong = N_("must be an absolute https URL")
    elif address.username is not None or address.password is not None or address.fragment:
        wrong = N_("must hold no user and no fragment")
    elif not development and address.scheme != "https":
        wrong = N_("must be https")
    elif not development and not _may_be_public(host):
        wrong = N_("must not lead to a private address")
    if wrong:
        raise _refused(wrong)
    return url


def _refused(wrong: str) -> Invalid:
    fault = Fault("/url", "webhook-url-refused", wrong)
    return Invalid("webhook-url-refused", told([fault]), faults=[fault])


def _may_be_public(host: str) -> bool:
    try:
        return is_public(str(ipaddress.ip_address(host)))
    except ValueError:
        return "." in host and not host.endswith((".localhost", ".local", ".internal")) and not host[-1].isdigit()


async def add(session: AsyncSession, vault: Vault, *, after: int | None, **values: Any) -> tuple[Subscription, str]:
    """Put a subscription on record; it and its secret. It is told of events after the position `after`, or from now."""
    await _check_sellers(session, values.get("sellers"))
    subscription_id, secret = uuid7(), signing.make_secret()
    subscription = Subscription(
        id=subscription_id,
        sealed_secret=_seal(vault, subscription_id, "sealed_secret", secret),
        position=await _start(session, after),
        **values,
    )
    session.add(subscription)
    await session.flush()
    await session.refresh(subscription)
    await lanes.keep(session, subscription)
    return subscription, secret


async def _check_sellers(session: AsyncSession, wanted: Sequence[str] | None) -> None:
    """Raises Invalid for a seller that is not on record: it would be waited for in vain."""
    known = set(await session.scalars(select(Seller.id).where(Seller.id.in_(wanted)))) if wanted else set()
    places = [f"/sellers/{at}" for at, one in enumerate(wanted or ()) if one not in known]
    if places:
        found = [Fault(place, "webhook-seller-unknown", "is no seller on record") for place in places]
        raise Invalid("webhook-seller-unknown", told(found[:1]), faults=found)


async def _start(session: AsyncSession, after: int | None) -> int:
    last = await feed.last_position(session)
    if after is not None and after > last:
        raise Invalid("position-unknown", Sentence("the feed's last position is {last}", last=last))
    return last if after is None else after


async def change(session: AsyncSession, subscription: Subscription, values: Mapping[str, Any]) -> None:
    """Give a locked subscription new values. One that is enabled goes on where it stopped, in order."""
    await _check_sellers(session, values.get("sellers"))
    before = subscription.enabled
    for name, value in values.items():
        setattr(subscription, name, value)
    if "enabled" in values:
        subscription.disabled_reason = None if subscription.enabled else (subscription.disabled_reason or BY_OPERATOR)
    _touch(subscription)
    await session.flush()
    if subscription.enabled and not before:
        await outbox.due_now(session, subscription)
    await lanes.keep(session, subscription, forgive=subscription.enabled and ("url" in values or not before))
    await session.refresh(subscription)


async def disable(session: AsyncSession, subscription_id: uuid.UUID, reason: str) -> bool:
    """Stop calling; what is owed waits. Says whether it was enabled."""
    subscription = await session.get(Subscription, subscription_id, with_for_update=True, populate_existing=True)
    if subscription is None or not subscription.enabled:
        return False
    subscription.enabled, subscription.disabled_reason = False, reason
    _touch(subscription)
    await session.flush()
    await lanes.keep(session, subscription)
    return True


async def rotate(session: AsyncSession, vault: Vault, subscription: Subscription, overlap: timedelta) -> str:
    """Give a locked subscription a new secret, and return it. The one before signs too until the overlap is over."""
    secret = signing.make_secret()
    if overlap:
        before = vault.open(subscription.sealed_secret, row=str(subscription.id), column="sealed_secret", table=TABLE)
        subscription.sealed_secret_before = _seal(vault, subscription.id, "sealed_secret_before", before)
        subscription.before_until = await read_clock(session) + overlap
    else:
        subscription.sealed_secret_before = subscription.before_until = None
    subscription.sealed_secret = _seal(vault, subscription.id, "sealed_secret", secret)
    _touch(subscription)
    await session.flush()
    await session.refresh(subscription)
    return secret


async def replay(session: AsyncSession, subscription: Subscription, after: int) -> int:
    """Tell a locked subscription again of every event after a position; how many positions that goes back.

    What still waits of them is withdrawn: all are owed anew, in order. Raises Conflict when the position was not
    reached yet, so that no event is skipped.
    """
    if after > subscription.position:
        told = Sentence("it was told of events up to position {position} only", position=subscription.position)
        raise Conflict("position-not-reached", told)
    back = subscription.position - after
    await outbox.withdraw(session, subscription, f"replayed after position {after}", after=after)
    subscription.position = after
    _touch(subscription)
    await session.flush()
    await session.refresh(subscription)
    return back


async def remove(session: AsyncSession, subscription: Subscription) -> None:
    """Take a locked subscription off the record. What it is still owed is withdrawn; its deliveries stay visible."""
    await outbox.withdraw(session, subscription, "the subscription was removed")
    await session.delete(subscription)
    await session.flush()
    await lanes.drop(session, subscription)


async def get(session: AsyncSession, subscription_id: uuid.UUID, *, lock: bool = False) -> Subscription:
    """The subscription. Raises Unknown."""
    found = await session.get(Subscription, subscription_id, with_for_update=lock or None, populate_existing=lock)
    if found is None:
        raise Unknown("webhook-unknown", Sentence("there is no webhook {id}", id=subscription_id))
    return found


async def all_of(session: AsyncSession) -> Sequence[Subscription]:
    return list(await session.scalars(select(Subscription).order_by(Subscription.id)))


@dataclass(frozen=True, slots=True)
class Address:
    """Where and with which secrets a message is sent now."""

    url: str
    secrets: Sequence[str]


def address_of(subscription: Subscription, vault: Vault, at: datetime) -> Address:
    """The address, its live secrets opened: the newest first."""
    row = str(subscription.id)
    secrets = [vault.open(subscription.sealed_secret, row=row, column="sealed_secret", table=TABLE)]
    before, until = subscription.sealed_secret_before, subscription.before_until
    if before is not None and until is not None and until > at:
        secrets.append(vault.open(before, row=row, column="sealed_secret_before", table=TABLE))
    return Address(subscription.url, secrets)


def _seal(vault: Vault, subscription_id: uuid.UUID, column: str, secret: str) -> bytes:
    return vault.seal(secret, row=str(subscription_id), column=column, table=TABLE)


def _touch(subscription: Subscription) -> None:
    subscription.version += 1
    subscription.updated_at = now()
