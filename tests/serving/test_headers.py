"""Every answer says what a browser must not do with it, whoever gives it."""

from __future__ import annotations

import pytest

from ..builders import Marketplace

PATHS = {
    "/v1/orders": 200,
    "/v1/orders/none": 404,
    "/v1/nowhere": 404,
    "/openapi.json": 200,
    "/livez": 200,
    "/readyz": 200,
    "/metrics": 200,
    "/nowhere": 404,
    "/cb/nobody/orders": 404,
    "/console/sign-in": 200,
    "/console/static/none": 404,
    "/console": 303,
}


@pytest.mark.parametrize("path", PATHS)
async def test_every_answer_is_guarded(marketplace: Marketplace, path: str) -> None:
    answer = await marketplace.client.get(path)

    assert answer.status_code == PATHS[path]
    named = [name for name, _value in answer.headers.raw]
    assert len(named) == len(set(named))
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    assert answer.headers["permissions-policy"]
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["referrer-policy"] == ("same-origin" if path.startswith("/console") else "no-referrer")
    assert "strict-transport-security" not in answer.headers  # plain http


async def test_an_answer_to_a_seller_is_guarded(marketplace: Marketplace) -> None:
    answer = await marketplace.notify(f"{marketplace.url}/cb/nobody/pub/orders/x/invoice", {})

    assert answer.status_code == 404
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
