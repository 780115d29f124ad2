"""Invented personal data, planted wherever somebody could send it, and a search for it in every table."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from sqlalchemy import text

from chain_orders.database import Database

from ..builders import Marketplace, SimulatedSeller, cancellation, invoice, order

PERSON = {
    "email": "iolanda.planted@mail.example",
    "firstName": "Iolanda",
    "lastName": "Plantada",
    "documentType": "cpf",
    "document": "00000000272",
    "phone": "+5500912345678",
}
STREET = "Travessa do Plantio"
PLANTED = [*(value for name, value in PERSON.items() if name != "documentType"), STREET, "01234-999"]
OF_DOCUMENTS = {**PERSON, "corporateName": "Plantada e Filhas"}


def document(group: str) -> dict[str, Any]:
    """An order of the person's."""
    placed = order(group, clientProfileData=PERSON)
    placed["shippingData"]["address"] |= {
        "receiverName": f"{PERSON['firstName']} {PERSON['lastName']}",
        "street": STREET,
        "postalCode": "01234-999",
    }
    return placed


async def plant(marketplace: Marketplace, simulated: SimulatedSeller, group: str) -> dict[str, Any]:
    """An order that was refused, corrected, placed and invoiced, with the person in everything that was sent."""
    await simulated.behave(rejectCode="CHK0198")
    refused = await marketplace.post_order(document(group), wait=10)
    order_id = refused.json()["orderId"]
    await simulated.behave(rejectCode=None)
    found = await marketplace.client.get(f"/v1/orders/{order_id}")
    corrected = document(group) | {"openTextField": {"value": f"for {PERSON['firstName']}"}}
    answer = await marketplace.client.put(
        f"/v1/orders/{order_id}/placement", json=corrected, headers={"If-Match": found.headers["etag"]}
    )
    assert answer.status_code == 202, answer.text
    await marketplace.becomes(order_id, "placed")
    await marketplace.authorize(order_id)
    await marketplace.becomes(order_id, "authorized")
    base = await simulated.base(group)
    for path, body in [
        (f"/pvt/orders/{group}/invoice", invoice("NF-1", 1300, customer=OF_DOCUMENTS)),
        (f"/pvt/orders/{group}/invoice", json.dumps({"unreadable": OF_DOCUMENTS}).encode()),
        ("/pvt/orders/ANOTHER/invoice", invoice("NF-9", 5, customer=OF_DOCUMENTS)),
        (f"/pvt/orders/{quote(PERSON['email'])}/invoice", invoice("NF-8", 5)),
        (f"/pvt/orders/order-group/{group}/notifications", cancellation(f"MKP-{group}-01") | OF_DOCUMENTS),
    ]:
        await marketplace.notify(base + path, body)
    await marketplace.becomes(order_id, "invoiced")
    await marketplace.notified(order_id, "conflict")
    return await marketplace.get(order_id)  # type: ignore[no-any-return]


async def found_in(database: Database) -> set[str]:
    """Every `table.column` that holds something planted."""
    holding = set()
    async with database.transaction() as session:
        tables = list(
            await session.scalars(text("select tablename from pg_tables where schemaname = 'public' order by 1"))
        )
        for table in tables:
            for row in (await session.execute(text(f'select * from "{table}"'))).mappings():
                holding |= {f"{table}.{column}" for column, value in row.items() if holds(value)}
    return holding


def holds(value: Any) -> bool:
    """Whether anything planted is in a value, as it is, escaped as JSON, or as a part of an address."""
    shown = bytes(value).decode("utf-8", "replace") if isinstance(value, bytes | memoryview) else str(value)
    return any(spelt in shown for one in PLANTED for spelt in (one, json.dumps(one)[1:-1], quote(one, safe="")))


async def age(database: Database, days: int) -> None:
    """As if it had happened so many days ago."""
    async with database.transaction() as session:
        for table, column in [("orders", "final_at"), ("orders", "updated_at"), ("notifications", "received_at")]:
            await session.execute(text(f"update {table} set {column} = {column} - make_interval(days => {days})"))
