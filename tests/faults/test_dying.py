"""The short form of `make faults-steps`, and a build that it must see."""

from __future__ import annotations

from chain_orders.database import Database

from ..builders import SimulatedSeller
from .dying import Plan, run


async def test_a_worker_that_dies_at_any_step_of_a_call_leaves_it_made_once(
    database: Database, simulated: SimulatedSeller
) -> None:
    (await run(Plan(in_turn=True), database, simulated)).hold()


async def test_a_build_that_resends_what_a_dead_worker_held_is_caught(
    database: Database, simulated: SimulatedSeller
) -> None:
    told = await run(Plan(steps=["answered"], sabotage="resend-after-crash"), database, simulated)

    assert set(told.doubled) == {death.group for death in told.plan.deaths}, str(told)
