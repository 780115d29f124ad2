"""Whether an answer, or what a read shows, is the order that was sent."""

from __future__ import annotations

from typing import Any

import pytest

from chain_orders.orders import judging, placing
from chain_orders.orders.judging import Name, Placed
from chain_orders.orders.models import Order
from chain_orders.outcome import Absent, Again, Answered, Conflicting, Outcome
from chain_orders.vtex.messages import SellerOrder, Unreadable

PROOF = "/cb/k1/ref/mac"
NAME = Name("MKP", "11")


def one(order_id: str = "MKP-11-01", **fields: Any) -> SellerOrder:
    items = [{"id": "8", "quantity": 1}]
    return SellerOrder.model_validate({"orderId": order_id, "value": 1300, "items": items, **fields})


def sold(**fields: Any) -> Order:
    items = [{"id": "8", "quantity": 1}]
    return Order(
        **{"affiliate_id": "MKP", "order_group": "11", "items": items, "total_cents": 1300, "warnings": []} | fields
    )


@pytest.mark.parametrize(
    "named",
    [
        one(),
        one("mkp-11-02"),
        one("7", orderGroup="11"),
        one("7", orderGroup="MKP-11"),
        one("7", marketplaceOrderId="11"),
        one("7", marketplaceOrderId="11-01"),
    ],
)
def test_an_order_is_named_by_its_id_its_group_or_its_marketplace_id(named: SellerOrder) -> None:
    assert NAME.is_of(named)


@pytest.mark.parametrize(
    "named",
    [
        one("MKP-1-01"),
        one("MKP-111-01"),
        one("MKP-11"),
        one("XYZ-11-01"),
        one("MKP-11-001"),
        one("7", orderGroup="MKP-111"),
        one("7", marketplaceOrderId="11-011"),
        one("11"),
    ],
)
def test_a_part_of_a_name_names_nothing(named: SellerOrder) -> None:
    assert not NAME.is_of(named)


def test_an_answer_lists_the_orders_that_were_placed() -> None:
    listed = [one(), one("MKP-11-02")]

    assert judging.answered(listed, NAME) == Placed(listed)


def test_an_order_that_is_listed_twice_is_one() -> None:
    assert judging.answered([one(), one()], NAME) == Placed([one()])


@pytest.mark.parametrize(
    ("listed", "why"),
    [
        ([one(isCompleted=False)], "incomplete"),
        ([one("MKP-12-01")], "not named as ours"),
        ([one(), one("MKP-12-01")], "not named as ours"),
        ([one(), one(value=1)], "twice, and differently"),
    ],
)
def test_an_answer_that_cannot_be_so_is_not_believed(listed: list[SellerOrder], why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        judging.answered(listed, NAME)


def test_a_part_without_items_is_left_out_where_others_have_some() -> None:
    empty = one("MKP-11-02", items=[])

    assert judging.answered([one(), empty], NAME) == Placed([one()], empty=("MKP-11-02",))
    assert judging.answered([empty], NAME) == Placed([empty])


def shown(*found: SellerOrder, window_over: bool = False, **fields: Any) -> Outcome:
    return judging.shown(sold(**fields), PROOF, list(found), window_over=window_over)


OURS = {"marketplaceServicesEndpoint": "https://where.it.was.example/CB/k1/ref/mac/"}
THEIRS = {"marketplaceServicesEndpoint": "https://stranger.example/cb/k1/ref/other"}


def test_what_is_not_there_is_absent() -> None:
    assert shown() == Absent()


@pytest.mark.parametrize("found", [one(**OURS), one("7", **OURS), one(affiliateId="mkp"), one()])
def test_what_carries_our_base_or_our_names_is_ours(found: SellerOrder) -> None:
    assert shown(found) == Answered(Placed([found]))


@pytest.mark.parametrize("found", [one(**THEIRS), one("MKP-1-01"), one(affiliateId="XYZ"), one("MKP-111-01")])
def test_a_strangers_order_is_a_conflict(found: SellerOrder) -> None:
    assert isinstance(shown(found), Conflicting)


def test_another_value_makes_only_what_is_not_proven_a_conflict() -> None:
    assert shown(one(value=7, **OURS)) == Answered(Placed([one(value=7, **OURS)]))
    assert isinstance(shown(one(value=7)), Conflicting)
    assert judging.other_value(sold(), [one(value=7)]) == 7


@pytest.mark.parametrize("found", [one(), one(value=None)])
def test_our_value_and_no_value_are_not_another(found: SellerOrder) -> None:
    assert judging.other_value(sold(), [found]) is None


def test_a_value_that_price_tags_change_is_not_compared() -> None:
    order = sold(warnings=[{"code": "amounts-adjusted"}])

    assert judging.other_value(order, [one(value=7)]) is None


def test_a_part_is_waited_for_until_the_window_is_over() -> None:
    two = [{"id": "8", "quantity": 2}]

    early, late = shown(one(), items=two), shown(one(), items=two, window_over=True)

    assert early == Again("the seller shows a part of it so far", answered=True)
    assert late == Answered(Placed([one()], partial=True))


def test_an_order_that_is_incomplete_has_until_the_window_is_over_to_be_completed() -> None:
    early, late = shown(one(isCompleted=False)), shown(one(isCompleted=False), window_over=True)

    assert early == Again("the order at the seller is incomplete so far", answered=True)
    assert late == Conflicting("the order at the seller is incomplete and cannot be advanced", "incomplete-at-seller")


@pytest.mark.parametrize(
    ("found", "is_others"),
    [
        (one("XYZ-11-01", affiliateId="XYZ", **THEIRS), True),
        (one("11-01", affiliateId="XYZ", **THEIRS), True),
        (one("XYZ-11-01", affiliateId="XYZ"), False),
        (one("XYZ-11-01", affiliateId="XYZ", **OURS), False),
        (one("MKP-11-01", affiliateId="XYZ", **THEIRS), False),
        (one("11-01", affiliateId="mkp", **THEIRS), False),
        (one("11-01", **THEIRS), False),
    ],
)
def test_what_is_another_marketplaces_in_every_respect_is_none_of_ours(found: SellerOrder, is_others: bool) -> None:
    assert judging.is_of_others(found, sold(), PROOF) is is_others


def test_one_id_that_is_shown_twice_is_no_two_parts() -> None:
    assert isinstance(shown(one(**OURS), one(**OURS), items=[{"id": "8", "quantity": 2}]), Conflicting)


@pytest.mark.parametrize(
    ("there", "code"),
    [
        (Placed([one()], partial=True), "split-incomplete"),
        (Placed([one(items=[{"id": "9", "quantity": 1}])]), "items-differ"),
        (Placed([one(value=7)]), "value-differs"),
        (Placed([one()]), None),
    ],
)
def test_an_order_that_is_not_what_was_sold_asks_a_person(there: Placed, code: str | None) -> None:
    order = sold(items=[{"id": "8", "quantity": 2 if there.partial else 1}], version=1)

    placing._ask_about(order, there, None)

    assert order.attention_code == code


@pytest.mark.parametrize(
    ("found", "code"),
    [
        ([one(), one()], "placement-conflict"),
        ([one(items=[{"id": "8", "quantity": 2}])], "placement-conflict"),
        ([one(items=[{"id": "9", "quantity": 1}])], "placement-conflict"),
    ],
)
def test_what_is_not_what_was_sent_is_a_conflict(found: list[SellerOrder], code: str) -> None:
    outcome = shown(*found)

    assert isinstance(outcome, Conflicting)
    assert outcome.code == code
