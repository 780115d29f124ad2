"""Whatever the API can do, a command can; and every command shows how it is used."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main
from pydantic.alias_generators import to_snake

from chain_orders import cli
from chain_orders.app import create_app
from chain_orders.settings import Settings

from ..builders import settings_for

NO_COMMAND = {
    "GET /livez": "for a load balancer",
    "GET /readyz": "for a load balancer",
    "GET /metrics": "for Prometheus; `stats` has the same numbers",
}
COMMANDS = {
    "GET /v1/stats": "stats",
    "GET /v1/sellers": "seller list",
    "POST /v1/sellers": "seller add",
    "GET /v1/sellers/{seller_id}": "seller show",
    "PATCH /v1/sellers/{seller_id}": "seller change",
    "POST /v1/sellers/{seller_id}/callback-token": "seller callback-token",
    "POST /v1/sellers/{seller_id}/check": "seller check",
    "POST /v1/sellers/{seller_id}/simulation": "seller simulate",
    "POST /v1/sellers/{seller_id}/pause": "seller pause",
    "POST /v1/sellers/{seller_id}/resume": "seller resume",
    "POST /v1/sellers/{seller_id}/orders": "order place",
    "POST /v1/sellers/{seller_id}/orders/import": "order import",
    "GET /v1/orders": "order list",
    "GET /v1/orders/{order_id}": "order show",
    "GET /v1/orders/{order_id}/timeline": "order timeline",
    "GET /v1/orders/{order_id}/deliveries": "order deliveries",
    "GET /v1/orders/{order_id}/notifications": "order notifications",
    "POST /v1/orders/{order_id}/authorization": "order authorize",
    "POST /v1/orders/{order_id}/cancellation": "order cancel",
    "POST /v1/orders/{order_id}/resolution": "order resolve",
    "POST /v1/orders/{order_id}/erasure": "order erase",
    "GET /v1/orders/{order_id}/evidence": "order evidence",
    "PUT /v1/orders/{order_id}/placement": "order correct",
    "GET /v1/deliveries": "delivery list",
    "GET /v1/deliveries/{delivery_id}": "delivery show",
    "POST /v1/deliveries/retry": "delivery retry",
    "POST /v1/deliveries/{delivery_id}/retry": "delivery retry",
    "GET /v1/notifications": "notification list",
    "GET /v1/notifications/{notification_id}": "notification show",
    "POST /v1/notifications/{notification_id}/replay": "notification replay",
    "POST /v1/notifications/{notification_id}/dismissal": "notification dismiss",
    "GET /v1/events": "events list",
    "GET /v1/events/stream": "events follow",
    "GET /v1/keys": "key list",
    "POST /v1/keys": "key create",
    "POST /v1/keys/{key_id}/rotation": "key rotate",
    "DELETE /v1/keys/{key_id}": "key revoke",
    "GET /v1/audit": "audit",
    "GET /v1/alerts": "alerts",
    "GET /v1/webhooks": "webhook list",
    "POST /v1/webhooks": "webhook add",
    "GET /v1/webhooks/{webhook_id}": "webhook show",
    "PATCH /v1/webhooks/{webhook_id}": "webhook change",
    "DELETE /v1/webhooks/{webhook_id}": "webhook remove",
    "POST /v1/webhooks/{webhook_id}/secret": "webhook rotate-secret",
    "POST /v1/webhooks/{webhook_id}/test": "webhook test",
    "POST /v1/webhooks/{webhook_id}/replay": "webhook replay",
}


def _commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{before}{name} ")
        else:
            yield before + name, command


TREE = dict(_commands(typer.main.get_command(cli.app)))


DESCRIBED = create_app(Settings(**settings_for("postgresql+asyncpg://nobody@127.0.0.1/none"))).openapi()


def test_every_operation_of_the_api_has_a_command() -> None:
    described = DESCRIBED["paths"]
    operations = {f"{method.upper()} {path}" for path, methods in described.items() for method in methods}

    assert operations == COMMANDS.keys() | NO_COMMAND.keys()
    assert set(COMMANDS.values()) <= TREE.keys()


NAMED_OTHERWISE = {
    "object": "about", "type": "type_", "sellerId": "seller", "events": "event", "sellers": "seller",
    "overlapSeconds": "overlap", "accountName": "account", "affiliateId": "affiliate", "chainOrderId": "chain_order",
    "limit": "every",
}  # fmt: skip
NO_OPTION = {
    "cursor": "a list goes on by itself",
    "marketplaceOrderGroup": "it names the order, which the command does already",
    "authorizationReceipt": "its two fields are --date and --receipt",
}


@pytest.mark.parametrize("operation", COMMANDS)
def test_whatever_an_operation_takes_its_command_takes(operation: str) -> None:
    method, path = operation.split()
    described = DESCRIBED["paths"][path][method.lower()]
    body = described.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    command = TREE[COMMANDS[operation]]
    options = {param.name for param in command.params}
    fields = set() if options & {"file", "set_"} else set(body.get("properties", {}))
    given = {one["name"] for one in described["parameters"] if one["in"] == "query"} | fields

    lacking = {name for name in given - NO_OPTION.keys() if not {NAMED_OTHERWISE.get(name), to_snake(name)} & options}

    assert lacking == set()


@pytest.mark.parametrize("name", TREE)
def test_every_command_shows_an_example_that_it_takes(name: str) -> None:
    command = TREE[name]
    examples = re.findall(r"Example: chain-orders (.*)", command.help)

    assert examples
    assert not re.search(r"(?<!\n\n)Example:", command.help)  # a blank line before each, so that it stays one line
    for example in examples:
        assert example.startswith(name)
        parser = command.make_parser(command.context_class(command))
        given, left, _ = parser.parse_args(args=shlex.split(example)[len(name.split()) :])
        needed = {param.name for param in command.params if param.required and not getattr(param, "prompt", None)}
        assert left == []
        assert needed <= {name for name, value in given.items() if value}


def test_help_names_what_an_option_takes_and_no_type(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ["", *TREE]:
        with pytest.raises(SystemExit):
            typer.main.get_command(cli.app).main([*name.split(), "--help"], "chain-orders")
        helped = capsys.readouterr().out

        assert "--help" in helped
        assert not re.search(r"<\w+|\[x|range\b", helped), name
        assert not re.search(r"--(json|dry-run|whole) +\S+ {2}", helped), name  # a flag takes nothing


def test_the_help_begins_with_what_one_meets_first() -> None:
    names = typer.main.get_command(cli.app).list_commands(None)  # type: ignore[attr-defined]

    assert names[:5] == ["serve", "dev", "work", "simulate", "order"]
    assert names[-1] == "rotate-credentials"


SERVER_SIDE = {
    "fastapi",
    "starlette",
    "sqlalchemy",
    "alembic",
    "pydantic_settings",
    "structlog",
    "jinja2",
    "chain_orders.app",
}
CLIENTS = """
import contextlib, sys
from chain_orders import cli
calls = {calls!r}
for call in calls:
    sys.argv = ["chain-orders", *call]
    with contextlib.suppress(SystemExit):
        cli.main()
print(sorted(set(sys.modules) & {modules!r}))
"""


def test_a_client_of_the_api_does_not_load_the_service() -> None:
    tried = [["--help"], *([*name.split(), "--help"] for name in TREE), ["order", "list"], ["stats", "--json"]]
    away = {"CHAIN_ORDERS_API_URL": "http://127.0.0.1:1", "CHAIN_ORDERS_API_KEY": "co_none"}

    ended = subprocess.run(
        [sys.executable, "-c", CLIENTS.format(calls=tried, modules=SERVER_SIDE)],
        env={**os.environ, **away},
        capture_output=True,
        text=True,
        check=True,
    )

    assert "http://127.0.0.1:1 cannot be reached" in ended.stderr
    assert ended.stdout.splitlines()[-1] == "[]"
