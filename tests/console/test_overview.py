"""The first page: what it counts, in which order, and the pictures in words."""

from __future__ import annotations

import re

from ..builders import Marketplace
from .visitor import Visitor


async def test_the_pictures_say_in_words_what_they_show(marketplace: Marketplace, admin: Visitor) -> None:
    await marketplace.place()
    page = await admin.page("/console")

    assert page.count('<svg viewBox="0 0 600 100"') + page.count("Nothing to draw yet") == 3
    assert re.search(
        r'role="img" aria-label="Orders a minute\. \d+ orders taken and \d+ placed in the last hour\."', page
    )


async def test_an_empty_console_says_what_to_do(admin: Visitor) -> None:
    assert "Nothing needs you." in await admin.page("/console")
    assert "There are no orders yet." in await admin.page("/console/orders")
    assert "Nothing is owed to any seller." in await admin.page("/console/deliveries")
    assert "Everything that sellers told us is applied." in await admin.page("/console/notifications")
