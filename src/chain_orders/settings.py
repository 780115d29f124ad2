"""Every setting of the service, read from `CHAIN_ORDERS_*` variables; the sole reader of the environment.

Only `chores`, `app` and `migrations/env.py` read this module; everything else is handed values. A setting that would
make the service unsafe (a short key, plain http in production) is refused at start, naming the variable.
"""

from __future__ import annotations

import base64
import binascii
import re
from datetime import timedelta
from typing import Annotated, Any, Literal, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from .errors import Stopped

MINIMUM_KEY_BYTES = 32
SEED_BYTES = 32


def _seconds(value: Any) -> Any:
    """A list of durations written as seconds: `5,15,60`."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    try:
        durations = [part if isinstance(part, timedelta) else timedelta(seconds=float(part)) for part in value]
    except (ValueError, OverflowError) as wrong:
        raise ValueError("must be seconds, separated by commas") from wrong
    if any(duration <= timedelta() for duration in durations):
        raise ValueError("each wait must be longer than 0 seconds")
    return durations


def _words(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


class Key(SecretStr):
    """A named secret key; `repr` and logs show stars."""

    def bytes(self) -> bytes:
        return base64.urlsafe_b64decode(self.get_secret_value() + "===")


def _keys(value: Any) -> Any:
    """`kid:base64,kid:base64`; the first one mints or seals, all of them verify or open."""
    if not isinstance(value, str):
        return value
    keys: dict[str, Key] = {}
    for at, part in enumerate(value.split(","), 1):
        # A key is named by its place: what stands before the colon may be the secret, by mistake.
        kid, _, encoded = part.strip().partition(":")
        if not re.fullmatch(r"[a-z0-9]{1,16}", kid, re.ASCII):
            raise ValueError(f"key {at} is not written kid:base64, kid 1 to 16 lower-case letters and digits")
        if kid in keys:
            raise ValueError(f"key {at} has a kid that an earlier key has")
        keys[kid] = _key(encoded, at)
    return keys


def _key(encoded: str, at: int) -> Key:
    key = Key(encoded)
    try:
        # The decoder would skip what is not of its alphabet, and a slip of the pen make another key.
        length = len(key.bytes()) if re.fullmatch(r"[\w-]+={0,2}", encoded, re.ASCII) else None
    except binascii.Error:
        length = None
    if length is None:
        raise ValueError(f"key {at} is not URL-safe base64")
    if length < MINIMUM_KEY_BYTES:
        raise ValueError(f"key {at} has {length} bytes; at least {MINIMUM_KEY_BYTES} are needed")
    return key


def _seed(value: Any) -> Any:
    """The seed of an Ed25519 key, 32 bytes in base64; nothing for none."""
    if not isinstance(value, str):
        return value
    if not value:
        return None
    seed = Key(value)
    try:
        length = len(seed.bytes()) if re.fullmatch(r"[\w-]+={0,2}", value, re.ASCII) else 0
    except binascii.Error:
        length = 0
    if length != SEED_BYTES:
        raise ValueError(f"must be {SEED_BYTES} random bytes in URL-safe base64")
    return seed


def _collector(value: Any) -> Any:
    """An absolute http(s) URL without a user; nothing for none."""
    if not value:
        return None
    try:
        address = urlsplit(str(value))
        good = address.scheme in {"http", "https"} and bool(address.hostname) and address.port != 0
    except ValueError:
        good = False
    if not good or "@" in str(value):
        raise ValueError("must read http://host:port or https://host:port; OTEL_EXPORTER_OTLP_HEADERS may hold a key")
    return value


Durations = Annotated[list[timedelta], NoDecode, BeforeValidator(_seconds)]
Words = Annotated[list[str], NoDecode, BeforeValidator(_words)]
Keys = Annotated[dict[str, Key], NoDecode, BeforeValidator(_keys), Field(min_length=1)]
Seed = Annotated[Key | None, BeforeValidator(_seed)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Wrong(Stopped):
    """Settings are missing, or cannot be what they are."""

    code = 2


Read = TypeVar("Read", bound=BaseSettings)


def read(kind: type[Read]) -> Read:
    """The settings as the environment gives them. Raises Wrong, with a line for each that is missing or wrong."""
    try:
        return kind()
    except ValidationError as wrong:
        errors = wrong.errors(include_input=False, include_url=False, include_context=False)
        raise Wrong("\nchain-orders: ".join(map(_line, errors))) from None


def _line(error: ErrorDetails) -> str:
    name = "_".join(str(part) for part in error["loc"]).upper()
    told = error["msg"].removeprefix("Value error, ")
    return f"CHAIN_ORDERS_{name}: {told}" if name else told


class DatabaseSettings(BaseSettings):
    """What a migration needs."""

    model_config = SettingsConfigDict(env_prefix="CHAIN_ORDERS_", extra="ignore", hide_input_in_errors=True)

    database_url: SecretStr
    """`postgresql+asyncpg://user:password@host:port/name`."""


class RetentionSettings(DatabaseSettings):
    """What sealing by hand needs."""

    retention_days: int = Field(default=180, ge=0, le=36500)
    """How long a final order keeps its personal data; 0: until its erasure is asked for."""

    @property
    def retention(self) -> timedelta | None:
        return timedelta(days=self.retention_days) if self.retention_days else None


class VaultSettings(DatabaseSettings):
    """What sealing credentials anew needs."""

    credential_keys: Keys
    """Keys that encrypt sellers' credentials, `kid:base64,…`; the first seals, all open."""

    def credential_bytes(self) -> dict[str, bytes]:
        return {kid: key.bytes() for kid, key in self.credential_keys.items()}


class EvidenceSettings(BaseSettings):
    """What checking evidence needs."""

    model_config = SettingsConfigDict(env_prefix="CHAIN_ORDERS_", extra="ignore", hide_input_in_errors=True)

    evidence_key: Seed = None
    """The seed of the Ed25519 key that signs evidence; without one it is not signed."""

    @property
    def evidence_seed(self) -> bytes | None:
        return self.evidence_key.bytes() if self.evidence_key is not None else None


class Settings(RetentionSettings, VaultSettings, EvidenceSettings):
    """The settings of one process. Field `x` is the variable `CHAIN_ORDERS_X`."""

    environment: Literal["production", "development"] = "production"
    """`development` allows plain http, private addresses and open callbacks."""
    listen_url: SecretStr | None = None
    """Where to LISTEN for wake-ups; the database when unset, empty behind a transaction pooler (polling only)."""
    pool_size: int = Field(default=10, ge=2, le=200)
    """Database connections of one process, beside three for what sellers tell, one that listens and one for /readyz."""
    public_url: str
    """Where sellers reach the callbacks, without a path that ends in a slash."""
    callback_keys: Keys
    """Keys that sign callback bases, `kid:base64,…`; the first mints, all verify."""
    seller_hosts: Words = []
    """Host suffixes that a seller's `baseUrl` may have besides VTEX's own."""
    open_callbacks: bool = False
    """Serve the callback addresses at the root without any secret. Development only."""

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    drain_seconds: float = Field(default=5, ge=0, le=300)
    """How long a process that was asked to stop goes on taking requests, so that a balancer has time to notice."""
    log_format: Literal["json", "console"] = "json"

    worker_slots: int = Field(default=64, ge=1, le=1000)
    """Calls that one process has in flight at most; those that take longer than a second may be three times as many
    beside them."""
    poll_seconds: Seconds = 1.0
    """How often queues are looked at when no wake-up comes."""
    sweep_seconds: Seconds = 30.0
    """When parked notifications are tried again at first; each further wait is twice as long."""
    connect_seconds: Seconds = 5.0
    exchange_seconds: Seconds = 35.0
    """Deadline of one call to a seller, from the first byte to the last."""
    lease_seconds: Seconds = 60.0
    """How long a claimed delivery is ours; must outlive `exchange_seconds`."""
    retry_schedule: Durations = Field(
        default_factory=lambda: _seconds("5,15,30,60,120,300,600,1200,2400,3600,7200,14400,21600,28800,43200,50400")
    )
    """Longest waits between attempts of a delivery, in seconds, each drawn below its limit; after the last it is dead.
    Together they come to a day on average."""
    verify_at: Durations = Field(default_factory=lambda: _seconds("5,15,60"), min_length=2)
    """When the seller is read after an unclear outcome, in seconds after the exchange ended."""
    not_there_seconds: Seconds = 600.0
    """How long a seller may say that it does not know a chain order yet before a person is told; it is tried on."""
    replay_dead_seconds: float = Field(default=0, ge=0)
    """How often a dead delivery whose retries were used up is tried again by itself; 0 for never."""
    reconcile_seconds: Seconds = 3600.0
    """How often an open order is read at its seller in its first day; 6 times rarer after it, 24 times after a week."""
    confirm_at: Durations = Field(default_factory=lambda: _seconds("30,120,600"), min_length=1)
    """When the seller is read again to confirm what it told us, in seconds after it did; then it is disbelieved."""
    closed_at: Durations = Field(default_factory=lambda: _seconds("86400,604800,2592000"))
    """When an order that ended is read again, in seconds after its end: a return may have been lost."""
    commit_seconds: Seconds = 2.0
    """How long a notification waits from its arrival to its commit, all in all, before the answer is 503."""
    retention_seconds: Seconds = 3600.0
    """How often orders whose time is over are looked for."""

    otel_endpoint: Annotated[str | None, BeforeValidator(_collector)] = None
    """Where traces are sent: a collector's OTLP over HTTP, `http://host:4318`. Unset: no traces."""

    alert_smtp_url: SecretStr | None = None
    """Where alerts are mailed to: `smtp://user:password@host:587` (STARTTLS), or `smtps://…:465`. Unset: no mail."""
    alert_to: Words = []
    """Who gets that mail."""
    alert_seconds: Seconds = 30.0
    """How often everything is looked at for what a person must hear of."""
    alert_after_seconds: Seconds = 900.0
    """How long something may wait before it is an alert; seller's turns take multiples of it."""

    @model_validator(mode="after")
    def _can_be_mailed(self) -> Self:
        url = self.alert_smtp_url.get_secret_value() if self.alert_smtp_url is not None else ""
        try:
            address = urlsplit(url)
            good = not url or (address.scheme in {"smtp", "smtps"} and bool(address.hostname) and address.port != 0)
        except ValueError:
            good = False
        if not good:
            raise ValueError("CHAIN_ORDERS_ALERT_SMTP_URL must read smtp://host:port or smtps://host:port")
        if bool(url) != bool(self.alert_to):
            raise ValueError("CHAIN_ORDERS_ALERT_SMTP_URL and CHAIN_ORDERS_ALERT_TO go together")
        if any(not re.fullmatch(r"[^@\s<>,]+@[^@\s<>,]+", to) for to in self.alert_to):
            raise ValueError("CHAIN_ORDERS_ALERT_TO must be addresses, separated by commas")
        return self

    @model_validator(mode="after")
    def _safe(self) -> Self:
        try:
            address = urlsplit(self.public_url)
        except ValueError as wrong:
            raise ValueError("CHAIN_ORDERS_PUBLIC_URL is not a URL") from wrong
        if address.scheme not in {"http", "https"} or not address.hostname:
            raise ValueError("CHAIN_ORDERS_PUBLIC_URL must be an absolute http(s) URL")
        if address.query or address.fragment:
            raise ValueError("CHAIN_ORDERS_PUBLIC_URL must have no query and no fragment")
        if self.environment == "production":
            if address.scheme != "https":
                raise ValueError("CHAIN_ORDERS_PUBLIC_URL must be https in production")
            if self.open_callbacks:
                raise ValueError("CHAIN_ORDERS_OPEN_CALLBACKS is refused outside development")
        if self.lease_seconds <= self.exchange_seconds:
            raise ValueError("CHAIN_ORDERS_LEASE_SECONDS must be longer than CHAIN_ORDERS_EXCHANGE_SECONDS")
        for name in ("verify_at", "closed_at"):
            if getattr(self, name) != sorted(getattr(self, name)):
                raise ValueError(f"CHAIN_ORDERS_{name.upper()} must ascend")
        self.public_url = self.public_url.rstrip("/")
        return self

    @property
    def development(self) -> bool:
        return self.environment == "development"

    def shown(self) -> dict[str, str]:
        """Settings that may be shown to whoever is signed in: none of them a secret or an address with one."""
        names = (
            "environment", "open_callbacks", "pool_size", "worker_slots", "poll_seconds", "sweep_seconds",
            "connect_seconds", "exchange_seconds", "lease_seconds", "not_there_seconds", "reconcile_seconds",
            "replay_dead_seconds",
        )  # fmt: skip
        waits = {name: getattr(self, name) for name in ("retry_schedule", "verify_at", "confirm_at", "closed_at")}
        return {
            **{name: str(getattr(self, name)) for name in names},
            **{name: ", ".join(f"{wait.total_seconds():g}" for wait in found) for name, found in waits.items()},
        }

    def key_bytes(self, which: Literal["callback", "credential"]) -> dict[str, bytes]:
        keys = self.callback_keys if which == "callback" else self.credential_keys
        return {kid: key.bytes() for kid, key in keys.items()}
