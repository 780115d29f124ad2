"""`chain-orders notification …`: what sellers told us."""

from __future__ import annotations

from typing import Annotated

import typer

from . import show
from .client import Api, DryRun, Limit, Whole, WhyWhole, wholly
from .orders import NOTIFICATIONS
from .show import AsJson
from .typed import Commands

app = Commands(name="notification", help="What sellers told us: list it, show one, apply it again, dismiss it.")


@app.command("list")
def list_notifications(
    state: Annotated[list[str] | None, typer.Option(help="Only this state, such as parked; may be repeated.")] = None,
    kind: Annotated[list[str] | None, typer.Option(help="Only this kind, such as invoice; may be repeated.")] = None,
    seller: Annotated[str | None, typer.Option(help="Only this seller's.")] = None,
    limit: Limit = 50,
    whole: Whole = False,
    reason: WhyWhole = None,
    json_: AsJson = False,
) -> None:
    """List what sellers told us, newest first.

    Example: chain-orders notification list --state conflict --state unreadable
    """
    with Api() as api:
        filters = {"state": state or None, "kind": kind or None, "seller": seller, **wholly(whole, reason)}
        api.listed("/v1/notifications", NOTIFICATIONS, limit, json_, **filters)


@app.command("show")
def show_notification(
    notification: Annotated[int, typer.Argument(help="The notification's id.")],
    whole: Whole = False,
    reason: WhyWhole = None,
    json_: AsJson = False,
) -> None:
    """Show one notification with its body, however long it is; masked unless --whole.

    Example: chain-orders notification show 17
    """
    with Api() as api:
        found = api.get(f"/v1/notifications/{notification}", **wholly(whole, reason))
    show.item(found, json_)


@app.command()
def replay(
    notification: Annotated[int, typer.Argument(help="The notification's id.")],
    reason: Annotated[str, typer.Option(help="Why, for the audit.", show_default=False)],
    dry_run: DryRun = False,
    json_: AsJson = False,
) -> None:
    """Apply again what is parked, could not be read, or was dismissed. What contradicts is decided: order resolve.

    Example: chain-orders notification replay 17 --reason "the invoice is known now"
    """
    with Api() as api:
        found = api.post(f"/v1/notifications/{notification}/replay", {"reason": reason}, dry_run=dry_run)
    show.item(found, json_, without=("body", "path"))


@app.command()
def dismiss(
    notification: Annotated[int, typer.Argument(help="The notification's id.")],
    reason: Annotated[str, typer.Option(help="Why, for its order's story and the audit.", show_default=False)],
    dry_run: DryRun = False,
    json_: AsJson = False,
) -> None:
    """Give up what is parked, or could not be read: it is kept, and not tried again. It can be replayed.

    Example: chain-orders notification dismiss 17 --reason "the seller meant another marketplace's order"
    """
    with Api() as api:
        found = api.post(f"/v1/notifications/{notification}/dismissal", {"reason": reason}, dry_run=dry_run)
    show.item(found, json_, without=("body", "path"))
