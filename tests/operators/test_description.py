"""The description is true: whatever is sent, no answer is a failure of ours or one that it does not name."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from chain_orders.operators import access

from ..builders import Marketplace, order

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


@pytest.mark.parametrize(("role", "examples"), [("viewer", 1), ("admin", 2)])
async def test_no_answer_surprises_whoever_read_the_description(
    marketplace: Marketplace, role: Any, examples: int, tmp_path: Path
) -> None:
    await marketplace.place(order("KNOWN"))
    async with marketplace.database.transaction() as session:
        key = await access.create_key(session, f"examiner-{role}", role)
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("schemathesis")),
        "run",
        f"{marketplace.url}/openapi.json",
        *("--header", f"Authorization: Bearer {key}"),
        *("--phases", "fuzzing", "--max-examples", str(examples), "--generation-deterministic"),
        *("--exclude-path", "/v1/events/stream"),
        *("--exclude-path-regex", "(/check|/simulation|/import)$"),  # two call a seller, the third takes lines
        *("--checks", CHECKS, "--no-color", "--warnings", "off"),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told, _ = await process.communicate()

    assert process.returncode == 0, told.decode()[-6000:]


async def test_every_operation_names_its_refusals(marketplace: Marketplace) -> None:
    paths = (await marketplace.client.get("/openapi.json")).json()["paths"]

    for path, operations in paths.items():
        for operation in operations.values():
            if path.startswith("/v1"):
                assert {"401", "403", "404", "422"} <= set(operation["responses"]), path
                assert "application/problem+json" in operation["responses"]["422"]["content"]
