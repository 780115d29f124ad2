"""The API's description, completed: what every operation may answer besides a success, and shared headers."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from ..errors import MEDIA_TYPE
from . import answers

_PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457. `code` is stable; `errors` names the fields that are wrong.",
    "required": ["type", "title", "status", "detail", "code", "instance"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "instance": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "code", "detail"],
                "properties": {name: {"type": "string"} for name in ("pointer", "code", "detail")},
            },
        },
    },
}
_READING = {
    400: "The request cannot be read.",
    401: "Sign in with an API key.",
    403: "The key's role may not do that.",
    404: "There is no such thing.",
    414: "The address is too long.",
    422: "The request breaks a rule.",
    431: "The headers are too large.",
    503: "Not now: try again after `Retry-After`.",
}
_ACTING = {
    408: "The body did not arrive in time.",
    409: "It contradicts what is known.",
    412: "It changed since it was read: `version` is the one that is stored.",
    413: "The body is too large.",
    415: "The body is of another kind.",
    428: "`If-Match` is needed.",
}
_SUCCESSES = {
    "/v1/sellers/{seller_id}/orders": {
        200: "The same order was taken before, or this was a dry run.",
        201: "Placed.",
        202: "Taken; it is being placed.",
    },
    "/v1/orders/{order_id}/authorization": {200: "It is authorized already, or this was a dry run."},
    "/v1/orders/{order_id}/cancellation": {200: "It is cancelled, or this was a dry run."},
    "/v1/deliveries/{delivery_id}/retry": {202: "It is tried again now."},
}
_HEADERS: dict[str, tuple[str, dict[str, Any]]] = {
    "Idempotency-Key": (
        "Names the request: sent again with the same body, it is done once and gets the same answer.",
        {"type": "string", "pattern": "^[!-~]{1,255}$"},
    ),
    "If-Match": (
        'The version that was read, as `ETag` gave it: `"3"`; `*` for any. Another one answers 412.',
        {"type": "string"},
    ),
}
_RETRY_AFTER = {
    "Retry-After": {"description": "Seconds to wait.", "required": True, "schema": {"type": "integer", "minimum": 0}}
}
_EXAMPLES: dict[str, Any] = json.loads(resources.files(__package__).joinpath("examples.json").read_text("utf-8"))
"""A body for each operation that takes one. A test sends them."""
_FEED = frozenset({"/v1/events", "/v1/events/stream"})
_OPEN = frozenset({"/livez", "/readyz"})
_NOT_NAMED = ("/check", "/simulation", "/import")


def complete(schema: dict[str, Any]) -> None:
    """Add to an OpenAPI document what holds for every operation."""
    schemas = schema.setdefault("components", {}).setdefault("schemas", {})
    schemas |= {"Problem": _PROBLEM, **answers.shapes()}
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            _complete(method, path, operation)


def _complete(method: str, path: str, operation: dict[str, Any]) -> None:
    given = operation.setdefault("responses", {})
    told = dict(_SUCCESSES.get(path, {}))
    if any(parameter["name"] == "dryRun" for parameter in operation.get("parameters", [])):
        told.setdefault(200, "What would come of it: this was a dry run.")
    for status, words in told.items():
        given[str(status)] = {"description": words, **given.get(str(status), {}), **_json()}
        given[str(status)]["description"] = words
    if path in _OPEN:
        operation["security"] = []
        given["503"] = {"description": "It cannot serve now.", **_json()}
        return
    if path == "/metrics":
        given["200"]["content"] = {"text/plain": {"schema": {"type": "string"}}}
    shape, shown = answers.of(f"{method.upper()} {path}"), answers.example(f"{method.upper()} {path}")
    for status, answer in given.items():
        if status.startswith("2") and "application/json" in answer.get("content", {}):
            answer["content"]["application/json"] |= {"schema": shape, **({"example": shown} if shown else {})}
    example = _EXAMPLES.get(f"{method.upper()} {path}")
    if example is not None:
        operation["requestBody"]["content"]["application/json"]["example"] = example
    given |= {str(status): _problem(words) for status, words in _refusals(method, path).items()}
    given["503"]["headers"] = _RETRY_AFTER
    operation.setdefault("parameters", []).extend(_headers(method, path))


def _refusals(method: str, path: str) -> dict[int, str]:
    """What an operation may answer besides a success."""
    if method == "get":
        return {**_READING, 409: "The feed has not reached that position."} if path in _FEED else _READING
    known = {**_READING, **_ACTING}
    if "If-Match" not in _headers_of(method, path):
        del known[412]
    if not _needs_version(method, path):
        del known[428]
    return known


def _headers_of(method: str, path: str) -> list[str]:
    names = []
    if method == "post" and not path.endswith(_NOT_NAMED):
        names.append("Idempotency-Key")
    optional = path.endswith(("/authorization", "/cancellation")) or path.startswith("/v1/webhooks/{webhook_id}")
    if (method != "get" and optional) or _needs_version(method, path):
        names.append("If-Match")
    return names


def _needs_version(method: str, path: str) -> bool:
    return method in {"patch", "put"} or path.endswith("/resolution")


def _headers(method: str, path: str) -> list[dict[str, Any]]:
    needed = {"If-Match"} if _needs_version(method, path) else set()
    return [
        {"name": name, "in": "header", "required": name in needed, "description": told, "schema": schema}
        for name, (told, schema) in _HEADERS.items()
        if name in _headers_of(method, path)
    ]


def _json() -> dict[str, Any]:
    return {"content": {"application/json": {"schema": {}}}}


def _problem(told: str) -> dict[str, Any]:
    return {"description": told, "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
