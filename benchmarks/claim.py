"""The claim, with nothing else in the table, with 50,000 deliveries waiting, and behind 1,000,000 that are done.

`make bench-claim`. Each round claims ten and gives them back, so that every round finds the same. It fails when what
is done, with its attempts, costs the claim more than `BOUND` times what it takes among those that wait alone.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from datetime import timedelta
from typing import Any

from sqlalchemy import text

from chain_orders.database import Database
from chain_orders.deliveries import queue

from .common import machine, migrated, percentile, told, write

BOUND = 1.5

# What is done was tried: each such delivery has its attempt.
_FILL = text(
    """
    with made as (
        insert into deliveries (lane, sequence, order_id, kind, method, target, body, state, attempts, settled_at)
        select 'seller:acme', 's' || :state || n, gen_random_uuid(), 'authorize', 'POST', '/', '', :state,
               case when :state = 'delivered' then 1 else 0 end,
               case when :state = 'delivered' then clock_timestamp() end
          from generate_series(1, :many) n
        returning id, state
    )
    insert into attempts (delivery_id, number, phase, worker, duration_ms, status, outcome)
    select id, 1, 'send', 'w', 1, 200, 'answered' from made where state = 'delivered'
    """
)


async def _claims(database: Database, rounds: int) -> dict[str, Any]:
    async with database.transaction() as session:
        await session.execute(text("analyze deliveries, attempts"))
    times = []
    for _ in range(rounds):
        async with database.transaction() as session:
            started = time.perf_counter()
            claimed = await queue.claim(session, worker="w", slots=10, lease=timedelta(seconds=60))
            times.append((time.perf_counter() - started) * 1000)
            if len(claimed) != 10:
                raise SystemExit(f"{len(claimed)} were claimed")
            await session.rollback()
    return {**told(times), "p99": round(percentile(times, 0.99), 3)}


async def measure(rounds: int, waiting: int, done: int) -> dict[str, Any]:
    results: dict[str, Any] = {}
    async with migrated() as (database, _):
        async with database.transaction() as session:
            await session.execute(
                text(
                    "insert into lanes (lane, concurrency, rate_per_second, tokens)"
                    " values ('seller:acme', 99, 1e6, 1e6)"
                )
            )
        for name, state, many in (
            ("20 waiting", "ready", 20),
            (f"{waiting} waiting", "ready", waiting),
            (f"{waiting} waiting, {done} done", "delivered", done),
        ):
            for start in range(0, many, 100_000):
                async with database.transaction() as session:
                    await session.execute(_FILL, {"state": state, "many": min(100_000, many - start)})
            results[name] = await _claims(database, rounds)
            print(f"{name:<40} median {results[name]['median']:.2f} ms, p99 {results[name]['p99']:.2f} ms", flush=True)
    return results


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=200)
    options.add_argument("--waiting", type=int, default=50_000)
    options.add_argument("--done", type=int, default=1_000_000)
    asked = options.parse_args()
    before = machine()
    times = asyncio.run(measure(asked.rounds, asked.waiting, asked.done))
    _, waiting, done = times.values()
    ratio = done["median"] / waiting["median"]
    write("claim", {"before": before, "claimMs": times, "ratioBehindDone": round(ratio, 3), "bound": BOUND})
    if ratio > BOUND:
        raise SystemExit(f"what is done costs the claim {ratio:.2f} times as much; at most {BOUND} is allowed")


if __name__ == "__main__":
    main()
