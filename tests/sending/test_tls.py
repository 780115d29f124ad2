"""Sellers whose certificate proves nothing: not a byte of the request, and no credential, leaves."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import warnings
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sqlalchemy import select

from chain_orders import outbound
from chain_orders.alerts.alarm import Alarm
from chain_orders.alerts.models import Alert
from chain_orders.database import Bell
from chain_orders.deliveries.models import Delivery, Lane
from chain_orders.outbound import Wire
from chain_orders.outcome import Again, Untrusted
from chain_orders.vtex import answers

from ..builders import Marketplace, order, until

TODAY = datetime.now(UTC)
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Authority:
    """Somebody who signs certificates."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _signed(
    name: str,
    by: Authority | None,
    *,
    authority: bool = False,
    begins: datetime = TODAY - DAY,
    ends: datetime = TODAY + DAY,
) -> Authority:
    """A certificate for a host's name, or for an authority; signed by itself where nobody else is named."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = by.certificate.subject if by else _named(name)
    signing = (by.key if by else key).public_key()
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only",
         "decipher_only"), False,
    )  # fmt: skip
    made = (
        x509.CertificateBuilder()
        .subject_name(_named(name))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing), critical=False)
        .add_extension(
            x509.KeyUsage(digital_signature=True, key_cert_sign=authority, crl_sign=authority, **usage), critical=True
        )
        .sign(by.key if by else key, hashes.SHA256())
    )
    return Authority(key, made)


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Authority]:
    """An authority that this process trusts."""
    made = _signed("authority.example", None, authority=True)
    path = tmp_path / "trusted.pem"
    path.write_bytes(made.certificate.public_bytes(serialization.Encoding.PEM))
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    outbound.trusted.cache_clear()
    yield made
    outbound.trusted.cache_clear()


@contextlib.asynccontextmanager
async def _seller(shown: Authority, folder: Path, *, old: bool = False) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server on this machine that shows a certificate; its URL, and the requests that reached it. `old`: it speaks
    TLS 1.1 and no later one."""
    pem = folder / "shown.pem"
    key = shown.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem.write_bytes(key + shown.certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)
    if old:
        _make_old(context)
    seen: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            seen.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            await writer.drain()
        writer.transport.abort()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}/", seen


def _make_old(context: ssl.SSLContext) -> None:
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")


async def test_a_seller_that_speaks_only_a_tls_of_old_is_sent_nothing(trusted: Authority, tmp_path: Path) -> None:
    as_old = ssl.create_default_context(cafile=tmp_path / "trusted.pem")
    _make_old(as_old)
    wire = Wire(deadline=30, connect=30, allow_private=True)
    async with _seller(_signed("localhost", trusted), tmp_path, old=True) as (url, seen):
        exchange = await wire.exchange("PUT", url, headers={"X-VTEX-API-AppToken": "secret"}, content=b"{}")
        refused = list(seen)
        async with httpx.AsyncClient(verify=as_old, trust_env=False) as client:
            spoken_to = await client.get(url)
    await wire.close()

    assert (exchange.status, exchange.sent, refused) == (None, False, [])
    assert isinstance(answers.read(exchange), Again)
    assert (spoken_to.status_code, len(seen)) == (200, 1)


async def test_a_seller_whose_certificate_is_good_is_called(trusted: Authority, tmp_path: Path) -> None:
    wire = Wire(deadline=30, connect=30, allow_private=True)
    async with _seller(_signed("localhost", trusted), tmp_path) as (url, seen):
        exchange = await wire.exchange("PUT", url, headers={}, content=b"{}")
    await wire.close()

    assert (exchange.status, len(seen)) == (200, 1)


@pytest.mark.parametrize("wrong", ["expired", "not-yet-valid", "another-name", "self-signed", "unknown-authority"])
async def test_a_seller_whose_certificate_proves_nothing_is_sent_nothing(
    trusted: Authority, tmp_path: Path, wrong: str
) -> None:
    shown = {
        "expired": lambda: _signed("localhost", trusted, begins=TODAY - 3 * DAY, ends=TODAY - DAY),
        "not-yet-valid": lambda: _signed("localhost", trusted, begins=TODAY + DAY, ends=TODAY + 3 * DAY),
        "another-name": lambda: _signed("other.example", trusted),
        "self-signed": lambda: _signed("localhost", None),
        "unknown-authority": lambda: _signed("localhost", _signed("unknown.example", None, authority=True)),
    }[wrong]()
    wire = Wire(deadline=30, connect=30, allow_private=True)
    async with _seller(shown, tmp_path) as (url, seen):
        exchange = await wire.exchange("PUT", url, headers={"X-VTEX-API-AppToken": "secret"}, content=b"{}")
    await wire.close()

    assert (exchange.status, exchange.sent, exchange.reached, seen) == (None, False, True, [])
    assert isinstance(answers.read(exchange), Untrusted)


async def test_a_certificate_that_proves_nothing_is_one_alert_at_once_and_burns_no_attempt(
    marketplace: Marketplace, tmp_path: Path
) -> None:
    alarm = Alarm(marketplace.database, Bell(""), None, every=DAY, patience=DAY)

    async def stopped() -> bool:
        async with marketplace.database.transaction() as session:
            return bool(await session.scalar(select(Lane.breaker == "open").where(Lane.lane == "seller:own")))

    async with _seller(_signed("localhost", None), tmp_path) as (url, seen):
        await marketplace.add_seller(url.rstrip("/"), "own")
        answer = await marketplace.post_order(order(), seller_id="own")
        await until(stopped)
        for _ in range(2):
            await alarm.step()

    async with marketplace.database.transaction() as session:
        (alert,) = await session.scalars(select(Alert))
        assert list(await session.scalars(select(Delivery.failures))) == [0]
    assert (alert.code, alert.subject) == ("breaker-open", "seller:own")
    assert "certificate" in alert.reason
    assert "certificate" in (await marketplace.get(answer.json()["id"]))["lastError"]["detail"]
    assert seen == []
