"""What nobody means to send, and what comes too late: refused in words, and shown with what changed meanwhile."""

from __future__ import annotations

import re

import pytest

from chain_orders.console import sessions

from ..builders import Marketplace, SimulatedSeller, invoice
from .day import foreign
from .visitor import Visitor, fields


async def test_an_act_on_an_order_that_has_moved_is_refused(marketplace: Marketplace, admin: Visitor) -> None:
    placed = await marketplace.place()
    path = f"/console/orders/{placed['id']}/authorize"
    preview = fields(await admin.page(path))
    await marketplace.authorize(placed["id"])

    answer = await admin.post(path, **preview, confirm="yes")

    assert answer.status_code == 412
    assert "The order has changed since you looked" in answer.text


@pytest.mark.parametrize("act", ["cancel", "resolve"])
async def test_an_act_on_an_order_that_has_moved_shows_what_changed_meanwhile(
    marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor, act: str
) -> None:
    """What it was when the form was drawn and is now, and what happened since; what was typed is there again."""
    told = await foreign(marketplace, simulated)
    path = f"/console/orders/{told}/{act}"
    await marketplace.authorize(told)
    await marketplace.becomes(told, "partially-invoiced")
    preview = fields((await admin.send(path, reason="the fair is off")).text)
    chain = (await marketplace.get(told))["chainOrders"][0]["chainOrderId"]
    base = await simulated.base("HARBOR-1003")
    await marketplace.notify(f"{base}/pub/orders/{chain}/invoice", invoice("NF-7009", 1200))
    await marketplace.becomes(told, "invoiced")

    late = await admin.post(path, **{"reason": "the fair is off", **preview}, confirm="yes")

    assert late.status_code == 412
    assert "The order has changed since you looked" in late.text
    assert re.search(r"Status</th><td[^>]*>Partly invoiced</td><td[^>]*>Invoiced</td>", late.text)
    assert re.search(r"Remaining</th><td[^>]*>12.00</td><td[^>]*>0.00</td>", late.text)
    assert "Total</th>" not in late.text
    assert re.search(r"<strong>Invoiced</strong> · by <span[^>]*>the seller</span>", late.text)
    assert "NF-7009" in late.text
    assert "NF-7003" not in late.text
    assert f'href="{path}"' in late.text
    assert ">the fair is off</textarea>" in await admin.page(path)


@pytest.mark.parametrize("path", ["/console/sellers/%00", "/console/orders/%00", "/console/nowhere", "/console/keys/"])
async def test_a_page_that_is_not_there_says_so_beside_the_menu(admin: Visitor, path: str) -> None:
    answer = await admin.get(path)

    assert answer.status_code == 404
    assert "Sign out" in answer.text
    assert re.search(r'<main.*<form action="/console/orders">.*name="q"', answer.text, re.DOTALL)


@pytest.mark.parametrize("list_", ["/console/orders", "/console/deliveries"])
async def test_results_that_are_gone_lead_back_to_their_list(admin: Visitor, list_: str) -> None:
    """Whoever comes back to their address alone is not told that there is no such order."""
    act = {"/console/orders": "many", "/console/deliveries": "retry"}[list_]
    came = {"Referer": f"{admin.client.base_url}{list_}?seller=acme&chosen=all"}

    answer = await admin.client.get(f"{list_}/{act}", headers=came)

    assert (answer.status_code, answer.headers["location"]) == (303, f"{list_}?seller=acme")


async def test_a_refusal_is_a_whole_sentence(admin: Visitor) -> None:
    """However the API says it, and with numbers as people write them."""
    unknown = await admin.get("/console/sellers/nobody")
    above = await admin.send("/console/sellers/acme", ratePerSecond="10001", **_CHOSEN)

    assert ">There is no seller nobody.<" in unknown.text
    assert ">must be at most 10000<" in above.text


_CHOSEN = {"callbackTrust": "base", "changePolicy": "record", "authorizationGroup": "group"}


async def test_a_form_of_too_many_fields_is_refused_in_words(admin: Visitor) -> None:
    answer = await admin.post("/console/deliveries/retry", csrf=await admin.secret(), id=[str(n) for n in range(1200)])

    assert answer.status_code == 413
    assert "at most 1000 fields" in answer.text


async def test_a_filter_that_means_nothing_is_named(admin: Visitor) -> None:
    page = await admin.page("/console/orders?status=bogus&since=2026-13-01&seller=acme")
    meant = await admin.page("/console/orders?status=placed&sort=createdAt")

    assert re.search(r"Ignored, because it means nothing here:\s*<span[^>]*>status, since</span>", page)
    assert "Ignored" not in meant
    for address, named in (
        ("deliveries?state=bogus&kind=other", "state, kind"), ("notifications?state=bogus", "state"),
        ("audit?since=soon&action=seller.sell", "action, since"),
    ):  # fmt: skip
        assert re.search(rf"means nothing here:\s*<span[^>]*>{named}</span>", await admin.page(f"/console/{address}"))


async def test_a_filter_by_somebody_unknown_is_shown_to_filter(admin: Visitor) -> None:
    for list_ in ("orders", "deliveries", "notifications"):
        page = await admin.page(f"/console/{list_}?seller=quayside")

        (choice,) = re.findall(r'<select id="f-seller".*?</select>', page, re.DOTALL)
        assert re.findall(r'<option value="([^"]*)" selected', choice) == ["quayside"]


@pytest.mark.parametrize(
    ("failure", "status", "told"),
    [
        (RuntimeError("a defect"), 500, "The service failed. Whether this was done is not known"),
        (OSError("no way to the database"), 503, "The database is away or busy. Whether this was done is not known"),
    ],
)
async def test_a_failure_after_the_act_does_not_claim_that_nothing_was_done(
    marketplace: Marketplace,
    admin: Visitor,
    monkeypatch: pytest.MonkeyPatch,
    failure: Exception,
    status: int,
    told: str,
) -> None:
    form = fields(await admin.page("/console/sellers/acme/pause"))

    async def fail(*_given: object, **_more: object) -> None:
        raise failure

    monkeypatch.setattr(sessions, "remember", fail)
    answer = await admin.post("/console/sellers/acme/pause", **form, reason="stocktaking")

    assert (await marketplace.client.get("/v1/sellers/acme")).json()["paused"] is True
    assert answer.status_code == status
    assert told in answer.text
    assert "Nothing was changed" not in answer.text
    assert ("retry-after" in answer.headers) == (status == 503)


async def test_a_nul_character_is_shown_and_breaks_nothing(marketplace: Marketplace, admin: Visitor) -> None:
    """A database's text holds none."""
    placed = await marketplace.place()

    preview = await admin.send(f"/console/orders/{placed['id']}/cancel", reason="it\x00broke")

    assert preview.status_code == 200
    assert "it\ufffdbroke" in preview.text


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-13-01", "soon"])
async def test_a_story_from_nowhere_begins_at_its_end(marketplace: Marketplace, admin: Visitor, at: str) -> None:
    placed = await marketplace.place()

    answer = await admin.get(f"/console/orders/{placed['id']}", before=f"{at}|0|1")

    assert answer.status_code == 200
    assert "Order taken" in answer.text
