"""The simulated seller as an HTTP application.

VTEX's side: pricing, placing, authorizing, reading an order and its group; and what it tells the marketplace of its
orders. What makes it do so, and behave otherwise, is `control`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.requests import ClientDisconnect

from .book import Book, BookedOrder, new_orders, new_receipt
from .control import serve_control
from .notifier import CANCELLATION_PATHS, CHANGE_PATH, INVOICE_PATHS, ONE_LEVEL, TRACKING_PATHS, Notifier, chosen, path
from .pricing import simulation
from .scenarios import Behaviour
from .wishes import CancelOrder, ChangeOrder, InvoiceOrder, TrackOrder


class Refusal(Exception):
    """An answer in VTEX's error envelope."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


async def _document(request: Request) -> Any:
    try:
        return await request.json()
    except ValueError:
        raise Refusal(400, "1", "the body is not JSON") from None


@cache
def _trusted() -> ssl.SSLContext:
    """The certificates that this machine trusts; read once."""
    return ssl.create_default_context()


class Seller:
    """The seller's account: credentials, book, behaviour."""

    def __init__(self, app_key: str, app_token: str, book: Book, behaviour: Behaviour) -> None:
        self.app_key, self.app_token = app_key, app_token
        self.book = book
        self.calls: Counter[str] = Counter()
        self.behaviour = behaviour
        self.client = httpx.AsyncClient(timeout=10, trust_env=False, verify=_trusted())
        self.notifier = Notifier(self.client)

    def authenticate(self, request: Request) -> None:
        given = (request.headers.get("x-vtex-api-appkey", ""), request.headers.get("x-vtex-api-apptoken", ""))
        if given != (self.app_key, self.app_token) or self.behaviour.credentials == "revoked":
            raise Refusal(401, "1", "Acesso não autorizado")

    async def note(self, request: Request) -> None:
        """Keep of a placement what tells whether a later one is the same, also where it is lost before it is read."""
        try:
            document = await request.json()
        except ValueError:
            return
        if isinstance(document, dict):
            group = str(document.get("marketplaceOrderGroup"))
            self.book.note(group, request.scope["query_string"], await request.body())

    async def place(self, request: Request) -> Response:
        document = await _document(request)
        affiliate, channel = request.query_params.get("affiliateId"), request.query_params.get("sc")
        self._check_placement(document, affiliate, channel)
        group = document["marketplaceOrderGroup"]
        self.book.puts[group] += 1
        if code := self.behaviour.refusal(group):
            buyer = (document.get("clientProfileData") or {}).get("email")
            raise Refusal(400, code, f"refused as configured: {buyer}")
        if self.behaviour.dedupe and self.book.of_group(f"{affiliate}-{group}"):
            raise Refusal(self.behaviour.duplicate_status, "CHK0085", "order already exists")
        orders = new_orders(
            document, affiliate or "", channel or "", self.behaviour.split, self.behaviour.read_lag_seconds
        )
        orders[0].value += self.behaviour.surcharge
        self.book.add(orders)
        if self.behaviour.invoice_before_answer:
            for order in orders:
                await self.invoice(order, InvoiceOrder())
        shown = self.behaviour.listed([self._placed(order) for order in orders])
        return JSONResponse({"orderForm": None, "transactionData": None, "orders": shown}, 201)

    @staticmethod
    def _check_placement(document: Any, affiliate: str | None, channel: str | None) -> None:
        if not isinstance(document, dict) or not document.get("items"):
            raise Refusal(500, "ORD005", "no items")
        if not affiliate:
            raise Refusal(400, "CHK0120", "invalid affiliate")
        if not channel:
            raise Refusal(400, "CHK0161", "invalid sales channel")
        if not document.get("marketplaceOrderGroup"):
            raise Refusal(400, "CHK0144", "invalid marketplaceOrderGroup")
        if not isinstance(document.get("marketplacePaymentValue"), int):
            raise Refusal(400, "CHK0145", "invalid marketplacePaymentValue")
        if not str(document.get("marketplaceServicesEndpoint", "")).startswith(("http://", "https://")):
            raise Refusal(400, "CHK0146", "invalid marketplaceServicesEndpoint")
        if any(item.get("isGift") for item in document["items"]):
            raise Refusal(400, "ORD017", "gifts are not supported in chain orders")

    async def authorize(self, request: Request) -> Response:
        order = self._find(request.path_params["order_id"])
        document = await _document(request)
        receipt = document.get("authorizationReceipt") if isinstance(document, dict) else None
        if not isinstance(receipt, dict) or not receipt.get("date"):
            raise Refusal(400, "CHK0159", "invalid authorization date")
        if not receipt.get("receipt"):
            raise Refusal(400, "CHK0160", "invalid authorization receipt")
        if order.status in {"canceled", "invoiced"}:
            raise Refusal(400, "CHK0242", "the order's state does not allow it")
        order.authorizations.append(document)
        order.authorized_at = order.authorized_at or datetime.now(UTC).isoformat()
        if order.status == "payment-pending":
            order.status = "payment-approved"
        self.book.save(order)
        if self.behaviour.invoice_after_authorization and not order.packages:
            await self.invoice(order, InvoiceOrder())
        return JSONResponse({"orderId": order.chain_order_id, **new_receipt()})

    async def ask_to_cancel(self, request: Request) -> Response:
        """A request is a wish: whether the order is cancelled is the seller's to say."""
        order = self._find(request.path_params["order_id"])
        if self.behaviour.cancellation == "refuse" or order.packages:
            raise Refusal(400, "OMS014", "the order cannot be cancelled")
        document = await _document(request)
        wish = {"reason": document.get("reason"), "deniedBySeller": self.behaviour.cancellation == "deny"}
        order.cancellation_requests.append(wish)
        if self.behaviour.cancellation == "accept":
            order.status, order.cancelled_at = "canceled", datetime.now(UTC).isoformat()
        elif self.behaviour.cancellation == "decide":
            order.status = "waiting-for-seller-decision"
        self.book.save(order)
        return JSONResponse({"orderId": order.chain_order_id, **new_receipt()})

    async def read(self, request: Request) -> Response:
        order = self._find(request.path_params["order_id"])
        if self._is_hidden(order):
            raise Refusal(404, "CHK0201", "order not found")
        return JSONResponse(self.behaviour.read(self._shown(order)))

    async def read_group(self, request: Request) -> Response:
        orders = [order for order in self.book.of_group(request.path_params["group"]) if not self._is_hidden(order)]
        return JSONResponse([self._shown(order) for order in orders])

    async def simulate(self, request: Request) -> Response:
        affiliate, channel = request.query_params.get("affiliateId"), request.query_params.get("sc")
        if not affiliate or affiliate not in (self.behaviour.affiliates or [affiliate]):
            raise Refusal(400, "CHK0120", "invalid affiliate")
        if not channel or channel not in (self.behaviour.sales_channels or [channel]):
            raise Refusal(400, "CHK0161", "invalid sales channel")
        return JSONResponse(simulation((await _document(request)).get("items") or []))

    async def invoice(self, order: BookedOrder, wanted: InvoiceOrder) -> dict[str, Any]:
        """Invoice an order, wholly unless told otherwise, and tell the marketplace."""
        value = wanted.value if wanted.value is not None else order.value - order.invoiced
        package = {
            "type": wanted.type,
            "invoiceNumber": wanted.invoice_number or f"NF-{len(order.packages) + 1}{secrets.randbelow(10**6):06d}",
            "invoiceValue": value,
            "issuanceDate": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f0+0000"),
            "invoiceKey": None,
            "invoiceUrl": None,
            "courier": wanted.courier or "",
            "trackingNumber": wanted.tracking_number or "",
            "trackingUrl": wanted.tracking_url or "",
            "items": wanted.items
            or [{"id": i["id"], "quantity": i["quantity"], "price": i["price"]} for i in order.items],
        }
        known = [one for one in order.packages if one["invoiceNumber"] == package["invoiceNumber"]]
        order.packages = [one for one in order.packages if one not in known] + [package]
        if order.status != "canceled":
            order.status = "invoiced" if order.invoiced >= order.value else "payment-approved"
        named = order.chain_order_id if self.behaviour.callback_id == "chain-order" else order.group
        template = chosen(INVOICE_PATHS, wanted.path)
        return await self._notify(order, path(template, order=named, group=order.group), package, wanted.times)

    async def cancel(self, order: BookedOrder, wanted: CancelOrder) -> dict[str, Any]:
        """Cancel an order, and tell the marketplace."""
        order.status, order.cancelled_at = "canceled", datetime.now(UTC).isoformat()
        body = {"id": "sellerOrderCancelled", "sellerOrderId": wanted.seller_order_id or order.chain_order_id}
        if wanted.path == ONE_LEVEL:
            body = {"reason": "cancelled as asked for"}
        template = chosen(CANCELLATION_PATHS, wanted.path)
        where = path(template, order=order.chain_order_id, group=order.group)
        return await self._notify(order, where, body, wanted.times)

    async def track(self, order: BookedOrder, wanted: TrackOrder) -> dict[str, Any]:
        """Tell where the parcel of an invoice is."""
        if not order.packages and wanted.invoice_number is None:
            raise HTTPException(409, "nothing of this order is invoiced yet")
        number = wanted.invoice_number or order.packages[-1]["invoiceNumber"]
        told: dict[str, Any] = {
            "courier": wanted.courier,
            "trackingNumber": wanted.tracking_number or f"TR-{secrets.randbelow(10**6):06d}",
            "trackingUrl": wanted.tracking_url,
        }
        for package in order.packages:
            if package["invoiceNumber"] == number:
                package.update(told)
        if wanted.path == "tracking":
            told |= {"isDelivered": wanted.delivered, "events": []}
        where = path(chosen(TRACKING_PATHS, wanted.path), order=order.group, group=order.group, number=number)
        return await self._notify(order, where, told, wanted.times, wanted.method.upper())

    async def change(self, order: BookedOrder, wanted: ChangeOrder) -> dict[str, Any]:
        """Change what an order costs, and tell the marketplace."""
        order.value = max(order.value + wanted.increment_value - wanted.discount_value, 0)
        body = wanted.model_dump(by_alias=True, exclude={"times"}, exclude_none=True)
        where = path(CHANGE_PATH, order=order.chain_order_id, group=order.group)
        return await self._notify(order, where, body, wanted.times)

    async def repeat(self, order: BookedOrder) -> dict[str, Any]:
        """Send the last notification again, byte for byte."""
        if order.last_notification is None:
            raise HTTPException(409, "nothing was sent about this order yet")
        last = order.last_notification
        return {"sent": last, "answers": await self.notifier.send(last)}

    async def _notify(
        self, order: BookedOrder, where: str, body: dict[str, Any], times: int, method: str = "POST"
    ) -> dict[str, Any]:
        url, headers = self.behaviour.addressed(order.endpoint, where)
        order.last_notification = {"method": method, "url": url, "headers": headers, "body": body}
        self.book.save(order)
        return {"sent": order.last_notification, "answers": await self.notifier.send(order.last_notification, times)}

    def _is_hidden(self, order: BookedOrder) -> bool:
        return self.behaviour.read_lag_seconds > 0 and order.visible_at > time.time()

    def _find(self, chain_order_id: str) -> BookedOrder:
        order = self.book.get(chain_order_id)
        if order is None:
            raise Refusal(404, "CHK0201", "order not found")
        return order

    def _group(self, order: BookedOrder) -> str:
        return f"{order.affiliate_id}-{order.group}" if self.behaviour.group_form == "affiliate" else order.group

    def _placed(self, order: BookedOrder) -> dict[str, Any]:
        return {
            "orderId": order.chain_order_id,
            "orderGroup": self._group(order),
            "sellerOrderId": order.seller_order_id,
            "value": order.value,
            "items": order.items,
            "totals": [{"id": "Items", "name": "Items", "value": order.value}],
            "isCompleted": True,
            "salesChannel": order.sales_channel,
            "creationDate": order.created_at,
            **order.person,
        }

    def _shown(self, order: BookedOrder) -> dict[str, Any]:
        return {
            **self._placed(order),
            "origin": "Chain",
            "affiliateId": order.affiliate_id,
            "marketplaceOrderId": order.group,
            "marketplaceServicesEndpoint": order.endpoint,
            "status": order.status,
            "allowCancellation": order.status not in {"invoiced", "canceled"},
            "authorizedDate": order.authorized_at,
            "cancellationData": {"CancellationDate": order.cancelled_at} if order.cancelled_at else None,
            "cancellationRequests": order.cancellation_requests or None,
            "packageAttachment": {"packages": order.packages},
        }


def create_app(
    *,
    app_key: str = "simulated-key",
    app_token: str = "simulated-token",  # noqa: S107  (a test double's)
    book_path: Path | None = None,
    behaviour: Behaviour | None = None,
) -> FastAPI:
    """The simulated seller. With `book_path` its orders survive a restart."""
    seller = Seller(app_key, app_token, Book(book_path), behaviour or Behaviour())

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await seller.client.aclose()
        seller.book.close()

    app = FastAPI(title="A simulated VTEX seller", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.seller = seller
    _serve_vtex(app, seller)
    serve_control(app, seller)

    @app.exception_handler(Refusal)
    async def _refused(_: Request, refusal: Refusal) -> Response:
        error = {"code": refusal.code, "message": refusal.message, "exception": None}
        return JSONResponse({"fields": {}, "error": error, "operationId": secrets.token_hex(16)}, refusal.status)

    @app.exception_handler(ClientDisconnect)
    async def _gone(_: Request, __: Exception) -> Response:
        return Response(status_code=499)  # nobody reads it: the caller died, or gave up

    return app


def _serve_vtex(app: FastAPI, seller: Seller) -> None:
    orders = "/api/checkout/pvt/orders"
    receipts = "/{order_id}/receipts/marketplace-order-authorization"
    routes: list[tuple[str, str, str, Callable[[Request], Awaitable[Response]]]] = [
        ("PUT", orders, "place", seller.place),
        ("POST", orders + receipts, "authorize", seller.authorize),
        ("POST", "/api/oms/pvt/orders/{order_id}/cancel", "cancel", seller.ask_to_cancel),
        ("POST", "/api/checkout/pub/orderForms/simulation", "simulate", seller.simulate),
        ("GET", "/api/oms/pvt/orders/order-group/{group}", "read", seller.read_group),
        ("GET", "/api/oms/pvt/orders/{order_id}", "read", seller.read),
    ]
    for method, where, call, act in routes:
        app.add_api_route(where, _misbehaving(seller, call, act), methods=[method], response_model=None)


def _misbehaving(
    seller: Seller, call: str, act: Callable[[Request], Awaitable[Response]]
) -> Callable[[Request], Awaitable[Response]]:
    """The act, with the faults that are switched on for this kind of call."""

    async def handle(request: Request) -> Response:
        behaviour = seller.behaviour
        seller.calls[call] += 1
        if call == "place":
            await seller.note(request)
        if behaviour.slow_seconds and call in behaviour.apply_to:
            await asyncio.sleep(behaviour.slow_seconds)
        headers = {"Retry-After": behaviour.retry_after} if behaviour.retry_after is not None else {}
        failed = JSONResponse(
            {"error": {"code": "1", "message": "failed"}},
            behaviour.fail_status,
            headers if behaviour.fail_status == 503 else None,
        )
        if behaviour.happens("throttle", call):
            return JSONResponse({"error": {"code": "1", "message": "slow down"}}, 429, headers)
        if behaviour.happens("reset_before", call):
            return await _hang_up(request)
        if behaviour.happens("fail", call):
            return failed
        if behaviour.happens("garbage_before", call):
            return Response(_PAGE, 200, media_type="text/html")
        seller.authenticate(request)
        answer = await act(request)
        if behaviour.happens("lose_answer", call):
            return await _hang_up(request)
        if behaviour.happens("fail_after_creating", call):
            return failed
        if behaviour.happens("garbage", call):
            return Response(_PAGE, 200, media_type="text/html")
        if behaviour.happens("drip", call):
            return StreamingResponse(_drip(bytes(answer.body)), answer.status_code, media_type="application/json")
        return answer

    return handle


_PAGE = "<html><body>ok</body></html>"


async def _drip(content: bytes) -> AsyncIterator[bytes]:
    for byte in content:
        yield bytes([byte])
        await asyncio.sleep(0.5)


async def _hang_up(request: Request) -> Response:
    """Close the connection without a byte of an answer. Needs `server.HangingUp` as the server's protocol."""
    request.scope["extensions"]["transport"]["abort"]()
    while (await request.receive())["type"] != "http.disconnect":
        pass
    return Response()
