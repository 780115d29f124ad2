"""Coverage-guided fuzzing of what reads strangers' bytes: `make fuzz` (RUNS=), with atheris.

Whatever comes in, the strict reader says that it is no JSON, the messages say what is wrong with it, and nothing else
is raised; what was read is written and read again as the same.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["chain_orders", "json"]):
    from chain_orders import strict_json
    from chain_orders.errors import Malformed
    from chain_orders.receivers import reading
    from chain_orders.vtex import addresses

from tests.hearing.test_hostile import CORPUS, RECEIVERS

_ADDRESSES = [
    b"/pvt/orders/order-group/G/notifications/seller-cancellation",
    b"/api/oms/pvt/orders/G-01/invoice",
    b"/pvt/orders/G/invoice/NF-1/tracking",
    b"/pub/orders/G/cancel",
    b"/pvt/orders/G/changes",
]


def examine(data: bytes) -> None:
    """The first byte chooses the address: one that is served, or the bytes themselves."""
    chosen, rest = data[:1], data[1:]
    _examine_reader(rest)
    known = chosen and chosen[0] % (len(_ADDRESSES) + 1) < len(_ADDRESSES)
    parts = addresses.split(_ADDRESSES[chosen[0] % (len(_ADDRESSES) + 1)] if known else rest)
    called = addresses.callback(parts)
    if called is None:
        return
    try:
        message, meaning = reading.read(called, rest)
    except Malformed:
        return
    assert message is not None
    assert meaning


def _examine_reader(raw: bytes) -> None:
    try:
        value = strict_json.parse(raw)
    except strict_json.NotJson:
        return
    again = strict_json.parse(strict_json.dump(value))
    assert again == value
    assert strict_json.canonical(again) == strict_json.canonical(value)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="chain-orders-fuzz-") as folder:
        good = [json.dumps(body).encode() for _, _, body in RECEIVERS.values()]
        for nth, body in enumerate([*good, *(raw for raw in CORPUS.values() if len(raw) < 600)]):
            for address in range(len(_ADDRESSES) + 1):
                (Path(folder) / f"{nth}-{address}").write_bytes(bytes([address]) + body)
        atheris.Setup([*sys.argv, folder], examine)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
