"""A request that names itself is done once: `Idempotency-Key` on a POST.

Within the act's own transaction: the key is locked without waiting, a stored answer is given again, or act and answer
commit together. What fails stores nothing, so the same key may be used again once the request is right.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from hashlib import sha256

from fastapi import Request, Response
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from ..errors import Conflict, Invalid, Malformed
from .access import Operator
from .models import IdempotencyKey

_KEPT_HEADERS = ("location", "etag")
_KEY = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)
_LOCK = text("select pg_try_advisory_xact_lock(:key)")


@dataclass(slots=True)
class Once:
    """One request. `answer` is the earlier one, if this is a repeat; of a placement only the order is kept."""

    session: AsyncSession
    digest: bytes | None = None
    request_digest: bytes = b""
    answer: Response | None = None
    order_id: uuid.UUID | None = None
    status: int = 0

    def keep(self, answer: Response) -> Response:
        """Store the answer with the act that is committed now."""
        headers = {name: answer.headers[name] for name in _KEPT_HEADERS if name in answer.headers}
        self._add(answer.status_code, headers=headers, body=bytes(answer.body))
        return answer

    def keep_order(self, order_id: uuid.UUID, status: int) -> None:
        """Store which order this was; a repeat shows it as it is then."""
        self._add(status, order_id=order_id)

    def _add(
        self,
        status: int,
        *,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
        order_id: uuid.UUID | None = None,
    ) -> None:
        if self.digest is not None:
            self.session.add(
                IdempotencyKey(
                    digest=self.digest,
                    request_digest=self.request_digest,
                    status=status,
                    headers=headers or {},
                    body=body,
                    order_id=order_id,
                )
            )


async def begin(session: AsyncSession, request: Request, operator: Operator) -> Once:
    """The first statement of an act. Raises Conflict while the same request runs, Invalid when the body differs."""
    value = request.headers.get("idempotency-key")
    if value is None:
        return Once(session)
    if not _KEY.fullmatch(value):
        raise Malformed("idempotency-key-invalid", "Idempotency-Key must be 1 to 255 printable ASCII characters")
    digest = sha256("\0".join((str(operator.key_id), request.method, request.url.path, value)).encode()).digest()
    if not await session.scalar(_LOCK, {"key": int.from_bytes(digest[:8], signed=True)}):
        raise Conflict(
            "idempotency-key-busy", "a request with this Idempotency-Key is under way", headers={"Retry-After": "1"}
        )
    once = Once(session, digest, _request_digest(request))
    found = await session.get(IdempotencyKey, digest)
    if found is None:
        return once
    if found.request_digest != once.request_digest:
        raise Invalid("idempotency-key-reused", "this Idempotency-Key was used with another body or query")
    once.status, once.order_id = found.status, found.order_id
    if found.body is not None:
        headers = {**found.headers, "Idempotency-Replayed": "true"}
        once.answer = Response(found.body, found.status, headers, "application/json")
    return once


def _request_digest(request: Request) -> bytes:
    body: bytes = getattr(request.state, "body_digest", b"")
    return sha256(request.url.query.encode() + b"\0" + body).digest()


async def purge(session: AsyncSession) -> None:
    """Forget what is older than a week. A chore of the upkeep; served by idempotency_keys_created_idx."""
    await session.execute(_PURGE)


_PURGE = text(
    """
    delete from idempotency_keys
     where digest in (select digest from idempotency_keys
                       where created_at < statement_timestamp() - interval '7 days' limit 10000)
    """
)
