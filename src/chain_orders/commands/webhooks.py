"""`chain-orders webhook …`: who is told of what happens."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from . import show
from .client import USAGE, Api, DryRun, Failed, Limit, Pinned, settings
from .sellers import Set
from .show import AsJson, Column, field
from .typed import Commands

app = Commands(name="webhook", help="Outgoing webhooks: who is told of what happens.")

Id = Annotated[str, typer.Argument(help="The webhook's id.", show_default=False)]
_TEXTS = frozenset({"url", "description"})
_WEBHOOKS = (
    field("id"),
    field("enabled"),
    field("url", rank=1, text=True),
    Column("events", lambda one: " ".join(one["events"]), rank=2, text=True),
)


@app.command("list")
def list_webhooks(limit: Limit = 200, json_: AsJson = False) -> None:
    """List the webhooks.

    Example: chain-orders webhook list
    """
    with Api() as api:
        api.listed("/v1/webhooks", _WEBHOOKS, limit, json_)


@app.command("show")
def show_webhook(webhook: Id, json_: AsJson = False) -> None:
    """Show a webhook, and how many events it is behind.

    Example: chain-orders webhook show 01a20b59-09d3-7275-80c3-c4690870cce9
    """
    with Api() as api:
        show.item(api.get(f"/v1/webhooks/{webhook}"), json_, without=())


@app.command("add")
def add_webhook(
    url: Annotated[str, typer.Argument(help="Where events are posted.")],
    event: Annotated[list[str], typer.Option(help="A type, or the beginning of one and a *; may be repeated.")],
    seller: Annotated[list[str] | None, typer.Option(help="Only this seller's events; may be repeated.")] = None,
    after: Annotated[int | None, typer.Option(help="A position of the feed to start at; else from now on.")] = None,
    set_: Set = None,
    json_: AsJson = False,
) -> None:
    """Subscribe an address to events. The secret is shown this once.

    Example: chain-orders webhook add https://shop.example/hooks --event "order.*" --set description=shop
    """
    body = {"url": url, "events": event, "sellers": seller or None, "after": after, **settings(set_, _TEXTS)}
    with Api() as api:
        show.item(api.post("/v1/webhooks", {n: v for n, v in body.items() if v is not None}), json_, without=())


@app.command()
def change(
    webhook: Id, set_: Set = None, version: Pinned = None, dry_run: DryRun = False, json_: AsJson = False
) -> None:
    """Change a webhook's settings; `webhook show` names them.

    Example: chain-orders webhook change 01a20b59-09d3-7275-80c3-c4690870cce9 --set enabled=true
    """
    body = settings(set_, _TEXTS)
    if not body:
        raise Failed("give --set NAME=VALUE", USAGE)
    with Api() as api:
        path = f"/v1/webhooks/{webhook}"
        match = api.version(path, version)
        show.item(api.send("PATCH", path, body, match=match, dry_run=dry_run), json_, without=())


@app.command()
def remove(webhook: Id) -> None:
    """Take a webhook off the record. What it is still owed is withdrawn.

    Example: chain-orders webhook remove 01a20b59-09d3-7275-80c3-c4690870cce9
    """
    with Api() as api:
        api.call("DELETE", f"/v1/webhooks/{webhook}")
    show.note("it is removed")


@app.command("rotate-secret")
def rotate_secret(
    webhook: Id,
    overlap: Annotated[int | None, typer.Option(help="Seconds for which the secret before signs as well.")] = None,
    json_: AsJson = False,
) -> None:
    """Make a new secret, shown this once.

    Example: chain-orders webhook rotate-secret 01a20b59-09d3-7275-80c3-c4690870cce9 --overlap 86400
    """
    _act(webhook, "secret", {} if overlap is None else {"overlapSeconds": overlap}, json_)


@app.command("test")
def send_test(webhook: Id, json_: AsJson = False) -> None:
    """Send an event of the type webhook.test; `delivery show` says what came of it.

    Example: chain-orders webhook test 01a20b59-09d3-7275-80c3-c4690870cce9
    """
    _act(webhook, "test", {}, json_)


@app.command()
def replay(
    webhook: Id,
    after: Annotated[int, typer.Option(help="The position after which everything is told again.")],
    dry_run: DryRun = False,
    json_: AsJson = False,
) -> None:
    """Tell again of every event after a position of the feed, in order and under the same ids.

    Example: chain-orders webhook replay 01a20b59-09d3-7275-80c3-c4690870cce9 --after 1200
    """
    _act(webhook, "replay", {"after": after}, json_, dry_run=dry_run)


def _act(webhook: str, act: str, body: dict[str, Any], json_: bool, *, dry_run: bool = False) -> None:
    with Api() as api:
        show.item(api.post(f"/v1/webhooks/{webhook}/{act}", body, dry_run=dry_run), json_, without=())
