"""The eleven operations over HTTP: answers, and how a call is refused."""

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


async def test_an_answer_comes_in_the_envelope(serve: Serve) -> None:
    """The vendor's envelope: the request as it was understood, the status, a kind, items, count."""
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
async def test_no_answer_without_a_good_token(serve: Serve, authorization: str | None) -> None:
    """401 in the envelope, for paths that don't exist too, and the token is not in it."""
    headers = {} if authorization is None else {"Authorization": authorization}
    async with serve() as call:
        for path in ("/billingEngine/account", "/nowhere"):
            answer = await call("GET", path, headers=headers)
            assert (answer.status, answer.fields) == (401, ["header.Authorization"])
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert "good-token" not in str(answer)


@pytest.mark.parametrize("path", ["/", "/billingEngine", "/billingEngine/cost/", f"{FAMILY}/"])
async def test_an_unknown_path(serve: Serve, path: str) -> None:
    """404 in the envelope."""
    async with serve() as call:
        answer = await call("GET", path)
    assert answer.body["response"]["status"] == {"code": 404, "message": "Not Found"}
    assert answer.status == 404


async def test_an_unknown_method(serve: Serve) -> None:
    """405 in the envelope, with the methods that there are."""
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
async def test_bad_parameters_of_a_cost_query(
    serve: Serve, bill: Bill, query: str, fields: list[str]
) -> None:
    """400, and every parameter at fault is named at once."""
    async with serve(focus=[bill({})]) as call:
        answer = await call("GET", f"{COST}?{query}")
    assert (answer.status, answer.fields) == (400, fields)
    assert {error["code"] for error in answer.body["response"]["errors"]} == {"ValidationError"}


async def test_costs_of_an_unknown_account(serve: Serve, bill: Bill) -> None:
    """404: an answer without rows would say that a mistyped account cost nothing."""
    async with serve(focus=[bill({})]) as call:
        answer = await call("GET", f"{COST}?accountId=7")
    assert (answer.status, answer.fields) == (404, ["query.accountId"])


async def test_days_are_inclusive_at_both_ends(serve: Serve, bill: Bill) -> None:
    """Windows that touch share no day and leave none out; an open side has no end."""
    days = [f"2024-01-{day:02d}" for day in range(1, 6)]
    path = bill(*({"ChargePeriodStart": day} for day in days))
    async with serve(focus=[path]) as call:

        async def found(**query: str) -> list[str]:
            return [item["date"] for item in await call.costs(**query)]

        assert await found(fromDate="2024-01-02", toDate="2024-01-04") == days[1:4]
        assert await found(fromDate="2024-01-03", toDate="2024-01-03") == days[2:3]
        assert await found(toDate="2024-01-02") == days[:2]
        assert await found(fromDate="2024-01-05") == days[4:]
        assert await found() == days
        assert await found(fromDate="0001-01-01", toDate="2023-12-31") == []


async def test_rows_are_grouped_and_ordered(serve: Serve, bill: Bill) -> None:
    """A row for a day, a value and a currency, in this order; a value left open comes as null."""
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


async def test_the_provider_is_told_where_it_is_one(serve: Serve, bill: Bill) -> None:
    """A row that adds up two clouds has no cloudProvider."""
    path = bill({}, {"ProviderName": "Microsoft", "SubAccountId": "/subscriptions/1"})
    async with serve(focus=[path]) as call:
        (day,) = await call.costs()
        accounts = await call.costs(groupBy="account")
    assert "cloudProvider" not in day
    assert [(item["accountId"], item["cloudProvider"]) for item in accounts] == [
        ("/subscriptions/1", "azure"),
        ("007", "aws"),
    ]


async def test_accounts_can_be_narrowed_to_one(serve: Serve, bill: Bill) -> None:
    """Ids are text: a leading zero is part of one."""
    async with serve(focus=[bill({}, {"SubAccountId": "7"})]) as call:

        async def found(query: str) -> list[str]:
            items = (await call("GET", f"/billingEngine/account{query}")).items
            return [item["accountId"] for item in items]

        assert await found("") == ["007", "7"]
        assert await found("?accountId=007") == ["007"]
        assert await found("?accountId=07") == []


async def test_a_family_from_making_to_deleting(serve: Serve, bill: Bill) -> None:
    """What is made can be read, listed, changed in part, and is gone after it was deleted."""
    async with serve(focus=[bill({})]) as call:
        body = {"family": {"name": "One", "description": "First", "accountIds": ["007", "007"]}}
        (made,) = (await call("POST", FAMILY, json=body)).items
        path = f"{FAMILY}/{made['familyId']}"
        assert made == body["family"] | {"familyId": made["familyId"], "accountIds": ["007"]}
        assert (await call("GET", path)).items == [made]
        assert (await call("GET", FAMILY)).items == [made]
        (changed,) = (await call("PUT", path, json={"family": {"name": "Two"}})).items
        assert changed == made | {"name": "Two"}
        (emptied,) = (await call("PUT", path, json={"family": {"accountIds": []}})).items
        assert emptied == changed | {"accountIds": []}
        assert (await call("DELETE", path)).items == []
        for method in ("GET", "DELETE"):
            gone = await call(method, path)
            assert (gone.status, gone.fields) == (404, ["path.familyId"])
        gone = await call("PUT", path, json={"family": {}})
        assert (gone.status, gone.fields) == (404, ["path.familyId"])


async def test_an_account_is_in_one_family_at_most(serve: Serve, bill: Bill) -> None:
    """409 on making and on changing, and nothing is changed by it."""
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
    """A family has the costs of its accounts; accounts in none come under a null family."""
    path = bill({}, {"SubAccountId": "008"}, {"SubAccountId": "009", "BilledCost": "5"})
    async with serve(focus=[path]) as call:
        body = {"family": {"name": "One", "accountIds": ["007", "008", "unknown"]}}
        (made,) = (await call("POST", FAMILY, json=body)).items
        items = await call.costs(groupBy="family")
    assert [(item["family"], item["familyId"], item["cost"]) for item in items] == [
        ("One", made["familyId"], Decimal("2.50")),
        (None, None, 5),
    ]


@pytest.mark.parametrize(
    "family_id", ["a%2Fb", "..%2F..", "%00", "%FF", "%ED%A0%80", "%C3%A9", "%25"]
)
async def test_an_odd_family_id_is_just_unknown(serve: Serve, family_id: str) -> None:
    """Whatever a path holds is an id that no family has."""
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
async def test_a_bad_body(serve: Serve, body: bytes, fields: list[str]) -> None:
    """400 with the fields at fault, never a 500."""
    async with serve() as call:
        headers = {
            "Authorization": f"Bearer {call.server.token}",
            "Content-Type": "application/json",
        }
        answer = await call("POST", FAMILY, data=body, headers=headers)
    assert (answer.status, answer.fields) == (400, fields)


async def test_bodies_that_are_not_taken(serve: Serve, tmp_path: Path) -> None:
    """415 for another type than JSON, 413 for a body of megabytes."""
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
    """A setup is registered, validated by its billing account, and unknown before."""
    path, check = "/costIntelligence/setup", "/costIntelligence/setup/validation"
    setup = {"cloudProvider": "gcp", "billingAccountId": "01-A"}
    async with serve(focus=[bill({})]) as call:
        before = await call("POST", check, json={"costIntelligence": setup})
        assert (before.status, before.fields) == (404, ["body.costIntelligence.billingAccountId"])
        for _ in range(2):
            (made,) = (await call("POST", path, json={"costIntelligence": setup})).items
            assert made == setup | {"status": "ACTIVE"}
        (valid,) = (await call("POST", check, json={"costIntelligence": setup})).items
        assert valid == setup | {"valid": True}
        wrong = {"costIntelligence": setup | {"cloudProvider": "aws"}}
        (found,) = (await call("POST", check, json=wrong)).items
        assert found["valid"] is False
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
async def test_a_bad_setup(serve: Serve, setup: dict[str, Any], fields: list[str]) -> None:
    """400 with the fields at fault."""
    async with serve() as call:
        answer = await call("POST", "/costIntelligence/setup", json={"costIntelligence": setup})
    assert answer.status == 400
    assert answer.fields == [f"body.costIntelligence.{field}" for field in fields]


@pytest.mark.parametrize(
    "request_line", ["BREW /coffee HTTP/1.1", "GET /\xe9 HTTP/1.1", f"GET /{'x' * 9999} HTTP/1.1"]
)
async def test_bytes_that_are_no_request(
    serve: Serve, caplog: pytest.LogCaptureFixture, request_line: str
) -> None:
    """400 in the envelope, the connection is closed, and what came is in no log."""
    async with serve() as call:
        reader, writer = await asyncio.open_connection("127.0.0.1", URL(call.server.base_url).port)
        token = "Authorization: Bearer good-token"
        writer.write(f"{request_line}\r\nHost: x\r\n{token}\r\n\r\n".encode("latin-1"))
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
    assert head.split()[1] == b"400"
    assert json.loads(body)["response"]["status"] == {"code": 400, "message": "Bad Request"}
    assert not caplog.records
