"""Changing keys while the service runs: which keys what is stored still needs, and sealing anew under the first one.

Sealing anew is done row by row, each only if it is still what was read, so that it can go on beside the service, be
stopped, and be begun again.
"""

# ruff: noqa: S608  (what is put into statements are the names in SEALED)

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncSession

from .database import Database
from .sellers.vault import Unsealable, Vault

_BATCH = 100
SEALED = {
    "sellers": ("sealed_app_key", "sealed_app_token"),
    "subscriptions": ("sealed_secret", "sealed_secret_before"),
}
"""Every table that holds something sealed, with its columns; each has a primary key `id`."""


@dataclass(slots=True)
class Progress:
    """How far it is. `lost`: rows that no configured key opens, as `table:id`."""

    total: int = 0
    seen: int = 0
    sealed: int = 0
    lost: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Missing:
    """What the configured keys cannot do, in words; None where nothing that is stored needs another key."""

    callback: str | None
    credential: str | None

    @property
    def told(self) -> list[str]:
        return [one for one in (self.callback, self.credential) if one is not None]


async def missing_keys(session: AsyncSession, callback: Collection[str], credential: Collection[str]) -> Missing:
    """Compare the keys that are configured with those that what is stored was made under.

    A sealed order counts like any other: it can still be told of a return.
    """
    carried = {kid for which in _CARRIED for kid in await session.scalars(which)}
    sealing = {kid for table, columns in SEALED.items() for kid in await _sealing(session, table, columns)}
    lacking, needed = sorted(carried - set(callback)), sorted(sealing - set(credential))
    return Missing(
        f"CHAIN_ORDERS_CALLBACK_KEYS lacks {', '.join(lacking)}, which stored orders carry" if lacking else None,
        f"CHAIN_ORDERS_CREDENTIAL_KEYS lacks {', '.join(needed)}, which seals stored credentials" if needed else None,
    )


def _carried(which: str) -> TextClause:
    """Every kid of such orders, by jumping from one to the next."""
    return text(
        f"""
        with recursive kids as (
            (select kid from orders where {which} order by kid limit 1)
            union all
            select (select o.kid from orders o where {which} and o.kid > k.kid order by o.kid limit 1)
              from kids k where k.kid is not null
        )
        select kid from kids where kid is not null
        """
    )


# Served by orders_kid_idx and orders_sealed_kid_idx.
_CARRIED = (_carried("sealed_at is null"), _carried("sealed_at is not null"))


async def _sealing(session: AsyncSession, table: str, columns: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for column in columns:
        rows = await session.scalars(
            text(f"select distinct split_part(encode({column}, 'escape'), ':', 1) from {table}")
        )
        found |= {kid for kid in rows if kid}
    return found


async def unopened(session: AsyncSession, vault: Vault) -> list[str]:
    """What is sealed and no configured key opens, as `table:id (why)`."""
    found = []
    for table, columns in SEALED.items():
        for row in await session.execute(text(f"select id::text as id, {', '.join(columns)} from {table} order by id")):
            try:
                _open(vault, table, columns, row)
            except Unsealable as why:
                found.append(f"{table}:{row.id} ({why})")
    return found


def _open(vault: Vault, table: str, columns: Sequence[str], row: Any) -> dict[str, str]:
    """What a row holds, by column. Raises Unsealable."""
    return {
        column: vault.open(bytes(value), row=row.id, column=column, table=table)
        for column in columns
        if (value := getattr(row, column)) is not None
    }


async def reseal(database: Database, vault: Vault, told: Callable[[Progress], None] | None = None) -> Progress:
    """Seal under the first key whatever another key has sealed; `told` hears of each batch."""
    progress = Progress()
    async with database.transaction() as session:
        for table, columns in SEALED.items():
            query = text(f"select count(*) from {table} where {_other(columns)}")
            progress.total += await session.scalar(query, _prefix(vault)) or 0
    for table, columns in SEALED.items():
        after = ""
        while True:
            async with database.transaction() as session:
                rows = (await session.execute(_batch(table, columns), {**_prefix(vault), "after": after})).all()
                for row in rows:
                    await _reseal_row(session, vault, table, columns, row, progress)
            if not rows:
                break
            after = str(rows[-1].id)
            if told is not None:
                told(progress)
    return progress


async def _reseal_row(
    session: AsyncSession, vault: Vault, table: str, columns: Sequence[str], row: Any, progress: Progress
) -> None:
    progress.seen += 1
    identity = str(row.id)
    try:
        plain = _open(vault, table, columns, row)
    except Unsealable:
        progress.lost.append(f"{table}:{identity}")
        return
    for column, secret in plain.items():
        await session.execute(
            text(f"update {table} set {column} = :sealed where id::text = :id and {column} = :before"),
            {
                "sealed": vault.seal(secret, row=identity, column=column, table=table),
                "id": identity,
                "before": getattr(row, column),
            },
        )
    progress.sealed += 1


def _batch(table: str, columns: Sequence[str]) -> TextClause:
    listed = ", ".join(columns)
    return text(
        f"select id::text as id, {listed} from {table} where {_other(columns)} and id::text > :after"
        f" order by id::text limit {_BATCH}"
    )


def _other(columns: Sequence[str]) -> str:
    """Whether one of the columns is sealed by another key than the first."""
    return "(" + " or ".join(f"position(cast(:prefix as bytea) in {column}) <> 1" for column in columns) + ")"


def _prefix(vault: Vault) -> dict[str, bytes]:
    return {"prefix": f"{next(iter(vault.keys))}:".encode()}
