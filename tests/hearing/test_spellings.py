"""Forty spellings of the callback addresses, made in six ways of joining a base that has a path and a query.

Nobody knows how VTEX joins the two. However it does, a notification reaches its handler or is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlsplit

from ..builders import Marketplace, SimulatedSeller, calling, cancellation, invoice, order, until
from .test_changes import change

QUERY = "an=acme&x=1"
JOINS: dict[str, Callable[[str, str], str]] = {
    "before the query": lambda base, path: f"{base}{path}?{QUERY}",
    "behind a slash": lambda base, path: f"{base}/{path}?{QUERY}",
    "with a slash at the end": lambda base, path: f"{base}{path}/?{QUERY}",
    "behind the query": lambda base, path: f"{base}?{QUERY}{path}",
    "without the query": lambda base, path: f"{base}{path}",
    "in the query, quoted": lambda base, path: f"{base}?{QUERY}{quote(path, safe='')}",
}

_CANCEL, _CHANGE, _INVOICE = cancellation("MKP-{group}-01"), change(), invoice()
_TRACK: dict[str, Any] = {"courier": "Invented Couriers"}
PATHS: list[tuple[str, str, dict[str, Any]]] = [
    *[
        ("POST", f"{root}/{audience}/orders/order-group/{{group}}/notifications{last}", _CANCEL)
        for root in ("", "/api/oms")
        for audience in ("pvt", "pub")
        for last in ("", "/seller-cancellation")
    ],
    *[
        ("POST", f"{root}/{audience}/orders/{named}/invoice", _INVOICE)
        for root in ("", "/api/oms")
        for audience in ("pvt", "pub")
        for named in ("{group}", "MKP-{group}-01", "{group}-01", "order-group/{group}")
    ],
    *[("POST", f"/{audience}/orders/{{group}}/cancel", {}) for audience in ("pvt", "pub")],
    *[("POST", f"/{audience}/orders/{{group}}/changes", _CHANGE) for audience in ("pvt", "pub")],
    *[
        (method, f"/{audience}/orders/{{group}}/invoice/{number}{last}", _TRACK)
        for audience in ("pvt", "pub")
        for method, number, last in (
            ("POST", "NF-1", ""),
            ("PATCH", "NF%2F1", ""),
            ("POST", "NF/1", "/tracking"),
            ("PUT", "NF%201", "/tracking"),
            ("PUT", "tracking", "/tracking"),
            ("POST", "NF-1", "/tracking"),
        )
    ],
]


async def test_every_spelling_reaches_its_handler_or_is_kept(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    assert len(PATHS) == 40
    async with calling(timeout=30) as stranger:
        for at, (join, build) in enumerate(JOINS.items()):
            placed = await marketplace.place(order(group := f"SPELL{at}"))
            base = await simulated.base(group)
            reached = join != "in the query, quoted"
            for n, (method, path, body) in enumerate(PATHS):
                document = {**body, "seen": n}
                if "sellerOrderId" in document:
                    document["sellerOrderId"] = document["sellerOrderId"].format(group=group)
                answer = await stranger.request(method, build(base, path.format(group=group)), json=document)
                assert answer.status_code == (200 if reached else 404), (join, path, answer.text)

            await _settled(marketplace, placed["id"], len(PATHS))
            kinds = await _kinds(marketplace, placed["id"])
            assert kinds == (
                {"cancellation": 10, "invoice": 16, "change": 2, "tracking": 12} if reached else {"unreadable": 40}
            ), join


async def _kinds(marketplace: Marketplace, order_id: str) -> dict[str, int]:
    items = (await marketplace.get(order_id, "/notifications?limit=200"))["items"]
    kinds: dict[str, int] = {}
    for note in items:
        kinds[note["kind"]] = kinds.get(note["kind"], 0) + 1
    return kinds


async def _settled(marketplace: Marketplace, order_id: str, count: int) -> None:
    async def settled() -> bool:
        items = (await marketplace.get(order_id, "/notifications?limit=200"))["items"]
        return len(items) == count and all(note["state"] != "received" for note in items)

    await until(settled)


async def test_what_is_joined_in_a_way_that_loses_the_base_is_not_found(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    """Joined like a link, the path replaces the base: nothing is left of it that would say who calls."""
    await marketplace.place(order("SPELLX"))
    root = urlsplit(await simulated.base("SPELLX"))

    answers = await asyncio.gather(
        *(marketplace.notify(f"{root.scheme}://{root.netloc}{path.format(group='SPELLX')}", body, method)
          for method, path, body in PATHS)
    )  # fmt: skip

    assert {answer.status_code for answer in answers} == {404}
