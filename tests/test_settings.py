"""Settings: what is refused at start, in the name of its variable and without its value; and the example file."""

from __future__ import annotations

import base64
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from chain_orders.settings import DatabaseSettings, Settings

from .builders import KEY_BYTES

SECRET = base64.urlsafe_b64encode(KEY_BYTES).decode().rstrip("=")
OTHER = base64.urlsafe_b64encode(KEY_BYTES[::-1]).decode()
NEEDED = {
    "DATABASE_URL": "postgresql+asyncpg://user:s3cret-password@db.harbor.example/name",
    "PUBLIC_URL": "https://cb.harbor.example",
    "CALLBACK_KEYS": f"k1:{SECRET}",
    "CREDENTIAL_KEYS": f"k1:{SECRET}",
}
EXAMPLE = Path(__file__).parent.parent / ".env.example"


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in NEEDED.items():
        monkeypatch.setenv(f"CHAIN_ORDERS_{name}", value)
    return monkeypatch


def read(environment: pytest.MonkeyPatch, **changes: str | None) -> Settings:
    """The settings of a process whose variables differ from NEEDED in these; None: not set."""
    for name, value in changes.items():
        if value is None:
            environment.delenv(f"CHAIN_ORDERS_{name}")
        else:
            environment.setenv(f"CHAIN_ORDERS_{name}", value)
    return Settings()  # type: ignore[call-arg]


REFUSED: list[tuple[dict[str, str | None], str, str]] = [
    *(({name: None}, name, "Field required") for name in NEEDED),
    ({"PUBLIC_URL": "cb.harbor.example"}, "PUBLIC_URL", "must be an absolute http(s) URL"),
    ({"PUBLIC_URL": "ftp://cb.harbor.example"}, "PUBLIC_URL", "must be an absolute http(s) URL"),
    ({"PUBLIC_URL": "https://"}, "PUBLIC_URL", "must be an absolute http(s) URL"),
    ({"PUBLIC_URL": "https://[cb"}, "PUBLIC_URL", "is not a URL"),
    ({"PUBLIC_URL": "https://cb.harbor.example/?a=1"}, "PUBLIC_URL", "no query and no fragment"),
    ({"PUBLIC_URL": "https://cb.harbor.example/#a"}, "PUBLIC_URL", "no query and no fragment"),
    ({"PUBLIC_URL": "http://cb.harbor.example"}, "PUBLIC_URL", "must be https in production"),
    ({"OPEN_CALLBACKS": "true"}, "OPEN_CALLBACKS", "refused outside development"),
    ({"OPEN_CALLBACKS": "perhaps"}, "OPEN_CALLBACKS", "valid boolean"),
    ({"ENVIRONMENT": "staging"}, "ENVIRONMENT", "'production' or 'development'"),
    ({"LOG_FORMAT": "xml"}, "LOG_FORMAT", "'json' or 'console'"),
    ({"LEASE_SECONDS": "35"}, "LEASE_SECONDS", "must be longer than CHAIN_ORDERS_EXCHANGE_SECONDS"),
    ({"EXCHANGE_SECONDS": "60"}, "EXCHANGE_SECONDS", "CHAIN_ORDERS_LEASE_SECONDS must be longer"),
    *(
        ({f"{name}_SECONDS": "0"}, f"{name}_SECONDS", "greater than 0")
        for name in ("POLL", "SWEEP", "CONNECT", "EXCHANGE", "LEASE", "COMMIT")
    ),
    *(({"POLL_SECONDS": value}, "POLL_SECONDS", "Input should be a") for value in ("nan", "inf", "soon")),
    ({"POOL_SIZE": "1"}, "POOL_SIZE", "greater than or equal to 2"),
    ({"POOL_SIZE": "201"}, "POOL_SIZE", "less than or equal to 200"),
    ({"WORKER_SLOTS": "0"}, "WORKER_SLOTS", "greater than or equal to 1"),
    ({"PORT": "65536"}, "PORT", "less than or equal to 65535"),
    ({"PORT": "http"}, "PORT", "valid integer"),
    *(
        ({"RETRY_SCHEDULE": f"5,{value}"}, "RETRY_SCHEDULE", "must be seconds, separated by commas")
        for value in ("soon", "inf", "nan", "1e300")
    ),
    *(({"VERIFY_AT": f"{value},5"}, "VERIFY_AT", "must be longer than 0 seconds") for value in ("0", "-5")),
    ({"VERIFY_AT": "60"}, "VERIFY_AT", "at least 2 items"),
    *(({name: "60,5"}, name, "must ascend") for name in ("VERIFY_AT", "CLOSED_AT")),
    ({"CREDENTIAL_KEYS": KEY_BYTES.hex()}, "CREDENTIAL_KEYS", "key 1 is not written kid:base64"),
    ({"CREDENTIAL_KEYS": f"k1:{SECRET[:42]}"}, "CREDENTIAL_KEYS", "key 1 has 31 bytes; at least 32 are needed"),
    *(
        ({"CALLBACK_KEYS": value}, "CALLBACK_KEYS", told)
        for value, told in [
            ("", "key 1 is not written kid:base64"),
            (SECRET, "key 1 is not written kid:base64"),
            (KEY_BYTES.hex(), "key 1 is not written kid:base64"),
            (f"{KEY_BYTES.hex()}:k1", "key 1 is not written kid:base64"),
            (f"K1:{SECRET}", "key 1 is not written kid:base64"),
            (f"k-1:{SECRET}", "key 1 is not written kid:base64"),
            (f"é1:{SECRET}", "key 1 is not written kid:base64"),
            (f"k1:{SECRET},", "key 2 is not written kid:base64"),
            (f"k1:{OTHER},k1:{SECRET}", "key 2 has a kid that an earlier key has"),
            ("k1:", "key 1 is not URL-safe base64"),
            (f"k1:{SECRET[:-1]}!", "key 1 is not URL-safe base64"),
            (f"k1:{SECRET} {SECRET}", "key 1 is not URL-safe base64"),
            (f"k1:{SECRET}é", "key 1 is not URL-safe base64"),
            (f"k1:{SECRET}aa", "key 1 is not URL-safe base64"),
            (f"k1:{OTHER},k2:{SECRET[:41]}", "key 2 is not URL-safe base64"),
            (f"k1:{OTHER},k2:{SECRET[:42]}", "key 2 has 31 bytes; at least 32 are needed"),
        ]
    ),
]


@pytest.mark.parametrize(("changes", "variable", "told"), REFUSED)
def test_a_refusal_names_its_variable_and_shows_no_secret(
    environment: pytest.MonkeyPatch, changes: dict[str, str | None], variable: str, told: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        read(environment, **changes)

    text = str(refused.value)
    named = {str(error["loc"][0]).upper() for error in refused.value.errors() if error["loc"]}
    assert variable in named or f"CHAIN_ORDERS_{variable}" in text
    assert told in text
    hidden = [SECRET[:12], OTHER[:12], KEY_BYTES.hex()[:12], "s3cret-password"]
    assert [secret for secret in hidden if secret in text] == []


def test_the_environment_gives_what_is_needed_and_the_rest_has_defaults(environment: pytest.MonkeyPatch) -> None:
    settings = read(environment)

    assert settings.key_bytes("callback") == {"k1": KEY_BYTES}
    assert (settings.environment, settings.development, settings.open_callbacks) == ("production", False, False)
    assert settings.verify_at == [timedelta(seconds=at) for at in (5, 15, 60)]
    assert len(settings.retry_schedule) >= 12
    assert (
        timedelta(hours=46) < sum(settings.retry_schedule, timedelta()) < timedelta(hours=50)
    )  # half of it on average


def test_keys_keep_their_order_and_may_be_padded(environment: pytest.MonkeyPatch) -> None:
    settings = read(environment, CALLBACK_KEYS=f"k2:{OTHER}, k1:{SECRET}")

    assert list(settings.key_bytes("callback").items()) == [("k2", KEY_BYTES[::-1]), ("k1", KEY_BYTES)]
    assert settings.key_bytes("credential") == {"k1": KEY_BYTES}


def test_development_allows_plain_http_and_open_callbacks(environment: pytest.MonkeyPatch) -> None:
    settings = read(environment, ENVIRONMENT="development", PUBLIC_URL="http://127.0.0.1:1/", OPEN_CALLBACKS="true")

    assert (settings.development, settings.open_callbacks, settings.public_url) == (True, True, "http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("written", "kept"),
    [("https://cb.harbor.example/", "https://cb.harbor.example"), ("https://h.example/a/b//", "https://h.example/a/b")],
)
def test_the_public_url_ends_in_no_slash(environment: pytest.MonkeyPatch, written: str, kept: str) -> None:
    assert read(environment, PUBLIC_URL=written).public_url == kept


def test_lists_are_separated_by_commas(environment: pytest.MonkeyPatch) -> None:
    settings = read(environment, SELLER_HOSTS=" a.example , b.example,", RETRY_SCHEDULE="0.5, 1,")

    assert settings.seller_hosts == ["a.example", "b.example"]
    assert settings.retry_schedule == [timedelta(seconds=0.5), timedelta(seconds=1)]


def test_settings_do_not_show_their_secrets(environment: pytest.MonkeyPatch) -> None:
    shown = repr(read(environment)) + str(read(environment)) + str(read(environment).model_dump())

    assert [secret for secret in (SECRET[:12], "s3cret-password") if secret in shown] == []


def test_a_migration_needs_the_database_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAIN_ORDERS_DATABASE_URL", NEEDED["DATABASE_URL"])

    settings = DatabaseSettings()  # type: ignore[call-arg]

    assert settings.database_url.get_secret_value() == NEEDED["DATABASE_URL"]


def example() -> dict[str, tuple[bool, str]]:
    """The example file's settings: whether the line is a comment, and the value."""
    found = re.findall(r"^(#?)CHAIN_ORDERS_([A-Z_]+)=(.*)$", EXAMPLE.read_text("utf-8"), re.MULTILINE)
    assert len(found) == len({name for _, name, _ in found})
    return {name: (mark == "#", value) for mark, name, value in found}


def test_the_example_names_exactly_every_setting() -> None:
    assert set(example()) == {name.upper() for name in Settings.model_fields}


def test_the_example_sets_only_what_has_no_default() -> None:
    needed = {name.upper() for name, field in Settings.model_fields.items() if field.is_required()}

    assert {name for name, (commented, _) in example().items() if not commented} == needed


def test_the_example_shows_every_default(environment: pytest.MonkeyPatch) -> None:
    shown = {name: value for name, (commented, value) in example().items() if commented}
    unset = {name for name in shown if Settings.model_fields[name.lower()].default is None}
    defaults: dict[str, Any] = read(environment).model_dump()

    read_back = read(environment, **{name: value for name, value in shown.items() if name not in unset})

    assert read_back.model_dump() == defaults
    assert {shown[name] for name in unset} == {""}


def test_the_example_says_what_each_setting_means() -> None:
    lines = EXAMPLE.read_text("utf-8").splitlines()
    meant = [at for at, line in enumerate(lines) if re.match(r"#?CHAIN_ORDERS_", line)]

    assert [lines[at] for at in meant if not re.match(r"# \S|#   |#?CHAIN_ORDERS_", lines[at - 1])] == []


def test_the_examples_keys_are_refused_until_they_are_made(environment: pytest.MonkeyPatch) -> None:
    needed = {name: value for name, (commented, value) in example().items() if not commented}

    with pytest.raises(ValidationError) as refused:
        read(environment, **needed)

    assert {error["loc"] for error in refused.value.errors()} == {("callback_keys",), ("credential_keys",)}
