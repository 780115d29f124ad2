"""Evidence of an order: everything of it, masked for everybody, whole for an admin who says why."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from hashlib import sha256
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from chain_orders.evidence import archive
from chain_orders.operators import access

from ..builders import Marketplace, SimulatedSeller, invoice, order, until
from ..retention.planted import document, holds, plant

SEED = bytes(range(32))


@pytest.fixture
def options() -> dict[str, Any]:
    return {"evidence_key": base64.urlsafe_b64encode(SEED).decode()}


async def evidence(marketplace: Marketplace, order_id: str, key: str | None = None, **params: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return await marketplace.client.get(f"/v1/orders/{order_id}/evidence", params=params, headers=headers)


def unpacked(answer: httpx.Response) -> dict[str, bytes]:
    assert answer.status_code == 200, answer.text
    assert archive.check(answer.content, archive.public_key(SEED)).changed == {}
    with zipfile.ZipFile(io.BytesIO(answer.content)) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


async def key_of(marketplace: Marketplace, role: Any) -> str:
    async with marketplace.database.transaction() as session:
        return await access.create_key(session, f"a-{role}", role)


async def test_masked_evidence_has_everything_but_the_person(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    sold = await plant(marketplace, simulated, "EVID1")

    files = unpacked(await evidence(marketplace, sold["id"], await key_of(marketplace, "viewer")))

    assert [name for name, content in files.items() if holds(content) or holds(name)] == []
    kinds = {name.partition("/")[0] for name in files}
    assert kinds == {
        "manifest.json", "manifest.sig", "order.json", "events.json", "acts.json", "reads.json", "placement",
        "deliveries", "notifications",
    }  # fmt: skip
    assert len([name for name in files if name.startswith("notifications/") and name.endswith("/request")]) == 5
    assert len([name for name in files if name.startswith("placement/")]) == 2
    assert json.loads(files["placement/request"])["items"][0]["price"] == 1200
    assert json.loads(files["order.json"])["status"] == "invoiced"
    assert {act["action"] for act in json.loads(files["acts.json"])} >= {"order.correct", "order.authorize"}


async def test_whole_evidence_is_what_was_sent_and_audited(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    sold = await plant(marketplace, simulated, "EVID2")
    masked = unpacked(await evidence(marketplace, sold["id"]))

    whole = unpacked(await evidence(marketplace, sold["id"], whole=True, reason="dispute 8"))

    stored = {name: entry["storedSha256"] for name, entry in _files(masked).items() if "storedSha256" in entry}
    hidden = {name: entry["storedSha256"] for name, entry in _files(whole).items() if "storedSha256" in entry}
    assert {name: hidden.get(name, sha256(whole[name]).hexdigest()) for name in stored} == stored
    assert holds(whole["placement/request"])
    act = (await marketplace.client.get("/v1/audit", params={"object": f"order:{sold['id']}"})).json()["items"][0]
    assert (act["action"], act["reason"]) == ("order.evidence", "dispute 8")
    assert json.loads(whole["manifest.json"])["masked"] is False


async def test_evidence_holds_nothing_that_proves_the_callback_base(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("EVID6"))
    base = await simulated.base("EVID6")
    kept, _, mac = base.rpartition("/")
    await marketplace.notify(f"{base}/pvt/orders/EVID6/invoice", invoice(note=base))
    await marketplace.notified(placed["id"], "applied")
    async with marketplace.database.transaction() as session:
        sent = await session.scalar(text("select placement_body from orders"))

    whole = unpacked(await evidence(marketplace, placed["id"], whole=True, reason="dispute 14"))

    assert [name for name, content in whole.items() if mac.encode() in content] == []
    assert sum(f"{kept}/[masked]".encode() in content for content in whole.values()) >= 2
    assert _files(whole)["placement/request"]["storedSha256"] == sha256(sent).hexdigest()  # whoever has it can compare


def _files(archived: dict[str, bytes]) -> dict[str, Any]:
    files: dict[str, Any] = json.loads(archived["manifest.json"])["files"]
    return files


async def test_whole_evidence_needs_an_admin_and_a_reason(marketplace: Marketplace) -> None:
    placed = await marketplace.place()

    refused = await evidence(marketplace, placed["id"], await key_of(marketplace, "operator"), whole=True, reason="x")
    unreasoned = await evidence(marketplace, placed["id"], whole=True)

    assert (refused.status_code, refused.json()["code"]) == (403, "role-too-low")
    assert (unreasoned.status_code, unreasoned.json()["code"]) == (422, "reason-missing")


async def test_evidence_of_an_erased_order_holds_the_hashes(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    sold = await plant(marketplace, simulated, "EVID3")
    before = _files(unpacked(await evidence(marketplace, sold["id"])))
    await marketplace.client.post(f"/v1/orders/{sold['id']}/erasure", json={"reason": "request 17"})

    whole = unpacked(await evidence(marketplace, sold["id"], whole=True, reason="dispute 8"))

    assert not any(holds(content) for content in whole.values())
    assert whole["placement/request"].decode() == f"sha256:{before['placement/request']['storedSha256']}"


async def test_evidence_holds_what_was_done_to_its_calls_and_notifications(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(order("EVID4"))
    await marketplace.notify(f"{await simulated.base('EVID4')}/pvt/orders/EVID4/invoice", b"{}")
    note = await marketplace.notified(placed["id"], "unreadable")
    await marketplace.client.post("/v1/sellers/acme/pause")
    await marketplace.ask_to_cancel(placed["id"])
    owed = (await marketplace.get(placed["id"], "/deliveries"))["items"][-1]
    told = f"/v1/notifications/{note['id']}"
    for path in (f"{told}/dismissal", f"{told}/replay", f"/v1/deliveries/{owed['id']}/retry"):
        answer = await marketplace.client.post(path, json={"reason": "dispute 10"})
        assert answer.status_code in {200, 202}, answer.text

    files = unpacked(await evidence(marketplace, placed["id"]))

    acts = json.loads(files["acts.json"])
    assert [act["action"] for act in acts if act["reason"] == "dispute 10"] == [
        "notification.dismiss", "notification.replay", "delivery.retry",
    ]  # fmt: skip
    assert '"notification.dismissed"' in files["events.json"].decode()
    (chain,) = json.loads(files["reads.json"])["chainOrders"]
    assert chain["chainOrderId"] == "MKP-EVID4-01"


async def test_evidence_holds_what_the_seller_showed_when_it_was_read_and_not_the_person(
    marketplace: Marketplace, simulated: SimulatedSeller
) -> None:
    placed = await marketplace.place(document("EVID5"))
    async with marketplace.database.transaction() as session:
        await session.execute(text("update reads set next_at = clock_timestamp()"))

    async def read() -> dict[str, bytes]:
        files = unpacked(await evidence(marketplace, placed["id"], whole=True, reason="dispute 11"))
        return {name.partition(".")[2]: raw for name, raw in files.items() if name.startswith("reads/")}

    shown = await until(read)

    told, answer = json.loads(shown["json"]), json.loads(shown["answer"])
    assert (told["chain_order_id"], told["status"], told["times"]) == ("MKP-EVID5-01", 200, 1)
    assert (answer["status"], answer["items"][0]["id"]) == ("payment-pending", "8")
    assert not holds(shown["answer"])
    assert told["sha256"] != sha256(shown["answer"]).hexdigest()  # what came was more than what is kept


async def test_there_is_no_evidence_of_what_is_not_there(marketplace: Marketplace) -> None:
    assert (await evidence(marketplace, "0" * 8 + "-0000-7000-8000-" + "0" * 12)).status_code == 404
