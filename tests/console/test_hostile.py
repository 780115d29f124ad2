"""Whatever a seller can write is shown as text, wherever it is shown: nothing of it becomes a part of the page."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from sqlalchemy import text

from chain_orders.console import rendering

from ..builders import Marketplace, SimulatedSeller, invoice
from .visitor import Visitor

CORPUS = [
    "<img src=x onerror=alert(1)>\u202e\"'&{{7*7}}",
    '</textarea></pre></title><script src="//evil.example/x.js"></script>',
    "' onmouseover='alert(1)' style='position:fixed\" onfocus=\"alert(1)",
    "javascript:alert(document.cookie)//%0a<svg/onload=alert(1)>",
]
# Every column that holds what a seller sent, or what it answered.
PLANTED = [
    statement.replace("$", "cast(:said as text)")
    for statement in (
        "update chain_orders set seller_order_id = $, seller_status = $",
        """insert into invoices (chain_order_key, type, number, value_cents, url, key, courier, tracking_number,
             tracking_url) select key, 'Output', $, 1, $, $, $, $, $ from chain_orders""",
        """insert into changes (chain_order_key, request_id, digest, increment_cents, discount_cents, state, receipt)
             select key, $, '', 1, 0, 'recorded', $ from chain_orders""",
        """insert into seen (order_id, chain_order_key, status, answer, digest, first_at, last_at)
             select order_id, key, 200, convert_to($, 'UTF8'), '', now(), now() from chain_orders""",
        "update orders set attention_code = 'reverted', attention_reason = $, attention_since = now()",
        "update deliveries set state = 'dead', last_error = $, settled_at = now()",
        "update attempts set error = $, response = convert_to($, 'UTF8')",
        """update notifications set state = 'conflict', reason = $, receipt = $, path = convert_to($, 'UTF8'),
             body = convert_to($, 'UTF8'), headers = convert_to($, 'UTF8')""",
        """update events set chain_order_id = $, data = jsonb_build_object('reason', $, 'courier', $, 'code', $,
             'number', $, 'requestId', $, 'unheard-of', $)""",
        "update lanes set reason = $",
        "insert into order_names (order_id, kind, value) select id, 'tracking', $ from orders",
    )
]
PAGES = (
    "", "/orders", "/orders?q={q}", "/orders/{order}", "/orders/{order}/resolve", "/deliveries",
    "/deliveries/{call}", "/deliveries/{call}/retry", "/notifications", "/notifications/{note}", "/sellers",
    "/sellers/acme",
)  # fmt: skip
HELD_BACK = {"/orders", "/notifications/{note}", "/deliveries/{call}/retry"}
"""Pages that show nothing of it without a reason, or at all."""


class Reading(HTMLParser):
    """What a browser would make of a page: its texts, and what would act."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.acting: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        addresses = [given[name] for name in ("src", "href", "action") if name in given]
        self.acting += [f"{tag} {name}" for name in given if name.startswith("on") or name == "style"]
        self.acting += [f"{tag} {one}" for one in addresses if not one.startswith(("/console", "#", "?"))]
        if tag in {"img", "iframe", "object", "embed", "style", "base"} or (tag == "script" and "src" not in given):
            self.acting.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example\\.track.example/HP1", "https://\u0430pple.example/HP1", "https://track.example@evil.example/",
        "http://track.example/HP1", "//track.example/HP1", "https:///HP1", "https://[evil.example/",
    ],
)  # fmt: skip
def test_a_link_leads_where_it_says_or_is_text(url: str) -> None:
    """Browsers take a backslash for a slash, and letters of another script for those that they look like."""
    assert "<a" not in rendering.link(url)
    assert 'href="https://track.example:443/HP1"' in rendering.link("https://track.example:443/HP1")


@pytest.mark.parametrize("said", CORPUS)
async def test_what_a_seller_wrote_stays_text_on_every_page(
    marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor, said: str
) -> None:
    placed = await marketplace.place()
    base = await simulated.base(placed["orderGroup"])
    await marketplace.notify(f"{base}/pub/orders/ANOTHER-1/invoice", invoice())
    note = await marketplace.notified(placed["id"], "parked")
    (call,) = (await marketplace.get(placed["id"], "/deliveries"))["items"]
    async with marketplace.database.transaction() as session:
        for statement in PLANTED:
            await session.execute(text(statement), {"said": said})
    ids = {"order": placed["id"], "call": call["id"], "note": note["id"], "q": said[:3].replace("<", "%3C")}

    pages = {path: (await admin.get(f"/console{path.format(**ids)}")).text for path in PAGES}
    for path in ("/deliveries/{call}/whole", "/notifications/{note}/whole"):
        pages[path] = (await admin.send(f"/console{path.format(**ids)}", reason="a dispute")).text

    async with marketplace.database.transaction() as session:
        await session.execute(text("update orders set status = 'rejected'"))
        await session.execute(text("update deliveries set state = 'rejected'"))
    for path in ("/orders/{order}?", "/orders/{order}/correct"):
        pages[path] = (await admin.get(f"/console{path.format(**ids)}")).text

    shown = rendering.told(said)
    for path, page in pages.items():
        reading = Reading()
        reading.feed(page)
        assert "<h1>" in page, path
        assert reading.acting == [], path
        assert "\u202e" not in page, path
        assert path in HELD_BACK or shown[:40] in "".join(reading.texts), path
