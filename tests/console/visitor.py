"""What a browser does at the console, without one: keeps the cookie, sends forms with their secret and their origin."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import unescape
from typing import Any

import httpx
from sqlalchemy import select

from chain_orders.operators import access
from chain_orders.operators.audit import Audit

from ..builders import Marketplace, calling

LARGEST = 100_000
"""Bytes that no page has more of."""
HTML = "text/html,application/xhtml+xml"


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody at the console; `sign_in` first."""

    client: httpx.AsyncClient

    async def sign_in(self, key: str, **more: str) -> httpx.Response:
        return await self.post("/console/sign-in", key=key, **more)

    async def get(self, path: str, **parameters: str) -> httpx.Response:
        return await self.client.get(path, params=parameters or None)

    async def page(self, path: str) -> str:
        """The text of a page that must be there."""
        answer = await self.client.get(path)
        assert answer.status_code == 200, (path, answer.status_code, answer.text[:2000])
        return answer.text

    async def post(self, path: str, headers: dict[str, str] | None = None, **form: Any) -> httpx.Response:
        """A form as a browser sends it."""
        return await self.client.post(path, data=form, headers={"Sec-Fetch-Site": "same-origin", **(headers or {})})

    async def send(self, path: str, **form: Any) -> httpx.Response:
        """Open a page, and send its form with the hidden fields that it holds."""
        hidden = fields(await self.page(path))
        return await self.post(path, **{**hidden, **form})

    async def secret(self) -> str:
        return fields(await self.page("/console/health"))["csrf"]


def fields(html: str) -> dict[str, str]:
    """The named inputs of a page's main form, with what they hold."""
    main = html[html.index('<main id="main"') :]
    found = re.findall(r"<input\b[^>]*>", main)
    shown: dict[str, str] = {}
    for one in found:
        name, value = re.search(r'\bname="([^"]*)"', one), re.search(r'\bvalue="([^"]*)"', one)
        kind = re.search(r'\btype="([^"]*)"', one)
        if name and not (kind and kind[1] == "checkbox" and " checked" not in one):
            shown[name[1]] = unescape(value[1]) if value else ""
    if "csrf" not in shown:
        anywhere = re.search(r'name="csrf" value="([^"]*)"', html)
        shown["csrf"] = anywhere[1] if anywhere else ""
    return shown


POLICY = dict.fromkeys(("script-src", "style-src", "img-src", "connect-src", "form-action"), "'self'")
POLICY |= dict.fromkeys(("default-src", "frame-ancestors", "base-uri", "object-src"), "'none'")
POLICY["require-trusted-types-for"] = "'script'"


def check_headers(answer: httpx.Response, *, kept: bool = False) -> None:
    """What every answer of the console carries, over plain http. `kept`: a browser may keep it."""
    found = answer.headers
    directives = [one.strip().partition(" ") for one in found["content-security-policy"].split(";")]
    assert {name: value for name, _, value in directives} == POLICY, answer.url
    assert found["x-content-type-options"] == "nosniff"
    assert found["x-frame-options"] == "DENY"
    assert found["referrer-policy"] == "same-origin"
    assert found["cross-origin-opener-policy"] == "same-origin"
    assert found["cross-origin-resource-policy"] == "same-origin"
    assert found["permissions-policy"]
    assert found["cache-control"] == ("no-cache" if kept else "no-store"), answer.url
    assert "strict-transport-security" not in found


def addresses(html: str) -> set[str]:
    """Where a page's links within the console lead to."""
    return {one.replace("&amp;", "&") for one in re.findall(r'href="(/console[^"#]*)', html) if "/static/" not in one}


async def noted(marketplace: Marketplace) -> tuple[str, str | None]:
    """The latest act in the audit, with its reason."""
    async with marketplace.database.transaction() as session:
        noted = (await session.execute(select(Audit.action, Audit.reason).order_by(Audit.id.desc()).limit(1))).one()
    return noted.action, noted.reason


async def key_of(marketplace: Marketplace, role: Any, name: str = "") -> str:
    """A new key of this role."""
    async with marketplace.database.transaction() as session:
        return await access.create_key(session, name or f"a {role}", role)


def visitor(marketplace: Marketplace) -> Visitor:
    return Visitor(calling(marketplace.url, timeout=20, headers={"Accept": HTML}))


async def signed_in(marketplace: Marketplace, role: Any = "admin") -> Visitor:
    """Somebody who has signed in with a key of this role."""
    somebody = visitor(marketplace)
    answer = await somebody.sign_in(await key_of(marketplace, role))
    assert answer.status_code == 303, answer.text
    return somebody
