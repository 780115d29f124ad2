"""The console as one route of the application: its addresses, its headers on every answer, its errors as pages."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.routing import BaseRoute, Match, Route, Router
from starlette.types import Message, Receive, Scope, Send

from ..errors import Problem, Unknown
from ..operators.roles import Role
from . import (
    acts,
    alerts,
    assets,
    auditing,
    bulk,
    checking,
    correcting,
    deciding,
    deliveries,
    health,
    keys,
    live,
    notifications,
    order,
    orders,
    overview,
    retrying,
    revealing,
    sellers,
    signing,
    subscribing,
    texts,
    webhooks,
    zones,
)  # fmt: skip
from .texts import N_
from .visits import HOME, LIVE, SIGN_OUT, Desk, Handler, Visit, act, page, public, recognized

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; object-src 'none'; "
    "require-trusted-types-for 'script'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not `no-referrer`: with it browsers send `Origin: null` with our own forms, and the check could not tell them
    # from a stranger's. Nothing is sent to other origins either way.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
_HSTS = "max-age=63072000; includeSubDomains"


class Console(BaseRoute):
    """Everything under `/console`, and the way there for a browser that asks for `/`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.addresses = _routes(desk)
        self._router = Router(self.addresses, redirect_slashes=False)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http":
            return Match.NONE, {}
        path = scope["path"]
        at_root = path == "/" and "text/html" in Request(scope).headers.get("accept", "")
        ours = at_root or path == HOME or path.startswith(f"{HOME}/")
        return (Match.FULL, {}) if ours else (Match.NONE, {})

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        visit = Visit(Request(scope, receive), self._desk)
        texts.speak(visit.request.headers.get("accept-language", ""))

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
                if visit.secure:
                    headers["Strict-Transport-Security"] = _HSTS
            await send(message)

        if scope["path"] in {"/", f"{HOME}/"}:
            await RedirectResponse(HOME, 307)(scope, receive, guarded)
            return
        try:
            if "\x00" in scope["path"]:
                raise HTTPException(404)
            await self._router(scope, receive, guarded)
        except HTTPException as failure:
            await (await recognized(visit)).fail(_problem(failure))(scope, receive, guarded)


def _problem(failure: HTTPException) -> Problem:
    if failure.status_code == 405:
        return _MethodNotAllowed("method-not-allowed", N_("This address is reached by a form, not by its address."))
    return Unknown("not-found", N_("There is no such page."))


class _MethodNotAllowed(Problem):
    status = 405
    title = "That is not how this address works"


def _routes(desk: Desk) -> list[Route]:
    return [
        Route("/console/static/{name}", assets.serve),
        Route("/console/sign-in", public(desk, signing.show), methods=["GET"]),
        Route("/console/sign-in", public(desk, signing.sign_in), methods=["POST"]),
        Route(SIGN_OUT, act(desk, signing.sign_out, "viewer"), methods=["POST"]),
        *_orders(desk),
        Route("/console/deliveries", page(desk, deliveries.show)),
        *_form(desk, "/console/deliveries/retry", retrying.show_list, retrying.retry_many),
        Route("/console/deliveries/{delivery_id}", page(desk, deliveries.show_one)),
        *_form(desk, "/console/deliveries/{delivery_id}/retry", retrying.show, retrying.retry),
        *_form(
            desk, "/console/deliveries/{delivery_id}/whole", revealing.ask_delivery, revealing.show_delivery, "admin"
        ),
        Route("/console/notifications", page(desk, notifications.show)),
        Route("/console/notifications/{notification_id}", page(desk, notifications.show_one)),
        *_form(
            desk, "/console/notifications/{notification_id}/replay", notifications.show_replay, notifications.replay
        ),
        *_form(
            desk, "/console/notifications/{notification_id}/dismiss", notifications.show_dismiss, notifications.dismiss
        ),
        *_form(
            desk,
            "/console/notifications/{notification_id}/whole",
            revealing.ask_notification,
            revealing.show_notification,
            "admin",
        ),
        *_form(desk, "/console/zone", zones.show, zones.choose, "viewer"),
        Route("/console/here", page(desk, live.here)),
        *_sellers(desk),
        Route("/console/keys", page(desk, keys.show, "admin"), methods=["GET"]),
        Route("/console/keys", act(desk, keys.make, "admin"), methods=["POST"]),
        *_form(desk, "/console/keys/revoke", keys.show_revoke, keys.revoke, "admin"),
        *_form(desk, "/console/keys/rotate", keys.show_rotate, keys.rotate, "admin"),
        Route("/console/alerts", page(desk, alerts.show)),
        *_webhooks(desk),
        Route("/console/audit", page(desk, auditing.show, "admin")),
        Route("/console/health", page(desk, health.show)),
        Route(LIVE, page(desk, live.follow)),
    ]


def _orders(desk: Desk) -> list[Route]:
    return [
        Route("/console", page(desk, overview.show)),
        Route("/console/orders", page(desk, orders.show)),
        Route("/console/orders.csv", page(desk, orders.download)),
        *_form(desk, "/console/orders/many", bulk.show_list, bulk.act),
        Route("/console/orders/{order_id}", page(desk, order.show)),
        Route("/console/orders/{order_id}/evidence", page(desk, order.evidence)),
        *_form(desk, "/console/orders/{order_id}/correct", correcting.show, correcting.correct),
        *_form(desk, "/console/orders/{order_id}/authorize", acts.show_authorize, acts.authorize),
        *_form(desk, "/console/orders/{order_id}/cancel", acts.show_cancel, acts.cancel),
        *_form(desk, "/console/orders/{order_id}/resolve", deciding.show, deciding.decide),
    ]


def _sellers(desk: Desk) -> list[Route]:
    return [
        Route("/console/sellers", page(desk, sellers.show)),
        *_form(desk, "/console/sellers/new", sellers.show_new, sellers.add, "admin"),
        Route("/console/sellers/{seller_id}", page(desk, sellers.show_one), methods=["GET"]),
        Route("/console/sellers/{seller_id}", act(desk, sellers.change, "admin"), methods=["POST"]),
        *_form(desk, "/console/sellers/{seller_id}/pause", sellers.show_pause, sellers.pause),
        Route("/console/sellers/{seller_id}/resume", act(desk, sellers.resume), methods=["POST"]),
        *_form(desk, "/console/sellers/{seller_id}/check", checking.show, checking.run),
        *_form(desk, "/console/sellers/{seller_id}/token", checking.show_token, checking.make_token, "admin"),
    ]


def _webhooks(desk: Desk) -> list[Route]:
    one = "/console/webhooks/{webhook_id}"
    return [
        Route("/console/webhooks", page(desk, webhooks.show, "admin")),
        *_form(desk, "/console/webhooks/new", subscribing.show_new, subscribing.add, "admin"),
        Route(one, page(desk, webhooks.show_one, "admin"), methods=["GET"]),
        *_form(desk, f"{one}/secret", subscribing.show_secret, subscribing.make_secret, "admin"),
        *_form(desk, f"{one}/again", subscribing.show_replay, subscribing.replay, "admin"),
        Route(f"{one}/test", act(desk, webhooks.send_test, "admin"), methods=["POST"]),
        Route(f"{one}/enable", act(desk, webhooks.enable, "admin"), methods=["POST"]),
        Route(f"{one}/disable", act(desk, webhooks.disable, "admin"), methods=["POST"]),
    ]


def _form(desk: Desk, path: str, show: Handler, send: Handler, least: Role = "operator") -> list[Route]:
    """A page with a form, and what the form asks for, at one address."""
    return [
        Route(path, page(desk, show, least), methods=["GET"]),
        Route(path, act(desk, send, least), methods=["POST"]),
    ]
