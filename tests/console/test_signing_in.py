"""Sessions: opened with a key, protected in the cookie and in every form, over when they are over."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import httpx
import pytest
from sqlalchemy import func, select, update

from chain_orders.app import create_app
from chain_orders.console import filters, zones
from chain_orders.console.models import ConsoleSession
from chain_orders.console.visits import local
from chain_orders.database import Database
from chain_orders.operators import access
from chain_orders.operators.audit import Audit
from chain_orders.operators.models import ApiKey
from chain_orders.orders.models import Order
from chain_orders.settings import Settings

from ..builders import Marketplace, settings_for
from .visitor import Visitor, fields, key_of


@pytest.mark.parametrize("path", ["/", "/console/"])
async def test_a_browser_at_the_root_is_led_to_the_console(stranger: Visitor, path: str) -> None:
    root = await stranger.get(path)

    assert (root.status_code, root.headers["location"]) == (307, "/console")


async def test_a_program_at_the_root_is_not_led_anywhere(marketplace: Marketplace) -> None:
    answer = await marketplace.client.get("/", headers={"Accept": "application/json"})

    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


async def test_who_is_not_signed_in_signs_in_and_goes_on(marketplace: Marketplace, stranger: Visitor) -> None:
    turned_away = await stranger.get("/console/orders?status=placed")
    wanted = turned_away.headers["location"]

    answer = await stranger.sign_in(await key_of(marketplace, "viewer"), next="/console/orders?status=placed")

    assert re.search(r'<input id="key"[^>]* autofocus', await stranger.page("/console/sign-in"))
    assert (turned_away.status_code, wanted) == (303, "/console/sign-in?next=%2Fconsole%2Forders%3Fstatus%3Dplaced")
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/orders?status=placed")
    assert "Orders" in await stranger.page("/console/orders")


async def test_a_key_that_is_not_in_force_opens_nothing(marketplace: Marketplace, stranger: Visitor) -> None:
    key = await key_of(marketplace, "admin", "revoked")
    async with marketplace.database.transaction() as session:
        await session.execute(update(ApiKey).where(ApiKey.name == "revoked").values(revoked_at=func.clock_timestamp()))

    answers = [await stranger.sign_in(one) for one in (key, "co_wrong", "")]

    assert [answer.status_code for answer in answers] == [401, 401, 401]
    assert all("set-cookie" not in answer.headers for answer in answers)


async def test_the_cookie_is_for_this_site_and_for_no_script(marketplace: Marketplace, stranger: Visitor) -> None:
    answer = await stranger.sign_in(await key_of(marketplace, "viewer"))

    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith("sid=")
    assert {part.strip() for part in cookie.split(";")[1:]} == {"httponly", "path=/", "samesite=lax"}
    assert "Development without TLS" in await stranger.page("/console")


async def test_only_the_hash_of_a_session_is_stored(marketplace: Marketplace, stranger: Visitor) -> None:
    await stranger.sign_in(await key_of(marketplace, "viewer"))

    async with marketplace.database.transaction() as session:
        stored = list(await session.scalars(select(ConsoleSession.digest)))

    assert stored == [sha256(stranger.client.cookies["sid"].encode()).digest()]


async def test_who_works_at_the_console_uses_the_key(marketplace: Marketplace, stranger: Visitor) -> None:
    key = await key_of(marketplace, "admin", "harbor desk")

    async def used() -> Any:
        async with marketplace.database.transaction() as session:
            return await session.scalar(select(ApiKey.last_used_at).where(ApiKey.name == "harbor desk"))

    await stranger.sign_in(key)
    signed_in, long_ago = await used(), func.clock_timestamp() - timedelta(minutes=5)
    async with marketplace.database.transaction() as session:
        await session.execute(update(ApiKey).values(last_used_at=long_ago))
        await session.execute(update(ConsoleSession).values(seen_at=long_ago))
    await stranger.get("/console/orders")

    assert signed_in is not None
    assert await used() > signed_in


async def test_signing_in_again_is_another_session(marketplace: Marketplace, stranger: Visitor) -> None:
    key = await key_of(marketplace, "viewer")
    await stranger.sign_in(key)
    first = stranger.client.cookies["sid"]

    await stranger.sign_in(key)

    assert stranger.client.cookies["sid"] != first


async def test_signing_out_ends_the_session_at_the_server(admin: Visitor) -> None:
    token = admin.client.cookies["sid"]

    answer = await admin.post("/console/sign-out", csrf=await admin.secret())

    admin.client.cookies.set("sid", token)
    assert answer.headers["location"] == "/console/sign-in?out=1"
    assert (await admin.get("/console")).headers["location"] == "/console/sign-in"


@pytest.mark.parametrize("over", [{"seen_at": timedelta(minutes=31)}, {"expires_at": timedelta(seconds=1)}])
async def test_a_session_ends_by_idleness_and_by_age(
    marketplace: Marketplace, admin: Visitor, over: dict[str, timedelta]
) -> None:
    async with marketplace.database.transaction() as session:
        moved = {name: func.clock_timestamp() - ago for name, ago in over.items()}
        await session.execute(update(ConsoleSession).values(**moved))

    assert (await admin.get("/console")).status_code == 303


async def test_a_session_lasts_twelve_hours_at_most(marketplace: Marketplace, admin: Visitor) -> None:
    async with marketplace.database.transaction() as session:
        lasts = await session.scalar(select(ConsoleSession.expires_at - ConsoleSession.created_at))

    assert lasts is not None
    assert abs(lasts - timedelta(hours=12)) < timedelta(minutes=1)


async def test_a_page_that_polls_does_not_keep_its_session_alive(marketplace: Marketplace, admin: Visitor) -> None:
    async def seen() -> object:
        async with marketplace.database.transaction() as session:
            return await session.scalar(select(ConsoleSession.seen_at))

    async with marketplace.database.transaction() as session:
        await session.execute(update(ConsoleSession).values(seen_at=func.clock_timestamp() - timedelta(minutes=5)))
    before = await seen()

    await admin.client.get("/console", headers={"X-Live": "1"})
    polled = await seen()
    await admin.get("/console")

    assert polled == before
    assert await seen() != before


async def test_revoking_a_key_ends_its_sessions(marketplace: Marketplace, admin: Visitor) -> None:
    async with marketplace.database.transaction() as session:
        await session.execute(update(ApiKey).values(revoked_at=func.clock_timestamp()))

    assert (await admin.get("/console")).status_code == 303


async def test_a_session_ends_with_the_key_that_was_rotated_away(marketplace: Marketplace, admin: Visitor) -> None:
    async def until_(moment: timedelta) -> None:
        async with marketplace.database.transaction() as session:
            await session.execute(update(ApiKey).values(before_until=func.clock_timestamp() + moment))

    await until_(timedelta(hours=1))
    assert (await admin.get("/console")).status_code == 200
    await until_(timedelta())
    assert (await admin.get("/console")).status_code == 303


async def test_a_poll_without_a_session_is_401_and_no_page(stranger: Visitor) -> None:
    answer = await stranger.client.get("/console", headers={"X-Live": "1"})

    assert (answer.status_code, answer.content) == (401, b"")


async def test_the_api_does_not_take_the_cookie(admin: Visitor) -> None:
    assert (await admin.get("/v1/orders")).status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 303),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "OURS"}, 303),
        ({"Origin": "OURS OVER TLS"}, 403),
        ({}, 403),
    ],
)
async def test_a_form_must_come_from_this_origin(
    marketplace: Marketplace, admin: Visitor, headers: dict[str, str], status: int
) -> None:
    secret = await admin.secret()
    ours = {"OURS": marketplace.url, "OURS OVER TLS": marketplace.url.replace("http:", "https:")}
    sent = {name: ours.get(value, value) for name, value in headers.items()}

    answer = await admin.client.post("/console/sellers/acme/resume", data={"csrf": secret}, headers=sent)
    signing_in = await admin.client.post("/console/sign-in", data={"key": "co_wrong"}, headers=sent)

    assert answer.status_code == status
    assert signing_in.status_code == (401 if status == 303 else 403)


@pytest.mark.parametrize("secret", ["", "wrong", None])
async def test_a_form_without_the_sessions_secret_changes_nothing(
    marketplace: Marketplace, admin: Visitor, secret: str | None
) -> None:
    form = {"other": "1"} if secret is None else {"csrf": secret}

    answer = await admin.post("/console/sellers/acme/pause", **form)

    assert answer.status_code == 403
    assert (await marketplace.client.get("/v1/sellers/acme")).json()["paused"] is False


async def test_another_sessions_secret_is_refused(marketplace: Marketplace, admin: Visitor, viewer: Visitor) -> None:
    answer = await admin.post("/console/sellers/acme/pause", csrf=await viewer.secret())

    assert answer.status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "https://evil.example", "//evil.example", "/\\evil.example", "/console/../../x\n", "javascript:alert(1)",
        "/v1/orders", "/consolex", "",
    ],
)  # fmt: skip
def test_signing_in_leads_nowhere_else(path: str) -> None:
    assert local(path) == "/console"


def test_signing_in_leads_back_to_a_page() -> None:
    assert local("/console/orders?q=HARBOR1001") == "/console/orders?q=HARBOR1001"


async def test_signing_in_again_ends_the_session_that_was_there(marketplace: Marketplace, stranger: Visitor) -> None:
    key = await key_of(marketplace, "viewer")
    await stranger.sign_in(key)
    first = stranger.client.cookies["sid"]
    await stranger.sign_in(key)

    stranger.client.cookies.set("sid", first)

    assert (await stranger.get("/console")).status_code == 303


async def test_an_address_fills_in_no_form(marketplace: Marketplace, admin: Visitor) -> None:
    answer = await admin.post(f"/console/sellers/acme/resume?csrf={await admin.secret()}", other="1")

    assert answer.status_code == 403


@pytest.mark.parametrize("form", ["authorize?receipt=FORGED&date=FORGED", "cancel?reason=FORGED"])
async def test_a_link_fills_in_no_form(marketplace: Marketplace, admin: Visitor, form: str) -> None:
    placed = await marketplace.place()

    assert "FORGED" not in await admin.page(f"/console/orders/{placed['id']}/{form}")


async def test_a_form_after_the_session_says_so_and_is_kept(marketplace: Marketplace, admin: Visitor) -> None:
    placed = await marketplace.place()
    form = f"/console/orders/{placed['id']}/cancel"
    hidden = fields(await admin.page(form))
    async with marketplace.database.transaction() as session:
        await session.execute(update(ConsoleSession).values(expires_at=func.clock_timestamp()))

    sent = {**hidden, "reason": "the shopper withdrew", "appToken": "secret", "document": "personal"}
    ended = await admin.post(form, {"Referer": f"{marketplace.url}{form}"}, **sent)
    carried = {**fields(ended.text), "key": await key_of(marketplace, "operator")}
    signed = await admin.sign_in(**carried)

    assert ended.status_code == 401
    assert "The session ended before the form was sent" in ended.text
    assert "secret" not in ended.text
    assert "personal" not in ended.text
    assert signed.headers["location"] == form
    assert ">the shopper withdrew</textarea>" in await admin.page(form)
    assert "the shopper withdrew" not in await admin.page(form)  # shown once
    assert (await marketplace.get(placed["id"]))["status"] == "placed"


async def test_a_form_of_a_seller_is_saved_after_signing_in_again(marketplace: Marketplace, admin: Visitor) -> None:
    """Nobody changed it meanwhile, and nobody is said to have."""
    form, chosen = "/console/sellers/acme", {"callbackTrust": "base", "changePolicy": "record"}
    chosen["authorizationGroup"] = "group"
    sent = {**fields(await admin.page(form)), **chosen, "currency": "EUR", "concurrency": "7"}
    signed = await _signed_in_late(marketplace, admin, form, sent)

    again = fields(await admin.page(signed.headers["location"]))
    saved = await admin.post(form, **{**again, **chosen})

    assert (again["currency"], again["concurrency"]) == ("EUR", "7")
    assert saved.status_code == 303, saved.text
    assert (await marketplace.client.get("/v1/sellers/acme")).json()["currency"] == "EUR"


@pytest.mark.parametrize(
    ("path", "sent", "kept"),
    [
        ("/console/keys", {"name": "the shop", "role": "operator"}, ('value="the shop"', 'value="operator" selected')),
        ("/console/zone", {"zone": "Asia/Tokyo"}, ("<option selected>Asia/Tokyo",)),
        ("/console/sellers/acme/check", {"sku": "SKU-7"}, ('value="SKU-7"',)),
    ],
)
async def test_whatever_was_typed_is_there_again_after_the_session(
    marketplace: Marketplace, admin: Visitor, path: str, sent: dict[str, str], kept: tuple[str, ...]
) -> None:
    hidden = {"csrf": await admin.secret()}

    signed = await _signed_in_late(marketplace, admin, path, {**hidden, **sent})
    page = await admin.page(signed.headers["location"])

    assert [one for one in kept if one not in page] == []


@pytest.mark.parametrize(
    ("file", "page"),
    [
        ("/console/orders.csv?status=placed", "/console/orders?status=placed"),
        ("/console/orders/{}/evidence", "/console/orders/{}"),
    ],
)
async def test_a_file_that_is_asked_for_after_the_session_leads_to_its_page(
    stranger: Visitor, file: str, page: str
) -> None:
    """A file leaves the browser where it is: at the form for signing in."""
    order_id = str(UUID(int=7))

    answer = await stranger.get(file.format(order_id))

    asked = httpx.URL(answer.headers["location"])
    assert (asked.path, asked.params["next"]) == ("/console/sign-in", page.format(order_id))


async def test_signing_out_of_a_session_that_is_over_is_signing_out(marketplace: Marketplace, admin: Visitor) -> None:
    hidden = {"csrf": await admin.secret()}
    async with marketplace.database.transaction() as session:
        await session.execute(update(ConsoleSession).values(expires_at=func.clock_timestamp()))

    answer = await admin.post("/console/sign-out", **hidden)

    assert (answer.status_code, answer.headers["location"]) == (303, "/console/sign-in?out=1")


async def test_an_act_on_many_after_the_session_leads_back_to_its_list(
    marketplace: Marketplace, admin: Visitor
) -> None:
    """Not to the page between, which is reached by a form alone."""
    placed, list_ = await marketplace.place(), "/console/orders?status=placed"
    chosen = {"csrf": await admin.secret(), "what": "cancel", "order": placed["id"]}
    between = await admin.post("/console/orders/many", {"Referer": f"{marketplace.url}{list_}"}, **chosen)
    sent = {**fields(between.text), "reason": "out of stock", "confirm": "yes"}

    signed = await _signed_in_late(marketplace, admin, "/console/orders/many", sent)

    assert signed.headers["location"] == list_


async def _signed_in_late(marketplace: Marketplace, admin: Visitor, path: str, sent: dict[str, str]) -> httpx.Response:
    """Send a form to the address of its page when the session is over, and sign in again."""
    async with marketplace.database.transaction() as session:
        await session.execute(update(ConsoleSession).values(expires_at=func.clock_timestamp()))
    ended = await admin.post(path, {"Referer": f"{marketplace.url}{path}"}, **sent)
    assert ended.status_code == 401
    return await admin.sign_in(**{**fields(ended.text), "key": await key_of(marketplace, "admin", "late shift")})


async def test_what_was_done_is_said_once_and_by_no_link(marketplace: Marketplace, admin: Visitor) -> None:
    done = "Calls to the seller are paused."
    forged = await admin.page("/console/sellers/acme?done=paused")
    answer = await admin.post("/console/sellers/acme/pause", csrf=await admin.secret(), reason="they move")

    polled = await admin.client.get("/console/sellers/acme", headers={"X-Live": "1"})
    first, second = await admin.page("/console/sellers/acme"), await admin.page("/console/sellers/acme")

    assert answer.headers["location"] == "/console/sellers/acme"
    assert [done in page for page in (forged, polled.text, first, second)] == [False, False, True, False]


async def test_over_tls_the_cookie_is_bound_to_the_host(database: Database) -> None:
    production = {"environment": "production", "public_url": "https://orders.example", "open_callbacks": False}
    app = create_app(Settings(**settings_for(database.url, **production)), worker=False)
    async with database.transaction() as session:
        key = await access.create_key(session, "over tls", "viewer")
    origins = ("https://orders.example", "http://orders.example")
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="https://orders.example") as client:
        signed = [await client.post("/console/sign-in", data={"key": key}, headers={"Origin": one}) for one in origins]
        answer = await client.post("/console/sign-in", data={"key": key}, headers={"Sec-Fetch-Site": "same-origin"})
        page = await client.get("/console/sellers")
    await app.state.database.close()

    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith("__host-sid=")
    assert {part.strip() for part in cookie.split(";")[1:]} == {"httponly", "path=/", "samesite=lax", "secure"}
    assert [one.status_code for one in signed] == [303, 403]
    assert page.status_code == 200
    assert "Development without TLS" not in page.text
    for one in (answer, page):
        assert one.headers["strict-transport-security"] == "max-age=63072000; includeSubDomains"


async def test_times_and_days_are_of_the_operators_zone(marketplace: Marketplace, stranger: Visitor) -> None:
    placed = await marketplace.place()
    async with marketplace.database.transaction() as session:
        # Half past one in Tokyo is the afternoon of the day before in UTC.
        taken = {"created_at": datetime(2026, 11, 3, 16, 30, tzinfo=UTC)}
        await session.execute(update(Order).where(Order.id == UUID(placed["id"])).values(**taken))
    await stranger.sign_in(await key_of(marketplace, "viewer"), zone="Asia/Tokyo")

    there = await stranger.page(f"/console/orders/{placed['id']}")
    chosen = await stranger.send("/console/zone", zone="America/Sao_Paulo")
    elsewhere = await stranger.page(f"/console/orders/{placed['id']}")

    assert '<time datetime="2026-11-03T16:30:00.000Z">4 Nov 2026, 01:30 JST</time>' in there
    assert chosen.headers["location"] == "/console"
    assert ">3 Nov 2026, 13:30 UTC\u221203</time>" in elsewhere
    assert ">America/Sao_Paulo</a>" in elsewhere


def test_a_day_begins_at_midnight_in_the_operators_zone() -> None:
    """The clocks went back on that day, which has 25 hours."""
    day = filters.Wanted(since="2026-10-25", until="2026-10-25", zone=ZoneInfo("Europe/Lisbon")).search(exact=False)

    assert day.created_from is not None
    assert day.created_to is not None
    assert day.created_from.astimezone(UTC) == datetime(2026, 10, 24, 23, tzinfo=UTC)
    assert day.created_to.astimezone(UTC) == datetime(2026, 10, 26, 0, tzinfo=UTC)


async def test_the_audit_begins_with_a_day_of_the_operators_zone(marketplace: Marketplace, stranger: Visitor) -> None:
    await stranger.sign_in(await key_of(marketplace, "admin"), zone="Asia/Tokyo")
    async with marketplace.database.transaction() as session:
        # Half past one in Tokyo is the afternoon of the day before in UTC.
        at = datetime(2026, 11, 3, 16, 30, tzinfo=UTC)
        session.add(Audit(at=at, actor="operator:night shift", action="seller.pause", object="seller:acme"))

    found = ["night shift" in await stranger.page(f"/console/audit?since=2026-11-0{day}") for day in (4, 5)]

    assert found == [True, False]


async def test_a_zone_is_known_by_the_name_that_browsers_still_say(
    stranger: Visitor, marketplace: Marketplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chromium says Buenos Aires as it was said before 1996, and newer systems have it no more."""
    monkeypatch.setattr(zones, "ZONES", ("UTC", "America/Argentina/Buenos_Aires"))

    await stranger.sign_in(await key_of(marketplace, "viewer"), zone="America/Buenos_Aires")

    assert ">America/Argentina/Buenos_Aires</a>" in await stranger.page("/console/sellers")


async def test_a_zone_that_is_none_is_utc(marketplace: Marketplace, stranger: Visitor) -> None:
    await stranger.sign_in(await key_of(marketplace, "viewer"), zone="../../etc/passwd")

    assert ">UTC</a>" in await stranger.page("/console/sellers")
    assert (await stranger.send("/console/zone", zone="Nowhere/Atall")).status_code == 422
