"""`chain-orders seller …`: the sellers this marketplace sells for."""

from __future__ import annotations

from typing import Annotated

import typer

from . import show
from .client import REFUSED, USAGE, Api, DryRun, Failed, Limit, Pinned, read_file, settings
from .show import AsJson, Column, field
from .typed import Commands

app = Commands(name="seller", help="The sellers this marketplace sells for.")

SellerId = Annotated[str, typer.Argument(help="The seller's id.", show_default=False)]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="A setting as the API names it, NAME=VALUE; may be repeated.", show_default=False),
]
_KEY, _TOKEN = "CHAIN_ORDERS_APP_KEY", "CHAIN_ORDERS_APP_TOKEN"
_TEXTS = frozenset({"salesChannel", "affiliateId", "currency", "baseUrl", "sellerId", "accountName"})


@app.command("add")
def add_seller(
    account: Annotated[str, typer.Argument(help="The seller's VTEX account name.")],
    sales_channel: Annotated[str, typer.Option(help="The sales channel (trade policy) in the seller's account.")],
    affiliate: Annotated[str, typer.Option(help="The affiliate id that the seller made for you.")],
    app_key: Annotated[str, typer.Option(help="AppKey.", envvar=_KEY, prompt=True)],
    app_token: Annotated[str, typer.Option(help="AppToken.", envvar=_TOKEN, prompt=True, hide_input=True)],
    seller_id: Annotated[str | None, typer.Option("--id", help="Your name for it; the account's unless given.")] = None,
    base_url: Annotated[str | None, typer.Option(help="Another address than VTEX's usual one.")] = None,
    set_: Set = None,
    dry_run: DryRun = False,
    json_: AsJson = False,
) -> None:
    """Put a seller on record. The token is asked for, or read from CHAIN_ORDERS_APP_TOKEN.

    Example: chain-orders seller add acme --sales-channel 1 --affiliate MKP --set strictAmounts=true
    """
    body = {"accountName": account, "salesChannel": sales_channel, "affiliateId": affiliate}
    body |= {"appKey": app_key, "appToken": app_token}
    body |= {name: value for name, value in (("sellerId", seller_id), ("baseUrl", base_url)) if value}
    with Api() as api:
        show.item(api.post("/v1/sellers", {**body, **settings(set_, _TEXTS)}, dry_run=dry_run), json_, without=())


@app.command("list")
def list_sellers(limit: Limit = 200, json_: AsJson = False) -> None:
    """List the sellers.

    Example: chain-orders seller list
    """
    with Api() as api:
        api.listed("/v1/sellers", _SELLERS, limit, json_)


_SELLERS = (
    field("sellerId", "seller"),
    field("accountName", "account", rank=2),
    field("salesChannel", "channel"),
    field("affiliateId", "affiliate"),
    Column("paused", lambda one: "yes" if one["paused"] else ""),
    field("baseUrl", "address", rank=1, text=True),
)


@app.command("show")
def show_seller(seller: SellerId, json_: AsJson = False) -> None:
    """Show a seller's settings.

    Example: chain-orders seller show acme
    """
    with Api() as api:
        show.item(api.get(f"/v1/sellers/{api.seller_id(seller)}"), json_, without=())


@app.command()
def change(
    seller: SellerId,
    set_: Set = None,
    credentials: Annotated[
        bool, typer.Option("--credentials", help=f"Give a new AppKey and AppToken: {_KEY} and {_TOKEN}, or asked for.")
    ] = False,
    app_key: Annotated[str, typer.Option(hidden=True, envvar=_KEY)] = "",
    app_token: Annotated[str, typer.Option(hidden=True, envvar=_TOKEN)] = "",
    version: Pinned = None,
    dry_run: DryRun = False,
    json_: AsJson = False,
) -> None:
    """Change a seller's settings or credentials. `seller show` names the settings.

    Example: chain-orders seller change acme --set concurrency=3 --set changePolicy=accept

    Example: chain-orders seller change acme --credentials
    """
    body = settings(set_, _TEXTS)
    if credentials:
        body["appKey"] = app_key or typer.prompt("App key", err=True)
        body["appToken"] = app_token or typer.prompt("App token", hide_input=True, err=True)
    if not body:
        raise Failed("give --set NAME=VALUE, or --credentials", USAGE)
    with Api() as api:
        path = f"/v1/sellers/{api.seller_id(seller)}"
        match = api.version(path, version)
        show.item(api.send("PATCH", path, body, match=match, dry_run=dry_run), json_, without=())


@app.command()
def check(
    seller: SellerId,
    sku: Annotated[str, typer.Option(help="A SKU that the seller sells.")] = "1",
    item_seller: Annotated[str, typer.Option(help="Who sells it there; 1 is the account itself.")] = "1",
    json_: AsJson = False,
) -> None:
    """Try everything that must work before orders depend on it; says in words what is wrong.

    Example: chain-orders seller check acme --sku 2001
    """
    with Api() as api:
        found = api.post(f"/v1/sellers/{api.seller_id(seller)}/check", {"sku": sku, "seller": item_seller}, once=False)
    if json_:
        show.as_json(found)
    else:
        marks = {True: "ok", False: "WRONG", None: "?"}
        show.facts({one["check"]: f"{marks[one['ok']]}: {one['detail']}" for one in found["checks"]})
    if not found["ok"]:
        raise typer.Exit(REFUSED)


@app.command()
def simulate(
    seller: SellerId,
    file: Annotated[str, typer.Argument(help="Items and postal code as JSON; - for standard input.")],
    json_: AsJson = False,
) -> None:
    """What the seller would charge now, and what it cannot sell. Exit code 1: something is not sold.

    Example: chain-orders seller simulate acme basket.json
    """
    basket = read_file(file)
    with Api() as api:
        found = api.post(f"/v1/sellers/{api.seller_id(seller)}/simulation", basket, once=False)
    if json_:
        show.as_json(found)
    else:
        show.facts({"value": show.money(found["value"]), "unavailable": " ".join(found["unavailable"])})
    if found["unavailable"]:
        raise typer.Exit(REFUSED)


@app.command()
def pause(seller: SellerId, dry_run: DryRun = False, json_: AsJson = False) -> None:
    """Stop calling a seller. Calls wait; none is dropped.

    Example: chain-orders seller pause acme
    """
    with Api() as api:
        show.item(api.post(f"/v1/sellers/{api.seller_id(seller)}/pause", dry_run=dry_run), json_)


@app.command()
def resume(seller: SellerId, dry_run: DryRun = False, json_: AsJson = False) -> None:
    """Call a seller again.

    Example: chain-orders seller resume acme
    """
    with Api() as api:
        show.item(api.post(f"/v1/sellers/{api.seller_id(seller)}/resume", dry_run=dry_run), json_)


@app.command("callback-token")
def callback_token(seller: SellerId) -> None:
    """Print the seller's secret for callbacks at the root; for sellers that cannot be given an address an order.

    Example: chain-orders seller callback-token acme
    """
    with Api() as api:
        print(api.post(f"/v1/sellers/{api.seller_id(seller)}/callback-token", once=False)["token"])
