"""`chain-orders events …`: the feed, read or followed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Annotated, Any

import httpx
import typer

from . import show
from .client import REFUSED, Api, Failed, Limit
from .show import AsJson, Column, field
from .typed import Commands

app = Commands(name="events", help="The feed: what happened to every order.")

Types = Annotated[list[str] | None, typer.Option("--type", help="Only this type; may be repeated.")]
Seller = Annotated[str | None, typer.Option(help="Only this seller's.")]
_EVENTS = (
    field("id", right=True),
    Column("at", lambda one: show.when(one["at"])),
    field("type"),
    field("orderGroup", "order group"),
    field("chainOrderId", "chain order", rank=1),
)


@app.command("list")
def list_events(
    after: Annotated[int, typer.Option(help="The position after which to begin.")] = 0,
    type_: Types = None,
    seller: Seller = None,
    limit: Limit = 100,
    json_: AsJson = False,
) -> None:
    """Read the feed from a position, oldest first.

    Example: chain-orders events list --after 1200 --type order.rejected
    """
    items: list[dict[str, Any]] = []
    with Api() as api:
        while len(items) < limit:
            wanted = min(limit - len(items), 1000)
            page = api.get("/v1/events", after=after, type=type_ or None, seller=seller, limit=wanted)
            items += page["items"]
            after = page["position"]
            if page["next"] is None:
                break
    if json_:
        return show.as_json({"items": items, "position": after})
    show.table(_EVENTS, items)
    return None


@app.command()
def follow(
    after: Annotated[int | None, typer.Option(help="The position to go on from; from now on unless given.")] = None,
    type_: Types = None,
    seller: Seller = None,
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
                show.out().print(f"{told}  {event['chainOrderId'] or ''}".rstrip(), markup=False, soft_wrap=True)
            if count == limit:
                return


def _followed(api: Api, after: int | None, types: list[str] | None, seller: str | None) -> Iterator[dict[str, Any]]:
    """The events, whatever happens to the connection: each goes on after the last whole one that came."""
    params = {"after": after, "type": types or None, "seller": seller}
    given = {name: value for name, value in params.items() if value is not None}
    began, last = False, after
    while True:
        told = {} if last is None else {"Last-Event-ID": str(last)}
        try:
            with api.client.stream("GET", "/v1/events/stream", params=given, headers=told, timeout=60) as answer:
                api.checked(answer)
                began = True
                for line in answer.iter_lines():
                    if line.startswith("id: ") and last is None:  # the first one says where the stream starts
                        last = int(line.removeprefix("id: "))
                    elif line.startswith("data: "):
                        event = json.loads(line.removeprefix("data: "))
                        last = int(event["id"])
                        yield event
        except httpx.HTTPError as away:
            if not began:
                raise api.unreachable(away) from None
        except Failed as refused:
            if not began or refused.code == REFUSED:
                raise
        time.sleep(1)
