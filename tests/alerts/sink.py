"""A mail server that keeps what it is given: as much SMTP as the standard library's client speaks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage


@dataclass(slots=True)
class Sink:
    url: str = ""
    refuses: bool = False
    """Whether it answers that it cannot take mail now."""
    mails: list[EmailMessage] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def say(line: str) -> None:
            writer.write(f"{line}\r\n".encode())
            await writer.drain()

        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await say("220 mail.harbor.example")
            while command := (await reader.readline()).decode().strip():
                match command.upper().split(" ")[0].split(":")[0]:
                    case "DATA":
                        await say("354 go on")
                        raw = await reader.readuntil(b"\r\n.\r\n")
                        mail = message_from_bytes(raw[:-3].replace(b"\r\n..", b"\r\n."), policy=policy.default)
                        assert isinstance(mail, EmailMessage)
                        self.mails.append(mail)
                        await say("250 kept")
                    case "QUIT":
                        await say("221 bye")
                        break
                    case "MAIL" if self.refuses:
                        await say("451 not now")
                    case _:
                        await say("250 well")
        writer.close()


@contextlib.asynccontextmanager
async def sinking() -> AsyncIterator[Sink]:
    sink = Sink()
    server = await asyncio.start_server(sink.serve, "127.0.0.1", 0)
    async with server:
        sink.url = f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield sink
