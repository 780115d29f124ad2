"""One HTTP connection, guarded: a head has a deadline and a size, and too many requests at once are sent away.

uvicorn bounds neither: a caller could hold a connection open with half a head for ever, or fill the memory with
headers. Nor does it bound what comes of a body after its answer: that has a deadline, too, and no byte extends it.
What is refused here is told as a problem document like every other refusal; the application is not asked.
"""

from __future__ import annotations

import asyncio
import weakref
from functools import lru_cache, partial
from typing import Any, ClassVar

import httptools
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from .. import body, errors, headers, strict_json
from ..errors import Malformed, Problem, Unavailable

HEAD_SECONDS = 5.0
REST_SECONDS = 2.0
"""For the rest of a body that was answered before its end: a caller that is cut off at once never sees the answer."""
HEAD_BYTES = 16 * 1024
TARGET_BYTES = 4 * 1024
"""Of the path and the query together."""
REQUESTS = 2000
"""Requests under way in one process; further ones are sent away at once."""


class HeadTooLarge(Malformed):
    status = 431
    title = "The headers are too large"


class TargetTooLong(Malformed):
    status = 414
    title = "The address is too long"


class HeadTooSlow(Malformed):
    status = 408
    title = "The request did not arrive in time"


class _Cycle(RequestResponseCycle):
    """uvicorn's, but an answer before the body's end says that the connection closes. That it does once the rest has
    come, or has not come for a while: a caller that is cut off at once never sees the answer."""

    async def send(self, message: Any) -> None:
        early = self.more_body and self.keep_alive and not self.response_started
        if early:
            self.keep_alive = False
        await super().send(message)
        if early:
            self.keep_alive = True


class Connection(HttpToolsProtocol):
    """uvicorn's connection with the guards. While the application stops, it also closes after the answer under way."""

    _deadline: asyncio.TimerHandle | None = None
    _head: int | None = None
    """Bytes of a head that is still arriving; None while none is."""
    _upgrading = False

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._application: ASGIApp = self.app
        self._head = 0
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_over()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_SECONDS, self._head_is_late)

    def _head_is_over(self) -> None:
        self._head = None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _head_is_late(self) -> None:
        if self._head:
            self._refuse(HeadTooSlow("head-timeout", f"the headers did not arrive within {HEAD_SECONDS:.0f} seconds"))
        self.transport.close()

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            self._head += len(data)
        self._feed(data)
        if self._head is None:
            return
        # A head that is not over yet is in the parser's memory: it is cut off while it grows, or when it is late.
        self._await_head()
        if self._head > HEAD_BYTES and not self.transport.is_closing():
            self._refuse(_HEAD_TOO_LARGE)
            self.transport.close()

    def _feed(self, data: bytes) -> None:
        """Parse. Another protocol that is asked for beside a request is not spoken: the request is served as it is."""
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserError:
                self.send_400_response("")
            except httptools.HttpParserUpgrade as asked:
                if self._upgrading:
                    data = self._head_again() + data[asked.args[0] :]
                    continue
            return

    def _head_again(self) -> bytes:
        """The head without what asks for another protocol, and a parser that takes what follows it for the body."""
        self._upgrading = False
        first = b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        headers = (b"%s: %s" % (name, value) for name, value in self.headers if name != b"upgrade")
        self.parser = httptools.HttpRequestParser(self)
        return b"\r\n".join((first, *headers, b"", b""))

    def on_message_complete(self) -> None:
        if self._upgrading:
            return
        super().on_message_complete()
        if self.cycle.response_complete:  # before its body was: it has said that nothing comes after it
            self.transport.close()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete and self.cycle.more_body and not self.transport.is_closing():
            self.cycle.keep_alive = False
            self._deadline = self.loop.call_later(REST_SECONDS, self.transport.close)

    def on_message_begin(self) -> None:
        self._unset_keepalive_if_required()  # by a request only: no other byte extends the rest between two
        super().on_message_begin()
        self._head = self._head or 0

    def on_headers_complete(self) -> None:
        arrived = self._head
        self._head_is_over()
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            self._upgrading = True  # the same head comes again
            return
        self.app = self._answering(arrived or HEAD_BYTES + 1)
        super().on_headers_complete()
        self.cycle.__class__ = _Cycle  # uvicorn makes it, and asks nobody of which class
        # The cycle holds the scope: held by it in turn, every request would stay until the collector comes.
        cycle = weakref.ref(self.cycle)
        self.scope["extensions"] = {
            body.ARRIVED: partial(_arrived, cycle),  # type: ignore[dict-item]
            headers.WHOLE: partial(_answer, cycle),  # type: ignore[dict-item]
        }
        if self._stopping():
            self.cycle.keep_alive = False

    def _answering(self, arrived: int) -> ASGIApp:
        """Who answers this request: the application, or one of those that send it away. `arrived`: bytes, at least
        those of the head; of a head that came behind another request they were not counted."""
        if len(self.url) > TARGET_BYTES:
            return _TARGET_TOO_LONG_APP
        if arrived > HEAD_BYTES and sum(len(name) + len(value) + 4 for name, value in self.headers) > HEAD_BYTES:
            return _HEAD_TOO_LARGE_APP
        if len(self.tasks) >= REQUESTS:
            return _TOO_MANY_APP
        return self._application

    def _stopping(self) -> bool:
        state = getattr(self._application, "state", None)
        return state is not None and state.stopping.is_set()

    def send_400_response(self, _msg: str) -> None:
        """What uvicorn says of a request that is no HTTP, in the form that everything else is said in."""
        self._refuse(Malformed("not-http", "the request is not valid HTTP"))
        self.transport.close()

    def _refuse(self, problem: Problem) -> None:
        document = strict_json.dump(problem.as_dict(""))
        self.transport.write(
            f"HTTP/1.1 {problem.status} \r\ncontent-type: {errors.MEDIA_TYPE}\r\ncontent-length: {len(document)}\r\n"
            "cache-control: no-store\r\nconnection: close\r\n\r\n".encode()
            + document
        )


def _arrived(held: weakref.ref[RequestResponseCycle]) -> bytes | None:
    """A request's body, if all of it is here."""
    cycle = held()
    return None if cycle is None or cycle.more_body else bytes(cycle.body)


def _answer(held: weakref.ref[RequestResponseCycle], status: int, told: headers.Pairs, document: bytes) -> bool:
    """Write a whole answer at once. The same headers come again and again, and are put into bytes once."""
    cycle = held()
    if cycle is None or cycle.scope["method"] == "HEAD":  # which is answered without a body
        return False
    head = _head(status, (*cycle.default_headers, *told))
    if head is None or cycle.disconnected or cycle.response_started or cycle.flow.write_paused:
        return False
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    if cycle.more_body:
        cycle.keep_alive = False
    last = b"" if cycle.keep_alive else b"connection: close\r\n"
    cycle.transport.write(b"%bcontent-length: %d\r\n%b\r\n%b" % (head, len(document), last, document))
    cycle.message_event.set()
    if not cycle.keep_alive and not cycle.more_body:
        cycle.transport.close()
    cycle.on_response()
    return True


@lru_cache(maxsize=64)
def _head(status: int, told: headers.Pairs) -> bytes | None:
    """None where the headers say how the connection goes on: uvicorn looks after that."""
    if any(name == b"connection" for name, _value in told):
        return None
    return b"".join((STATUS_LINE[status], *(b"%b: %b\r\n" % pair for pair in told)))


class Refusal:
    """An ASGI application that sends every request away with one problem."""

    _CLOSES: ClassVar[frozenset[int]] = frozenset({414, 431})

    def __init__(self, problem: Problem) -> None:
        self._status = problem.status
        self._document = strict_json.dump(problem.as_dict(""))
        told = {
            "Content-Type": errors.MEDIA_TYPE,
            "Content-Length": str(len(self._document)),
            "Cache-Control": "no-store",
            **({"Connection": "close"} if problem.status in self._CLOSES else {}),
            **problem.headers,
        }
        self._headers = [(name.lower().encode(), value.encode()) for name, value in told.items()]

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self._status, "headers": self._headers})
        await send({"type": "http.response.body", "body": self._document})


_HEAD_TOO_LARGE = HeadTooLarge("head-too-large", f"the headers may have at most {HEAD_BYTES} bytes")
_HEAD_TOO_LARGE_APP = Refusal(_HEAD_TOO_LARGE)
_TARGET_TOO_LONG_APP = Refusal(
    TargetTooLong("target-too-long", f"path and query may have at most {TARGET_BYTES} bytes")
)
_TOO_MANY_APP = Refusal(Unavailable("too-many", "too many requests are under way", headers={"Retry-After": "2"}))
