"""Appending facts to the timeline, many in one statement."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, text


class Fact(NamedTuple):
    """A fact that is not written yet: the columns of an event that are not the database's to fill in."""

    type: str
    actor: str
    seller_id: str
    order_group: str
    order_id: uuid.UUID
    chain_order_id: str | None
    applied_seq: int
    data: dict[str, Any]


_APPEND = text(
    """
    insert into events (type, actor, seller_id, order_group, order_id, chain_order_id, applied_seq, data)
    select type, actor, seller_id, order_group, order_id, chain_order_id, applied_seq, cast(data as jsonb)
      from unnest(
           cast(:type as text[]), cast(:actor as text[]), cast(:seller_id as text[]), cast(:order_group as text[]),
           cast(:order_id as uuid[]), cast(:chain_order_id as text[]), cast(:applied_seq as bigint[]),
           cast(:data as text[])
      ) with ordinality
      as fact(type, actor, seller_id, order_group, order_id, chain_order_id, applied_seq, data, nth)
     order by nth
    """
)


def append(connection: Connection, facts: Sequence[Fact]) -> None:
    """Write these facts, in this order."""
    columns = {name: [getattr(fact, name) for fact in facts] for name in Fact._fields}
    columns["data"] = [json.dumps(fact.data) for fact in facts]
    connection.execute(_APPEND, columns)
