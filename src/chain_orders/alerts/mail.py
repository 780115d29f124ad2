"""Sending mail with the standard library, in a thread: rarely, and a failure is tried again by the caller."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from urllib.parse import unquote, urlsplit

_TIMEOUT_SECONDS = 15


class NotMailed(Exception):
    """The mail server did not take it. The message holds no credentials."""


@dataclass(frozen=True, slots=True)
class Mail:
    """`smtps://` is TLS from the start; `smtp://` uses STARTTLS where it is offered, and must before a password."""

    url: str = field(repr=False)
    to: Sequence[str]
    sender: str

    async def send(self, subject: str, text: str) -> None:
        """Hand a mail over. Raises NotMailed."""
        message = EmailMessage()
        message["Subject"], message["From"], message["To"] = subject, self.sender, ", ".join(self.to)
        message["Date"], message["Message-ID"] = formatdate(), make_msgid(domain=self.sender.partition("@")[2])
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(text)
        try:
            await asyncio.to_thread(self._hand_over, message)
        except (OSError, smtplib.SMTPException) as failure:
            raise NotMailed(type(failure).__name__) from None

    def _hand_over(self, message: EmailMessage) -> None:
        address = urlsplit(self.url)
        host, context = address.hostname or "", ssl.create_default_context()
        connection = (
            smtplib.SMTP_SSL(host, address.port or 465, timeout=_TIMEOUT_SECONDS, context=context)
            if address.scheme == "smtps"
            else smtplib.SMTP(host, address.port or 587, timeout=_TIMEOUT_SECONDS)
        )
        with connection as server:
            server.ehlo()
            if address.scheme == "smtp" and (server.has_extn("starttls") or address.username):
                server.starttls(context=context)
                server.ehlo()
            if address.username:
                server.login(unquote(address.username), unquote(address.password or ""))
            server.send_message(message)
