"""How the commands are typed: help says in one word what an option takes, and a reader who has enough ends a command.

Relies on how typer names types in its help. Every group of commands is made here, so that all of them look alike.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import typer
from typer import rich_utils
from typer.core import TyperArgument, TyperCommand, TyperGroup

from . import show
from .client import USAGE, Failed

rich_utils.RANGE_STRING = ""  # `_word` says it shorter
_WORDS = {
    "<bool>": None, "<str>": "TEXT", "<list[str]>": "TEXT", "<int>": "NUMBER", "<UUID>": "ID", "<path>": "FILE",
    "<int range>": "NUMBER", "<float range>": "NUMBER",
}  # fmt: skip

Act = TypeVar("Act", bound=Callable[..., Any])


class Command(TyperCommand):
    def get_params(self, ctx: Any) -> list[Any]:
        return [_plainly(param) for param in super().get_params(ctx)]


class Group(TyperGroup):
    def get_params(self, ctx: Any) -> list[Any]:
        return [_plainly(param) for param in super().get_params(ctx)]


class Root(Group):
    """The whole program."""

    def invoke(self, ctx: Any) -> Any:
        try:
            try:
                return super().invoke(ctx)
            finally:
                sys.stdout.flush()
        except typer.Abort:  # of a question
            if sys.stdin.isatty():
                raise
            show.note("")
            raise Failed("nobody answers: give it as an option", USAGE) from None
        except BrokenPipeError:  # as in `… | head`: whoever read has enough
            _write_no_more()
            return None
        except OSError as full:
            if full.errno != errno.ENOSPC:
                raise
            _write_no_more()
            raise Failed(f"the output cannot be written ({full.strerror})") from None


class Commands(typer.Typer):
    """A group of commands."""

    def __init__(self, *, cls: type[TyperGroup] = Group, **given: Any) -> None:
        super().__init__(cls=cls, no_args_is_help=True, **given)

    def command(
        self, name: str | None = None, *, cls: type[TyperCommand] | None = Command, **given: Any
    ) -> Callable[[Act], Act]:
        return super().command(name, cls=cls, **given)


def _write_no_more() -> None:
    """What is left is not written, so that the interpreter's end does not fail on it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _plainly(param: Any) -> Any:
    """A parameter whose help names what it takes in one word, or says nothing: a flag takes nothing."""
    named: Callable[..., str | None] = param.display_type_rich
    param.display_type_rich = lambda ctx: None if isinstance(param, TyperArgument) else _word(param, named(ctx=ctx))
    return param


def _word(param: Any, named: str | None) -> str | None:
    bounds = getattr(param, "min", None), getattr(param, "max", None)
    if None not in bounds:
        return "{}..{}".format(*bounds)
    return _WORDS.get(named, named.strip("<>")) if named else None
