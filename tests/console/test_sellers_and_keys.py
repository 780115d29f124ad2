"""Sellers and keys: put on record, changed, paused, and taken back."""

from __future__ import annotations

import re

from sqlalchemy import text

from ..builders import Marketplace
from .visitor import Visitor, fields, key_of, noted, signed_in


async def test_a_seller_is_added_changed_and_paused(marketplace: Marketplace, admin: Visitor) -> None:
    added = await admin.send(
        "/console/sellers/new", accountName="dockside", salesChannel="2", affiliateId="DCK", appKey="k", appToken="t",
        callbackTrust="base", changePolicy="record", authorizationGroup="group",
    )  # fmt: skip
    assert added.headers["location"] == "/console/sellers/dockside", added.text
    one = "/console/sellers/dockside"
    chosen = {"callbackTrust": "always-verify", "changePolicy": "record", "authorizationGroup": "group"}

    changed = await admin.send(one, currency="EUR", concurrency="3", **chosen)
    paused = await admin.send(f"{one}/pause", reason="stocktaking")
    assert await noted(marketplace) == ("seller.pause", "stocktaking")

    stored = (await marketplace.client.get("/v1/sellers/dockside")).json()
    assert changed.headers["location"] == f"{one}", changed.text
    assert paused.headers["location"] == f"{one}"
    assert (stored["currency"], stored["concurrency"], stored["callbackTrust"], stored["paused"]) == (
        "EUR",
        3,
        "always-verify",
        True,
    )


async def test_a_seller_that_changed_meanwhile_is_compared_and_saved_all_the_same(
    marketplace: Marketplace, admin: Visitor
) -> None:
    chosen = {"callbackTrust": "base", "changePolicy": "record", "authorizationGroup": "group"}
    opened = fields(await admin.page("/console/sellers/acme"))
    await admin.send("/console/sellers/acme", **chosen, concurrency="7", ratePerSecond="20")

    late = await admin.post("/console/sellers/acme", **{**opened, **chosen, "currency": "EUR"})
    again = await admin.post("/console/sellers/acme", **{**fields(late.text), **chosen})

    assert late.status_code == 412
    assert re.search(r"Changed a seller</strong> · by <span[^>]*>a admin</span>", late.text)
    assert re.search(r"<dt>Calls at once</dt><dd[^>]*>10 → 7</dd>", late.text)
    assert re.search(r"<dt>Calls a second</dt><dd[^>]*>50 → 20</dd>", late.text)
    settings = re.findall(r'<th scope="row">([^<]*)</th><td data-label="Stored now"', late.text)
    assert settings == ["Currency", "Calls at once", "Calls a second"]  # and nothing that the form does not hold
    assert re.search(r"Currency</th><td[^>]*>\W</td><td[^>]*>EUR</td>", late.text)
    assert re.search(r"Calls at once</th><td[^>]*>7</td><td[^>]*>10</td>", late.text)
    assert 'href="/console/sellers/acme">Begin again' in late.text
    assert again.status_code == 303, again.text
    stored = (await marketplace.client.get("/v1/sellers/acme")).json()
    assert (stored["currency"], stored["concurrency"]) == ("EUR", 10)


async def test_what_is_wrong_with_a_seller_is_said_beside_the_field(admin: Visitor) -> None:
    answer = await admin.send(
        "/console/sellers/new", accountName="Not An Account", salesChannel="2", affiliateId="DCK", appKey="secret-key",
        appToken="secret-token", callbackTrust="base", changePolicy="record", authorizationGroup="group",
    )  # fmt: skip

    assert answer.status_code == 422
    assert 'aria-describedby="w-accountName' in answer.text
    assert "Not An Account" in answer.text
    assert "secret-" not in answer.text


async def test_a_seller_whose_address_is_no_longer_allowed_may_be_changed_but_for_that(
    marketplace: Marketplace, admin: Visitor
) -> None:
    async with marketplace.database.transaction() as session:
        await session.execute(text("update sellers set base_url = 'https://acme.example/?of=old'"))
    chosen = {"callbackTrust": "base", "changePolicy": "record", "authorizationGroup": "group"}

    changed = await admin.send("/console/sellers/acme", **chosen, currency="EUR")
    moved = await admin.send("/console/sellers/acme", **chosen, baseUrl="https://acme.example/?of=new", currency="BRL")

    stored = (await marketplace.client.get("/v1/sellers/acme")).json()
    assert (changed.status_code, moved.status_code) == (303, 422)
    assert (stored["baseUrl"], stored["currency"]) == ("https://acme.example/?of=old", "EUR")


async def test_a_key_is_shown_with_the_sessions_that_are_not_over_and_with_the_one_before(
    marketplace: Marketplace, admin: Visitor
) -> None:
    for role in ("viewer", "operator"):
        await (await signed_in(marketplace, role)).client.aclose()
    async with marketplace.database.transaction() as session:
        await session.execute(text(_IDLE))
    (address,) = re.findall(r'href="(/console/keys/rotate[^"]+)" aria-label="Replace a viewer"', await _keys(admin))
    await admin.send(address, overlap="3600", reason="a new machine")

    listed = await _keys(admin)

    (viewer,), (operator,) = [re.findall(rf"<tr>(?:(?!<tr>).)*>{name}<.*?</tr>", listed, re.DOTALL) for name in _TWO]
    assert re.search(r'data-label="Sessions" class="number">1<', viewer)
    assert re.search(r'data-label="Sessions" class="number">0<', operator)
    assert re.search(r"the one before too, until <time", viewer)
    assert "the one before" not in operator


async def _keys(admin: Visitor) -> str:
    return await admin.page("/console/keys")


_TWO = ("a viewer", "a operator")
_IDLE = """
    update console_sessions s set seen_at = clock_timestamp() - interval '31 minutes'
      from api_keys k where k.id = s.key_id and k.role = 'operator'
"""


async def test_a_form_of_a_key_that_is_refused_keeps_what_was_chosen(marketplace: Marketplace, admin: Visitor) -> None:
    """Nobody makes a viewer's key, or lets a stolen one hold for a day, by correcting something else."""
    await key_of(marketplace, "viewer", "night shift")
    named = await admin.send("/console/keys", name="night shift", role="admin")
    (address,) = re.findall(r'href="(/console/keys/rotate[^"]+)" aria-label="Replace night shift"', named.text)

    without = await admin.send(address, overlap="0", reason=" ")

    assert (named.status_code, without.status_code) == (409, 422)
    assert '<option value="admin" selected>' in named.text
    assert re.findall(r'<option value="(\d+)" selected>', without.text) == ["0"]


async def test_a_key_is_shown_once_and_can_be_revoked(marketplace: Marketplace, admin: Visitor) -> None:
    made = await admin.post("/console/keys", csrf=await admin.secret(), name="night shift", role="viewer")
    key = re.search(r"co_[\w-]{43}", made.text)
    assert key is not None
    listed = await admin.page("/console/keys")
    (path,) = re.findall(r'href="(/console/keys/revoke[^"]+)" aria-label="Revoke night shift"', listed)

    asked = await admin.page(path)
    await admin.post("/console/keys/revoke", **fields(asked), reason="she left")

    assert "night shift" in asked
    assert await noted(marketplace) == ("key.revoke", "she left")

    assert key[0] not in listed
    answer = await marketplace.client.get("/v1/orders", headers={"Authorization": f"Bearer {key[0]}"})
    assert answer.status_code == 401
