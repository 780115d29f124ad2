"""`chain-orders order …`: place, find, watch, authorize, cancel."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from . import show
from .client import Api, Failed
from .show import AsJson

app = typer.Typer(
    name="order", help="Orders: place, find, watch, authorize, cancel, import, export.", no_args_is_help=True
)

OrderName = Annotated[str, typer.Argument(help="Any id or number of the order.", show_default=False)]
Seller = Annotated[str | None, typer.Option(help="The seller's id; the only one unless given.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would come of it, and do nothing.")]
_FINAL = {"invoiced", "cancelled", "rejected"}


def read(file: str) -> bytes:
    """A file, or standard input for `-`. Raises Failed."""
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as refused:
        raise Failed(f"{file} cannot be read ({refused.strerror})", 2) from None


@app.command()
def place(
    file: Annotated[str, typer.Argument(help="VTEX's order as JSON; - for standard input.")],
    seller: Seller = None,
    wait: Annotated[int, typer.Option(help="Seconds to wait for the outcome.", min=0, max=30)] = 10,
    dry_run: DryRun = False,
    json_: AsJson = False,
) -> None:
    """Place an order.

    Example: chain-orders order place docs/samples/order.json --seller acme
    """
    try:
        document = json.loads(read(file))
    except ValueError as wrong:
        raise Failed(f"{file} is not JSON: {wrong}") from None
    with Api() as api:
        headers = {"Prefer": f"wait={wait}"} if wait else {}
        params = {"dryRun": "true"} if dry_run else {}
        path = f"/v1/sellers/{api.seller_id(seller)}/orders"
        _show(api.post(path, document, headers=headers, params=params), json_)


@app.command("show")
def show_order(order: OrderName, json_: AsJson = False) -> None:
    """Show an order with its chain orders and invoices.

    Example: chain-orders order show HARBOR1001
    """
    with Api() as api:
        _show(api.get(f"/v1/orders/{api.order_id(order)}"), json_)


@app.command("list")
def list_orders(
    q: Annotated[str | None, typer.Argument(help="An id or number; its beginning with * at the end.")] = None,
    status: Annotated[list[str] | None, typer.Option(help="Only this status; may be repeated.")] = None,
    seller: Annotated[str | None, typer.Option(help="Only this seller's.")] = None,
    turn: Annotated[str | None, typer.Option(help="us, seller, operator or nobody.")] = None,
    attention: Annotated[
        bool | None, typer.Option(help="Only those that a person must look at, or only the others.")
    ] = None,
    created_from: Annotated[str | None, typer.Option(help="ISO date or time.")] = None,
    created_to: Annotated[str | None, typer.Option(help="ISO date or time.")] = None,
    limit: Annotated[int, typer.Option(help="How many at most.", min=1, max=200)] = 50,
    json_: AsJson = False,
) -> None:
    """Find orders, newest first.

    Example: chain-orders order list --turn operator --seller acme
    Example: chain-orders order list "HARBOR1*"
    """
    filters = _filters(q, status, seller, turn, attention, created_from, created_to)
    with Api() as api:
        page = api.get("/v1/orders", limit=limit, **filters)
    if json_:
        return show.as_json(page)
    show.table(
        ("order group", "seller", "status", "turn", ">total", ">remaining", "attention", "created"),
        (
            (
                one["orderGroup"],
                one["sellerId"],
                one["status"],
                one["turn"],
                show.money(one["money"]["total"]),
                show.money(one["money"]["remaining"]),
                (one["attention"] or {}).get("code"),
                show.when(one["createdAt"]),
            )
            for one in page["items"]
        ),
    )
    if page["next"]:
        show.note(f"There are more than {limit}: narrow it, or use `order export`.")
    return None


@app.command()
def watch(order: OrderName, json_: AsJson = False) -> None:
    """Follow an order until it has ended, or Ctrl-C.

    Example: chain-orders order watch HARBOR1001
    """
    with Api() as api:
        path, seen = f"/v1/orders/{api.order_id(order)}", 0
        while True:
            status = api.get(path)["status"]
            for event in api.pages(f"{path}/timeline", limit=200):
                if event["id"] > seen:
                    seen = event["id"]
                    _event(event, json_)
            if status in _FINAL:
                return
            time.sleep(1)


@app.command()
def authorize(
    order: OrderName,
    receipt: Annotated[str | None, typer.Option(help="Your authorization's number; minted unless given.")] = None,
    date: Annotated[str | None, typer.Option(help="When it was approved; now unless given.")] = None,
    chain_order: Annotated[str | None, typer.Option(help="Only this chain order.")] = None,
    dry_run: DryRun = False,
    json_: AsJson = False,
) -> None:
    """Say that payment is approved.

    Example: chain-orders order authorize HARBOR1001 --receipt pay_7QmX2
    """
    given = {name: value for name, value in (("date", date), ("receipt", receipt)) if value}
    _act(order, "authorization", {"authorizationReceipt": given, **_chain(chain_order)}, dry_run, json_)


@app.command()
def cancel(
    order: OrderName,
    reason: Annotated[str, typer.Option(help="Why, in words; the seller reads it.", prompt=True)],
    chain_order: Annotated[str | None, typer.Option(help="Only this chain order.")] = None,
    dry_run: DryRun = False,
    json_: AsJson = False,
) -> None:
    """Ask the seller to cancel.

    Example: chain-orders order cancel HARBOR1001 --reason "the shopper withdrew"
    """
    _act(order, "cancellation", {"reason": reason, **_chain(chain_order)}, dry_run, json_)


def _chain(chain_order: str | None) -> dict[str, str]:
    return {"chainOrderId": chain_order} if chain_order else {}


def _act(order: str, act: str, body: dict[str, Any], dry_run: bool, json_: bool) -> None:
    with Api() as api:
        params = {"dryRun": "true"} if dry_run else {}
        _show(api.post(f"/v1/orders/{api.order_id(order)}/{act}", body, params=params), json_)


def _filters(
    q: str | None,
    status: list[str] | None,
    seller: str | None,
    turn: str | None,
    attention: bool | None,
    created_from: str | None,
    created_to: str | None,
) -> dict[str, Any]:
    given = {"q": q, "status": status or None, "seller": seller, "turn": turn, "attention": attention}
    return {**given, "createdFrom": created_from, "createdTo": created_to}


def _show(order: dict[str, Any], json_: bool) -> None:
    if json_:
        return show.as_json(order)
    attention = order["attention"]
    show.facts(
        {
            "order": order["id"] or "(dry run: nothing was stored)",
            "order group": order["orderGroup"],
            "seller": order["sellerId"],
            "status": order["status"],
            "turn": order["turn"],
            "attention": f"{attention['code']}: {attention['reason']}" if attention else None,
            "warnings": "\n".join(f"{one['code']}: {one['detail']}" for one in order["warnings"]),
            "total": show.money(order["money"]["total"]),
            "remaining": show.money(order["money"]["remaining"]),
            "created": show.when(order["createdAt"]),
        }
    )
    if order["chainOrders"]:
        show.table(
            ("chain order", "status", ">value", "invoices", "tracking"),
            (
                (
                    chain["chainOrderId"],
                    chain["status"],
                    show.money(chain["value"]),
                    " ".join(one["invoiceNumber"] for one in chain["invoices"]),
                    " ".join(one["trackingNumber"] or "" for one in chain["invoices"]),
                )
                for chain in order["chainOrders"]
            ),
        )
    return None


def _event(event: dict[str, Any], json_: bool) -> None:
    if json_:
        return show.line(event)
    told = " ".join(f"{name}={value}" for name, value in event["data"].items() if value not in (None, "", []))
    show.out().print(f"{show.when(event['at'])}  {event['type']}  {event['actor']}  {told}", markup=False)
    return None
