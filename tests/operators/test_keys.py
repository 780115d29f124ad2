"""Keys: made once, shown once, revoked for good."""

from __future__ import annotations

import uuid
from datetime import timedelta

from sqlalchemy import func, update

from chain_orders.operators.models import ApiKey

from ..builders import Marketplace, calling


async def test_a_key_is_made_used_and_revoked(marketplace: Marketplace) -> None:
    made = (await marketplace.client.post("/v1/keys", json={"name": "back-office", "role": "viewer"})).json()
    headers = {"Authorization": f"Bearer {made['key']}"}
    async with calling(marketplace.url, headers=headers) as holder:
        before = await holder.get("/v1/orders")
        listed = {one["name"]: one for one in (await marketplace.client.get("/v1/keys")).json()["items"]}
        revoked = await marketplace.client.delete(f"/v1/keys/{made['id']}")
        again = await marketplace.client.delete(f"/v1/keys/{made['id']}")
        after = await holder.get("/v1/orders")

    assert (before.status_code, after.status_code) == (200, 401)
    assert listed["back-office"]["lastUsedAt"] is not None
    assert "key" not in listed["back-office"]
    assert (revoked.status_code, again.json()) == (200, revoked.json())


async def test_a_key_may_be_named_as_people_are(marketplace: Marketplace) -> None:
    names = ("night shift", "night shift ", " night shift", "-", "n" * 64, "")
    made = [await marketplace.client.post("/v1/keys", json={"name": one, "role": "viewer"}) for one in names]

    assert [one.status_code for one in made] == [201, 422, 422, 422, 422, 422]


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
    unknown = [await marketplace.client.delete(f"/v1/keys/{one}") for one in ("x", str(uuid.uuid4()))]

    assert (answer.status_code, answer.json()["code"]) == (409, "last-admin-key")
    assert [one.json()["code"] for one in unknown] == ["key-unknown", "key-unknown"]


async def _opens(marketplace: Marketplace, key: str) -> int:
    headers = {"Authorization": f"Bearer {key}"}
    async with calling(marketplace.url, headers=headers) as holder:
        return (await holder.get("/v1/orders")).status_code


async def test_while_a_key_rotates_both_hold_and_then_the_new_one_alone(marketplace: Marketplace) -> None:
    made = (await marketplace.client.post("/v1/keys", json={"name": "rotated", "role": "viewer"})).json()
    rotated = (await marketplace.client.post(f"/v1/keys/{made['id']}/rotation", json={"overlapSeconds": 3600})).json()

    assert (rotated["id"], rotated["name"], rotated["role"]) == (made["id"], "rotated", "viewer")
    assert rotated["keyBeforeUntil"] is not None
    assert [await _opens(marketplace, one["key"]) for one in (made, rotated)] == [200, 200]
    async with marketplace.database.transaction() as session:
        await session.execute(
            update(ApiKey).where(ApiKey.name == "rotated").values(before_until=func.now() - timedelta(minutes=1))
        )
    assert [await _opens(marketplace, one["key"]) for one in (made, rotated)] == [401, 200]


async def test_a_key_that_leaked_is_cut_off_at_once_and_so_is_the_one_before(marketplace: Marketplace) -> None:
    first = (await marketplace.client.post("/v1/keys", json={"name": "leaked", "role": "viewer"})).json()
    address = f"/v1/keys/{first['id']}/rotation"
    second = (await marketplace.client.post(address)).json()
    third = (await marketplace.client.post(address, json={"overlapSeconds": 0})).json()

    assert [await _opens(marketplace, one["key"]) for one in (first, second, third)] == [401, 401, 200]


async def test_a_rotation_is_done_once_is_audited_and_not_for_a_revoked_key(marketplace: Marketplace) -> None:
    made = (await marketplace.client.post("/v1/keys", json={"name": "once", "role": "viewer"})).json()
    address, named = f"/v1/keys/{made['id']}/rotation", {"Idempotency-Key": "k"}
    first = await marketplace.client.post(address, headers=named)
    again = await marketplace.client.post(address, headers=named)
    acts = (await marketplace.client.get("/v1/audit", params={"object": f"key:{made['id']}"})).json()["items"]
    await marketplace.client.delete(f"/v1/keys/{made['id']}")
    revoked = await marketplace.client.post(address)

    assert again.json() == {**first.json(), "key": None}
    assert await _opens(marketplace, first.json()["key"]) == 401
    assert [act["action"] for act in acts] == ["key.rotate", "key.create"]
    assert first.json()["key"] not in str(acts)
    assert (revoked.status_code, revoked.json()["code"]) == (409, "key-revoked")
