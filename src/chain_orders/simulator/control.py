"""The simulated seller's controls, under `/control`: what a test needs.

The order book (`GET /control/orders`), making an order invoice, track, change, cancel or repeat itself
(`POST /control/orders/{id}/invoice` and so on), and the switches of its behaviour (`GET` and `PUT /control/behaviour`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, HTTPException, Request
from pydantic import ValidationError

from .book import BookedOrder
from .wishes import CancelOrder, ChangeOrder, InvoiceOrder, TrackOrder

if TYPE_CHECKING:
    from .app import Seller


def serve_control(app: FastAPI, seller: Seller) -> None:
    def booked(chain_order_id: str) -> BookedOrder:
        order = seller.book.get(chain_order_id)
        if order is None:
            raise HTTPException(404, f"the book holds no order {chain_order_id}")
        return order

    @app.get("/control/orders")
    async def orders(group: str | None = None) -> list[dict[str, Any]]:
        """The order book."""
        shown = seller.book.all() if group is None else seller.book.of_group(group)
        return [
            {**seller._shown(order), "group": order.group, "authorizations": order.authorizations} for order in shown
        ]

    @app.get("/control/calls")
    async def calls() -> dict[str, Any]:
        """How often each group was PUT, and how many calls of each kind came, whatever became of them."""
        return {"puts": dict(seller.book.puts), "calls": dict(seller.calls)}

    @app.get("/control/arrived")
    async def arrived(group: str) -> list[str]:
        """The SHA-256 of query and bytes of each PUT of a group, also of those that a fault struck."""
        return seller.book.arrived.get(group, [])

    @app.post("/control/orders/{chain_order_id}/invoice")
    async def invoice(chain_order_id: str, wanted: InvoiceOrder | None = None) -> dict[str, Any]:
        return await seller.invoice(booked(chain_order_id), wanted or InvoiceOrder())

    @app.post("/control/orders/{chain_order_id}/cancel")
    async def cancel(chain_order_id: str, wanted: CancelOrder | None = None) -> dict[str, Any]:
        return await seller.cancel(booked(chain_order_id), wanted or CancelOrder())

    @app.post("/control/orders/{chain_order_id}/track")
    async def track(chain_order_id: str, wanted: TrackOrder | None = None) -> dict[str, Any]:
        return await seller.track(booked(chain_order_id), wanted or TrackOrder())

    @app.post("/control/orders/{chain_order_id}/change")
    async def change(chain_order_id: str, wanted: ChangeOrder | None = None) -> dict[str, Any]:
        return await seller.change(booked(chain_order_id), wanted or ChangeOrder())

    @app.post("/control/orders/{chain_order_id}/repeat")
    async def repeat(chain_order_id: str) -> dict[str, Any]:
        return await seller.repeat(booked(chain_order_id))

    _serve_behaviour(app, seller)


def _serve_behaviour(app: FastAPI, seller: Seller) -> None:
    @app.get("/control/behaviour")
    async def behaviour() -> dict[str, Any]:
        return seller.behaviour.model_dump(by_alias=True, mode="json")

    @app.put("/control/behaviour")
    async def behave(request: Request) -> dict[str, Any]:
        """Change some switches; the others stay."""
        try:
            wanted = await request.json()
        except ValueError:
            raise HTTPException(400, "the body is not JSON") from None
        if not isinstance(wanted, dict):
            raise HTTPException(422, "the body must be a JSON object of switches")
        try:
            seller.behaviour = seller.behaviour.merged(wanted)
        except ValidationError as wrong:
            told = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in wrong.errors())
            raise HTTPException(422, told) from None
        return await behaviour()
