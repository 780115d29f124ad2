"""Credentials at rest: opened only with their key, in their own row and column."""

from __future__ import annotations

import pytest

from chain_orders.sellers.vault import Unsealable, Vault

VAULT = Vault({"k2": bytes(range(32)), "k1": bytes(range(32, 64))})
PLAIN = "vtexappkey-invented-ABCDEF"
HERE = {"row": "acme", "column": "app_key"}
SEALED = VAULT.seal(PLAIN, **HERE)


@pytest.mark.parametrize("plain", [PLAIN, "", "é\U0001f600", "x" * 10_000])
def test_what_was_sealed_is_opened(plain: str) -> None:
    assert VAULT.open(VAULT.seal(plain, **HERE), **HERE) == plain


def test_a_sealed_value_does_not_hold_the_plain_text() -> None:
    assert PLAIN.encode() not in SEALED
    assert len(SEALED) == len(b"k2:") + 12 + len(PLAIN) + 16


def test_sealing_twice_gives_other_bytes() -> None:
    assert len({VAULT.seal(PLAIN, **HERE) for _ in range(50)}) == 50


def test_the_first_key_seals() -> None:
    assert SEALED.startswith(b"k2:")


def test_every_key_opens_what_it_sealed() -> None:
    sealed_before = Vault({"k1": VAULT.keys["k1"]}).seal(PLAIN, **HERE)

    assert VAULT.open(sealed_before, **HERE) == PLAIN


@pytest.mark.parametrize(
    "there",
    [
        {"row": "acme", "column": "app_token"},
        {"row": "acme2", "column": "app_key"},
        {"row": "", "column": "app_key"},
    ],
)
def test_a_value_that_was_moved_is_not_opened(there: dict[str, str]) -> None:
    with pytest.raises(Unsealable, match="does not belong to this row"):
        VAULT.open(SEALED, **there)


@pytest.mark.parametrize("bit", [1, 128])
def test_a_value_with_one_changed_bit_is_not_opened(bit: int) -> None:
    for at in range(len(SEALED)):
        changed = SEALED[:at] + bytes([SEALED[at] ^ bit]) + SEALED[at + 1 :]
        with pytest.raises(Unsealable):
            VAULT.open(changed, **HERE)


def test_a_value_that_was_cut_off_is_not_opened() -> None:
    for length in range(len(SEALED)):
        with pytest.raises(Unsealable):
            VAULT.open(SEALED[:length], **HERE)


def test_another_key_of_the_same_name_opens_nothing() -> None:
    with pytest.raises(Unsealable, match="does not belong to this row"):
        Vault({"k2": bytes(32)}).open(SEALED, **HERE)


def test_a_value_under_another_keys_name_is_not_opened() -> None:
    same_key_twice = Vault({"k2": VAULT.keys["k2"], "k3": VAULT.keys["k2"]})

    with pytest.raises(Unsealable):
        same_key_twice.open(SEALED.replace(b"k2:", b"k3:", 1), **HERE)


def test_a_missing_key_is_named() -> None:
    with pytest.raises(Unsealable, match="no credential key 'k2' is configured"):
        Vault({"k1": VAULT.keys["k1"]}).open(SEALED, **HERE)


def test_no_failure_shows_the_plain_text_or_a_key() -> None:
    with pytest.raises(Unsealable) as failure:
        VAULT.open(SEALED, row="other", column="app_key")

    assert PLAIN not in str(failure.value)
    assert repr(VAULT) == "Vault()"
