"""The description is true: whatever is sent, no answer is a failure of ours or one that it does not name."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from chain_orders.operators import access, answers, description
from chain_orders.operators.roles import ROLES

from ..builders import Marketplace, SimulatedSeller, order

MORE = int(os.environ.get("FUZZ_EXAMPLES", "0"))
"""`make fuzz-api` tries many more requests, borders of what is allowed and chains of calls among them."""
CONFIG = Path(__file__).with_name("schemathesis.toml")


@pytest.mark.parametrize("role", ROLES)
async def test_no_answer_surprises_whoever_read_the_description(
    marketplace: Marketplace, role: Any, tmp_path: Path
) -> None:
    await marketplace.place(order("KNOWN"))
    async with marketplace.database.transaction() as session:
        key = await access.create_key(session, f"examiner-{role}", role)
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("schemathesis")),
        *("--config-file", str(CONFIG), "run", f"{marketplace.url}/openapi.json"),
        *("--header", f"Authorization: Bearer {key}", "--checks", "all", "--continue-on-failure"),
        *("--phases", "examples,coverage,fuzzing,stateful" if MORE else "fuzzing", "--max-examples", str(MORE or 1)),
        *("--exclude-path", "/v1/events/stream"),  # it has no end
        *("--exclude-path-regex", "(/check|/simulation|/import)$"),  # two call a seller, the third takes lines
        *("--generation-deterministic", "--no-color", "--warnings", "off"),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told, _ = await process.communicate()

    assert process.returncode == 0, told.decode()[-6000:]


async def test_every_operation_names_its_refusals(marketplace: Marketplace) -> None:
    paths = (await marketplace.client.get("/openapi.json")).json()["paths"]

    for path, operations in paths.items():
        for method, operation in operations.items():
            if path.startswith("/v1"):
                answers = set(operation["responses"])
                versioned = any(one["name"] == "If-Match" for one in operation["parameters"])
                assert {"401", "403", "404", "422"} <= answers, path
                assert ("412" in answers) == versioned, path
                assert ("415" in answers) == (method != "get"), path
                assert "application/problem+json" in operation["responses"]["422"]["content"]


async def test_every_example_of_the_description_is_taken(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    paths = (await marketplace.client.get("/openapi.json")).json()["paths"]
    bodies = {
        f"{method.upper()} {path}": operation["requestBody"]["content"]["application/json"]["example"]
        for path, operations in paths.items()
        for method, operation in operations.items()
        if "example" in operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    }
    placed = await marketplace.place(order("EXAMPLE"))
    async with marketplace.database.transaction() as session:
        await session.execute(text("update orders set attention_code = 'odd', attention_reason = 'odd'"))
    ids = {"seller_id": "acme", "order_id": placed["id"]}

    for operation, body in bodies.items():
        method, path = operation.split()
        answer = await marketplace.client.request(method, path.format(**ids), json=body, headers={"If-Match": "*"})
        # The order of the example goes its own way: what is not at hand is no fault of the body.
        assert answer.status_code in {200, 201, 202, 409}, (operation, answer.text)
    assert len(bodies) >= 10
    assert set(bodies) == set(description._EXAMPLES)


async def test_answers_are_what_their_description_says(marketplace: Marketplace, simulated: SimulatedSeller) -> None:
    placed = await marketplace.place(order("SHAPES"))
    await simulated.invoice(placed["chainOrders"][0]["chainOrderId"], trackingNumber="BR100", courier="Correios")
    await marketplace.notified(placed["id"], "applied")
    for operation, model in {**answers._ONE, **answers._PAGES}.items():
        method, path = operation.split()
        if method != "GET":
            continue
        address = path.format(
            seller_id="acme",
            order_id=placed["id"],
            delivery_id=await _one_of(marketplace, "deliveries"),
            notification_id=await _one_of(marketplace, "notifications"),
        )
        found = (await marketplace.client.get(address)).json()
        for one in found.get("items", [found]):
            assert set(one) == {field.alias for field in model.model_fields.values()}, operation
            model.model_validate_json(json.dumps(one))
            example = answers._EXAMPLES[model.__name__]
            assert model.model_validate_json(json.dumps(example)).model_dump(mode="json", by_alias=True) == example
            if one.get("status", one.get("state", one.get("type"))) in {"invoiced", "applied", "chain-order.invoiced"}:
                assert _form(one) == _form(example), operation  # the very story that the examples were taken from


def _form(value: Any) -> Any:
    """The fields of a document and the kinds of their values, down to the last."""
    if isinstance(value, dict):
        return {name: _form(one) for name, one in value.items()}
    return [_form(one) for one in value] if isinstance(value, list) else type(value).__name__


async def _one_of(marketplace: Marketplace, list_: str) -> int:
    return int((await marketplace.client.get(f"/v1/{list_}")).json()["items"][0]["id"])
