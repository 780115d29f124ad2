"""The parts of `chain-orders key …` that need no database."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from . import show
from .client import Api, Failed, Limit
from .show import AsJson, field, time_of


def list_keys(limit: Limit = 200, json_: AsJson = False) -> None:
    """List the keys, their roles and when they were last used.

    Example: chain-orders key list
    """
    with Api() as api:
        api.listed("/v1/keys", _KEYS, limit, json_)


_KEYS = (
    field("name"),
    field("role"),
    time_of("lastUsedAt", "last used", rank=1),
    time_of("revokedAt", "revoked"),
    field("id", rank=2),
)


def revoke_key(name: Annotated[str, typer.Argument(help="The key's name or id.")]) -> None:
    """Revoke a key, for good.

    Example: chain-orders key revoke back-office
    """
    with Api() as api:
        found = _key(api, name)
        api.call("DELETE", f"/v1/keys/{found['id']}")
    show.note(f"{found['name']} is revoked")


def rotate_key(
    name: Annotated[str, typer.Argument(help="The key's name or id.")],
    overlap: Annotated[float, typer.Option(help="Hours for which the key before holds too.", min=0, max=168)] = 24,
) -> None:
    """Replace a key by a new one of the same name and role, and print it, once.

    Example: chain-orders key rotate back-office --overlap 0
    """
    with Api() as api:
        found = _key(api, name)
        rotated = api.post(f"/v1/keys/{found['id']}/rotation", {"overlapSeconds": round(overlap * 3600)})
    print(rotated["key"])


def _key(api: Api, name: str) -> dict[str, Any]:
    """The key that goes by this name or id. Raises Failed."""
    found = next((one for one in api.pages("/v1/keys", limit=200) if name in {one["name"], one["id"]}), None)
    if found is None:
        raise Failed(f"there is no key {name}")
    return found


def make_key(name: str, role: str, *, dry_run: bool = False) -> None:
    """Make a key through the API, and print it."""
    with Api() as api:
        made = api.post("/v1/keys", {"name": name, "role": role}, dry_run=dry_run)
    if not dry_run:
        print(made["key"])
