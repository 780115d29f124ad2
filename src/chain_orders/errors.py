"""The kinds of failure a caller can be told about.

Every error that leaves the service as an answer is a `Problem`; its kind fixes the HTTP status, its `code` is
stable and documented. Raise it where the fact is found; the HTTP edge renders it once (RFC 9457). Messages name
fields and rules, never the values of personal data or credentials.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

MEDIA_TYPE = "application/problem+json"


def N_(message: str) -> str:
    """Marks a message that is translated, and filled in, where it is shown."""
    return message


class Sentence(str):
    """A sentence with something put in: it reads as the whole, and keeps its pattern for whoever translates it.

    What is put in as `wrong` is a sentence too.
    """

    pattern: str
    put_in: Mapping[str, object]

    def __new__(cls, pattern: str, **put_in: object) -> Sentence:
        made = super().__new__(cls, pattern.format_map(put_in))
        made.pattern, made.put_in = pattern, put_in
        return made


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong in a document: a JSON pointer to the field, a stable code, and a sentence."""

    pointer: str
    code: str
    detail: str

    def as_dict(self) -> dict[str, str]:
        return {"pointer": self.pointer, "code": self.code, "detail": self.detail}


class Problem(Exception):
    """A failure that is an answer. Subclasses fix `status` and `title`; `code` says which rule spoke."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = N_("Something went wrong")

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        faults: Sequence[Fault] = (),
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.faults = tuple(faults)
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})

    def as_dict(self, instance: str) -> dict[str, Any]:
        """The RFC 9457 document; `instance` is the path of the request."""
        body: dict[str, Any] = {
            "type": f"urn:chain-orders:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "instance": instance,
            **self.extra,
        }
        if self.faults:
            body["errors"] = [fault.as_dict() for fault in self.faults]
        return body


class Malformed(Problem):
    status = 400
    title = N_("The request cannot be read")


class Unauthenticated(Problem):
    status = 401
    title = N_("Sign in with an API key")


class Forbidden(Problem):
    status = 403
    title = N_("This key may not do that")


class Unknown(Problem):
    status = 404
    title = N_("There is no such thing")


class Conflict(Problem):
    status = 409
    title = N_("That contradicts what is known")


class Stale(Problem):
    status = 412
    title = N_("It changed since you read it")


class TooLarge(Problem):
    status = 413
    title = N_("The body is too large")


class UnsupportedMedia(Problem):
    status = 415
    title = N_("The body is of another kind")


class Invalid(Problem):
    status = 422
    title = N_("The request breaks a rule")


class Unconditional(Problem):
    status = 428
    title = N_("Say which version you read")


class Unavailable(Problem):
    """Says when to try again: in a few seconds, unless something better is known."""

    status = 503
    title = N_("Try again shortly")

    def __init__(self, code: str, detail: str, *, headers: Mapping[str, str] | None = None, **given: Any) -> None:
        super().__init__(code, detail, headers={"Retry-After": "5", **(headers or {})}, **given)


class Defect(Problem):
    """Nobody foresaw it: a failure of the service's own. Log it with `request_id`: the answer says nothing else."""

    def __init__(self, code: str, detail: str) -> None:
        self.request_id = secrets.token_hex(8)
        super().__init__(code, detail, extra={"requestId": self.request_id})


class Stopped(Exception):
    """Ends a command of the terminal: the message is for whoever typed it, `code` is what the command exits with."""

    code: int = 1
