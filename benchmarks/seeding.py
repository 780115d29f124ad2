"""A database full of invented orders: `make seed ROWS=1000000`.

Orders of three months: nine in ten are done, the rest stand everywhere else, a few want attention. Each has the rows
that belong to it: chain order, names, calls with attempts, events, invoice. Written by SQL, a transaction for each
batch, so that nothing is held for long and breaking off leaves whole orders. Sellers are invented and paused: nothing
is ever sent.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import secrets
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from chain_orders import schema
from chain_orders.database import Database
from chain_orders.events import feed
from chain_orders.orders import counting
from chain_orders.orders.models import Order
from chain_orders.sellers.models import Seller

_BATCH = 20_000
_SELLERS = 12
_KID = "k1"
_DEV = Path(os.environ.get("DATA", ".chain-orders")) / "dev.json"

# With the credentials of a seller that is on record: they are sealed, and nothing is ever sent with them.
_ADD_SELLERS = text(
    """
    insert into sellers (id, account_name, base_url, sales_channel, affiliate_id, sealed_app_key, sealed_app_token,
                         currency, paused)
    select 'harbor-' || n, 'harbor' || n, 'https://harbor-' || n || '.example', '1', 'SEED', s.sealed_app_key,
           s.sealed_app_token, 'EUR', true
      from generate_series(1, :many) n, (select * from sellers order by id limit 1) s on conflict do nothing
    """
)
_ADD_LANES = text(
    """
    insert into lanes (lane, paused) select 'seller:harbor-' || n, true from generate_series(1, :many) n
        on conflict do nothing
    """
)
# A batch: `n` counts all orders, the oldest first; the last of them is made now. The other statements read it.
_DRAW = text(
    """
    create temporary table drawn on commit drop as
    select n, at, least(at + make_interval(secs => 300 + 200000 * random()), clock_timestamp()) as ended, rank,
           (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '7' || substr(md5(name || 'a'), 1, 3)
            || '8' || substr(md5(name), 1, 15))::uuid as id,
           'seed' || lpad(name, 22, '0') as ref, 'SEED-' || name as order_group, name,
           'harbor-' || 1 + n % CAST(:sellers AS int) as seller_id,
           case when rank < 82 then 'invoiced' when rank < 89 then 'cancelled' when rank < 90 then 'rejected'
                when rank < 92 then 'placed' when rank < 93 then 'placement-unknown' when rank < 94 then 'authorizing'
                when rank < 98 then 'authorized' when rank < 99 then 'partially-invoiced' else 'cancel-requested'
           end as status
      from (select n, CAST(:run AS text) || '-' || n as name,
                   case when (n * 7919) % 100 in (92, 93) and n <= CAST(:called AS bigint) then 0
                        else (n * 7919) % 100 end as rank,
                   clock_timestamp() - make_interval(secs => 7776000 * (1 - n / CAST(:all AS float8))) as at
              from generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) n) numbered
    """
)
_FILL = (
    """
    insert into orders (id, seller_id, affiliate_id, sales_channel, order_group, ref, kid, status, attention_code,
                        attention_reason, attention_since, items, total_cents, receipt, receipt_date,
                        placement_body, placement_digest, created_at, updated_at, final_at)
    select id, seller_id, 'SEED', '1', order_group, ref, CAST(:kid AS text), status,
           case when n % 997 = 0 then 'seeded' end, case when n % 997 = 0 then 'an invented reason' end,
           case when n % 997 = 0 then ended end,
           jsonb_build_array(jsonb_build_object('id', (n % 5000)::text, 'seller', '1', 'quantity', 1,
                                                'price', 1000 + n % 90000)),
           1100 + n % 90000,
           case when status not in ('placed', 'rejected') then md5(ref) end,
           case when status not in ('placed', 'rejected') then '2026-01-01T00:00:00Z' end,
           convert_to(repeat('invented order ', 60), 'UTF8'), sha256(convert_to(ref, 'UTF8')), at, ended,
           case when status in ('invoiced', 'cancelled', 'rejected') then ended end
      from drawn order by n
    """,
    """
    insert into chain_orders (order_id, position, chain_order_id, status, status_before_request, value_cents)
    select id, 0, order_group || '-01', status,
           case when status = 'cancel-requested' then 'placed' end, 1100 + n % 90000
      from drawn where status not in ('rejected', 'placement-unknown') order by n
    """,
    """
    insert into invoices (chain_order_key, type, number, value_cents, tracking_number, receipt, created_at)
    select c.key, 'Output', 'NF-' || d.name,
           case when d.status = 'invoiced' then c.value_cents else 100 end, 'TR-' || d.name, md5(d.ref || 'i'), d.ended
      from drawn d join chain_orders c on c.order_id = d.id
     where d.status in ('invoiced', 'partially-invoiced') order by d.n
    """,
    """
    insert into order_names (order_id, kind, value)
    select id, 'id', id::text from drawn
    union all select id, 'order-group', order_group from drawn
    union all select id, 'chain-order', order_group || '-01' from drawn where status <> 'rejected'
    union all select id, 'invoice', 'NF-' || name from drawn where status = 'invoiced'
    union all select id, 'tracking', 'TR-' || name from drawn where status = 'invoiced'
    """,
    """
    insert into deliveries (lane, sequence, order_id, kind, method, target, body, state, phase, attempts, created_at,
                            settled_at, last_code, last_error)
    select 'seller:' || seller_id, 'order:' || id, id, 'place', 'PUT', '/invented', null,
           case when status = 'rejected' then 'rejected'
                when status = 'placement-unknown' then case when n % 2 = 0 then 'dead' else 'unknown' end
                else 'delivered' end, 'send', 1, at, case when status <> 'placement-unknown' then at end,
           case when status = 'placement-unknown' and n % 2 = 0 then 'retries-used-up' end,
           case when status = 'placement-unknown' then 'no answer within 5 s' end
      from drawn order by n
    """,
    """
    insert into deliveries (lane, sequence, order_id, kind, method, target, body, state, attempts, created_at,
                            settled_at)
    select 'seller:' || seller_id, 'authorize:' || id, id, 'authorize', 'POST', '/invented', '{}',
           case when status = 'authorizing' then 'ready' else 'delivered' end,
           case when status = 'authorizing' then 0 else 1 end, at,
           case when status <> 'authorizing' then at end
      from drawn where status in ('invoiced', 'authorizing', 'authorized', 'partially-invoiced') order by n
    """,
    """
    insert into attempts (delivery_id, number, phase, worker, at, duration_ms, status, outcome)
    select v.id, 1, 'send', 'seed', v.created_at, 20 + d.n % 300, case when v.state = 'rejected' then 400 else 200 end,
           case v.state when 'rejected' then 'refused' when 'delivered' then 'answered' else 'ambiguous' end
      from drawn d join deliveries v on v.order_id = d.id where v.attempts > 0 order by d.n
    """,
    """
    insert into events (type, at, order_id, seller_id, order_group, actor)
    select kind, at, id, seller_id, order_group, 'service'
      from drawn, unnest(array['order.accepted', 'order.placed']) kind
     where kind = 'order.accepted' or status not in ('rejected', 'placement-unknown') order by n, kind
    """,
    """
    insert into notifications (dedupe_key, receipt, kind, caller, order_id, path, headers, body, state, reason,
                               received_at, applied_at)
    select sha256(convert_to(ref || 'n', 'UTF8')), md5(ref || 'i'), 'invoice', 'base', id, '/cb/invented', '', '{}',
           case when parked then 'parked' else 'applied' end,
           case when parked then 'order-unknown' end, ended, case when not parked then ended end
      from (select *, n % 1999 = 0 and n > CAST(:called AS bigint) as parked from drawn) d
     where status = 'invoiced' order by n
    """,
)


async def fill(
    database: Database, rows: int, *, batch: int = _BATCH, quiet: bool = False, owing: int | None = None
) -> None:
    """Put so many invented orders beside what is there. Only for the latest `owing` of them calls are owed and
    notifications parked, or for all. At least one seller must be on record."""
    async with database.transaction() as session:
        if not await session.scalar(select(func.count()).select_from(Seller)):
            raise SystemExit("put a seller on record first: the invented ones take its credentials over, unused")
        await session.execute(_ADD_SELLERS, {"many": _SELLERS})
        await session.execute(_ADD_LANES, {"many": _SELLERS})
        kid = await session.scalar(select(Order.kid).order_by(Order.id.desc()).limit(1)) or _KID
    called = 0 if owing is None else rows - owing
    run = {"run": secrets.token_hex(3), "kid": kid, "all": rows, "called": called, "sellers": _SELLERS}
    columns = (TextColumn("orders"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=quiet) as progress:
        task = progress.add_task("orders", total=rows)
        for first in range(1, rows + 1, batch):
            last = min(first + batch - 1, rows)
            async with database.transaction() as session:
                await _write(session, {**run, "first": first, "last": last})
            progress.advance(task, last - first + 1)
    await _tidy(database)


_NO_HURRY = text(
    "select set_config(name, '0', :local) from pg_settings where name in ('statement_timeout', 'transaction_timeout')"
)


async def _tidy(database: Database) -> None:
    """What the server does by itself, a while later, with tables that have grown so much."""
    async with database.engine.connect() as connection:
        plain = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await plain.execute(_NO_HURRY, {"local": False})
        await plain.execute(text("vacuum (analyze)"))
        async with database.transaction() as session:
            await counting.fold(session, many=0)  # to the front, where there is room now: what is behind can be cut off
        await plain.execute(text("vacuum (analyze, index_cleanup on) order_counts"))
        await plain.invalidate()


async def _write(session: AsyncSession, values: dict[str, Any]) -> None:
    """One batch, every row of it."""
    await session.execute(_NO_HURRY, {"local": True})
    for statement in (_DRAW, *map(text, _FILL)):
        named = set(re.findall(r":(\w+) AS", str(statement.text)))
        await session.execute(statement, {name: values[name] for name in named})
    while await feed.number(session, batch=10_000):
        pass
    await counting.fold(session)


def _url() -> str:
    """The database that is named, or the one of `make run` here."""
    try:
        found = os.environ.get("CHAIN_ORDERS_DATABASE_URL") or json.loads(_DEV.read_text())["databaseUrl"]
    except (OSError, ValueError, KeyError):
        raise SystemExit("set CHAIN_ORDERS_DATABASE_URL, or run where `make run` keeps its data") from None
    return schema.usable(found)


async def _seed(rows: int) -> None:
    database = Database(_url())
    try:
        await schema.check(database)
        await fill(database, rows)
    finally:
        await database.close()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=10_000)
    asyncio.run(_seed(options.parse_args().rows))


if __name__ == "__main__":
    main()
