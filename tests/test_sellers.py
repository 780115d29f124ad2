"""What is taken of a seller: where its calls may lead, and what may be one of its credentials."""

from __future__ import annotations

import string

import pytest

from chain_orders.errors import Invalid
from chain_orders.operators import edges
from chain_orders.operators.schemas import NewSeller, SellerChange
from chain_orders.sellers import directory

HOSTS = ["gate.example"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://acme.vtexcommercestable.com.br", "https://acme.vtexcommercestable.com.br"),
        ("https://acme.vtexcommercestable.com.br/", "https://acme.vtexcommercestable.com.br"),
        ("https://acme.vtexcommercestable.com.br:443", "https://acme.vtexcommercestable.com.br:443"),
        ("HTTPS://ACME.VTEXCommerceStable.com.br", "HTTPS://ACME.VTEXCommerceStable.com.br"),
        ("https://gate.example", "https://gate.example"),
        ("https://acme.gate.example", "https://acme.gate.example"),
    ],
)
def test_a_base_url_at_vtex_or_at_an_allowed_host_is_taken(given: str, kept: str) -> None:
    assert directory.check_base_url(given, hosts=HOSTS, development=False) == kept


@pytest.mark.parametrize(
    "base_url",
    [
        "http://acme.vtexcommercestable.com.br",
        "ftp://acme.vtexcommercestable.com.br",
        "//acme.vtexcommercestable.com.br",
        "acme.vtexcommercestable.com.br",
        "https://",
        # another server of the host, or another door of it
        "https://acme.vtexcommercestable.com.br:80",
        "https://acme.vtexcommercestable.com.br:8443",
        "https://acme.vtexcommercestable.com.br:0",
        "https://acme.vtexcommercestable.com.br:65536",
        "https://acme.vtexcommercestable.com.br/api",
        "https://acme.vtexcommercestable.com.br/..",
        "https://acme.vtexcommercestable.com.br/?",
        "https://acme.vtexcommercestable.com.br?a=b",
        "https://acme.vtexcommercestable.com.br#",
        # whoever reads it otherwise than we do
        "https://user@acme.vtexcommercestable.com.br",
        "https://user:secret@acme.vtexcommercestable.com.br",
        "https://@acme.vtexcommercestable.com.br",
        "https://acme.vtexcommercestable.com.br@evil.example",
        "https://evil.example\\.vtexcommercestable.com.br",
        "https://evil.example;.vtexcommercestable.com.br",
        "https://evil.example%2f.vtexcommercestable.com.br",
        "https://evil.example/.vtexcommercestable.com.br",
        "https://evil.example#.vtexcommercestable.com.br",
        "https://evil.example\r\n.vtexcommercestable.com.br",
        "https://acme.vtexcommercestable.com.br\n",
        # names that only look like it
        "https://evilvtexcommercestable.com.br",
        "https://vtexcommercestable.com.br.evil.example",
        "https://acme.vtexcommercestable.com.br.",
        "https://acme.vtexcommercestable.com",
        "https://acme..vtexcommercestable.com.br",
        "https://.vtexcommercestable.com.br",
        f"https://{'a' * 64}.vtexcommercestable.com.br",
        f"https://{'a.' * 120}vtexcommercestable.com.br",
        "https://acme.vtexcommercestаble.com.br",  # noqa: RUF001  (one letter is Cyrillic)
        "https://acme.xn--vtexcommercestble-k5l.com.br",
        "https://ácme.vtexcommercestable.com.br",
        "https://acme。vtexcommercestable.com.br",
        "https://evil.example",
        "https://evilgate.example",
        # no name at all
        "https://93.184.216.34",
        "https://127.0.0.1",
        "https://2130706433",
        "https://0177.0.0.1",
        "https://0x7f.1",
        "https://[::1]",
        "https://[::ffff:93.184.216.34]",
        "https://[fe80::1%25eth0]",
        "https://localhost",
    ],
)
def test_a_base_url_that_leads_anywhere_else_is_refused(base_url: str) -> None:
    with pytest.raises(Invalid) as refused:
        directory.check_base_url(base_url, hosts=HOSTS, development=False)

    assert refused.value.code == "base-url-refused"
    assert [fault.pointer for fault in refused.value.faults] == ["/baseUrl"]


@pytest.mark.parametrize("base_url", ["http://127.0.0.1:8011", "http://seller:8001", "http://[::1]:8011/under/a/path"])
def test_in_development_a_seller_may_be_anywhere(base_url: str) -> None:
    assert directory.check_base_url(base_url, hosts=[], development=True) == base_url


@pytest.mark.parametrize(
    "base", ["https://cb.example?", "https://cb.example#", "https://a..example", "http://cb.example"]
)
def test_a_callback_base_that_no_address_could_follow_is_refused(base: str) -> None:
    with pytest.raises(Invalid) as refused:
        directory.check_callback_base(base, development=False)

    assert refused.value.code == "callback-base-refused"


NO_CREDENTIALS = [
    "key\r\nX-Other: 1",
    "key\n",
    "\nkey",
    "key\r",
    "\r\n\r\nGET / HTTP/1.1",
    "key\x00",
    "\x00",
    "key\x0b",
    "key\x7f",
    "key\x85",
    "chave-não",
    "key\u2028",
    "\uff4b\uff45\uff59",
    "🔑",
    "\ud800",
    "",
    " ",
    "\t",
    " key",
    "key ",
    "two keys",
    "key\xa0",
    "k" * 257,
]


@pytest.mark.parametrize("field", ["appKey", "appToken"])
def test_what_no_header_could_carry_is_no_credential(field: str) -> None:
    """Refused where it is given: where it is sent, it would fail every call, or be two headers."""
    whole = {"accountName": "acme", "salesChannel": "1", "affiliateId": "MKP", "appKey": "k", "appToken": "t"}
    for credential in NO_CREDENTIALS:
        for model, rest in ((NewSeller, whole), (SellerChange, {})):
            with pytest.raises(Invalid) as refused:
                edges.validated(model, {**rest, field: credential})
            assert [fault.pointer for fault in refused.value.faults] == [f"/{field}"]


@pytest.mark.parametrize("credential", ["~", "~" * 256, string.digits + string.ascii_letters + string.punctuation])
def test_whatever_a_header_can_carry_may_be_a_credential(credential: str) -> None:
    changed = edges.validated(SellerChange, {"appKey": credential, "appToken": credential})

    assert (changed.app_key, changed.app_token) == (credential, credential)
