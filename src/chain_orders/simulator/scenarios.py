"""How the simulated seller behaves: one switch for everything that VTEX does not promise, and for every fault.

A fault is a probability between 0 and 1, drawn from one seeded generator, so that a run can be repeated.
"""

from __future__ import annotations

import random
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr
from pydantic.alias_generators import to_camel

from .notifier import address, rooted

Chance = float


class Behaviour(BaseModel):
    """The switches. Faults apply to the calls named in `applyTo`."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", validate_by_name=True)

    lose_answer: Chance = Field(0, ge=0, le=1)
    """Do what is asked, then close the connection without an answer."""
    fail: Chance = Field(0, ge=0, le=1)
    """Answer `failStatus` and do nothing."""
    fail_status: int = Field(500, ge=400, le=599)
    fail_after_creating: Chance = Field(0, ge=0, le=1)
    """Do what is asked, then answer `failStatus`."""
    reset_before: Chance = Field(0, ge=0, le=1)
    """Close the connection and do nothing."""
    throttle: Chance = Field(0, ge=0, le=1)
    """Answer 429 with `retryAfter`, as a `failStatus` of 503 comes with it too."""
    retry_after: str | None = "2"
    slow_seconds: float = Field(0, ge=0, le=120)
    """Wait before answering."""
    drip: Chance = Field(0, ge=0, le=1)
    """Do what is asked, then answer one byte every half second."""
    garbage: Chance = Field(0, ge=0, le=1)
    """Do what is asked, then answer 200 with a page of HTML."""
    garbage_before: Chance = Field(0, ge=0, le=1)
    """Answer 200 with a page of HTML and do nothing, as a gateway may."""
    read_lag_seconds: float = Field(0, ge=0, le=600)
    """How long a new order stays invisible to reads; none does while it is 0."""
    dedupe: bool = True
    """Refuse an order group that is known. Without it every PUT creates another order."""
    duplicate_status: int = Field(409, ge=400, le=599)
    split: Literal["none", "seller", "item"] = "none"
    """Into how many chain orders a purchase falls."""
    placement_answer: Literal["true", "foreign", "twice", "twice-differently", "empty-part"] = "true"
    """What a placement's answer lists: what was created; another's order; each order twice; or an empty part beside."""
    read_answer: Literal["true", "foreign"] = "true"
    """Whether a read of an order shows it, or another one, which is cancelled."""
    surcharge: int = Field(0, ge=0)
    """How many cents more an order is worth at the seller than what was sent adds up to."""
    group_form: Literal["affiliate", "plain"] = "affiliate"
    """Whether orders show their group as `AFF-group` or `group`."""
    callback_id: Literal["group", "chain-order"] = "group"
    """Which id the path of an invoice carries."""
    token: str | None = None
    """The callback token that this seller was given: it calls the addresses at the root instead of each order's own."""
    token_way: Literal["query", "basic", "bearer"] = "query"  # noqa: S105  (no secret: a way of sending one)
    """How the token is sent."""
    reject_code: str | None = None
    """Refuse every placement with this code."""
    reject_groups: str = ""
    """Refuse only the placements whose order group begins so."""
    credentials: Literal["ok", "revoked"] = "ok"
    cancellation: Literal["accept", "decide", "deny", "refuse"] = "accept"
    """What becomes of a request to cancel: done at once, left to be decided, denied, or refused with 400."""
    invoice_before_answer: bool = False
    """Send a whole invoice before a placement is answered."""
    invoice_after_authorization: bool = False
    """Send a whole invoice as soon as an order is authorized."""
    affiliates: list[str] | None = None
    """The affiliates that the account knows; any when not given."""
    sales_channels: list[str] | None = None
    apply_to: set[Literal["place", "authorize", "cancel", "read", "simulate"]] = {"place"}
    seed: int = 1

    _random: random.Random = PrivateAttr(default_factory=lambda: random.Random(1))  # noqa: S311

    def model_post_init(self, _: Any) -> None:
        self._random = random.Random(self.seed)  # noqa: S311

    def addressed(self, base: str, path: str) -> tuple[str, dict[str, str]]:
        """Where a notification goes, and with which headers."""
        return (address(base, path), {}) if self.token is None else rooted(base, path, self.token, self.token_way)

    def listed(self, placed: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The orders that a placement's answer lists."""
        match self.placement_answer:
            case "foreign":
                other = {"orderId": "XYZ-OTHER-01", "orderGroup": "XYZ-OTHER", "sellerOrderId": "00-XYZ-OTHER-01"}
                return [{**one, **other} for one in placed]
            case "twice":
                return placed * 2
            case "twice-differently":
                return [*placed, *({**one, "value": one["value"] + 1} for one in placed)]
            case "empty-part":
                return [*placed, {**placed[-1], "orderId": f"{placed[-1]['orderId'][:-2]}99", "items": []}]
            case _:
                return placed

    def read(self, shown: dict[str, Any]) -> dict[str, Any]:
        """What a read of an order shows."""
        return shown if self.read_answer == "true" else {**shown, "orderId": "XYZ-OTHER-01", "status": "canceled"}

    def refusal(self, group: str) -> str | None:
        """The code that a placement of this group is refused with, if it is."""
        return self.reject_code if group.startswith(self.reject_groups) else None

    def happens(self, fault: str, call: str) -> bool:
        """Whether a fault strikes this call."""
        chance: float = getattr(self, fault)
        return chance > 0 and call in self.apply_to and self._random.random() < chance

    def merged(self, changes: dict[str, Any]) -> Behaviour:
        """These switches with some of them changed. Raises pydantic's ValidationError for one that is unknown."""
        return Behaviour.model_validate({**self.model_dump(by_alias=True), **changes})
