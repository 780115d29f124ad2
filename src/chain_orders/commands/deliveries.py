"""`chain-orders delivery …`: the calls owed to sellers and subscribers."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from . import show
from .client import PARTLY, REFUSED, USAGE, Api, DryRun, Failed, Limit, Whole, WhyWhole, wholly
from .orders import DELIVERIES
from .show import AsJson, Column, field
from .typed import Commands

app = Commands(name="delivery", help="Calls owed to sellers: list them, try them again.")

_COLUMNS = (
    *DELIVERIES[:3],
    field("orderGroup", "order group", rank=1),
    Column("whose", lambda one: one["sellerId"] or one["webhookId"], rank=4),
    *DELIVERIES[3:],
)
_MOST_AT_ONCE = 1000


@app.command("list")
def list_deliveries(
    state: Annotated[list[str] | None, typer.Option(help="Only this state; may be repeated.")] = None,
    kind: Annotated[str | None, typer.Option(help="place, authorize, cancel or webhook.")] = None,
    seller: Annotated[str | None, typer.Option(help="Only this seller's.")] = None,
    webhook: Annotated[str | None, typer.Option(help="Calls to this subscriber.")] = None,
    limit: Limit = 50,
    whole: Whole = False,
    reason: WhyWhole = None,
    json_: AsJson = False,
) -> None:
    """List calls owed to sellers, newest first.

    Example: chain-orders delivery list --state dead
    """
    filters = {"state": state or None, "kind": kind, "seller": seller, "webhook": webhook, **wholly(whole, reason)}
    with Api() as api:
        api.listed("/v1/deliveries", _COLUMNS, limit, json_, **filters)


@app.command("show")
def show_delivery(
    delivery: Annotated[int, typer.Argument(help="The delivery's id.")],
    whole: Whole = False,
    reason: WhyWhole = None,
    json_: AsJson = False,
) -> None:
    """Show one call with each of its attempts; with --json their answers, masked.

    Example: chain-orders delivery show 17
    """
    with Api() as api:
        found = api.get(f"/v1/deliveries/{delivery}", **wholly(whole, reason))
    if json_:
        return show.as_json(found)
    show.item(found, json_=False, without=("attempts",))
    show.table(_ATTEMPTS, found["attempts"])
    return None


_ATTEMPTS = (
    Column("at", lambda one: show.when(one["at"])),
    field("phase", rank=2),
    field("outcome"),
    field("status", right=True),
    field("durationMs", "ms", rank=3, right=True),
    Column("why", lambda one: one["explanation"] or one["error"], rank=1, text=True),
)


@app.command("retry")
def retry(
    ids: Annotated[list[int] | None, typer.Argument(help="Which ones; all dead ones with --all.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All that are dead and match.")] = False,
    state: Annotated[str, typer.Option(help="With --all: dead, or else ready, retrying or unknown.")] = "dead",
    kind: Annotated[str | None, typer.Option(help="With --all: place, authorize, cancel or webhook.")] = None,
    seller: Annotated[str | None, typer.Option(help="With --all: this seller's.")] = None,
    *,
    reason: Annotated[str, typer.Option(help="Why, for the audit.", show_default=False)],
    dry_run: DryRun = False,
    json_: AsJson = False,
) -> None:
    """Try calls again. The seller is read first, so that nothing is done twice. Exit code 4: some were refused.

    Example: chain-orders delivery retry 17 18 --reason "the seller is back"

    Example: chain-orders delivery retry --all --seller acme --reason "the seller is back"
    """
    if bool(ids) == every:
        raise Failed("give ids, or --all", USAGE)
    with Api() as api:
        if every:
            results = _retried_all(api, {"state": state, "kind": kind, "sellerId": seller, "reason": reason}, dry_run)
        else:
            results = [_retried(api, one, reason, dry_run) for one in ids or []]
    refused = [one for one in results if one["result"] != "retried"]
    if json_:
        show.as_json({"items": results})
    else:
        for one in refused:
            print(f"{one['id']}: {one['detail']}")
        show.note(f"{len(results) - len(refused)} tried again, {len(refused)} refused")
    if refused:
        raise typer.Exit(PARTLY if len(refused) < len(results) else REFUSED)


def _retried_all(api: Api, wanted: dict[str, str | None], dry_run: bool) -> list[dict[str, Any]]:
    """Batch after batch, until no more match."""
    body = {name: value for name, value in wanted.items() if value}
    results: list[dict[str, Any]] = []
    while True:
        found = api.post("/v1/deliveries/retry", {**body, "limit": _MOST_AT_ONCE}, dry_run=dry_run)
        results += found["items"]
        if found["next"] is None:
            return results
        body["cursor"] = found["next"]


def _retried(api: Api, delivery_id: int, reason: str, dry_run: bool) -> dict[str, Any]:
    try:
        api.post(f"/v1/deliveries/{delivery_id}/retry", {"reason": reason}, dry_run=dry_run)
    except Failed as refused:
        if refused.code != REFUSED:
            raise
        return {"id": delivery_id, "result": "refused", "detail": str(refused)}
    return {"id": delivery_id, "result": "retried"}
