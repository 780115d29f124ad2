"""What is wrong with a form, in words: one sentence above it, and one beside each field. Pointers are for programs."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel

from ..errors import Fault, Invalid, Problem, Sentence
from ..operators import edges
from . import words
from .texts import N_, _
from .visits import Visit

_LONGEST_REASON = 500


def banner(problem: Problem | None) -> str:
    """What stands above a form that was refused."""
    if problem is None:
        return ""
    if not problem.faults:
        return words.refusal(problem)
    return _("Nothing was changed. What is wrong is said beside each field.")


def beside(problem: Problem | None) -> dict[str, str]:
    """What is wrong with each field, by its name."""
    return {fault.pointer.lstrip("/"): _said(fault) for fault in (problem.faults if problem else ())}


def _said(fault: Fault) -> str:
    if fault.code in {"missing", "blank"}:
        return _("Fill this in.")
    return words.said(fault.detail)


def overlap_of(visit: Visit, model: type[BaseModel]) -> timedelta:
    """For how long what is replaced holds beside what replaces it. Raises Invalid."""
    text = visit.typed("overlap")
    given = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
    return timedelta(seconds=edges.validated(model, {"overlapSeconds": given}).model_dump()["overlap_seconds"])


def reason_of(visit: Visit) -> str:
    """Why somebody does it, for the audit. Raises Invalid without one."""
    reason = visit.typed("reason")
    if not reason:
        told = N_("Say why: it stands in the audit beside your name.")
    elif len(reason) > _LONGEST_REASON:
        told = Sentence("Say it in at most {many} characters.", many=_LONGEST_REASON)
    else:
        return reason
    raise Invalid("reason-missing", told, faults=[Fault("/reason", "reason-missing", told)])
