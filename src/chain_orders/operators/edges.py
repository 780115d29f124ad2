"""What every route of the operators' API shares: strict bodies, pages, versions, and problems as answers."""

from __future__ import annotations

import base64
import json
import re
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated, Any, TypeVar

import fastapi
from asyncpg import InterfaceError
from fastapi import FastAPI, Path, Request
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_flat_params
from fastapi.exceptions import RequestValidationError
from fastapi.params import Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, BeforeValidator, StringConstraints, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from .. import body, errors, logs
from ..database import is_passing
from ..errors import Defect, Fault, Invalid, Malformed, Problem, Sentence, Stale, Unavailable, Unconditional, Unknown
from ..vtex.faults import faults, of_parameters, told

log = logs.get("operators")

Model = TypeVar("Model", bound=BaseModel)


def _dated(given: Any) -> Any:
    if isinstance(given, str) and not re.match(r"\d{4}-\d\d-\d\d", given, re.ASCII):
        raise PydanticCustomError("datetime_parsing", "not a date")
    return given


RowId = Annotated[int, Path(ge=1, le=2**63 - 1)]
Limit = Annotated[int, fastapi.Query(ge=1, le=200)]
Moment = Annotated[datetime, BeforeValidator(_dated)]
"""A date or a time, written as ISO 8601 says; never a number of seconds."""
Cursor = Annotated[str | None, fastapi.Query(max_length=100)]
Named = Annotated[str, StringConstraints(min_length=1)]
"""One of the values of a filter that may be repeated: an empty one would match nothing, and say nothing of it."""
DryRun = Annotated[bool, fastapi.Query(alias="dryRun")]
"""Say what would come of it: `rehearsed` takes everything back, and nothing is sent."""


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
        raise Invalid(found[0].code, told(found), faults=found) from wrong


def described(
    model: type[BaseModel], *, optional: bool = False, nullable: Sequence[str] | None = None
) -> dict[str, Any]:
    """The OpenAPI description of a body that `parsed` reads. With `nullable`, no other field takes null."""
    schema = model.model_json_schema()
    if nullable is not None:
        keeping = {to_camel(name) for name in nullable}
        fields = schema["properties"].items()
        schema["properties"] = {name: field if name in keeping else _not_null(field) for name, field in fields}
    return {"requestBody": {"required": not optional, "content": {"application/json": {"schema": schema}}}}


def _not_null(field: dict[str, Any]) -> dict[str, Any]:
    kinds = [kind for kind in field.get("anyOf", []) if kind != {"type": "null"}]
    if len(kinds) != 1:
        return field
    return {**{name: told for name, told in field.items() if name not in {"anyOf", "default"}}, **kinds[0]}


def check_parameters(request: Request) -> None:
    """Refuse what a route does not know: a filter that is spelt wrong must not be no filter. Raises Invalid."""
    declared = _declared(request.scope["endpoint"], request.scope["route"].dependant)
    unknown = [name for name in request.query_params if name not in declared]
    if unknown:
        found = [Fault(name, "unknown-parameter", "is not a parameter of this address") for name in unknown]
        raise Invalid("parameter-invalid", told(found), faults=found)


def invalid_parameter(name: str, code: str, detail: str) -> Invalid:
    """What to raise for one parameter whose value breaks a rule."""
    found = [Fault(name, code, detail)]
    return Invalid("parameter-invalid", told(found), faults=found)


def in_utc(name: str, moment: datetime | None) -> datetime | None:
    """A moment that was given as this parameter; without an offset it is UTC. Raises Invalid."""
    if moment is None:
        return None
    if not 1970 < moment.year < 9999:
        raise invalid_parameter(name, "malformed", "must lie between the years 1971 and 9998")
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _declared(endpoint: Callable[..., Any], dependant: Dependant) -> frozenset[str]:
    """The names of an endpoint's query parameters, looked up once."""
    if endpoint not in _DECLARED:
        _DECLARED[endpoint] = frozenset(
            one.alias for one in get_flat_params(dependant) if isinstance(one.field_info, Query)
        )
    return _DECLARED[endpoint]


_DECLARED: dict[Callable[..., Any], frozenset[str]] = {}


def check_version(request: Request, version: int, *, required: bool) -> None:
    """Compare `If-Match` with the version that is stored. Raises Stale, Unconditional."""
    given = request.headers.get("if-match")
    if given is None:
        if required:
            told = Sentence('send `If-Match: "{version}"` with the version you read', version=version)
            raise Unconditional("if-match-missing", told)
        return
    if not {f'"{version}"', "*"} & {one.strip() for one in given.split(",")}:
        told = Sentence("the version is {version} now", version=version)
        raise Stale("version-differs", told, extra={"version": version})


def etag(version: int) -> dict[str, str]:
    return {"ETag": f'"{version}"'}


def wants_csv(request: Request) -> bool:
    """Whether CSV is asked for, and not less than JSON."""
    wanted: dict[str, float] = {}
    for part in request.headers.get("accept", "").lower().split(","):
        kind, *given = (one.strip() for one in part.split(";"))
        weight = next((one.removeprefix("q=") for one in given if one.startswith("q=")), "1")
        wanted[kind] = float(weight) if re.fullmatch(r"[01](\.\d{1,3})?", weight, re.ASCII) else 1.0
    return wanted.get("text/csv", 0.0) > 0 and wanted["text/csv"] >= wanted.get("application/json", 0.0)


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


def portion(request: Request, items: Sequence[Mapping[str, Any]], by: str, cursor: str | None, limit: int) -> Answer:
    """A page of a list that is short enough to be read whole: after the cursor, in the order of the field `by`."""
    after = decode_cursor(cursor)
    rest = [item for item in sorted(items, key=lambda item: str(item[by])) if after is None or item[by] > after]
    return page(request, rest[:limit], rest[limit - 1][by] if len(rest) > limit else None)


async def rehearsed(session: AsyncSession, view: Callable[[], Mapping[str, Any]]) -> Answer:
    """What an act would come to: it was done as it would have been, constraints included, and is taken back."""
    await session.flush()
    shown = {**view(), "dryRun": True}
    await session.rollback()
    return Answer(shown)


def render(problem: Problem, request: Request) -> Response:
    return Answer(
        problem.as_dict(request.url.path),
        status_code=problem.status,
        headers=problem.headers,
        media_type=errors.MEDIA_TYPE,
    )


_NAMED: Mapping[int, tuple[str, str, str]] = {
    404: ("not-found", Unknown.title, "there is nothing at this address"),
    405: ("method-not-allowed", "Not with this method", "this address does not take that method"),
}


def _taken(request: Request) -> list[str]:
    """The methods that the address of a request takes: each of them may have a route of its own."""
    return [
        method
        for method in ("DELETE", "GET", "PATCH", "POST", "PUT")  # HEAD is answered wherever GET is
        if any(route.matches({**request.scope, "method": method})[0] == Match.FULL for route in request.app.routes)
    ]


def install(app: FastAPI) -> None:
    """Make every failure a problem document."""

    @app.exception_handler(Problem)
    async def _problem(request: Request, problem: Problem) -> Response:
        return render(problem, request)

    @app.exception_handler(RequestValidationError)
    async def _parameters(request: Request, wrong: RequestValidationError) -> Response:
        found = of_parameters(wrong.errors())
        return render(Invalid("parameter-invalid", told(found), faults=found), request)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, failure: HTTPException) -> Response:
        code, title, detail = _NAMED.get(
            failure.status_code, (f"http-{failure.status_code}", Problem.title, str(failure.detail))
        )
        allowed = {"Allow": ", ".join(_taken(request))} if failure.status_code == 405 else {}
        problem = Problem(code, detail, headers={**(failure.headers or {}), **allowed})
        content = {**problem.as_dict(request.url.path), "status": failure.status_code, "title": title}
        return Answer(content, failure.status_code, problem.headers, errors.MEDIA_TYPE)

    @app.exception_handler(OSError)
    @app.exception_handler(SQLAlchemyError)
    @app.exception_handler(InterfaceError)
    async def _away(request: Request, failure: Exception) -> Response:
        if not is_passing(failure):
            raise failure
        log.warning("database-away", method=request.method, exc_info=failure)
        sentence = "the database is away or busy; whether this was done is not known, so look before you repeat it"
        return render(Unavailable("database-away", sentence, headers={"Retry-After": "2"}), request)

    @app.exception_handler(Exception)
    async def _defect(request: Request, failure: Exception) -> Response:
        defect = Defect("internal", "the service failed: this is a defect of its own")
        log.error("request-failed", request_id=defect.request_id, method=request.method, exc_info=failure)
        request.scope[_TOLD] = True
        return render(defect, request)


_TOLD = "chain_orders.defect_told"


def is_told(scope: Scope) -> bool:
    """Whether the last resort has answered this request and logged why: the framework raises the failure even so."""
    return _TOLD in scope
