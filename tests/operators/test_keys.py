"""Keys: made once, shown once, revoked for good."""

from __future__ import annotations

import httpx

from ..builders import Marketplace


async def test_a_key_is_made_used_and_revoked(marketplace: Marketplace) -> None:
    made = (await marketplace.client.post("/v1/keys", json={"name": "back-office", "role": "viewer"})).json()
    headers = {"Authorization": f"Bearer {made['key']}"}
    async with httpx.AsyncClient(base_url=marketplace.url, headers=headers, trust_env=False) as holder:
        before = await holder.get("/v1/orders")
        listed = {one["name"]: one for one in (await marketplace.client.get("/v1/keys")).json()["items"]}
        revoked = await marketplace.client.delete(f"/v1/keys/{made['id']}")
        again = await marketplace.client.delete(f"/v1/keys/{made['id']}")
        after = await holder.get("/v1/orders")

    assert (before.status_code, after.status_code) == (200, 401)
    assert listed["back-office"]["lastUsedAt"] is not None
    assert "key" not in listed["back-office"]
    assert (revoked.status_code, again.json()) == (200, revoked.json())


async def test_a_key_is_shown_once_also_to_a_repeated_request(marketplace: Marketplace) -> None:
    body, named = {"name": "twice", "role": "operator"}, {"Idempotency-Key": "k"}
    first = await marketplace.client.post("/v1/keys", json=body, headers=named)
    again = await marketplace.client.post("/v1/keys", json=body, headers=named)
    other = await marketplace.client.post("/v1/keys", json=body)

    assert first.json()["key"].startswith("co_")
    assert again.json() == {**first.json(), "key": None}
    assert (other.status_code, other.json()["code"]) == (409, "key-exists")


async def test_the_last_admin_stays(marketplace: Marketplace) -> None:
    (mine,) = (await marketplace.client.get("/v1/keys")).json()["items"]

    answer = await marketplace.client.delete(f"/v1/keys/{mine['id']}")
    unknown = [await marketplace.client.delete(f"/v1/keys/{one}") for one in ("x", mine["id"][:-1] + "0")]

    assert (answer.status_code, answer.json()["code"]) == (409, "last-admin-key")
    assert [one.json()["code"] for one in unknown] == ["key-unknown", "key-unknown"]
