"""The eleven operations over HTTP: responses and refusals."""

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

Serve = Callable[..., AbstractAsyncContextManager[Any]]
Bill = Callable[..., Path]

FAMILY = "/billingEngine/family"
COST = "/billingEngine/cost"


async def test_the_envelope_of_a_response(serve: Serve) -> None:
    """A response has the vendor's envelope: request, status, kind, items and count."""
    async with serve() as call:
        answer = await call("GET", "/billingEngine/account?accountId=nobody&token=a-secret")
    request, response = answer.body["request"], answer.body["response"]
    assert request.keys() == {"id", "url", "method", "timestamp"}
    assert request["url"] == "/billingEngine/account?accountId=nobody"
    assert response == {
        "status": {"code": 200, "message": "Success"},
        "kind": "spotinst:billingEngine:account",
        "items": [],
        "count": 0,
    }
    assert answer.headers["Content-Type"].startswith("application/json")


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer bad", "Basic good-token", "good-token", "Bearer \xe9"],
)
async def test_a_request_without_a_valid_token(serve: Serve, authorization: str | None) -> None:
    """Every path, also an unknown one, answers 401 in the envelope, without the token."""
    headers = {} if authorization is None else {"Authorization": authorization}
    async with serve() as call:
        for path in ("/billingEngine/account", "/nowhere"):
            answer = await call("GET", path, headers=headers)
            assert (answer.status, answer.fields) == (401, ["header.Authorization"])
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert "good-token" not in str(answer)


@pytest.mark.parametrize("path", ["/", "/billingEngine", "/billingEngine/cost/", f"{FAMILY}/"])
async def test_an_unknown_path(serve: Serve, path: str) -> None:
    """An unknown path answers 404 in the envelope."""
    async with serve() as call:
        answer = await call("GET", path)
    assert answer.body["response"]["status"] == {"code": 404, "message": "Not Found"}
    assert answer.status == 404


async def test_an_unknown_method(serve: Serve) -> None:
    """An unknown method answers 405 in the envelope, with the allowed methods."""
    async with serve() as call:
        answer = await call("PATCH", f"{FAMILY}/x")
        cost = await call("POST", COST)
    assert (answer.status, answer.headers["Allow"]) == (405, "DELETE,GET,PUT")
    assert (cost.status, cost.headers["Allow"]) == (405, "GET")


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("fromDate=2024-01-02&toDate=2024-01-01", ["query.fromDate"]),
        ("fromDate=2024-1-2", ["query.fromDate"]),
        ("fromDate=20240102", ["query.fromDate"]),
        ("toDate=2023-02-29", ["query.toDate"]),
        ("toDate=2024-01-01T00:00:00Z", ["query.toDate"]),
        ("toDate=", ["query.toDate"]),
        ("groupBy=Service", ["query.groupBy"]),
        ("accountId=", ["query.accountId"]),
        ("accountId=007&accountId=008", ["query.accountId"]),
        ("groupBy=&toDate=x&accountId=", ["query.accountId", "query.toDate", "query.groupBy"]),
        ("fromDate=%D9%A2024-01-01", ["query.fromDate"]),
    ],
)
async def test_invalid_parameters_of_a_cost_query(
    serve: Serve, bill: Bill, query: str, fields: list[str]
) -> None:
    """A 400 names all invalid parameters at once."""
    async with serve(focus=[bill({})]) as call:
        answer = await call("GET", f"{COST}?{query}")
    assert (answer.status, answer.fields) == (400, fields)
    assert {error["code"] for error in answer.body["response"]["errors"]} == {"ValidationError"}


async def test_costs_of_an_unknown_account(serve: Serve, bill: Bill) -> None:
    """An unknown account answers 404, as an empty list would mean that it has no costs."""
    async with serve(focus=[bill({})]) as call:
        answer = await call("GET", f"{COST}?accountId=7")
    assert (answer.status, answer.fields) == (404, ["query.accountId"])


async def test_days_are_inclusive_at_both_ends(serve: Serve, bill: Bill) -> None:
    """A window includes both dates; a missing date does not restrict the days."""
    days = [f"2024-01-{day:02d}" for day in range(1, 6)]
    path = bill(*({"ChargePeriodStart": day} for day in days))
    async with serve(focus=[path]) as call:

        async def days_of(**query: str) -> list[str]:
            return [item["date"] for item in await call.costs(**query)]

        assert await days_of(fromDate="2024-01-02", toDate="2024-01-04") == days[1:4]
        assert await days_of(fromDate="2024-01-03", toDate="2024-01-03") == days[2:3]
        assert await days_of(toDate="2024-01-02") == days[:2]
        assert await days_of(fromDate="2024-01-05") == days[4:]
        assert await days_of() == days
        assert await days_of(fromDate="0001-01-01", toDate="2023-12-31") == []


async def test_rows_are_grouped_and_ordered(serve: Serve, bill: Bill) -> None:
    """There is one row per day, value and currency, in this order; a missing value is null."""
    path = bill(
        {"ServiceName": "B", "ChargePeriodStart": "2024-01-02"},
        {"ServiceName": "B"},
        {"ServiceName": "A", "SubAccountId": "008"},
        {"ServiceName": "A", "BilledCost": "-0.25"},
        {"ServiceName": "NULL"},
    )
    async with serve(focus=[path]) as call:
        by_service = await call.costs(groupBy="service")
        by_account = await call.costs(groupBy="account", toDate="2024-01-30")
        whole = await call.costs()
    assert [(item["date"], item["service"], item["cost"]) for item in by_service] == [
        ("2024-01-02", "B", Decimal("1.25")),
        ("2024-01-31", "A", Decimal("1.00")),
        ("2024-01-31", "B", Decimal("1.25")),
        ("2024-01-31", None, Decimal("1.25")),
    ]
    assert [(item["accountId"], item["date"]) for item in by_account] == [("007", "2024-01-02")]
    assert [item["cost"] for item in whole] == [Decimal("1.25"), Decimal("3.50")]


async def test_the_provider_of_a_row(serve: Serve, bill: Bill) -> None:
    """A row that sums two clouds has no cloudProvider."""
    path = bill({}, {"ProviderName": "Microsoft", "SubAccountId": "/subscriptions/1"})
    async with serve(focus=[path]) as call:
        (day,) = await call.costs()
        accounts = await call.costs(groupBy="account")
    assert "cloudProvider" not in day
    assert [(item["accountId"], item["cloudProvider"]) for item in accounts] == [
        ("/subscriptions/1", "azure"),
        ("007", "aws"),
    ]


async def test_accounts_can_be_restricted_to_one(serve: Serve, bill: Bill) -> None:
    """Ids are text, so a leading zero is significant."""
    async with serve(focus=[bill({}, {"SubAccountId": "7"})]) as call:

        async def ids_of(query: str) -> list[str]:
            items = (await call("GET", f"/billingEngine/account{query}")).items
            return [item["accountId"] for item in items]

        assert await ids_of("") == ["007", "7"]
        assert await ids_of("?accountId=007") == ["007"]
        assert await ids_of("?accountId=07") == []


async def test_a_family_from_creation_to_deletion(serve: Serve, bill: Bill) -> None:
    """A family can be created, read, listed, partly updated and deleted."""
    async with serve(focus=[bill({})]) as call:
        body = {"family": {"name": "One", "description": "First", "accountIds": ["007", "007"]}}
        (created,) = (await call("POST", FAMILY, json=body)).items
        path = f"{FAMILY}/{created['familyId']}"
        assert created == body["family"] | {"familyId": created["familyId"], "accountIds": ["007"]}
        assert (await call("GET", path)).items == [created]
        assert (await call("GET", FAMILY)).items == [created]
        (changed,) = (await call("PUT", path, json={"family": {"name": "Two"}})).items
        assert changed == created | {"name": "Two"}
        (emptied,) = (await call("PUT", path, json={"family": {"accountIds": []}})).items
        assert emptied == changed | {"accountIds": []}
        assert (await call("DELETE", path)).items == []
        for method in ("GET", "DELETE"):
            missing = await call(method, path)
            assert (missing.status, missing.fields) == (404, ["path.familyId"])
        missing = await call("PUT", path, json={"family": {}})
        assert (missing.status, missing.fields) == (404, ["path.familyId"])


async def test_an_account_is_in_one_family_at_most(serve: Serve, bill: Bill) -> None:
    """Creating or updating a family with another family's account is a 409 without effect."""
    async with serve(focus=[bill({})]) as call:
        await call("POST", FAMILY, json={"family": {"name": "One", "accountIds": ["007"]}})
        body = {"family": {"name": "Two", "accountIds": ["008", "007"]}}
        refused = await call("POST", FAMILY, json=body)
        assert (refused.status, refused.fields) == (409, ["body.family.accountIds"])
        (two,) = (await call("POST", FAMILY, json={"family": {"name": "Two"}})).items
        refused = await call("PUT", f"{FAMILY}/{two['familyId']}", json=body)
        assert refused.status == 409
        families = (await call("GET", FAMILY)).items
    assert [family["accountIds"] for family in families] == [["007"], []]


async def test_costs_by_family(serve: Serve, bill: Bill) -> None:
    """A family has the costs of its accounts; accounts without a family have a null family."""
    path = bill({}, {"SubAccountId": "008"}, {"SubAccountId": "009", "BilledCost": "5"})
    async with serve(focus=[path]) as call:
        body = {"family": {"name": "One", "accountIds": ["007", "008", "unknown"]}}
        (created,) = (await call("POST", FAMILY, json=body)).items
        items = await call.costs(groupBy="family")
    assert [(item["family"], item["familyId"], item["cost"]) for item in items] == [
        ("One", created["familyId"], Decimal("2.50")),
        (None, None, 5),
    ]


@pytest.mark.parametrize(
    "family_id", ["a%2Fb", "..%2F..", "%00", "%FF", "%ED%A0%80", "%C3%A9", "%25"]
)
async def test_an_unusual_family_id_is_unknown(serve: Serve, family_id: str) -> None:
    """Any text in the path is treated as an unknown family id."""
    async with serve() as call:
        url = URL(f"{call.server.base_url}{FAMILY}/{family_id}", encoded=True)
        headers = {"Authorization": f"Bearer {call.server.token}"}
        async with call.session.get(url, headers=headers) as answer:
            assert answer.status == 404
            assert (await answer.json())["response"]["errors"]


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b"", ["body"]),
        (b"{", ["body"]),
        (b"[" * 100_000, ["body"]),
        (b'"\xff"', ["body"]),
        (b"[]", ["body"]),
        (b"{}", ["body.family"]),
        (b'{"family": null}', ["body.family"]),
        (b'{"family": {}}', ["body.family.name"]),
        (b'{"family": {"name": ""}}', ["body.family.name"]),
        (
            b'{"family": {"name": 1, "description": []}}',
            ["body.family.name", "body.family.description"],
        ),
        (b'{"family": {"name": "x", "accountIds": "a"}}', ["body.family.accountIds"]),
        (b'{"family": {"name": "x", "accountIds": null}}', ["body.family.accountIds"]),
        (b'{"family": {"name": "x", "accountIds": ["a", 1]}}', ["body.family.accountIds[1]"]),
    ],
)
async def test_an_invalid_body(serve: Serve, body: bytes, fields: list[str]) -> None:
    """A 400 names the invalid fields of a body; no body causes a 500."""
    async with serve() as call:
        headers = {
            "Authorization": f"Bearer {call.server.token}",
            "Content-Type": "application/json",
        }
        answer = await call("POST", FAMILY, data=body, headers=headers)
    assert (answer.status, answer.fields) == (400, fields)


async def test_bodies_that_are_not_accepted(serve: Serve, tmp_path: Path) -> None:
    """A body of another type than JSON answers 415, one of megabytes 413."""
    large = tmp_path / "large"
    large.write_bytes(b" " * 2_000_000)
    async with serve() as call:
        token = {"Authorization": f"Bearer {call.server.token}"}
        other = await call("POST", FAMILY, data="x", headers=token | {"Content-Type": "text/plain"})
        with large.open("rb") as file:
            json_type = {"Content-Type": "application/json"}
            too_large = await call("POST", FAMILY, data=file, headers=token | json_type)
    assert (other.status, too_large.status) == (415, 413)
    assert other.fields == ["header.Content-Type"]


async def test_cost_intelligence(serve: Serve, bill: Bill) -> None:
    """A setup is unknown at first, then registered, and validated by its billing account."""
    path, check = "/costIntelligence/setup", "/costIntelligence/setup/validation"
    setup = {"cloudProvider": "gcp", "billingAccountId": "01-A"}
    async with serve(focus=[bill({})]) as call:
        before = await call("POST", check, json={"costIntelligence": setup})
        assert (before.status, before.fields) == (404, ["body.costIntelligence.billingAccountId"])
        for _ in range(2):
            (created,) = (await call("POST", path, json={"costIntelligence": setup})).items
            assert created == setup | {"status": "ACTIVE"}
        (valid,) = (await call("POST", check, json={"costIntelligence": setup})).items
        assert valid == setup | {"valid": True}
        wrong = {"costIntelligence": setup | {"cloudProvider": "aws"}}
        (result,) = (await call("POST", check, json=wrong)).items
        assert result["valid"] is False
        accounts = (await call("GET", "/billingEngine/account?accountId=01-A")).items
        assert accounts == [
            {
                "accountId": "01-A",
                "cloudProvider": "gcp",
                "status": "PENDING",
                "billingAccountId": "01-A",
            }
        ]
        assert await call.costs(accountId="01-A") == []


@pytest.mark.parametrize(
    ("setup", "fields"),
    [
        ({}, ["cloudProvider", "billingAccountId"]),
        ({"cloudProvider": "AWS", "billingAccountId": "1"}, ["cloudProvider"]),
        ({"cloudProvider": "aws", "billingAccountId": 1}, ["billingAccountId"]),
    ],
)
async def test_an_invalid_setup(serve: Serve, setup: dict[str, Any], fields: list[str]) -> None:
    """A 400 names the invalid fields of a setup."""
    async with serve() as call:
        answer = await call("POST", "/costIntelligence/setup", json={"costIntelligence": setup})
    assert answer.status == 400
    assert answer.fields == [f"body.costIntelligence.{field}" for field in fields]


@pytest.mark.parametrize(
    "request_line", ["BREW /coffee HTTP/1.1", "GET /\xe9 HTTP/1.1", f"GET /{'x' * 9999} HTTP/1.1"]
)
async def test_a_malformed_request(
    serve: Serve, caplog: pytest.LogCaptureFixture, request_line: str
) -> None:
    """A malformed request answers 400, closes the connection and is not logged."""
    async with serve() as call:
        reader, writer = await asyncio.open_connection("127.0.0.1", URL(call.server.base_url).port)
        token = "Authorization: Bearer good-token"
        writer.write(f"{request_line}\r\nHost: localhost\r\n{token}\r\n\r\n".encode("latin-1"))
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
    assert head.split()[1] == b"400"
    assert json.loads(body)["response"]["status"] == {"code": 400, "message": "Bad Request"}
    assert not caplog.records
