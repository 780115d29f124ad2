"""`chain-orders delivery …`, `seller …`, `events …` and the part of `key …` that needs no database."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Annotated, Any

import httpx
import typer

from . import show
from .client import PARTLY, REFUSED, Api, Failed
from .show import AsJson

deliveries = typer.Typer(
    name="delivery", help="Calls owed to sellers: list them, try them again.", no_args_is_help=True
)
sellers = typer.Typer(name="seller", help="The sellers this marketplace sells for.", no_args_is_help=True)
events = typer.Typer(name="events", help="The feed.", no_args_is_help=True)

SellerId = Annotated[str, typer.Argument(help="The seller's id.", show_default=False)]


@deliveries.command("list")
def list_deliveries(
    state: Annotated[list[str] | None, typer.Option(help="Only this state; may be repeated.")] = None,
    kind: Annotated[str | None, typer.Option(help="place, authorize or cancel.")] = None,
    seller: Annotated[str | None, typer.Option(help="Only this seller's.")] = None,
    limit: Annotated[int, typer.Option(help="How many at most.", min=1, max=200)] = 50,
    json_: AsJson = False,
) -> None:
    """List calls owed to sellers, newest first.

    Example: chain-orders delivery list --state dead
    """
    with Api() as api:
        page = api.get("/v1/deliveries", state=state or None, kind=kind, seller=seller, limit=limit)
    if json_:
        return show.as_json(page)
    show.table(
        (">id", "kind", "state", "seller", ">attempts", "next attempt", "last error"),
        (
            (one["id"], one["kind"], one["state"], one["sellerId"], len(one["attempts"]),
             show.when(one["nextAttemptAt"]), one["lastError"])
            for one in page["items"]
        ),
    )  # fmt: skip
    return None


@deliveries.command("retry")
def retry(
    ids: Annotated[list[int] | None, typer.Argument(help="Which ones; all dead ones with --all.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All that are dead and match.")] = False,
    kind: Annotated[str | None, typer.Option(help="With --all: place, authorize or cancel.")] = None,
    seller: Annotated[str | None, typer.Option(help="With --all: this seller's.")] = None,
    json_: AsJson = False,
) -> None:
    """Try calls again. The seller is read first, so that nothing is done twice. Exit code 4: some were refused.

    Example: chain-orders delivery retry 17 18
    Example: chain-orders delivery retry --all --seller acme
    """
    if bool(ids) == every:
        raise Failed("give ids, or --all", 2)
    with Api() as api:
        if every:
            body = {name: value for name, value in (("kind", kind), ("sellerId", seller)) if value}
            results = api.post("/v1/deliveries/retry", {**body, "limit": 1000})["items"]
        else:
            results = [_retried(api, one) for one in ids or []]
    refused = [one for one in results if one["result"] != "retried"]
    if json_:
        show.as_json({"items": results})
    else:
        for one in refused:
            print(f"{one['id']}: {one['detail']}")
        show.note(f"{len(results) - len(refused)} tried again, {len(refused)} refused")
    if refused:
        raise typer.Exit(PARTLY if len(refused) < len(results) else REFUSED)


def _retried(api: Api, delivery_id: int) -> dict[str, Any]:
    try:
        api.post(f"/v1/deliveries/{delivery_id}/retry")
    except Failed as refused:
        if refused.code != REFUSED:
            raise
        return {"id": delivery_id, "result": "refused", "detail": str(refused)}
    return {"id": delivery_id, "result": "retried"}


@sellers.command("add")
def add_seller(
    account: Annotated[str, typer.Argument(help="The seller's VTEX account name.")],
    sales_channel: Annotated[str, typer.Option(help="The sales channel (trade policy) in the seller's account.")],
    affiliate: Annotated[str, typer.Option(help="The affiliate id that the seller made for you.")],
    app_key: Annotated[str, typer.Option(help="AppKey.", envvar="CHAIN_ORDERS_APP_KEY", prompt=True)],
    app_token: Annotated[
        str, typer.Option(help="AppToken.", envvar="CHAIN_ORDERS_APP_TOKEN", prompt=True, hide_input=True)
    ],
    seller_id: Annotated[str | None, typer.Option("--id", help="Your name for it; the account's unless given.")] = None,
    base_url: Annotated[str | None, typer.Option(help="Another address than VTEX's usual one.")] = None,
    json_: AsJson = False,
) -> None:
    """Put a seller on record. The token is asked for, or read from CHAIN_ORDERS_APP_TOKEN.

    Example: chain-orders seller add acme --sales-channel 1 --affiliate MKP
    """
    body = {"accountName": account, "salesChannel": sales_channel, "affiliateId": affiliate}
    body |= {"appKey": app_key, "appToken": app_token}
    body |= {name: value for name, value in (("sellerId", seller_id), ("baseUrl", base_url)) if value}
    with Api() as api:
        _seller(api.post("/v1/sellers", body), json_)


@sellers.command("list")
def list_sellers(json_: AsJson = False) -> None:
    """List the sellers."""
    with Api() as api:
        page = api.get("/v1/sellers")
    if json_:
        return show.as_json(page)
    show.table(
        ("seller", "account", "channel", "affiliate", "paused", "address"),
        (
            (one["sellerId"], one["accountName"], one["salesChannel"], one["affiliateId"],
             "yes" if one["paused"] else "", one["baseUrl"])
            for one in page["items"]
        ),
    )  # fmt: skip
    return None


@sellers.command("show")
def show_seller(seller: SellerId, json_: AsJson = False) -> None:
    """Show a seller's settings."""
    with Api() as api:
        _seller(api.get(f"/v1/sellers/{api.seller_id(seller)}"), json_)


@sellers.command()
def check(
    seller: SellerId,
    sku: Annotated[str, typer.Option(help="A SKU that the seller sells.")] = "1",
    json_: AsJson = False,
) -> None:
    """Try everything that must work before orders depend on it; says in words what is wrong.

    Example: chain-orders seller check acme --sku 2001
    """
    with Api() as api:
        found = api.post(f"/v1/sellers/{api.seller_id(seller)}/check", {"sku": sku}, once=False)
    if json_:
        show.as_json(found)
    else:
        marks = {True: "ok", False: "WRONG", None: "?"}
        show.facts({one["check"]: f"{marks[one['ok']]}: {one['detail']}" for one in found["checks"]})
    if not found["ok"]:
        raise typer.Exit(REFUSED)


@sellers.command()
def pause(seller: SellerId, json_: AsJson = False) -> None:
    """Stop calling a seller. Calls wait; none is dropped."""
    with Api() as api:
        _seller(api.post(f"/v1/sellers/{api.seller_id(seller)}/pause"), json_)


@sellers.command()
def resume(seller: SellerId, json_: AsJson = False) -> None:
    """Call a seller again."""
    with Api() as api:
        _seller(api.post(f"/v1/sellers/{api.seller_id(seller)}/resume"), json_)


def _seller(seller: dict[str, Any], json_: bool) -> None:
    if json_:
        show.as_json(seller)
    else:
        show.facts({name: value for name, value in seller.items() if name != "version"})


@events.command()
def follow(
    after: Annotated[int | None, typer.Option(help="The position to go on from; from now on unless given.")] = None,
    type_: Annotated[list[str] | None, typer.Option("--type", help="Only this type; may be repeated.")] = None,
    seller: Annotated[str | None, typer.Option(help="Only this seller's.")] = None,
    limit: Annotated[int | None, typer.Option(help="Stop after so many.", min=1)] = None,
    json_: AsJson = False,
) -> None:
    """Print events as they happen, until Ctrl-C. A lost connection is taken up where it broke off.

    Example: chain-orders events follow --type order.placed --json
    """
    with Api() as api:
        for count, event in enumerate(_followed(api, after, type_, seller), 1):
            if json_:
                show.line(event)
            else:
                told = f"{event['id']:>8}  {show.when(event['at'])}  {event['type']}  {event['orderGroup']}"
                show.out().print(f"{told}  {event['chainOrderId'] or ''}", markup=False)
            if count == limit:
                return


def _followed(api: Api, after: int | None, types: list[str] | None, seller: str | None) -> Iterator[dict[str, Any]]:
    began = False
    while True:
        params = {"after": after, "type": types or None, "seller": seller}
        given = {name: value for name, value in params.items() if value is not None}
        try:
            with api.client.stream("GET", "/v1/events/stream", params=given, timeout=httpx.Timeout(60)) as answer:
                api.checked(answer)
                began = True
                for line in answer.iter_lines():
                    if line.startswith("data: "):
                        event = json.loads(line.removeprefix("data: "))
                        after = int(event["id"])
                        yield event
        except httpx.HTTPError as away:
            if not began:
                raise api.unreachable(away) from None
        except Failed as refused:
            if not began or refused.code == REFUSED:
                raise
        time.sleep(1)


def list_keys(json_: AsJson = False) -> None:
    """List the keys, their roles and when they were last used."""
    with Api() as api:
        page = api.get("/v1/keys")
    if json_:
        return show.as_json(page)
    show.table(
        ("name", "role", "last used", "revoked", "id"),
        (
            (one["name"], one["role"], show.when(one["lastUsedAt"]), show.when(one["revokedAt"]), one["id"])
            for one in page["items"]
        ),
    )
    return None


def revoke_key(name: Annotated[str, typer.Argument(help="The key's name or id.")]) -> None:
    """Revoke a key, for good."""
    with Api() as api:
        found = _key(api, name)
        api.call("DELETE", f"/v1/keys/{found['id']}")
    show.note(f"{found['name']} is revoked")


def rotate_key(
    name: Annotated[str, typer.Argument(help="The key's name or id.")],
    overlap: Annotated[float, typer.Option(help="Hours for which the key before holds too.", min=0, max=168)] = 24,
) -> None:
    """Replace a key by a new one of the same name and role, and print it, once.

    Example: chain-orders key rotate back-office --overlap 0
    """
    with Api() as api:
        found = _key(api, name)
        rotated = api.post(f"/v1/keys/{found['id']}/rotation", {"overlapSeconds": round(overlap * 3600)})
    print(rotated["key"])


def _key(api: Api, name: str) -> dict[str, Any]:
    """The key that goes by this name or id. Raises Failed."""
    found = [one for one in api.get("/v1/keys")["items"] if name in {one["name"], one["id"]}]
    if not found:
        raise Failed(f"there is no key {name}")
    return dict(found[0])


def make_key(name: str, role: str) -> str:
    """Make a key through the API."""
    with Api() as api:
        return str(api.post("/v1/keys", {"name": name, "role": role})["key"])
