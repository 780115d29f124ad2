"""The operators' API: keys, problems, versions, pages, and its description."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from sqlalchemy import text

from chain_orders.operators import access

from ..builders import Marketplace, SimulatedSeller, calling, invoice, order

PROBLEM = "application/problem+json"


async def _signed_in(marketplace: Marketplace, role: Any) -> httpx.AsyncClient:
    async with marketplace.database.transaction() as session:
        key = await access.create_key(session, f"a-{role}", role)
    headers = {"Authorization": f"Bearer {key}"}
    return calling(marketplace.url, headers=headers)


@pytest.mark.parametrize("key", [None, "Bearer wrong", "Basic wrong", "Bearer"])
async def test_without_a_known_key_nothing_is_told(marketplace: Marketplace, key: str | None) -> None:
    async with calling(marketplace.url) as stranger:
        answer = await stranger.get("/v1/orders", headers={"Authorization": key} if key else {})

    assert (answer.status_code, answer.json()["code"]) == (401, "key-unknown")
    assert "WWW-Authenticate" in answer.headers


async def test_a_viewer_reads_and_does_not_act(marketplace: Marketplace) -> None:
    async with await _signed_in(marketplace, "viewer") as viewer:
        assert (await viewer.get("/v1/orders")).status_code == 200
        answer = await viewer.post("/v1/sellers/acme/orders", json=order())

    assert (answer.status_code, answer.json()["code"]) == (403, "role-too-low")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("DELETE", "/v1/orders", 405),
        ("GET", "/v1/orders?limit=0", 422),
        ("GET", "/v1/orders?status=nonsense", 422),
        ("GET", "/v1/orders?cursor=%21", 400),
        ("GET", "/v1/orders/not-an-id", 404),
        ("GET", "/v1/orders/01a20b59-09d3-7275-80c3-c4690870cce9", 404),
        ("GET", "/v1/orders/01a20b59-09d3-7275-80c3-c4690870cce9/timeline", 404),
        ("GET", "/v1/sellers/%00", 400),
        ("GET", "/v1/orders?seller=%00", 400),
        ("POST", "/v1/deliveries/999999999999999999999/retry", 422),
        ("POST", "/v1/sellers/nobody/orders", 400),
        ("PATCH", "/v1/sellers/acme", 400),
    ],
)
async def test_every_failure_is_a_problem(marketplace: Marketplace, method: str, path: str, status: int) -> None:
    answer = await marketplace.client.request(method, path)

    assert answer.status_code == status
    assert answer.headers["content-type"] == PROBLEM
    assert answer.json()["status"] == status
    assert answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "not-json"),
        (b"{", "not-json"),
        (b'{"a": NaN}', "not-json"),
        (b'{"a": 1, "a": 2}', "not-json"),
        (b"[]", "wrong-type"),
        (b"\xff", "not-json"),
        (b"[" * 100_000, "not-json"),
    ],
)
async def test_a_body_that_cannot_be_read_is_explained(marketplace: Marketplace, body: bytes, code: str) -> None:
    headers = {"Content-Type": "application/json"}

    answer = await marketplace.client.post("/v1/sellers/acme/orders", content=body, headers=headers)

    assert answer.status_code in {400, 422}
    assert answer.json()["code"] == code


async def test_a_sellers_change_needs_the_version_that_was_read(marketplace: Marketplace) -> None:
    without = await marketplace.client.patch("/v1/sellers/acme", json={"concurrency": 3})
    stale = await marketplace.client.patch("/v1/sellers/acme", json={"concurrency": 3}, headers={"If-Match": '"99"'})

    assert (without.status_code, stale.status_code) == (428, 412)
    assert (await marketplace.change_seller(concurrency=3))["concurrency"] == 3


async def test_credentials_go_in_and_never_come_out(marketplace: Marketplace) -> None:
    answer = await marketplace.client.get("/v1/sellers/acme")

    assert "simulated-token" not in answer.text
    assert "appKey" not in answer.json()


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"sellerId": "Not Valid"}, "/sellerId"),
        ({"baseUrl": "ftp://seller.example"}, "/baseUrl"),
        ({"baseUrl": "http://["}, "/baseUrl"),
        ({"baseUrl": "http://seller.example:99999"}, "/baseUrl"),
        ({"baseUrl": "http://seller .example"}, "/baseUrl"),
        ({"baseUrl": "http://seller.example/%00"}, "/baseUrl"),
        ({"callbackBase": "http://["}, "/callbackBase"),
        ({"affiliateId": "toolong"}, "/affiliateId"),
        ({"appToken": ""}, "/appToken"),
        ({"unknownField": 1}, "/unknownField"),
    ],
)
async def test_a_seller_that_breaks_a_rule_is_refused_with_the_field(
    marketplace: Marketplace, changes: dict[str, Any], pointer: str
) -> None:
    body = {
        "sellerId": "other",
        "accountName": "other",
        "baseUrl": "http://127.0.0.1:9",
        "salesChannel": "1",
        "affiliateId": "MKP",
        "appKey": "k",
        "appToken": "t",
        **changes,
    }

    answer = await marketplace.client.post("/v1/sellers", json=body)

    assert answer.status_code == 422
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]


async def test_a_fault_is_told_in_words_of_our_own(marketplace: Marketplace) -> None:
    body = {"accountName": "Not Valid", "salesChannel": 1, "affiliateId": "toolong", "appKey": "k", "extra": 1}

    answer = await marketplace.client.post("/v1/sellers", json=body)

    assert answer.json()["detail"] == (
        "/accountName: must be 1 to 63 small letters, digits or '-', and not begin with '-' (and 4 more)"
    )
    assert [(fault["pointer"], fault["code"], fault["detail"]) for fault in answer.json()["errors"][1:]] == [
        ("/salesChannel", "wrong-type", "must be a text"),
        ("/affiliateId", "malformed", "must be 2 or 3 letters or digits"),
        ("/appToken", "missing", "is missing"),
        ("/extra", "unknown-field", "is not known here"),
    ]


@pytest.mark.parametrize(
    ("query", "name", "code", "detail"),
    [
        ("status=nonsense", "status", "unknown-value", "must be 'accepted', 'placing', "),
        ("limit=0", "limit", "too-small", "must be at least 1"),
        ("limit=many", "limit", "wrong-type", "must be a whole number"),
        ("attention=perhaps", "attention", "wrong-type", "must be true or false"),
        ("createdFrom=soon", "createdFrom", "malformed", "must be an ISO 8601 date or date and time"),
        ("createdFrom=1700000000", "createdFrom", "malformed", "must be an ISO 8601 date or date and time"),
        ("createdFrom=0001-01-01", "createdFrom", "malformed", "must lie between the years 1971 and 9998"),
        ("q=", "q", "blank", "must have at least 1 character"),
        ("statsu=dead", "statsu", "unknown-parameter", "is not a parameter of this address"),
    ],
)
async def test_a_parameter_that_is_wrong_or_not_known_is_named(
    marketplace: Marketplace, query: str, name: str, code: str, detail: str
) -> None:
    answer = await marketplace.client.get(f"/v1/orders?{query}")

    assert (answer.status_code, answer.json()["code"]) == (422, "parameter-invalid")
    (fault,) = answer.json()["errors"]
    assert (fault["pointer"], fault["code"]) == (name, code)
    assert fault["detail"].startswith(detail)
    assert answer.json()["detail"].startswith(f"{name}: {detail}")


@pytest.mark.parametrize("path", ["/v1/orders", "/v1/sellers/acme", "/v1/nowhere", "/readyz"])
async def test_head_answers_what_get_would_without_its_body(marketplace: Marketplace, path: str) -> None:
    got, head = await marketplace.client.get(path), await marketplace.client.head(path)

    assert (head.status_code, head.headers["content-type"]) == (got.status_code, got.headers["content-type"])
    assert head.content == b""


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("text/csv", "text/csv"),
        ("application/json, text/csv;q=0", "application/json"),
        ("application/json, text/csv;q=0.5", "application/json"),
        ("text/csv;q=0.9, */*;q=0.1", "text/csv"),
    ],
)
async def test_csv_is_given_to_whoever_wants_it_most(marketplace: Marketplace, accept: str, kind: str) -> None:
    for path in ("/v1/orders", "/v1/audit"):
        answer = await marketplace.client.get(path, headers={"Accept": accept})
        assert answer.headers["content-type"].startswith(kind)


async def test_any_version_of_a_list_of_versions_will_do(marketplace: Marketplace) -> None:
    version = (await marketplace.client.get("/v1/sellers/acme")).headers["etag"]

    answer = await marketplace.client.patch(
        "/v1/sellers/acme", json={"concurrency": 3}, headers={"If-Match": f'"99", {version}'}
    )

    assert answer.status_code == 200


@pytest.mark.parametrize(("path", "field"), [("/v1/sellers", "sellerId"), ("/v1/keys", "name")])
async def test_short_lists_come_in_pages_too(marketplace: Marketplace, path: str, field: str) -> None:
    await marketplace.add_seller("http://127.0.0.1:9", "beta")
    await marketplace.client.post("/v1/keys", json={"name": "zoe", "role": "viewer"})
    first = await marketplace.client.get(path, params={"limit": 1})

    second = await marketplace.client.get(first.links["next"]["url"])

    assert len(first.json()["items"]) == len(second.json()["items"]) == 1
    assert first.json()["items"][0][field] < second.json()["items"][0][field]
    assert second.json()["next"] is None


@pytest.mark.parametrize(
    ("method", "path", "taken"),
    [
        ("DELETE", "/v1/sellers", "GET, POST"),
        ("POST", "/v1/webhooks/none", "DELETE, GET, PATCH"),
        ("GET", "/v1/deliveries/retry", "POST"),
    ],
)
async def test_a_method_that_an_address_does_not_take_is_answered_with_those_it_does(
    marketplace: Marketplace, method: str, path: str, taken: str
) -> None:
    answer = await marketplace.client.request(method, path)

    assert (answer.status_code, answer.headers["allow"]) == (405, taken)


@pytest.mark.parametrize("path", ["/v1/events?type=", "/v1/audit?action="])
async def test_a_filter_that_says_nothing_is_refused(marketplace: Marketplace, path: str) -> None:
    answer = await marketplace.client.get(path)

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "blank")


@pytest.mark.parametrize("moment", ["0.5", "1700000000", "0001-01-01T00:00:00+23:00"])
async def test_the_audit_takes_no_number_and_no_ancient_time_for_a_moment(
    marketplace: Marketplace, moment: str
) -> None:
    answer = await marketplace.client.get("/v1/audit", params={"since": moment})

    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "since")


async def test_an_address_that_is_none_is_told_in_two_ways(marketplace: Marketplace) -> None:
    for method, path in (("GET", "/nowhere"), ("DELETE", "/v1/orders")):
        problem = (await marketplace.client.request(method, path)).json()
        assert problem["title"] != problem["detail"]


async def test_a_seller_is_added_once(marketplace: Marketplace) -> None:
    found = await marketplace.client.get("/v1/sellers/acme")
    body = {name: found.json()[name] for name in ("sellerId", "accountName", "baseUrl", "salesChannel", "affiliateId")}

    answer = await marketplace.client.post("/v1/sellers", json={**body, "appKey": "k", "appToken": "t"})

    assert (answer.status_code, answer.json()["code"]) == (409, "seller-exists")


async def test_pages_hold_every_order_once(marketplace: Marketplace) -> None:
    placed = [(await marketplace.place())["id"] for _ in range(5)]
    found: list[str] = []
    path: str | None = "/v1/orders?limit=2&seller=acme&status=placed"
    while path:
        answer = await marketplace.client.get(path)
        found += [one["id"] for one in answer.json()["items"]]
        path = answer.links["next"]["url"] if "next" in answer.links else None

    assert found == placed[::-1]


@pytest.mark.parametrize("q", ["FIND1", "find1", "MKP-FIND1-01", "00-mkp-find1-01", "nf-find", "TR-FIND"])
async def test_an_order_is_found_by_each_of_its_names(
    marketplace: Marketplace, simulated: SimulatedSeller, q: str
) -> None:
    placed = await marketplace.place(order("FIND1"))
    await marketplace.place(order("FIND2"))
    await simulated.invoice("MKP-FIND1-01", invoiceNumber="NF-FIND", trackingNumber="TR-FIND")
    await marketplace.becomes(placed["id"], "invoiced")

    answer = await marketplace.client.get("/v1/orders", params={"q": q})

    assert [one["orderGroup"] for one in answer.json()["items"]] == ["FIND1"]


async def test_the_timeline_pages(marketplace: Marketplace) -> None:
    placed = await marketplace.place()
    answer = await marketplace.client.get(f"/v1/orders/{placed['id']}/timeline", params={"limit": 1})
    assert [event["type"] for event in answer.json()["items"]] == ["order.accepted"]

    after = await marketplace.client.get(answer.links["next"]["url"])

    assert [event["type"] for event in after.json()["items"]] == ["order.placed"]


async def test_the_description_is_openapi_31_and_names_the_callbacks(marketplace: Marketplace) -> None:
    described = (await marketplace.client.get("/openapi.json")).json()

    assert described["openapi"].startswith("3.1")
    assert set(described["webhooks"]) == {"cancellation", "one-level-cancellation", "invoice", "tracking", "change"}
    assert "post" in described["paths"]["/v1/sellers/{seller_id}/orders"]


async def test_health_needs_no_key(marketplace: Marketplace) -> None:
    async with calling(marketplace.url) as stranger:
        answers = [await stranger.get(path) for path in ("/livez", "/readyz")]

    assert [answer.status_code for answer in answers] == [200, 200]


async def test_personal_data_stays_out_of_events_and_lists(marketplace: Marketplace) -> None:
    placed = await marketplace.place()
    await marketplace.notify(f"{marketplace.url}/pvt/orders/x/invoice", invoice())

    for part in ("", "/timeline"):
        assert "Iara" not in (await marketplace.client.get(f"/v1/orders/{placed['id']}{part}")).text


async def test_a_database_that_is_away_is_503_and_not_a_defect(marketplace: Marketplace) -> None:
    async with marketplace.database.transaction() as session:
        await session.execute(text("lock table orders in access exclusive mode"))

        answer = await marketplace.client.get("/v1/orders")

    assert (answer.status_code, answer.json()["code"]) == (503, "database-away")
    assert answer.headers["retry-after"] == "2"
