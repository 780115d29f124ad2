"""`chain-orders order …`: place, find, watch, authorize, cancel, decide, and all that is known of one."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from . import show
from .client import REFUSED, Api, DryRun, Failed, Limit, Pinned, Whole, WhyWhole, read_file, read_json, wholly
from .show import AsJson, Column, field, time_of
from .typed import Commands

app = Commands(name="order", help="Orders: place, find, watch, authorize, cancel, decide, import, export.")

OrderName = Annotated[str, typer.Argument(help="Any id or number of the order.", show_default=False)]
Seller = Annotated[str | None, typer.Option(help="The seller's id; the only one unless given.")]
ChainOrder = Annotated[str | None, typer.Option(help="Only this chain order.")]
_FINAL = {"invoiced", "cancelled", "rejected"}

ORDERS = (
    field("orderGroup", "order group"),
    field("sellerId", "seller", rank=5),
    field("status"),
    field("turn", rank=3),
    Column("total", lambda one: show.money(one["money"]["total"]), right=True),
    Column("remaining", lambda one: show.money(one["money"]["remaining"]), rank=4, right=True),
    Column("attention", lambda one: (one["attention"] or {}).get("code"), rank=2),
    time_of("createdAt", "created", rank=1),
)
EVENTS = (
    Column("at", lambda one: show.when(one["at"])),
    field("type", "what"),
    field("actor", "who", rank=1),
    Column("more", lambda one: _data(one), rank=2, text=True),
)


@app.command()
def place(
    file: Annotated[str, typer.Argument(help="VTEX's order as JSON; - for standard input.")],
    seller: Seller = None,
    wait: Annotated[int, typer.Option(help="Seconds to wait for the outcome.", min=0, max=30)] = 10,
    dry_run: DryRun = False,
    json_: AsJson = False,
) -> None:
    """Place an order. Exit code 1: the seller refused it.

    Example: chain-orders order place docs/samples/order.json --seller acme
    """
    document = read_file(file)
    with Api() as api:
        path = f"/v1/sellers/{api.seller_id(seller)}/orders"
        order = api.post(path, document, headers={"Prefer": f"wait={wait}"} if wait else {}, dry_run=dry_run)
        if order["status"] == "rejected":
            order = api.get(f"/v1/orders/{order['id']}")
    _show(order, json_)
    if order["status"] == "rejected":
        raise typer.Exit(REFUSED)


@app.command()
def correct(
    order: OrderName,
    file: Annotated[str, typer.Argument(help="The corrected order as JSON; - for standard input.")],
    version: Pinned = None,
    dry_run: DryRun = False,
    json_: AsJson = False,
) -> None:
    """Give a rejected order a corrected body, under the same group. The seller is read first.

    Example: chain-orders order correct HARBOR1001 corrected.json
    """
    document = read_file(file)
    with Api() as api:
        path = f"/v1/orders/{api.order_id(order)}"
        match = api.version(path, version)
        _show(api.send("PUT", f"{path}/placement", document, match=match, dry_run=dry_run), json_)


@app.command("show")
def show_order(order: OrderName, json_: AsJson = False) -> None:
    """Show an order with its chain orders and invoices, and why it is not further.

    Example: chain-orders order show HARBOR1001
    """
    with Api() as api:
        _show(api.get(f"/v1/orders/{api.order_id(order)}"), json_)


@app.command("list")
def list_orders(
    q: Annotated[str | None, typer.Argument(help="An id, number or SKU; its beginning with * at the end.")] = None,
    status: Annotated[list[str] | None, typer.Option(help="Only this status; may be repeated.")] = None,
    seller: Annotated[str | None, typer.Option(help="Only this seller's.")] = None,
    turn: Annotated[str | None, typer.Option(help="us, seller, operator or nobody.")] = None,
    attention: Annotated[
        bool | None, typer.Option(help="Only those that a person must look at, or only the others.")
    ] = None,
    created_from: Annotated[str | None, typer.Option(help="ISO date or time.")] = None,
    created_to: Annotated[str | None, typer.Option(help="ISO date or time.")] = None,
    sort: Annotated[
        str | None, typer.Option(help="createdAt, updatedAt, total or status; - before it: reversed.")
    ] = None,
    limit: Limit = 50,
    json_: AsJson = False,
) -> None:
    """Find orders, newest first unless sorted otherwise.

    Example: chain-orders order list --turn operator --seller acme

    Example: chain-orders order list "HARBOR1*"
    """
    filters = {"q": q, "status": status or None, "seller": seller, "turn": turn, "attention": attention}
    filters |= {"createdFrom": created_from, "createdTo": created_to, "sort": sort}
    with Api() as api:
        api.listed("/v1/orders", ORDERS, limit, json_, **filters)


@app.command()
def watch(order: OrderName, json_: AsJson = False) -> None:
    """Follow an order until it has ended, or Ctrl-C. Exit code 1: it was rejected.

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
            if status == "rejected":
                raise typer.Exit(REFUSED)
            if status in _FINAL:
                return
            time.sleep(1)


@app.command()
def authorize(
    order: OrderName,
    receipt: Annotated[str | None, typer.Option(help="Your authorization's number; minted unless given.")] = None,
    date: Annotated[str | None, typer.Option(help="When it was approved; now unless given.")] = None,
    chain_order: ChainOrder = None,
    items: Annotated[str | None, typer.Option(help="File with other items than the order's, a JSON list.")] = None,
    version: Pinned = None,
    dry_run: DryRun = False,
    json_: AsJson = False,
) -> None:
    """Say that payment is approved.

    Example: chain-orders order authorize HARBOR1001 --receipt pay_7QmX2
    """
    given = {name: value for name, value in (("date", date), ("receipt", receipt)) if value}
    body = {"authorizationReceipt": given, **_chain(chain_order)}
    if items is not None:
        body["items"] = read_json(items)
    _act(order, "authorization", body, version=version, dry_run=dry_run, json_=json_)


@app.command()
def cancel(
    order: OrderName,
    reason: Annotated[str, typer.Option(help="Why, in words; the seller reads it.", prompt=True)],
    chain_order: ChainOrder = None,
    version: Pinned = None,
    dry_run: DryRun = False,
    json_: AsJson = False,
) -> None:
    """Ask the seller to cancel.

    Example: chain-orders order cancel HARBOR1001 --reason "the shopper withdrew"
    """
    body = {"reason": reason, **_chain(chain_order)}
    _act(order, "cancellation", body, version=version, dry_run=dry_run, json_=json_)


@app.command()
def resolve(
    order: OrderName,
    decision: Annotated[str, typer.Argument(help="cancelled, invoiced, accept-change or dismiss.")],
    reason: Annotated[str, typer.Option(help="Why, in words; it stays in the timeline.", prompt=True)],
    chain_order: ChainOrder = None,
    version: Pinned = None,
    dry_run: DryRun = False,
    json_: AsJson = False,
) -> None:
    """Decide what holds where the seller contradicts itself, or that all is well as it is.

    Example: chain-orders order resolve HARBOR1001 cancelled --reason "the seller confirmed by phone"
    """
    body = {"decision": decision, "reason": reason, **_chain(chain_order)}
    _act(order, "resolution", body, version=version, required=True, dry_run=dry_run, json_=json_)


@app.command()
def erase(
    order: OrderName,
    reason: Annotated[str, typer.Option(help="A case, not a person: it is kept for ever.", prompt=True)],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: DryRun = False,
    json_: AsJson = False,
) -> None:
    """Replace the personal data of a final order by hashes, for good. Ids, money and events stay.

    Example: chain-orders order erase HARBOR1001 --reason "request 2026-17" --yes
    """
    with Api() as api:
        path = f"/v1/orders/{api.order_id(order)}"
        if not yes and not dry_run:
            typer.confirm(f"Erase the personal data of {api.get(path)['orderGroup']} for good?", abort=True, err=True)
        _show(api.post(f"{path}/erasure", {"reason": reason}, dry_run=dry_run), json_)


@app.command()
def timeline(order: OrderName, limit: Limit = 200, json_: AsJson = False) -> None:
    """What happened to an order, oldest first.

    Example: chain-orders order timeline HARBOR1001
    """
    _part(order, "timeline", EVENTS, limit, json_)


@app.command("deliveries")
def order_deliveries(
    order: OrderName, limit: Limit = 200, whole: Whole = False, reason: WhyWhole = None, json_: AsJson = False
) -> None:
    """The calls owed for an order; with --json each attempt, its answer included, masked.

    Example: chain-orders order deliveries HARBOR1001 --json
    """
    _part(order, "deliveries", DELIVERIES, limit, json_, **wholly(whole, reason))


@app.command("notifications")
def order_notifications(
    order: OrderName, limit: Limit = 200, whole: Whole = False, reason: WhyWhole = None, json_: AsJson = False
) -> None:
    """What the seller told us about an order; with --json its body and headers, masked.

    Example: chain-orders order notifications HARBOR1001
    """
    _part(order, "notifications", NOTIFICATIONS, limit, json_, **wholly(whole, reason))


@app.command()
def evidence(
    order: OrderName,
    output: Annotated[Path, typer.Option("--output", "-o", help="The zip file to write.")],
    whole: Annotated[bool, typer.Option("--whole", help="With personal data; needs a reason, and is audited.")] = False,
    reason: Annotated[str | None, typer.Option(help="With --whole: why.")] = None,
) -> None:
    """Write all that is stored of an order as one archive, personal data masked.

    Example: chain-orders order evidence HARBOR1001 -o HARBOR1001.zip
    """
    params = {name: value for name, value in wholly(whole, reason).items() if value}
    with Api() as api:
        archive = api.call("GET", f"/v1/orders/{api.order_id(order)}/evidence", params=params).content
    try:
        output.write_bytes(archive)
    except OSError as refused:
        raise Failed(f"{output} cannot be written ({refused.strerror})") from None
    show.note(f"{output}: {len(archive)} bytes")


DELIVERIES = (
    field("id", right=True),
    field("kind"),
    field("state"),
    Column("attempts", lambda one: len(one["attempts"]), rank=3, right=True),
    time_of("nextAttemptAt", "next attempt", rank=2),
    field("lastError", "last error", rank=1, text=True),
)
NOTIFICATIONS = (
    field("id", right=True),
    field("kind"),
    field("state"),
    time_of("receivedAt", "received", rank=1),
    field("repeats", rank=3, right=True),
    field("reason", rank=2, text=True),
)


def _part(order: str, part: str, columns: tuple[Column, ...], limit: int, json_: bool, **params: Any) -> None:
    with Api() as api:
        api.listed(f"/v1/orders/{api.order_id(order)}/{part}", columns, limit, json_, **params)


def _chain(chain_order: str | None) -> dict[str, str]:
    return {"chainOrderId": chain_order} if chain_order else {}


def _act(
    order: str,
    act: str,
    body: dict[str, Any],
    *,
    version: int | None,
    dry_run: bool,
    json_: bool,
    required: bool = False,
) -> None:
    """POST an act. Where a version is `required` and none is given, the present one is read and named."""
    with Api() as api:
        path = f"/v1/orders/{api.order_id(order)}"
        match = api.version(path, version) if required else version
        _show(api.post(f"{path}/{act}", body, match=match, dry_run=dry_run), json_)


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
            "last error": _last_error(order.get("lastError")),
            "attention": f"{attention['code']}: {attention['reason']}" if attention else None,
            "warnings": "\n".join(_warning(one) for one in order["warnings"]),
            "total": show.money(order["money"]["total"]),
            "remaining": show.money(order["money"]["remaining"]),
            "created": show.when(order["createdAt"]),
            "version": order["version"],
        }
    )
    if order["chainOrders"]:
        show.table(CHAIN_ORDERS, order["chainOrders"])
    return None


CHAIN_ORDERS = (
    field("chainOrderId", "chain order"),
    field("status"),
    Column("value", lambda one: show.money(one["value"]), right=True),
    Column("invoices", lambda one: " ".join(each["invoiceNumber"] for each in one["invoices"]), rank=1, text=True),
    Column(
        "tracking", lambda one: " ".join(each["trackingNumber"] or "" for each in one["invoices"]), rank=2, text=True
    ),
)


def _warning(one: dict[str, str]) -> str:
    return f"{one['code']}: {one['detail']}" + (f" ({one['pointer']})" if one.get("pointer") else "")


def _last_error(failed: dict[str, Any] | None) -> str | None:
    if failed is None:
        return None
    next_at = show.when(failed["nextAttemptAt"]) if failed["nextAttemptAt"] else "once calls go on"
    again = f"tried again {next_at}" if failed["retried"] else "not tried again"
    return f"{failed['detail']}\n{again}; acts: {failed['owner']}"


def _event(event: dict[str, Any], json_: bool) -> None:
    if json_:
        return show.line(event)
    told = f"{show.when(event['at'])}  {event['type']}  {event['actor']}  {_data(event)}"
    show.out().print(told, markup=False)
    return None


def _data(event: Any) -> str:
    given = {name: value for name, value in event["data"].items() if value not in (None, "", [])}
    return " ".join(f"{name}={show.plain(value)}" for name, value in given.items())
