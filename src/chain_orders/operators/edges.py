"""What every route of the operators' API shares: strict bodies, pages, versions, and problems as answers."""

from __future__ import annotations

import base64
import json
import re
import uuid
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from typing import Annotated, Any, TypeVar

from asyncpg import InterfaceError
from fastapi import FastAPI, Path, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from .. import body, errors, logs
from ..database import is_passing
from ..errors import Fault, Invalid, Malformed, Problem, Stale, Unavailable, Unconditional, Unknown
from ..vtex.messages import faults

log = logs.get("operators")

Model = TypeVar("Model", bound=BaseModel)
RowId = Annotated[int, Path(ge=1, le=2**63 - 1)]


class Answer(JSONResponse):
    """JSON in ASCII: nothing that a seller or an operator wrote can break a reader."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode("ascii")


async def document(request: Request, *, optional: bool = False) -> Any:
    """The body as strict JSON; with `optional`, no body is an empty object. Raises Malformed and its like."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise errors.UnsupportedMedia("content-type", "send application/json")
    raw = await body.read(request, limit=body.OPERATOR)
    request.state.body_digest = sha256(raw).digest()
    return {} if optional and not raw else body.parse(raw)


def parsed(model: type[Model], *, optional: bool = False) -> Callable[[Request], Awaitable[Model]]:
    """A dependency: the body as `model`, every fault named by its pointer."""

    async def read(request: Request) -> Model:
        return validated(model, await document(request, optional=optional))

    return read


def validated(model: type[Model], value: Any, *, under: str = "") -> Model:
    try:
        return model.model_validate(value)
    except ValidationError as wrong:
        found = [Fault(under + fault.pointer, fault.code, fault.detail) for fault in faults(wrong)]
        told = "; ".join(f"{fault.pointer or '/'} {fault.detail}" for fault in found)
        raise Invalid(found[0].code, told, faults=found) from wrong


def described(model: type[BaseModel], *, optional: bool = False) -> dict[str, Any]:
    """The OpenAPI description of a body that `parsed` reads."""
    schema = model.model_json_schema()
    return {"requestBody": {"required": not optional, "content": {"application/json": {"schema": schema}}}}


def check_version(request: Request, version: int, *, required: bool) -> None:
    """Compare `If-Match` with the version that is stored. Raises Stale, Unconditional."""
    given = request.headers.get("if-match")
    if given is None:
        if required:
            raise Unconditional("if-match-missing", f'send `If-Match: "{version}"` with the version you read')
        return
    if given.strip() not in {f'"{version}"', "*"}:
        raise Stale("version-differs", f"the version is {version} now", extra={"version": version})


def etag(version: int) -> dict[str, str]:
    return {"ETag": f'"{version}"'}


def encode_cursor(position: str | int) -> str:
    return base64.urlsafe_b64encode(str(position).encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None) -> str | None:
    """What `encode_cursor` was given. Raises Malformed."""
    if cursor is None:
        return None
    try:
        if not re.fullmatch(r"[\w-]{1,100}", cursor, re.ASCII):
            raise ValueError
        return base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
    except ValueError:
        raise Malformed("cursor-unknown", "the cursor is not one that this list gave out") from None


def number(cursor: str | None) -> int:
    """The row number that a cursor holds; 0 without one. Raises Malformed."""
    text = decode_cursor(cursor)
    if text is None:
        return 0
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise Malformed("cursor-unknown", "the cursor is not one that this list gave out")
    return int(text)


def order_id(text: str) -> uuid.UUID:
    """The id in a path. Raises Unknown."""
    try:
        return uuid.UUID(text)
    except ValueError:
        raise Unknown("order-unknown", "there is no such order; ids of orders are UUIDs") from None


def page(request: Request, items: list[Any], after: str | int | None) -> Answer:
    """A page: its items and the cursor of the next one, also as a `Link`."""
    cursor = encode_cursor(after) if after is not None else None
    headers = {}
    if cursor is not None:
        target = request.url.include_query_params(cursor=cursor)
        headers["Link"] = f'<{target.path}?{target.query}>; rel="next"'
    return Answer({"items": items, "next": cursor}, headers=headers)


def render(problem: Problem, request: Request) -> Response:
    return Answer(
        problem.as_dict(request.url.path),
        status_code=problem.status,
        headers=problem.headers,
        media_type=errors.MEDIA_TYPE,
    )


_NAMED: Mapping[int, tuple[str, str]] = {
    404: ("not-found", "there is nothing at this address"),
    405: ("method-not-allowed", "this address does not take that method"),
}


def install(app: FastAPI) -> None:
    """Make every failure a problem document."""

    @app.exception_handler(Problem)
    async def _problem(request: Request, problem: Problem) -> Response:
        return render(problem, request)

    @app.exception_handler(RequestValidationError)
    async def _parameters(request: Request, wrong: RequestValidationError) -> Response:
        found = [
            Fault("/" + "/".join(str(part) for part in error["loc"]), error["type"].replace("_", "-"), error["msg"])
            for error in wrong.errors()
        ]
        told = "; ".join(f"{fault.pointer} {fault.detail}" for fault in found)
        return render(Invalid("parameter-invalid", told, faults=found), request)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, failure: HTTPException) -> Response:
        code, detail = _NAMED.get(failure.status_code, (f"http-{failure.status_code}", str(failure.detail)))
        problem = Problem(code, detail, headers=dict(failure.headers or {}))
        content = {**problem.as_dict(request.url.path), "status": failure.status_code, "title": detail}
        return Answer(content, failure.status_code, problem.headers, errors.MEDIA_TYPE)

    @app.exception_handler(OSError)
    @app.exception_handler(SQLAlchemyError)
    @app.exception_handler(InterfaceError)
    async def _away(request: Request, failure: Exception) -> Response:
        if not is_passing(failure):
            raise failure
        log.warning("database-away", method=request.method, exc_info=failure)
        told = "the database is away or busy; whether this was done is not known, so look before you repeat it"
        return render(Unavailable("database-away", told, headers={"Retry-After": "2"}), request)

    @app.exception_handler(Exception)
    async def _defect(request: Request, failure: Exception) -> Response:
        log.error("request-failed", method=request.method, exc_info=failure)
        return render(Problem("internal", "the service failed: this is a defect of its own"), request)
