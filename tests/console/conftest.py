"""Somebody signed in at the console of a running service."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser

from ..builders import Marketplace, SimulatedSeller
from . import browsing
from .day import play
from .visitor import Visitor, signed_in, visitor


@pytest.fixture
async def admin(marketplace: Marketplace) -> AsyncIterator[Visitor]:
    somebody = await signed_in(marketplace)
    yield somebody
    await somebody.client.aclose()


@pytest.fixture
async def viewer(marketplace: Marketplace) -> AsyncIterator[Visitor]:
    somebody = await signed_in(marketplace, "viewer")
    yield somebody
    await somebody.client.aclose()


@pytest.fixture
async def stranger(marketplace: Marketplace) -> AsyncIterator[Visitor]:
    """Somebody who has not signed in."""
    somebody = visitor(marketplace)
    yield somebody
    await somebody.client.aclose()


@pytest.fixture
async def day(marketplace: Marketplace, simulated: SimulatedSeller) -> dict[str, str]:
    """A whole day, played: the ids of its orders."""
    return await play(marketplace, simulated)


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    async with browsing.browser() as opened:
        yield opened
