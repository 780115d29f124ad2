"""The API's description, completed: what every operation may answer besides a success, and shared headers."""

from __future__ import annotations

from typing import Any

from ..errors import MEDIA_TYPE

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
    422: "The request breaks a rule.",
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
_HEADERS = {
    "Idempotency-Key": "Names the request: sent again with the same body, it is done once and gets the same answer.",
    "If-Match": 'The version that was read, as `ETag` gave it: `"3"`. Another one answers 412.',
}
_OPEN = frozenset({"/livez", "/readyz"})
_NOT_NAMED = ("/check", "/simulation", "/import")


def complete(schema: dict[str, Any]) -> None:
    """Add to an OpenAPI document what holds for every operation."""
    schemas = schema.setdefault("components", {}).setdefault("schemas", {})
    schemas["Problem"] = _PROBLEM
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            answers = operation.setdefault("responses", {})
            answers |= {str(s): {"description": told, **_json()} for s, told in _SUCCESSES.get(path, {}).items()}
            if path in _OPEN:
                operation["security"] = []
                answers["503"] = {"description": "It cannot serve now.", **_json()}
                continue
            if path == "/metrics":
                answers["200"]["content"] = {"text/plain": {"schema": {"type": "string"}}}
            known = _READING if method == "get" else {**_READING, **_ACTING}
            answers |= {str(status): _problem(told) for status, told in known.items()}
            operation.setdefault("parameters", []).extend(_headers(method, path))


def _headers(method: str, path: str) -> list[dict[str, Any]]:
    names = []
    if method == "post" and not path.endswith(_NOT_NAMED):
        names.append("Idempotency-Key")
    if method in {"patch", "put"} or path.endswith(("/authorization", "/cancellation", "/resolution")):
        names.append("If-Match")
    return [
        {"name": name, "in": "header", "required": False, "description": _HEADERS[name], "schema": {"type": "string"}}
        for name in names
    ]


def _json() -> dict[str, Any]:
    return {"content": {"application/json": {"schema": {}}}}


def _problem(told: str) -> dict[str, Any]:
    return {"description": told, "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
