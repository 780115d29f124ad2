"""The archive: a zip of files, a manifest of their SHA-256, and a signature over the manifest. Pure.

The same files always give the same bytes: nothing is compressed and no time is kept. So any byte that differs is found,
in a file by its hash, and between files by packing again what was unpacked.
"""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"
_FORMAT = 1
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class File:
    """One file. `original`: what it was before it was masked."""

    name: str
    content: bytes
    original: bytes | None = None

    def entry(self) -> dict[str, Any]:
        entry: dict[str, Any] = {"sha256": _hash(self.content), "bytes": len(self.content)}
        if self.original is not None:
            entry["storedSha256"] = _hash(self.original)
        return entry


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check came to. `changed` names each file that is not what it was, and says why."""

    changed: Mapping[str, str]
    signed_by: str | None
    about: Mapping[str, Any]


def pack(files: Sequence[File], about: Mapping[str, Any], seed: bytes | None) -> bytes:
    """The archive's bytes. `about` goes into the manifest; `seed` is the Ed25519 key's, None to leave it unsigned."""
    key = Ed25519PrivateKey.from_private_bytes(seed) if seed is not None else None
    manifest = json.dumps(
        {
            "format": _FORMAT,
            **about,
            "publicKey": public_key(seed) if seed is not None else None,
            "files": {file.name: file.entry() for file in sorted(files, key=lambda file: file.name)},
        },
        indent=1,
    ).encode()
    contents = {MANIFEST: manifest}
    if key is not None:
        contents[SIGNATURE] = base64.b64encode(key.sign(manifest))
    return _zip(contents | {file.name: file.content for file in files})


def public_key(seed: bytes) -> str:
    """The public key that belongs to a seed, in base64: what others need to check signatures."""
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key()
    return base64.b64encode(public.public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()


def check(raw: bytes, known_key: str | None = None) -> Checked:
    """Compare an archive with its manifest, and the manifest with its signature.

    With `known_key` (base64) the archive must be signed by that key; without one, only by the key that it names.
    """
    changed: dict[str, str] = {}
    contents = _unzip(raw, changed)
    manifest = _manifest(contents.get(MANIFEST))
    if manifest is None:
        changed.setdefault(MANIFEST, "it is missing or cannot be read")
        return Checked(changed, None, {})
    signed_by = _check_signature(contents, manifest, known_key, changed)
    _check_files(contents, manifest["files"], changed)
    if not changed and _zip(contents) != raw:
        changed[_place(raw, _zip(contents))] = "the archive around it was changed"
    return Checked(changed, signed_by, {name: value for name, value in manifest.items() if name != "files"})


def _manifest(raw: bytes | None) -> dict[str, Any] | None:
    try:
        found = json.loads(raw or b"")
    except (ValueError, RecursionError):
        return None
    usable = isinstance(found, dict) and isinstance(found.get("files"), dict)
    return found if usable and all(isinstance(entry, dict) for entry in found["files"].values()) else None


def _check_files(contents: Mapping[str, bytes], listed: Mapping[str, Any], changed: dict[str, str]) -> None:
    for name, entry in listed.items():
        if name not in contents:
            changed.setdefault(name, "it is missing")
        elif _hash(contents[name]) != entry.get("sha256"):
            changed.setdefault(name, "its SHA-256 is another")
    for name in contents.keys() - listed.keys() - {MANIFEST, SIGNATURE}:
        changed.setdefault(name, "it was added")


def _check_signature(
    contents: Mapping[str, bytes], manifest: Mapping[str, Any], known_key: str | None, changed: dict[str, str]
) -> str | None:
    """Whose signature holds; None when it is unsigned or does not hold."""
    named = known_key or manifest.get("publicKey")
    if named is None and SIGNATURE not in contents:
        return None
    if SIGNATURE not in contents:
        changed.setdefault(SIGNATURE, "it is missing")
        return None
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(str(named), validate=True))
        key.verify(base64.b64decode(contents[SIGNATURE], validate=True), contents[MANIFEST])
    except (InvalidSignature, ValueError):
        changed.setdefault(MANIFEST, "the signature is not one over this manifest by this key")
        return None
    return str(named)


def _hash(content: bytes) -> str:
    return sha256(content).hexdigest()


def _zip(contents: Mapping[str, bytes]) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_STORED) as archive:
        for name in [MANIFEST, SIGNATURE, *sorted(contents.keys() - {MANIFEST, SIGNATURE})]:
            if name in contents:
                entry = zipfile.ZipInfo(name, _EPOCH)
                entry.create_system, entry.external_attr = 3, 0o644 << 16
                archive.writestr(entry, contents[name])
    return written.getvalue()


def _unzip(raw: bytes, changed: dict[str, str]) -> dict[str, bytes]:
    """What can be read; what cannot is named in `changed`."""
    contents: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            for entry in archive.infolist():
                try:
                    contents[entry.filename] = archive.read(entry)
                except Exception:  # one byte makes it encrypted, or compressed in any way: each fails in its own
                    changed[entry.filename] = "it cannot be read, or not as it was written"
    except Exception:
        changed[MANIFEST] = "the archive's directory cannot be read"
    return contents


def _place(raw: bytes, wanted: bytes) -> str:
    """The file whose record holds the first byte that differs."""
    at = next((i for i, (a, b) in enumerate(zip(raw, wanted, strict=False)) if a != b), min(len(raw), len(wanted)))
    with zipfile.ZipFile(io.BytesIO(wanted)) as archive:
        entries = archive.infolist()
        before = [entry.filename for entry in entries if entry.header_offset <= at]
        directory = archive.start_dir
        for entry in entries:
            size = 46 + len(entry.filename.encode())
            if directory <= at < directory + size:
                return entry.filename
            directory += size
    return before[-1] if at < archive.start_dir and before else MANIFEST
