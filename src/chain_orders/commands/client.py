"""The API as the commands call it: where it is, with which key, and what its refusals are as exit codes.

`CHAIN_ORDERS_API_URL` and `CHAIN_ORDERS_API_KEY` say where; without them, the `dev.json` of the data folder here.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import httpx
import typer

from ..errors import Stopped
from . import show
from .show import Column

DONE, REFUSED, USAGE, UNREACHABLE, PARTLY = 0, 1, 2, 3, 4
DATA = Path(".chain-orders")
Items = Sequence[Mapping[str, Any]]
_PAGE = 200

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would come of it, and do nothing.")]
Limit = Annotated[int, typer.Option(help="How many at most.", min=1)]
Whole = Annotated[
    bool, typer.Option("--whole", help="With --json: as it came, personal data included. An admin's, and audited.")
]
WhyWhole = Annotated[str | None, typer.Option("--reason", help="With --whole: why.")]
Pinned = Annotated[
    int | None, typer.Option("--version", help="Only if this is still its version; the present one unless given.")
]


def wholly(whole: bool, reason: str | None) -> dict[str, str | None]:
    """The parameters that ask for personal data."""
    return {"whole": "true" if whole else None, "reason": reason}


class Failed(Stopped):
    """One line that says why, and the exit code."""

    def __init__(self, told: str, code: int = REFUSED) -> None:
        super().__init__(told)
        self.code = code


def local() -> dict[str, Any]:
    """What a running `chain-orders dev` wrote into its folder: the one that CHAIN_ORDERS_DATA names, or else the usual
    one below this folder, or this folder. Empty where none runs."""
    named = os.environ.get("CHAIN_ORDERS_DATA")
    for folder in [Path(named)] if named else [DATA, Path()]:
        with contextlib.suppress(OSError, ValueError):
            found: dict[str, Any] = json.loads((folder / "dev.json").read_text())
            return found
    return {}


class Api:
    """The service. Close it, or use it as a context."""

    def __init__(self, *, timeout: float = 60) -> None:
        here = local()
        url = os.environ.get("CHAIN_ORDERS_API_URL") or here.get("apiUrl")
        key = os.environ.get("CHAIN_ORDERS_API_KEY") or here.get("apiKey")
        if not url or not key:
            raise Failed(
                "set CHAIN_ORDERS_API_URL and CHAIN_ORDERS_API_KEY; or, beside a running `chain-orders dev`, "
                "CHAIN_ORDERS_DATA to its folder",
                USAGE,
            )
        self.url = _usable(str(url))
        if not (str(key).isascii() and str(key).isprintable()):
            raise Failed("CHAIN_ORDERS_API_KEY is not a key: keys are ASCII", USAGE)
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
        except httpx.HTTPError as away:
            raise self.unreachable(away) from None
        return self.checked(answer)

    def read(self, method: str, path: str, **given: Any) -> Any:
        """The answer's JSON. Raises Failed."""
        answer = self.call(method, path, **given)
        try:
            return answer.json() if answer.content else {}
        except ValueError:
            raise Failed(f"{self.url} answers something that is not JSON: is it this service?", UNREACHABLE) from None

    def get(self, path: str, **params: Any) -> Any:
        return self.read("GET", path, params={name: value for name, value in params.items() if value is not None})

    def post(self, path: str, body: Any = None, *, once: bool = True, dry_run: bool = False, **given: Any) -> Any:
        """POST JSON, named by a fresh Idempotency-Key: a proxy that repeats the request does no harm."""
        headers = {**({"Idempotency-Key": str(uuid.uuid4())} if once else {}), **given.pop("headers", {})}
        return self.send("POST", path, {} if body is None else body, headers=headers, dry_run=dry_run, **given)

    def send(
        self,
        method: str,
        path: str,
        body: Any,
        *,
        match: int | None = None,
        dry_run: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Send JSON, or bytes that are JSON as they are. With `match`, only if that is still the version."""
        given = {"Content-Type": "application/json", **(headers or {})}
        if match is not None:
            given["If-Match"] = f'"{match}"'
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = self.read(method, path, content=content, headers=given, params={"dryRun": "true"} if dry_run else {})
        if dry_run:
            show.note("Dry run: nothing was done.")
        return answer

    def version(self, path: str, pinned: int | None) -> int:
        """The version that a change is to replace: the one that is given, or what is there now."""
        return pinned if pinned is not None else int(self.get(path)["version"])

    def pages(self, path: str, **params: Any) -> Iterator[dict[str, Any]]:
        """Every item of a list."""
        while True:
            page = self.get(path, **params)
            yield from page["items"]
            if not page["next"]:
                return
            params["cursor"] = page["next"]

    def listed(
        self, path: str, shown: Sequence[Column] | Callable[[Items], None], limit: int, json_: bool, **filters: Any
    ) -> None:
        """Print a list, as many pages of it as are needed: as a table with these columns, or as `shown` does it."""
        items: list[dict[str, Any]] = []
        following: Any = None
        while len(items) < limit:
            page = self.get(path, limit=min(limit - len(items), _PAGE), cursor=following, **filters)
            items += page["items"]
            following = page["next"]
            if not following:
                break
        if json_:
            return show.as_json({"items": items, "next": following})
        if callable(shown):
            shown(items)
        else:
            show.table(shown, items)
        if not items:
            show.note("There is none.")
        if following:
            show.note(f"There are more than {limit}: narrow it, or raise --limit.")
        return None

    def unreachable(self, away: httpx.HTTPError) -> Failed:
        return Failed(f"{self.url} cannot be reached ({type(away).__name__})", UNREACHABLE)

    @staticmethod
    def checked(answer: httpx.Response) -> httpx.Response:
        if answer.is_success:
            return answer
        answer.read()
        told, code = _told(answer)
        raise Failed(told, code)

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


def _usable(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as wrong:
        raise Failed(f"CHAIN_ORDERS_API_URL is not a URL: {wrong}", USAGE) from None
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise Failed("CHAIN_ORDERS_API_URL must begin with http:// or https:// and a host", USAGE)
    return url


def _told(answer: httpx.Response) -> tuple[str, int]:
    """A refusal in words, and its exit code."""
    code = UNREACHABLE if answer.status_code in {502, 503, 504} else REFUSED
    try:
        problem = answer.json()
        lines = [f"{problem['detail']} ({problem['code']})"]
        if problem["code"] == "key-unknown":
            lines = ["the service does not know this key: look at CHAIN_ORDERS_API_KEY (key-unknown)"]
        if problem["code"] == "not-found":
            lines = ["there is nothing at this address: CHAIN_ORDERS_API_URL is the part before /v1 (not-found)"]
        faults = problem.get("errors", [])
        if len(faults) > 1:  # a single one is in the detail already
            lines += [f"  {fault['pointer'] or 'the document'}: {fault['detail']}" for fault in faults]
        lines += [f"  {_change(one)}" for one in problem.get("latest", [])]
        return "\n".join(lines), USAGE if problem["code"] == "parameter-invalid" else code
    except (ValueError, KeyError, TypeError):
        return f"{answer.url.host} answers {answer.status_code}, and not as this service does", code


def _change(told: Mapping[str, Any]) -> str:
    """What happened meanwhile, where something changed since it was read."""
    return " ".join([show.when(told["at"]), told["type"], told["actor"], *told.get("changed", [])])


def settings(pairs: Sequence[str] | None, texts: frozenset[str]) -> dict[str, Any]:
    """`NAME=VALUE`s as a document. A value is JSON where it is any, and text in the fields that are `texts`."""
    found: dict[str, Any] = {}
    for pair in pairs or ():
        name, equals, value = pair.partition("=")
        if not equals:
            raise Failed(f"--set {pair}: write NAME=VALUE", USAGE)
        try:
            found[name] = value if name in texts else json.loads(value)
        except ValueError:
            found[name] = value
    return found


def read_json(file: str) -> Any:
    """The JSON that a file holds. Raises Failed."""
    try:
        return json.loads(read_file(file))
    except ValueError:
        raise Failed(f"{file} holds no JSON", USAGE) from None


def read_file(file: str) -> bytes:
    """A file, or standard input for `-`. Raises Failed."""
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as refused:
        raise Failed(f"{file} cannot be read ({refused.strerror})", USAGE) from None
