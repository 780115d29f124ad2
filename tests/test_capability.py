"""Callback bases: minted, verified, and refused after the slightest change."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain_orders.capability import Keyring, fold, hide

PUBLIC = "https://cb.harbor.example"
RING = Keyring({"k1": bytes(range(32)), "k2": bytes(range(32, 64))})
REF = "abcdefghijklmnopqrstuvwxyz"
KELVIN = "\N{KELVIN SIGN}"
# More than base32's alphabet: digits outside it, neighbours, a slash, a NUL, a long s, half of a surrogate pair.
OTHERS = [
    *string.ascii_lowercase,
    *string.digits,
    "=",
    "-",
    "/",
    "\0",
    " ",
    KELVIN,
    "\N{LATIN SMALL LETTER LONG S}",
    "\ud800",
]

ODD_TEXT = st.text(alphabet=OTHERS, max_size=30)


def minted(ring: Keyring = RING, ref: str = REF, kid: str | None = None) -> tuple[str, str, str]:
    kid, ref, mac = ring.base(PUBLIC, kid or ring.minting, ref).rsplit("/", 3)[1:]
    return kid, ref, mac


def changed(text: str) -> list[str]:
    """Every text that differs from `text` in one character: another one, one less, one more."""
    return [
        other
        for at in range(len(text) + 1)
        for put in ("", *OTHERS)
        for other in {text[:at] + put + text[at + 1 :], text[:at] + put + text[at:]}
        if other != text
    ]


def test_a_base_has_the_documented_form() -> None:
    base = RING.base(PUBLIC, "k1", REF)

    assert base == f"{PUBLIC}/cb/k1/{REF}/jvawztqkxzh32lanu3vx4fzs74"


def test_a_new_ref_is_128_random_bits_in_lower_case_base32() -> None:
    refs = {RING.new_ref() for _ in range(200)}

    assert len(refs) == 200
    assert all(len(ref) == 26 and set(ref) <= set(string.ascii_lowercase + "234567") for ref in refs)


def test_what_was_minted_verifies() -> None:
    assert RING.verify(*minted(ref=RING.new_ref()))


@pytest.mark.parametrize("slash", ["/", "\\/", "\\u002F", "%2f"])
def test_what_proves_a_base_is_hidden_wherever_it_stands(slash: str) -> None:
    base = RING.base(PUBLIC, "k1", REF)
    kept, _, mac = base.rpartition("/")

    shown = hide(f'["{base}", "{base.upper()}/pvt", "{mac}"]'.replace("/", slash).encode()).decode()

    assert shown == f'["{kept}/[masked]", "{kept.upper()}/[masked]/pvt", "{mac}"]'.replace("/", slash)


def test_what_proves_a_base_is_hidden_also_where_the_text_was_cut() -> None:
    base = RING.base(PUBLIC, "k1", REF)
    kept, _, mac = base.rpartition("/")

    shown = [hide(base.encode()[: len(kept) + 1 + length]).decode() for length in range(len(mac) + 1)]

    assert shown == [f"{kept}/", *[f"{kept}/[masked]"] * len(mac)]


def test_every_changed_character_of_a_mac_is_refused() -> None:
    kid, ref, mac = minted()

    assert [other for other in changed(mac) if RING.verify(kid, ref, other)] == []


def test_every_changed_character_of_a_ref_is_refused() -> None:
    kid, ref, mac = minted()

    assert [other for other in changed(ref) if RING.verify(kid, other, mac)] == []


def test_every_changed_character_of_a_kid_is_refused() -> None:
    kid, ref, mac = minted()

    assert [other for other in changed(kid) if RING.verify(other, ref, mac)] == []


@settings(max_examples=30, deadline=None)
@given(ODD_TEXT, ODD_TEXT, ODD_TEXT)
def test_no_invented_base_verifies_and_none_raises(kid: str, ref: str, mac: str) -> None:
    assert not RING.verify(kid, ref, mac)


@settings(max_examples=20, deadline=None)
@given(st.binary(min_size=32, max_size=64))
def test_another_key_never_verifies(key: bytes) -> None:
    assert not Keyring({"k1": key}).verify(*minted()) or key == RING.keys["k1"]


def test_letter_case_is_ignored_in_ref_and_mac() -> None:
    kid, ref, mac = minted()

    assert RING.verify(kid, ref.upper(), mac.upper())


def test_a_kelvin_sign_is_no_k() -> None:
    kid, ref, mac = minted()
    assert "k" in ref

    assert KELVIN.lower() == "k"
    assert not RING.verify(kid, ref.replace("k", KELVIN), mac)
    assert not RING.verify(kid, ref, mac.replace("k", KELVIN))


@pytest.mark.parametrize(
    ("text", "folded"), [("AbZ09", "abz09"), (KELVIN, KELVIN), ("É", "É"), ("\udcff", "\udcff"), ("", "")]
)
def test_only_ascii_letters_are_folded(text: str, folded: str) -> None:
    assert fold(text) == folded


@pytest.mark.parametrize("odd", ["\ud800", "é", "", "\0", "\N{MATHEMATICAL BOLD CAPITAL A}" * 26])
def test_odd_text_is_refused_without_an_error(odd: str) -> None:
    kid, ref, mac = minted()

    assert not any([RING.verify(odd, ref, mac), RING.verify(kid, odd, mac), RING.verify(kid, ref, odd)])


def test_an_unknown_kid_is_refused_even_with_the_mac_of_the_key_that_stands_in() -> None:
    _, ref, mac = minted(Keyring({"kx": b"\0" * 32}))

    assert not RING.verify("kx", ref, mac)


@pytest.mark.parametrize("ref", ["", "short", REF + "a"])
def test_a_ref_of_another_length_is_refused_with_its_right_mac(ref: str) -> None:
    _, _, mac = minted(ref=ref)

    assert not RING.verify("k1", ref, mac)


def test_the_second_key_verifies() -> None:
    assert RING.verify(*minted(kid="k2"))


def test_the_first_key_mints() -> None:
    assert (RING.minting, Keyring(dict(reversed(RING.keys.items()))).minting) == ("k1", "k2")


def test_a_mac_of_one_key_is_refused_under_the_others_kid() -> None:
    _, ref, mac = minted(kid="k2")

    assert not RING.verify("k1", ref, mac)


def test_a_missing_kid_mints_nothing() -> None:
    with pytest.raises(KeyError):
        RING.base(PUBLIC, "k3", REF)


def test_a_keyring_does_not_show_its_keys() -> None:
    assert repr(RING) == "Keyring()"
