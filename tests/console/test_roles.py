"""Who may do what at the console."""

from __future__ import annotations

import re

from ..builders import Marketplace
from .visitor import Visitor

FORMS = (
    ("/console/sellers/acme/pause", "operator"),
    ("/console/sellers/acme", "admin"),
    ("/console/sellers/new", "admin"),
    ("/console/keys", "admin"),
    ("/console/keys/revoke", "admin"),
    ("/console/keys/rotate", "admin"),
    ("/console/webhooks/new", "admin"),
    ("/console/webhooks/{order}/secret", "admin"),
    ("/console/webhooks/{order}/again", "admin"),
    ("/console/sellers/acme/check", "operator"),
    ("/console/sellers/acme/token", "admin"),
    ("/console/webhooks/{order}/test", "admin"),
    ("/console/webhooks/{order}/enable", "admin"),
    ("/console/webhooks/{order}/disable", "admin"),
    ("/console/orders/many", "operator"),
    ("/console/orders/{order}/correct", "operator"),
    ("/console/deliveries/retry", "operator"),
    ("/console/deliveries/1/retry", "operator"),
    ("/console/orders/{order}/authorize", "operator"),
    ("/console/orders/{order}/cancel", "operator"),
    ("/console/orders/{order}/resolve", "operator"),
    ("/console/notifications/1/replay", "operator"),
    ("/console/notifications/1/whole", "admin"),
    ("/console/deliveries/1/whole", "admin"),
)


async def test_a_viewer_sees_everything_and_changes_nothing(marketplace: Marketplace, viewer: Visitor) -> None:
    placed = await marketplace.place()
    secret = await viewer.secret()
    for path, _least in FORMS:
        answer = await viewer.post(path.format(order=placed["id"]), csrf=secret, confirm="yes", reason="x")
        assert answer.status_code == 403, path
    page = await viewer.page(f"/console/orders/{placed['id']}")
    keys = await viewer.get("/console/keys")

    assert keys.status_code == 403
    assert "a viewer" not in re.sub(r'<header class="side">.*?</header>', "", keys.text, flags=re.DOTALL)
    assert "/console/keys" not in page
    assert "/authorize" not in page
    assert "This needs the role" in answer.text
    assert (await marketplace.get(placed["id"]))["status"] == "placed"
