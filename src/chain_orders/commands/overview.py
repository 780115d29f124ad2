"""`chain-orders stats`, `alerts` and `audit`: how things stand, what a person must hear of, and who did what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from . import bulk, show
from .client import Api, Items, Limit
from .show import AsJson, Column, field


def stats(json_: AsJson = False) -> None:
    """Open orders by status, what waits and since when, and how each seller and webhook fares.

    Example: chain-orders stats
    """
    with Api() as api:
        found = api.get("/v1/stats")
    if json_:
        return show.as_json(found)
    told = {f"orders {name}": count for name, count in found["orders"].items()}
    told["orders that want attention"] = found["attention"]["count"]
    for queue in ("deliveries", "notifications"):
        told |= {f"{queue} {state}": _waiting(one) for state, one in found[queue].items()}
    told["open alerts"] = _counted(one["code"] for one in found["alerts"])
    show.facts(told)
    show.table(_SELLERS, found["sellers"])
    if found["webhooks"]:
        show.table(_WEBHOOKS, found["webhooks"])
    return None


def _waiting(one: dict[str, float]) -> str:
    return f"{one['count']}, the oldest for {show.span(one['oldestSeconds'])}"


def _counted(codes: Iterable[str]) -> str:
    """Each code once, with how often it is there where that is more than once."""
    return ", ".join(code if number == 1 else f"{number} {code}" for code, number in Counter(codes).items())


_SELLERS = (
    field("sellerId", "seller"),
    field("waiting", right=True),
    field("breaker"),
    Column("paused", lambda one: "yes" if one["paused"] else ""),
    field("calls", rank=2, right=True),
    field("failedCalls", "failed", rank=2, right=True),
    field("reason", rank=1, text=True),
)


_WEBHOOKS = (field("webhookId", "webhook"), field("behind", rank=1, right=True), *_SELLERS[1:])


def alerts(
    state: Annotated[str | None, typer.Option(help="open or recovered; both unless given.")] = None,
    seller: Annotated[str | None, typer.Option(help="Only this seller's.")] = None,
    limit: Limit = 50,
    json_: AsJson = False,
) -> None:
    """What a person must hear of, and what to do about it, newest first.

    Example: chain-orders alerts --state open
    """
    with Api() as api:
        api.listed("/v1/alerts", _alerts, limit, json_, state=state, seller=seller)


def _alerts(items: Items) -> None:
    """One below the other: what they say is to be read, not to fit."""
    for nth, one in enumerate(items):
        if nth:
            print()
        told = {"alert": one["code"], "seller": one["sellerId"], "raised": show.when(one["raisedAt"])}
        told |= {"over since": show.when(one["recoveredAt"]), "reason": one["reason"], "what to do": one["do"]}
        show.facts(told)


def audit(
    actor: Annotated[str | None, typer.Option(help="Only this actor's, such as operator:ann.")] = None,
    about: Annotated[str | None, typer.Option("--object", help="Only about this, such as seller:acme.")] = None,
    action: Annotated[list[str] | None, typer.Option(help="Only this, such as order.cancel; may be repeated.")] = None,
    since: Annotated[str | None, typer.Option(help="ISO date or time.")] = None,
    until: Annotated[str | None, typer.Option(help="ISO date or time.")] = None,
    limit: Limit = 50,
    csv: Annotated[Path | None, typer.Option(help="Write all that match to this file, as CSV.")] = None,
    json_: AsJson = False,
) -> None:
    """What operators did, newest first. Needs an admin's key.

    Example: chain-orders audit --object seller:acme --since 2026-11-01

    Example: chain-orders audit --action order.resolve --csv decisions.csv
    """
    filters = {"actor": actor, "object": about, "action": action or None, "since": since, "until": until}
    if csv is not None:
        return bulk.save_csv("/v1/audit", filters, csv, "acts")
    with Api() as api:
        api.listed("/v1/audit", _AUDIT, limit, json_, **filters)
    return None


_AUDIT = (
    Column("at", lambda one: show.when(one["at"])),
    field("actor"),
    field("action"),
    field("object", rank=1),
    field("reason", rank=2, text=True),
)
