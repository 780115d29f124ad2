"""Sessions: opened with a key, protected in the cookie and in every form, over when they are over."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from hashlib import sha256

import pytest
from sqlalchemy import func, select, update

from chain_orders.console.models import ConsoleSession
from chain_orders.console.visits import local
from chain_orders.operators.models import ApiKey

from ..builders import Marketplace
from .visitor import Visitor, key_of, visitor


@pytest.fixture
async def stranger(marketplace: Marketplace) -> AsyncIterator[Visitor]:
    somebody = visitor(marketplace)
    yield somebody
    await somebody.client.aclose()


async def test_a_browser_at_the_root_is_led_to_the_console(stranger: Visitor) -> None:
    root = await stranger.get("/")

    assert (root.status_code, root.headers["location"]) == (307, "/console")


async def test_a_program_at_the_root_is_not_led_anywhere(marketplace: Marketplace) -> None:
    answer = await marketplace.client.get("/", headers={"Accept": "application/json"})

    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


async def test_who_is_not_signed_in_signs_in_and_goes_on(marketplace: Marketplace, stranger: Visitor) -> None:
    turned_away = await stranger.get("/console/orders?status=placed")
    wanted = turned_away.headers["location"]

    answer = await stranger.sign_in(await key_of(marketplace, "viewer"), next="/console/orders?status=placed")

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
        ({}, 403),
    ],
)
async def test_a_form_must_come_from_this_origin(
    marketplace: Marketplace, admin: Visitor, headers: dict[str, str], status: int
) -> None:
    secret = await admin.secret()
    sent = {name: marketplace.url if value == "OURS" else value for name, value in headers.items()}

    answer = await admin.client.post("/console/sellers/acme/resume", data={"csrf": secret}, headers=sent)

    assert answer.status_code == status


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
