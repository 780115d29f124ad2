"""What a run of placements under fire is to do, how long everything waits in it, and what it came to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from .controls import CONTROLS, SLOW_SELLER
from .record import Figures, bound
from .sabotage import FACTOR
from .unclear import Unclear

LEAST_AMBIGUOUS = 0.30
QUICKEST = 20.0
"""The most by which the service's waits are divided."""
NOMINAL_START = 2.0
"""Seconds within which the simulated seller starts on an idle machine. One that takes longer divides by less."""


@dataclass(frozen=True, slots=True)
class Waits:
    """The service's default waits, divided by one factor."""

    factor: float = QUICKEST

    @property
    def verify_at(self) -> list[float]:
        return [at / self.factor for at in (5, 15, 60)]

    @property
    def lease(self) -> float:
        return 60 / self.factor

    def read_lag(self, control: str | None) -> float:
        """How long the seller shows no order that it created: well within the window, so that a slow machine doubles
        nothing. A broken build is given most of the window to err in, and the slow seller goes far beyond it."""
        return self.verify_at[-1] * {None: 0.5, SLOW_SELLER: 3.0}.get(control, 0.9)

    @property
    def settings(self) -> dict[str, str]:
        return {
            FACTOR: str(self.factor),
            "CHAIN_ORDERS_EXCHANGE_SECONDS": str(35 / self.factor),
            "CHAIN_ORDERS_LEASE_SECONDS": str(self.lease),
            "CHAIN_ORDERS_VERIFY_AT": ",".join(map(str, self.verify_at)),
            "CHAIN_ORDERS_RETRY_SCHEDULE": ",".join(["0.25"] * 40),
            "CHAIN_ORDERS_LOG_FORMAT": "console",
        }


@dataclass(frozen=True, slots=True)
class Plan:
    orders: int
    seed: int
    control: str | None = None
    """The broken build, or the seller, that must not pass."""
    per_second: float = 200.0
    kills: int = 3
    """At least so many kills of workers, and so many freezes that others outlive."""
    freezes: int = 2
    most_kills: int | None = None
    """Kills go on while orders come in, up to so many: among more of them a busy machine hardly gets on."""
    calm: int = 0
    """So many orders come before anything happens to the workers, few at a time."""

    @property
    def build(self) -> str | None:
        return None if self.control == SLOW_SELLER else self.control

    @property
    def at_once(self) -> float:
        """How many orders may wait. Behind a long queue a broken build reads so late that it is right by chance."""
        return 20 if self.control == "resend-after-one-read" else 3 * self.per_second

    @property
    def havoc(self) -> set[str]:
        """What happens to the workers."""
        return {"freezes", "kills"} if self.control is None else {CONTROLS[self.control].by}


@dataclass(slots=True)
class Told:
    """What a run came to."""

    plan: Plan
    waits: Waits = Waits()
    created: Counter[str] = field(default_factory=Counter)
    accepted: list[str] = field(default_factory=list)
    placed: set[str] = field(default_factory=set)
    left: dict[str, int] = field(default_factory=dict)
    marked: list[str] = field(default_factory=list)
    """Orders that show the defect of the broken build."""
    ended: int = 0
    attempts: int = 0
    """Placements that were noted before they were sent, and `calls`, that reached the seller."""
    calls: int = 0
    sends: int = 0
    ambiguous: int = 0
    kills: int = 0
    freezes: int = 0
    calm: list[int] | None = None
    """The deliveries that were made before anything happened to the workers; None while that lasts."""
    unclear: Unclear = field(default_factory=Unclear)
    seconds: float = 0.0

    @property
    def doubled(self) -> list[str]:
        return [group for group, times in self.created.items() if times > 1]

    @property
    def lost(self) -> list[str]:
        return [group for group in self.accepted if not self.created[group]]

    @property
    def unknown(self) -> list[str]:
        return [group for group in self.accepted if group not in self.placed]

    @property
    def void(self) -> str | None:
        if len(self.accepted) < self.plan.orders:
            return f"{len(self.accepted)} of {self.plan.orders} orders were accepted"
        if self.ambiguous < LEAST_AMBIGUOUS * self.sends:
            return f"{self.ambiguous} of {self.sends} calls were ambiguous"
        if self.kills < self.plan.kills or self.freezes < self.plan.freezes:
            return f"{self.kills} kills and {self.freezes} freezes"
        return None

    @property
    def caught(self) -> bool:
        """Whether the broken build was seen for what it is, and not by chance."""
        wrong = set(self.doubled or self.unknown)
        happened = {"seller": self.ambiguous, "freezes": self.freezes, "kills": self.kills}
        return bool(wrong.intersection(self.marked)) and all(happened[what] for what in self.plan.havoc)

    @property
    def figures(self) -> Figures:
        return Figures(
            tried={"orders": len(self.accepted), "placements sent": self.sends, "unclear answers": self.ambiguous},
            broken={"kills of workers": self.kills, "workers frozen past their lease": self.freezes},
            wrong={"doubled": len(self.doubled), "lost": len(self.lost), "left unknown": len(self.unknown)},
            seconds=self.seconds,
            seed=self.plan.seed,
            more={
                "waitsDividedBy": round(self.waits.factor, 2),
                "secondsToCertainty": self.unclear.told(self.waits.factor),
            },
        )

    def __str__(self) -> str:
        asked = self.plan
        share = self.ambiguous / self.sends if self.sends else 0.0
        return (
            f"seed {asked.seed}, {asked.control or 'the build as it is'}, "
            f"waits divided by {self.waits.factor:.1f}: "
            f"{len(self.accepted)} orders accepted, {self.sends} placements sent, "
            f"{self.ambiguous} answered ambiguously ({share:.0%}), {self.kills} kills, {self.freezes} freezes, "
            f"{self.seconds:.0f} s: doubled {len(self.doubled)}, lost {len(self.lost)}, "
            f"left unknown {len(self.unknown)} {self.left or ''}, "
            f"marked {len(self.marked)}, seconds to certainty {self.unclear.told(self.waits.factor)} "
            f"(0 of n is at most {bound(len(self.accepted)):.2%} at 95 %)"
        )

    def hold(self) -> None:
        """Raise AssertionError unless every promise held in a run that put it to the test."""
        assert (self.doubled, self.lost, self.unknown) == ([], [], []), str(self)
        assert self.calls <= self.attempts, f"{self.calls} calls for {self.attempts} attempts; {self}"
        assert self.void is None, f"void: {self.void}; {self}"
