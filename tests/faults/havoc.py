"""What happens to the workers of a run: they are frozen past their lease and the window, and killed at random."""

from __future__ import annotations

import asyncio
import random
import time

from sqlalchemy import text

from chain_orders.database import Database

from ..builders import until
from .process import ServiceProcess
from .told import Told

PATIENCE = 240.0  # seconds after which a freeze was outlived by nobody


async def wreak(workers: list[ServiceProcess], chance: random.Random, database: Database, told: Told) -> None:
    """Freeze workers past their lease and the window, and kill them at random while orders come in.

    A broken build gets what shows it, again and again until it is seen.
    """
    plan = told.plan
    if plan.control is None:
        await _freeze_each(workers, chance, database, told)
        while told.kills < plan.kills or (len(told.accepted) < plan.orders and told.kills != plan.most_kills):
            await _kill_one(workers, chance, told)
    while plan.control is not None:
        if "freezes" in plan.havoc:
            await _freeze_by_itself(workers[0], database, told)
            await asyncio.sleep(2)
            workers[0].kill()
            await workers[0].start()
        elif "kills" in plan.havoc:
            await _kill_one(workers, chance, told)
        else:
            await asyncio.sleep(1)


async def _freeze_each(workers: list[ServiceProcess], chance: random.Random, database: Database, told: Told) -> None:
    """The first by its failpoint, then the second from outside; whoever goes on meanwhile is killed once."""
    zombie, other = workers
    await until(lambda: _is_frozen(zombie), PATIENCE)
    await _kill_one([other], chance, told)
    await _outlived(zombie, database, told)
    zombie.sabotage = other.sabotage  # it has frozen once
    for _ in range(told.plan.freezes - 1):
        await _freeze_at_work(other, database)
        await _kill_one([zombie], chance, told)
        await _outlived(other, database, told)


async def _freeze_at_work(worker: ServiceProcess, database: Database) -> None:
    while True:
        await worker.freeze()
        if await _held(worker, database) and not await _gate_is_held(database):
            return
        worker.thaw()
        await asyncio.sleep(0.1)


async def _kill_one(workers: list[ServiceProcess], chance: random.Random, told: Told) -> None:
    """What a killed worker held is nobody's until its lease ends: kills that come faster only stop everything."""
    await asyncio.sleep(chance.uniform(0.5, 3) * told.waits.lease)
    victim = chance.choice(workers)
    victim.kill()
    told.kills += 1
    await victim.start()


async def _freeze_by_itself(zombie: ServiceProcess, database: Database, told: Told) -> None:
    await until(lambda: _is_frozen(zombie), PATIENCE)
    await _outlived(zombie, database, told)


async def _held(worker: ServiceProcess, database: Database) -> list[int]:
    """The deliveries that a worker has claimed and not settled."""
    mine = text("select id from deliveries where state = 'sending' and worker like :pid")
    async with database.transaction() as session:
        return list(await session.scalars(mine, {"pid": f"%:{worker.pid}:%"}))


async def _outlived(frozen: ServiceProcess, database: Database, told: Told) -> None:
    """Thaw a worker once others have delivered something of what it held: only then has it anything to spoil. A broken
    build is to spoil it, and not all of what it held is what it would send again."""
    share = 0.0 if told.plan.control is None else 0.5
    deadline = time.monotonic() + PATIENCE
    while True:
        async with database.transaction() as session:
            if await session.scalar(_TAKEN_OVER, {"pid": f"%:{frozen.pid}:%", "share": share}):
                break
        assert time.monotonic() < deadline, "void: nothing was delivered of what a frozen worker held"
        await asyncio.sleep(0.25)
    frozen.thaw()
    told.freezes += 1


_TAKEN_OVER = text(
    """
    select count(*) filter (where d.state = 'delivered') > count(*) * cast(:share as float8)
      from attempts a join deliveries d on d.id = a.delivery_id
     where a.outcome = 'abandoned' and a.worker like :pid
    """
)


async def _gate_is_held(database: Database) -> bool:
    """Whether it may have been frozen in the middle of a claim: PostgreSQL lets the lock go, but only after a while."""
    async with database.transaction() as session:
        return await session.scalar(text("select lane from lanes for no key update skip locked")) is None


async def _is_frozen(worker: ServiceProcess) -> bool:
    assert worker.running, f"the worker ended: {worker.log[-2000:]}"
    return worker.frozen
