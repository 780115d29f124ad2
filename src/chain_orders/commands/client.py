"""The API as the commands call it: where it is, with which key, and what its refusals are as exit codes.

`CHAIN_ORDERS_API_URL` and `CHAIN_ORDERS_API_KEY` say where; without them, the `dev.json` of the data folder here.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

DONE, REFUSED, USAGE, UNREACHABLE, PARTLY = 0, 1, 2, 3, 4
DATA = Path(".chain-orders")


class Failed(Exception):
    """One line that says why, and the exit code."""

    def __init__(self, told: str, code: int = REFUSED) -> None:
        super().__init__(told)
        self.code = code


def local() -> dict[str, Any]:
    """What `chain-orders dev` wrote here; empty when it does not run here."""
    try:
        found: dict[str, Any] = json.loads((DATA / "dev.json").read_text())
    except (OSError, ValueError):
        return {}
    return found


class Api:
    """The service. Close it, or use it as a context."""

    def __init__(self, *, timeout: float = 60) -> None:
        here = local()
        url = os.environ.get("CHAIN_ORDERS_API_URL") or here.get("apiUrl")
        key = os.environ.get("CHAIN_ORDERS_API_KEY") or here.get("apiKey")
        if not url or not key:
            raise Failed(
                "set CHAIN_ORDERS_API_URL and CHAIN_ORDERS_API_KEY, or run where `chain-orders dev` keeps its data",
                USAGE,
            )
        self.url = str(url)
        self.client = httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {key}"}, trust_env=False, timeout=timeout
        )

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def call(self, method: str, path: str, **given: Any) -> httpx.Response:
        """The answer, if it is a success. Raises Failed."""
        try:
            answer = self.client.request(method, path, **given)
        except httpx.InvalidURL as wrong:
            raise Failed(f"CHAIN_ORDERS_API_URL is not a URL: {wrong}", USAGE) from None
        except httpx.HTTPError as away:
            raise self.unreachable(away) from None
        return self.checked(answer)

    def get(self, path: str, **params: Any) -> Any:
        return self.call(
            "GET", path, params={name: value for name, value in params.items() if value is not None}
        ).json()

    def post(self, path: str, body: Any = None, *, once: bool = True, **given: Any) -> Any:
        """POST JSON, named by a fresh Idempotency-Key: a proxy that repeats the request does no harm."""
        headers = {**({"Idempotency-Key": str(uuid.uuid4())} if once else {}), **given.pop("headers", {})}
        return self.call("POST", path, json=body if body is not None else {}, headers=headers, **given).json()

    def pages(self, path: str, **params: Any) -> Iterator[dict[str, Any]]:
        """Every item of a list."""
        while True:
            page = self.get(path, **params)
            yield from page["items"]
            if not page["next"]:
                return
            params["cursor"] = page["next"]

    def unreachable(self, away: httpx.HTTPError) -> Failed:
        return Failed(f"{self.url} cannot be reached ({type(away).__name__})", UNREACHABLE)

    @staticmethod
    def checked(answer: httpx.Response) -> httpx.Response:
        if answer.is_success:
            return answer
        answer.read()
        raise Failed(_told(answer), UNREACHABLE if answer.status_code in {502, 503, 504} else REFUSED)

    def order_id(self, named: str) -> str:
        """The id of the order that goes by this name. Raises Failed unless there is exactly one."""
        if re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", named):
            return named
        found = self.get("/v1/orders", q=named, limit=2)["items"]
        if len(found) != 1:
            many = "more than one order goes" if found else "no order goes"
            raise Failed(f"{many} by {named}")
        return str(found[0]["id"])

    def seller_id(self, given: str | None) -> str:
        """The seller that is meant. Raises Failed when none is named and there is not exactly one."""
        if given:
            return quote(given, safe="")
        sellers = self.get("/v1/sellers")["items"]
        if len(sellers) != 1:
            raise Failed("say which seller with --seller", USAGE)
        return str(sellers[0]["sellerId"])


def _told(answer: httpx.Response) -> str:
    try:
        problem = answer.json()
        lines = [f"{problem['detail']} ({problem['code']})"]
        lines += [f"  {fault['pointer'] or '/'}: {fault['detail']}" for fault in problem.get("errors", [])]
        return "\n".join(lines)
    except (ValueError, KeyError, TypeError):
        return f"the service answered {answer.status_code}"
