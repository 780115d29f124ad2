"""Whatever a person reads passes through gettext: shown with a language that marks every message that did."""

from __future__ import annotations

import ast
import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from gettext import NullTranslations
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from babel.messages.pofile import read_po

from chain_orders.alerts.rules import RULES
from chain_orders.console import facts, overview, rendering, sentences, texts, words
from chain_orders.errors import Fault, Problem
from chain_orders.events import types
from chain_orders.masking import mask_body
from chain_orders.notifications import applying
from chain_orders.operators import revealing
from chain_orders.vtex import faults

from .. import messages
from ..builders import Marketplace, SimulatedSeller, order
from .day import conflict, dead, rejected
from .visitor import Visitor, fields

TEMPLATES = Path(rendering.__file__).parent / "templates"
SOURCE = TEMPLATES.parents[1]
MARKED = re.compile(r"⟦[^⟦⟧]*⟧")
SPOKEN = ("aria-label", "placeholder", "title", "alt", "data-label")
KEPT = frozenset({"pre", "code", "time", "script", "textarea"})
EMPTY = frozenset({"br", "hr", "img", "input", "link", "meta", "path", "rect", "circle"})
DATA = re.compile(r"^(chain-orders|\d+[mhd]|[A-Z]{3}|[A-Z]{3}\d{2,}|UTC|seller:acme|acme|\d{1,2}:\d\d|[A-Z0-9]+-\d+)$")
"""Names, currencies, VTEX's codes, numbers and moments, which are the same in every language."""


_NONE = uuid.UUID(int=1)


class Marking(NullTranslations):
    """A language in which every message stands in brackets. Keeps what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = set[str]()

    def gettext(self, message: str) -> str:
        self.asked.add(message)
        return f"⟦{message}⟧"

    def ngettext(self, one: str, many: str, number: int) -> str:
        self.asked.add(one)
        return f"⟦{one if number == 1 else many}⟧"


class Reading(HTMLParser):
    """The texts of a page that are not marked as data, nor as what the service wrote down in English."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._open: list[bool] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        kept = given.get("translate") == "no" or given.get("lang") == "en" or tag in KEPT
        if not kept and not any(self._open):
            self.texts += [value for name in SPOKEN if (value := given.get(name))]
        if tag not in EMPTY:
            self._open.append(kept)

    def handle_endtag(self, tag: str) -> None:
        if tag not in EMPTY and self._open:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if not any(self._open):
            self.texts.append(data)


def unmarked(html: str) -> set[str]:
    """Words of the page that no message holds."""
    reading = Reading()
    reading.feed(html)
    text = "\n".join(reading.texts)  # a message may go on behind the data in it
    while MARKED.search(text):
        text = MARKED.sub(" ", text)
    found = {word for word in re.findall(r"[^\s,.·/()…:→%]{2,}", text) if re.search(r"[A-Za-z]", word)}
    return {word for word in found if not DATA.match(word)}


@pytest.fixture
def options() -> dict[str, Any]:
    return {"retry_schedule": "0.05"}


@pytest.fixture
def marking(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a language that marks; whatever is asked of it must be there for those who translate."""
    language = Marking()
    monkeypatch.setitem(texts.CATALOGUES, "qps", language)
    yield "qps"
    with messages.POT.open("rb") as file:
        known = {one.id if isinstance(one.id, str) else one.id[0] for one in read_po(file)}
    assert language.asked - known == set()


def test_the_messages_for_translators_are_those_of_the_source() -> None:
    assert messages.POT.read_text() == messages.written(), "run: make messages"


async def test_every_text_of_a_page_passes_through_gettext(
    marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor, marking: str
) -> None:
    await marketplace.change_seller(currency="BRL")
    refused, stuck = await rejected(marketplace, simulated), await dead(marketplace, simulated)
    told = await conflict(marketplace, simulated)
    (call,) = (await marketplace.get(stuck, "/deliveries"))["items"]
    paths = [
        "", "/orders", "/orders?q=nothing-like-it", f"/orders/{refused}", f"/orders/{refused}/correct",
        f"/orders/{stuck}", f"/orders/{told}", f"/orders/{told}/resolve", "/deliveries", f"/deliveries/{call['id']}",
        f"/deliveries/{call['id']}/retry", f"/deliveries/{call['id']}/whole",
        "/notifications?state=all", "/alerts", "/sellers", "/sellers/acme",
        "/sellers/new", "/sellers/acme/check", "/sellers/acme/token", "/sellers/acme/pause", "/webhooks", "/keys",
        "/audit", "/health", "/nowhere",
    ]  # fmt: skip
    admin.client.headers["Accept-Language"] = f"{marking}, en;q=0.5"
    found = {}
    for path in paths:
        html = (await admin.get(f"/console{path}")).text
        assert f'<html lang="{marking}">' in html
        if words_left := unmarked(html):
            found[path] = words_left
    seen = {"version": "0", "seen": "0 placed seller change-received 1 1 1 1 1"}
    late = {"csrf": await admin.secret(), "decision": "dismiss", "reason": "seen", "confirm": "yes", **seen}
    moved = await admin.post(f"/console/orders/{told}/resolve", **late)
    assert moved.status_code == 412
    if words_left := unmarked(moved.text):
        found["moved"] = words_left
    assert found == {}, found


async def test_a_refusal_passes_through_gettext_with_what_is_put_into_it(
    marketplace: Marketplace, admin: Visitor, marking: str
) -> None:
    placed = await marketplace.place(order("HARBOR-1"))
    admin.client.headers["Accept-Language"] = marking
    csrf = await admin.secret()
    given = {"csrf": csrf, "reason": "seen", "chain": "ANOTHER-01", "confirm": "yes", "version": placed["version"]}
    limits = {**fields(await admin.page("/console/sellers/acme")), "concurrency": "0", "currency": "real"}
    for path, form, told in (
        (f"orders/{placed['id']}/cancel", given, "⟦the order has no chain order ANOTHER-01⟧"),
        (f"orders/{placed['id']}/cancel", {"csrf": csrf, "reason": "x" * 501}, "⟦must have at most 500 characters⟧"),
        ("sellers/acme", limits, "⟦must be at least 1⟧"),
        ("sellers/acme", limits, "⟦must be 3 capital letters, such as BRL⟧"),
        ("keys", {"csrf": csrf, "name": "?"}, "⟦must be 1 to 63 letters, digits, blanks or . _ @ -"),
        ("webhooks/new", {"csrf": csrf, "url": "nowhere", "events": "order.*"}, "⟦must be an absolute https URL⟧"),
        (f"orders/{_NONE}/cancel", given, f"⟦there is no order {_NONE}⟧"),
    ):
        answer = await admin.post(f"/console/{path}", **form)
        assert told in answer.text, (path, told)
        assert unmarked(answer.text) == set(), path


async def test_what_the_service_wrote_down_is_english_and_says_nobody_elses_turn(
    marketplace: Marketplace, simulated: SimulatedSeller, admin: Visitor, marking: str
) -> None:
    await simulated.behave(rejectCode="XYZ999")
    taken = (await marketplace.post_order(order("HARBOR-1"))).json()
    await marketplace.becomes(taken["id"], "rejected")
    await simulated.behave(rejectCode="ORD027")
    listed = (await marketplace.post_order(order("HARBOR-2"))).json()
    await marketplace.becomes(listed["id"], "rejected")
    admin.client.headers["Accept-Language"] = marking

    unknown, known = [await admin.page(f"/console/orders/{one['id']}") for one in (taken, listed)]

    assert '<span lang="en">the seller answered 400 XYZ999.</span>' in unknown
    assert '<b translate="no" lang="en">the seller answered 400 XYZ999.</b>' in unknown
    assert known.count("ORD027: ⟦An item has run out of stock at the seller.⟧") == 2
    assert "An operator must act" not in unknown + known


def test_a_sentence_within_a_sentence_is_translated_too(marking: str) -> None:
    texts.speak(marking)
    try:
        many = faults.told(
            [Fault("/items/0/price", "cents", "must be a number"), Fault("/total", "missing", "is missing")]
        )
        assert words.said(many) == "⟦⟦/items/0/price: ⟦must be a number⟧⟧ (and 1 more)⟧"
    finally:
        texts.speak("")
    assert many == "/items/0/price: must be a number (and 1 more)"


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.html")), ids=lambda path: path.stem)
def test_a_template_holds_no_words_of_its_own(path: Path) -> None:
    bare = re.sub(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", " ", path.read_text(), flags=re.DOTALL)
    spoken = re.findall(rf'\b(?:{"|".join(SPOKEN)})="([^"]*)"', bare)
    texts_left = re.sub(r"<!doctype html>|<[^>]*>", " ", bare)
    left = {word for text in (texts_left, *spoken) for word in re.findall(r"[A-Za-z]{2,}[\w-]*(?::\w+)?", text)}
    assert {word for word in left if not DATA.match(word)} == set()


def test_the_language_is_the_first_that_is_known(marking: str) -> None:
    for accepted, chosen in (
        ("", texts.OWN), ("de", texts.OWN), ("de, qps;q=0.4", marking), ("en;q=0.9, qps;q=0.1", texts.OWN),
        ("qps-ploc", marking), ("qps;q=none", texts.OWN), (", ;q=", texts.OWN),
    ):  # fmt: skip
        texts.speak(accepted)
        assert texts.language() == chosen, accepted
    texts.speak("")


def test_words_speak_the_language_of_the_visit(marking: str) -> None:
    texts.speak(marking)
    try:
        assert words.word(words.STATUSES, "placed").label == "⟦Placed⟧"
        assert sentences.attention("retries-used-up")[0] == "⟦Its tries are used up⟧"
        assert rendering.text_of(mask_body(b"?")) == "⟦[masked: 1 bytes that are not JSON]⟧"
        assert rendering.span(125) == "⟦2 min⟧ ⟦5 s⟧".replace("2 min", "%s min").replace("5 s", "%s s") % (2, 5)
    finally:
        texts.speak("")


@pytest.mark.parametrize(
    ("language", "amount", "number", "share", "at"),
    [
        ("en-GB", "BRL 1,300.50", "12,345", "2.5%", "3 Nov 2026, 13:30:05 UTC"),
        ("pt-BR", "BRL 1.300,50", "12.345", "2,5%", "3 de nov. de 2026 13:30:05 UTC"),
        ("qps", "BRL 1,300.50", "12,345", "2.5%", "3 Nov 2026, 13:30:05 UTC"),
    ],
)
def test_numbers_and_moments_are_written_as_the_language_does(
    monkeypatch: pytest.MonkeyPatch, language: str, amount: str, number: str, share: str, at: str
) -> None:
    """One that nobody knows how to write is written as English is."""
    monkeypatch.setitem(texts.CATALOGUES, language, NullTranslations())
    texts.speak(language)
    try:
        assert (rendering.money(130050, "BRL"), rendering.count(12345)) == (amount, number)
        assert rendering.percent(1, 40) == share
        assert rendering.clock(datetime(2026, 11, 3, 13, 30, 5, tzinfo=UTC), UTC, seconds=True) == at
    finally:
        texts.speak("")


def test_one_invoice_is_told_as_one() -> None:
    for seconds, told in (
        ([5.0], "The latest invoice came within 1 min."),
        ([5.0, 700.0], "Of the latest 2 invoices, half came within 1 h."),
    ):
        assert overview.picture_of_times(seconds).summary == told


def test_a_bar_says_what_it_counts() -> None:
    """No row of its table reads as if it held the rows above it."""
    picture = overview.picture_of_times([5.0, 700.0, 300_000.0, 300_000.0])

    (counted,) = picture.series
    assert (counted.label, list(counted.values)) == ("invoices", [1, 0, 1, 0, 0, 0, 2])
    assert picture.every[:3] == ["under 1 min", "1 min to 10 min", "10 min to 1 h"]
    assert picture.every[-1] == "3 d or more"
    assert picture.summary == "Of the latest 4 invoices, half came after more than 3 d."


def test_every_attention_that_is_documented_has_its_words_here() -> None:
    text = Path("docs/operations.md").read_text()
    table = text[text.index("| attention | means |") :].split("\n\n")[0]
    listed = {code for row in table.splitlines() for code in re.findall(r"`([a-z-]+)`", row.split("|")[1])}
    assert listed == set(sentences.ATTENTION)


def test_whatever_a_notification_waits_for_has_its_words_here() -> None:
    waits = {applying.INVOICE_UNKNOWN, applying.VERIFYING}
    for function, at in (("Parked", 0), ("park", 1)):
        waits |= {text for _, call in _calls(function) for arg in call.args[at : at + 1] for text in _texts(arg)}

    assert {"ambiguous", "apply-failed", "order-unknown"} < waits
    assert waits == set(words.PARKED)


def test_every_event_has_its_words_here() -> None:
    assert set(words.EVENTS) == types.ALL


def test_every_alert_has_its_words_here() -> None:
    assert set(sentences.ALERTS) == set(RULES)
    assert set(sentences.ALERT_LINKS) == set(RULES) - {"webhook-disabled", "behind-long"}
    assert set(sentences.WEBHOOK_ALERTS) < set(RULES)


def _calls(*functions: str) -> Iterator[tuple[ast.Module, ast.Call]]:
    """Every call of these functions in the source, with the module that it is in."""
    for path in SOURCE.rglob("*.py"):
        module = ast.parse(path.read_text())
        for one in ast.walk(module):
            if isinstance(one, ast.Call) and ast.unparse(one.func) in functions:
                yield module, one


def _texts(node: ast.AST) -> set[str]:
    return {one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)}


def test_every_act_of_the_audit_has_its_words_here() -> None:
    noted = {revealing.READ}
    for function, at in (("audit.note", 2), ("revealing.grant", 4)):
        noted |= {text for _, call in _calls(function) for arg in call.args[at : at + 1] for text in _texts(arg)}

    assert {"order.repair", "order.evidence", "seller.resume"} < noted
    assert noted == set(sentences.ACTS)


def _told() -> set[str]:
    """What the events of orders hold beside their type, as the source tells them."""
    found = set[str]()
    for module, call in _calls("order.tell", "stored.tell", "self.tell"):
        found |= {one.arg for one in call.keywords if one.arg is not None}
        spread = {ast.unparse(one.value).partition("(")[0] for one in call.keywords if one.arg is None}
        for one in ast.walk(module):
            names = [one.name] if isinstance(one, ast.FunctionDef) else _assigned(one)
            if spread.intersection(names):
                found |= {text for made in ast.walk(one) if isinstance(made, ast.Dict) for text in _keys(made)}
    return found - {"chain_order"}


def _assigned(node: ast.AST) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [ast.unparse(target) for target in targets]


def _keys(made: ast.Dict) -> set[str]:
    return {text for key in made.keys if key is not None for text in _texts(key)}


def test_everything_that_an_event_holds_has_its_words_here() -> None:
    told = _told()

    assert {"trackingNumber", "requestId", "before", "withoutItems", "settled"} < told
    assert told == set(facts.LABELS) | facts.UNSAID


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ({"increment": 100, "discount": 0}, [("more", "BRL 1.00"), ("less", "BRL 0.00")]),
        ({"before": 130000, "value": 120000}, [("before", "BRL 1,300.00"), ("value", "BRL 1,200.00")]),
        ({"verified": True}, [("found by reading", "yes")]),
        ({"verified": False, "seq": 3, "reason": None}, []),
        ({"sent": False}, [("sent to the seller", "no")]),
        ({"date": "2026-11-03T16:30:00.000+00:00"}, [("date", "4 Nov 2026, 01:30 JST")]),
        ({"date": "2026-11-03"}, [("date", "2026-11-03")]),
        ({"decision": "accept-change", "settled": ["over-invoiced"]},
         [("decision", "the change is accepted"), ("settled with it", "Invoices exceed the value")]),
        ({"code": "value-differs"}, [("code", "The seller shows another value")]),
        ({"source": "read"}, [("learnt from", "reading the seller")]),
        ({"was": "parked", "kind": "cancel", "type": "Input"},
         [("it was", "Parked"), ("kind", "Ask to cancel"), ("type", "return")]),
        ({"warnings": ["sku-repeated"]}, [("warnings", "one SKU in several lines")]),
    ],
)  # fmt: skip
def test_what_an_event_holds_is_told_in_words(data: dict[str, Any], shown: list[tuple[str, str]]) -> None:
    assert facts.of(data, "BRL", ZoneInfo("Asia/Tokyo")) == shown


def test_a_code_of_vtex_is_told_with_its_meaning() -> None:
    ((_label, told),) = facts.of({"code": "ORD027"}, None, UTC)

    assert told.startswith("ORD027: An item has run out of stock")


def test_every_kind_of_problem_has_a_title() -> None:
    assert all(kind.title for kind in Problem.__subclasses__())
