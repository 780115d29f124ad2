"""The archive and the masking, without a service: every byte counts, and nothing is shown by mistake."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from chain_orders.cli import app
from chain_orders.evidence import archive
from chain_orders.evidence.archive import File
from chain_orders.masking import MASK, mask_answer, mask_body, mask_headers, mask_path

SEED = bytes(range(32))
OTHER = bytes(range(1, 33))
FILES = [File("order.json", b'{"id": 1}'), File("deliveries/1-place/request", b'{"items": []}', original=b"whole")]
ABOUT = {"orderId": "1", "masked": True}


def packed(seed: bytes | None = SEED) -> bytes:
    return archive.pack(FILES, ABOUT, seed)


def changed(raw: bytes, key: str | None = None) -> set[str]:
    return set(archive.check(raw, key).changed)


def repacked(raw: bytes, **changes: bytes | None) -> bytes:
    """The archive made anew by somebody else, with files changed, added (or left out: None)."""
    with zipfile.ZipFile(io.BytesIO(raw)) as opened:
        contents: dict[str, bytes | None] = {name: opened.read(name) for name in opened.namelist()}
    contents |= {name.replace("__", "/").replace("_json", ".json"): value for name, value in changes.items()}
    return archive._zip({name: value for name, value in contents.items() if value is not None})


def test_what_was_not_changed_is_said_to_be_so() -> None:
    found = archive.check(packed(), archive.public_key(SEED))

    assert found.changed == {}
    assert found.signed_by == archive.public_key(SEED)
    assert found.about["orderId"] == "1"


def test_the_same_files_give_the_same_bytes() -> None:
    assert packed() == archive.pack(FILES[::-1], ABOUT, SEED)


@pytest.mark.parametrize("seed", [SEED, None], ids=["signed", "unsigned"])
def test_every_byte_that_is_changed_is_found(seed: bytes | None) -> None:
    raw = packed(seed)
    for at in range(len(raw)):
        for bit in (1, 8):
            spoilt = raw[:at] + bytes([raw[at] ^ bit]) + raw[at + 1 :]
            assert changed(spoilt), f"bit {bit} of byte {at} of {len(raw)}"


@pytest.mark.parametrize("method", [8, 9, 12, 14, 93])
def test_a_file_that_is_said_to_be_compressed_is_named(method: int) -> None:
    raw = packed()
    for file in FILES:
        entry = raw.rindex(file.name.encode()) - 46  # its record in the directory: the method is at 10
        spoilt = bytearray(raw)
        spoilt[entry + 10] = method
        assert changed(bytes(spoilt)) == {file.name}


def test_a_manifest_of_any_depth_is_refused() -> None:
    assert changed(repacked(packed(), manifest_json=b"[" * 100_000)) == {"manifest.json"}


def test_a_changed_byte_of_a_file_names_that_file() -> None:
    raw = packed()
    for file in FILES:
        at = raw.index(file.content)
        for offset in range(len(file.content)):
            spoilt = bytearray(raw)
            spoilt[at + offset] ^= 0x20
            assert changed(bytes(spoilt)) == {file.name}


def test_a_file_that_was_replaced_added_or_left_out_is_named() -> None:
    raw = packed()

    assert changed(repacked(raw, order_json=b'{"id": 2}')) == {"order.json"}
    assert changed(repacked(raw, order_json=None)) == {"order.json"}
    assert changed(repacked(raw, more_json=b"{}")) == {"more.json"}


def test_a_manifest_that_was_made_anew_does_not_fit_the_signature() -> None:
    raw = packed()
    with zipfile.ZipFile(io.BytesIO(raw)) as opened:
        manifest = json.loads(opened.read("manifest.json"))
    forged = b'{"id": 2}'
    manifest["files"]["order.json"] = File("order.json", forged).entry()

    spoilt = repacked(raw, order_json=forged, manifest_json=json.dumps(manifest).encode())

    assert changed(spoilt) == {"manifest.json"}


def test_an_archive_signed_by_somebody_else_is_refused_by_whoever_knows_the_key() -> None:
    forged = packed(OTHER)

    assert changed(forged) == set(), "it is whole in itself"
    assert changed(forged, archive.public_key(SEED)) == {"manifest.json"}


def test_an_unsigned_archive_is_refused_by_whoever_knows_the_key() -> None:
    assert changed(packed(None), archive.public_key(SEED)) == {"manifest.sig"}


@pytest.mark.parametrize("raw", [b"", b"no archive", b"PK\x05\x06" + b"\0" * 18])
def test_what_is_no_archive_is_refused(raw: bytes) -> None:
    assert changed(raw) == {"manifest.json"}


def test_the_command_names_the_file_and_fails(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.zip", tmp_path / "bad.zip"
    good.write_bytes(packed())
    bad.write_bytes(packed().replace(b'{"items": []}', b'{"items": {}}'.replace(b"{}", b"[]", 1)[:12] + b")"))
    key = ["--key", archive.public_key(SEED)]

    passed = CliRunner().invoke(app, ["evidence", "check", str(good), *key])
    failed = CliRunner().invoke(app, ["evidence", "check", str(bad), *key])

    assert (passed.exit_code, failed.exit_code) == (0, 1)
    assert "nothing was changed" in passed.output
    assert failed.output.startswith("deliveries/1-place/request: ")


def test_the_public_key_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAIN_ORDERS_EVIDENCE_KEY", base64.urlsafe_b64encode(SEED).decode())

    assert CliRunner().invoke(app, ["evidence", "key"]).output.strip() == archive.public_key(SEED)


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ({"items": [{"id": "8", "price": 1200, "name": "X"}]}, {"items": [{"id": "8", "price": 1200, "name": MASK}]}),
        ({"clientProfileData": {"id": "8"}}, {"clientProfileData": MASK}),
        ({"shippingData": {"address": {"id": "8"}}}, {"shippingData": {"address": MASK}}),
        ({"customer": {"id": "Iara"}, "email": None}, {"customer": MASK, "email": MASK}),
        ({"id": "iara@mail.example"}, {"id": MASK}),
        ({"seller": "000.000.001-91"}, {"seller": MASK}),
        ({"iara@mail.example": 1}, {MASK: MASK}),
        (
            {"items": [{"id": "Iara"}], "trackingNumber": "Iara 00000000272"},
            {"items": [{"id": MASK}], "trackingNumber": MASK},
        ),
        ({"id": "00000000272", "receipt": "11444777000161"}, {"id": MASK, "receipt": MASK}),
        (
            {"quantity": "Iara", "value": "13.00", "price": 52998224725},
            {"quantity": MASK, "value": "13.00", "price": MASK},
        ),
        ({"courier": "Iara", "type": "Iara", "status": "Iara"}, {"courier": MASK, "type": MASK, "status": MASK}),
        ({"type": "Output", "seller": "acme", "date": "2026-11-25T10:00:00.000Z"},) * 2,
        ({"trackingNumber": "BR272", "invoiceNumber": "NF-1", "orderId": "MKP-A1-01", "code": "CHK0198"},) * 2,
        ({"id": "sellerOrderCancelled", "sellerOrderId": "MKP-A1-01"},) * 2,
        (["Iara"], [MASK]),
        ("Iara", MASK),
    ],
)
def test_only_what_is_known_to_be_harmless_is_shown(body: object, shown: object) -> None:
    assert json.loads(mask_body(json.dumps(body).encode())) == shown


def test_what_is_no_json_is_not_shown() -> None:
    assert mask_body(b"Iara") == b"[masked: 4 bytes that are not JSON]"


def test_what_is_sealed_stays() -> None:
    sealed = b"sha256:" + b"0" * 64
    assert (mask_body(sealed), mask_headers(sealed)) == (sealed, sealed)


def test_a_path_keeps_the_protocols_words_and_ids() -> None:
    assert mask_path(b"pvt/orders/MKP-A1-01/invoice/NF%2F1/tracking") == b"pvt/orders/MKP-A1-01/invoice/NF%2F1/tracking"
    for personal in (b"iara%40mail.example", b"Iara", b"00000000272", b"%2B5500912345678"):
        assert mask_path(b"pvt/orders/" + personal + b"/invoice") == b"pvt/orders/[masked]/invoice"


def test_an_answer_stays_byte_for_byte_unless_it_echoes_a_person() -> None:
    ours = b'{"date":"2026-11-25","orderId":"MKP-A1-01","receipt":"r1"}'
    assert (mask_answer(ours), mask_answer(b"")) == (ours, b"")
    assert json.loads(mask_answer(ours.replace(b"MKP-A1-01", b"Iara")))["orderId"] == MASK
    assert json.loads(mask_answer(ours.replace(b'"r1"', b'"Iara moved"')))["receipt"] == MASK
    random = ours.replace(b'"r1"', b'"00000000272' + b"abcdefabcdefabcdefabc" + b'"')
    assert mask_answer(random) == random, "our own receipt only looks like a document"


def test_headers_are_masked_save_a_few() -> None:
    masked = json.loads(mask_headers(b'{"user-agent": "Iara", "content-type": "application/json"}'))
    assert masked == {"user-agent": MASK, "content-type": "application/json"}
