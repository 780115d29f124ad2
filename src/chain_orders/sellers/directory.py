"""The sellers on record: adding, changing, reading, and the client that calls one.

Whoever adds or changes a seller keeps its lane in step in the same transaction (`deliveries.lanes.keep`).
Credentials go in sealed and never come out, save into the client that makes a call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ..database import now
from ..errors import N_, Conflict, Fault, Invalid, Sentence, Unknown
from ..outbound import Wire, is_host
from ..vtex.client import Credentials, SellerClient
from ..vtex.faults import told
from .models import Seller
from .vault import Vault

VTEX_HOST = "vtexcommercestable.com.br"
HTTPS = 443


def default_base_url(account_name: str) -> str:
    return f"https://{account_name}.{VTEX_HOST}"


def check_base_url(base_url: str, *, hosts: list[str], development: bool) -> str:
    """The base URL without a trailing slash. Raises Invalid unless it leads to VTEX or to an allowed host.

    Outside development it is that host and nothing else: another port or a path would be another server's.
    """
    address = _parsed(base_url)
    host = (address.hostname or "").lower() if address else ""
    wrong = None
    if address is None or address.scheme not in {"https", "http"} or not host:
        wrong = N_("must be an absolute https URL")
    elif any(mark in base_url for mark in "@?#"):
        wrong = N_("must hold no user, query or fragment")
    elif address.scheme == "http" and not development:
        wrong = N_("must be https")
    elif not development and not _allowed(host, hosts):
        wrong = Sentence("must be a host under {host}, or one that CHAIN_ORDERS_SELLER_HOSTS allows", host=VTEX_HOST)
    elif not development and (address.port not in {None, HTTPS} or address.path.strip("/")):
        wrong = Sentence("must hold no path, and no port but {port}", port=HTTPS)
    if wrong:
        fault = Fault("/baseUrl", "base-url-refused", wrong)
        raise Invalid("base-url-refused", told([fault]), faults=[fault])
    return base_url.rstrip("/")


def check_callback_base(base: str, development: bool) -> str:
    """The callback base without a trailing slash. Raises Invalid unless it is an absolute https URL."""
    address = _parsed(base)
    plain = address is not None and address.scheme == "http" and development
    if address is None or not (address.scheme == "https" or plain) or any(mark in base for mark in "?#"):
        wrong = N_("must be an absolute https URL without a query")
        fault = Fault("/callbackBase", "callback-base-refused", wrong)
        raise Invalid("callback-base-refused", told([fault]), faults=[fault])
    return base.rstrip("/")


def _parsed(url: str) -> SplitResult | None:
    """The address, if anybody could be called there."""
    if not url.isascii() or any(character <= " " or character in '\x7f\\%"<>^`{|}' for character in url):
        return None
    try:
        address = urlsplit(url)
        usable = is_host(address.hostname or "") and (address.port is None or address.port > 0)
    except ValueError:
        return None
    return address if usable else None


def _allowed(host: str, hosts: list[str]) -> bool:
    return any(host == suffix or host.endswith(f".{suffix}") for suffix in [VTEX_HOST, *hosts])


async def add(session: AsyncSession, seller: Seller) -> Seller:
    """Put a seller on record. Raises Conflict when the id is taken."""
    if await session.get(Seller, seller.id) is not None:
        raise Conflict("seller-exists", Sentence("there is a seller {id} already", id=seller.id))
    session.add(seller)
    await session.flush()
    await session.refresh(seller)
    return seller


async def change(session: AsyncSession, seller: Seller, values: Mapping[str, Any]) -> Seller:
    """Give a locked seller new values."""
    for name, value in values.items():
        setattr(seller, name, value)
    if values:
        seller.version += 1
        seller.updated_at = now()
    await session.flush()
    await session.refresh(seller)
    return seller


async def get(session: AsyncSession, seller_id: str, *, lock: bool = False) -> Seller:
    """The seller. Raises Unknown."""
    seller = await session.get(Seller, seller_id, with_for_update=lock or None)
    if seller is None:
        raise Unknown("seller-unknown", Sentence("there is no seller {id}", id=seller_id))
    return seller


async def all_of(session: AsyncSession) -> list[Seller]:
    return list(await session.scalars(select(Seller).order_by(Seller.id)))


def seal(vault: Vault, seller_id: str, *, app_key: str | None, app_token: str | None) -> dict[str, bytes]:
    """The columns that hold the given credentials."""
    given = {"sealed_app_key": app_key, "sealed_app_token": app_token}
    return {column: vault.seal(plain, row=seller_id, column=column) for column, plain in given.items() if plain}


def client_of(seller: Seller, wire: Wire, vault: Vault) -> SellerClient:
    """A client for this seller, its credentials opened."""
    credentials = Credentials(
        vault.open(seller.sealed_app_key, row=seller.id, column="sealed_app_key"),
        vault.open(seller.sealed_app_token, row=seller.id, column="sealed_app_token"),
    )
    return SellerClient(wire, seller.base_url, credentials)
