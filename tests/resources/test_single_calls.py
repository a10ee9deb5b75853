"""Requests and results of every public call, each as a single exchange."""

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from aioresponses import aioresponses
from yarl import URL

from spot_billing_async import (
    AccountFamily,
    Acknowledgement,
    BillingAccount,
    ConfigError,
    CostItem,
    CostPlan,
    DecodeError,
    SpotBillingClient,
)

BASE = "https://api.example.com"
ANY_URL = re.compile(f"{BASE}/.*")
FAMILY = {"familyId": "fam-1", "name": "n", "description": "d", "accountIds": ["a", 7]}

Call = Callable[[SpotBillingClient], Awaitable[Any]]


@pytest.fixture
async def client() -> AsyncIterator[SpotBillingClient]:
    async with SpotBillingClient("t", base_url=BASE, account_id="own") as entered:
        yield entered


def envelope(*items: Any) -> dict[str, Any]:
    return {
        "request": {"id": "r1"},
        "response": {
            "status": {"code": 200, "message": "Success"},
            "items": items,
            "count": len(items),
        },
    }


CALLS: list[tuple[str, str, str, Any, Call]] = [
    ("listAll", "GET", "/billingEngine/account", None, lambda c: c.accounts.list()),
    ("listOne", "GET", "/billingEngine/account?accountId=a", None, lambda c: c.accounts.list("a")),
    (
        "setup",
        "POST",
        "/billingEngine/setup",
        {"billingEngine": {"cloudProvider": "aws", "billingAccountId": "1", "bucketName": "b"}},
        lambda c: c.billing_engine.setup(
            cloud_provider="AWS",
            billing_account_id="1",
            bucket_name="b",
        ),
    ),
    (
        "validate",
        "POST",
        "/billingEngine/setup/validation",
        {"billingEngine": {"cloudProvider": "example_value", "billingAccountId": "1"}},
        lambda c: c.billing_engine.validate(cloud_provider="example_value", billing_account_id="1"),
    ),
    (
        "create",
        "POST",
        "/billingEngine/family",
        {"family": {"name": "n", "description": "d", "accountIds": ["a", "b"]}},
        lambda c: c.families.create(name="n", description="d", account_ids=["a", "b"]),
    ),
    ("families", "GET", "/billingEngine/family", None, lambda c: c.families.list()),
    ("family", "GET", "/billingEngine/family/f%2F1", None, lambda c: c.families.get("f/1")),
    (
        "rename",
        "PUT",
        "/billingEngine/family/f",
        {"family": {"name": "n"}},
        lambda c: c.families.update("f", name="n"),
    ),
    (
        "empty",
        "PUT",
        "/billingEngine/family/f",
        {"family": {"description": "", "accountIds": []}},
        lambda c: c.families.update("f", description="", account_ids=()),
    ),
    ("delete", "DELETE", "/billingEngine/family/f", None, lambda c: c.families.delete("f")),
    (
        "costs",
        "GET",
        "/billingEngine/cost?accountId=a&fromDate=2018-10-01&toDate=2018-10-31&groupBy=service",
        None,
        lambda c: c.costs.get("a", date(2018, 10, 1), date(2018, 10, 31), "service"),
    ),
    ("own", "GET", "/billingEngine/cost?accountId=own", None, lambda c: c.costs.get()),
    (
        "noAccount",
        "GET",
        "/billingEngine/cost",
        None,
        lambda c: c.with_token("u").costs.get(),
    ),
    (
        "ciSetup",
        "POST",
        "/costIntelligence/setup",
        {"costIntelligence": {"cloudProvider": "gcp", "billingAccountId": "1"}},
        lambda c: c.cost_intelligence.setup(cloud_provider="gcp", billing_account_id="1"),
    ),
    (
        "ciValidate",
        "POST",
        "/costIntelligence/setup/validation",
        {"costIntelligence": {"cloudProvider": "gcp", "billingAccountId": "1"}},
        lambda c: c.cost_intelligence.validate(cloud_provider="gcp", billing_account_id="1"),
    ),
]


@pytest.mark.parametrize(
    ("method", "path", "body", "call"), [c[1:] for c in CALLS], ids=[c[0] for c in CALLS]
)
async def test_each_call_sends_the_request_of_the_contract(
    client: SpotBillingClient, method: str, path: str, body: dict[str, Any] | None, call: Call
) -> None:
    """Method, path, query and body follow the contract; an empty 200 response has no items."""
    with aioresponses() as server:
        server.add(ANY_URL, method)
        result = await call(client)
    assert server.requests is not None
    ((sent_method, url), (request,)) = next(iter(server.requests.items()))
    expected = URL(BASE + path, encoded=True)
    assert (sent_method, url.raw_path) == (method, expected.raw_path)
    assert sorted(url.query.items()) == sorted(expected.query.items())
    sent = request.kwargs["data"]
    assert (None if sent is None else json.loads(sent)) == body
    if body is not None and "family" in body:
        family = body["family"]
        assert result == AccountFamily(
            name=family.get("name"),
            description=family.get("description"),
            account_ids=family.get("accountIds", []),
        )
    else:
        assert result in ([], None, Acknowledgement())


async def test_accounts_are_decoded(client: SpotBillingClient) -> None:
    """Every field is optional, as the contract's example has an account without any."""
    account = {"accountId": "a", "cloudProvider": "aws", "status": [1], "billingAccountId": "b"}
    with aioresponses() as server:
        server.get(ANY_URL, payload=envelope(account, {}))
        assert await client.accounts.list() == [
            BillingAccount(
                account_id="a", cloud_provider="aws", status=[1], billing_account_id="b"
            ),
            BillingAccount(),
        ]


@pytest.mark.parametrize("id_key", ["familyId", "id"])
async def test_families_are_decoded(client: SpotBillingClient, id_key: str) -> None:
    """The id of a family may have either key, and account ids may be integers."""
    answered = {**FAMILY, id_key: "fam-1"}
    if id_key == "id":
        del answered["familyId"]
    expected = AccountFamily(family_id="fam-1", name="n", description="d", account_ids=["a", "7"])
    with aioresponses() as server:
        server.get(ANY_URL, payload=envelope(answered), repeat=True)
        server.post(ANY_URL, payload=envelope(answered))
        server.put(ANY_URL, payload=envelope(answered))
        assert await client.families.list() == [expected]
        assert await client.families.get("fam-1") == expected
        assert await client.families.create(name="n") == expected
        assert await client.families.update("fam-1", name="n") == expected


async def test_two_families_in_a_response_for_one_are_an_error(client: SpotBillingClient) -> None:
    """A response for one family that holds two is an error, as either could be meant."""
    with aioresponses() as server:
        server.get(ANY_URL, payload=envelope(FAMILY, FAMILY))
        with pytest.raises(DecodeError, match="2 families"):
            await client.families.get("fam-1")


async def test_an_acknowledgement_is_plain_data(client: SpotBillingClient) -> None:
    """An acknowledgement has the request id, the status, and the items unchanged."""
    with aioresponses() as server:
        server.post(ANY_URL, payload=envelope({"check": "bucket", "valid": False, "rows": 3}))
        acknowledged = await client.billing_engine.validate(
            cloud_provider="aws", billing_account_id="1"
        )
    assert acknowledged.request_id == "r1"
    assert acknowledged.status is not None
    assert (acknowledged.status.code, acknowledged.status.message) == (200, "Success")
    assert acknowledged.items == [{"check": "bucket", "valid": False, "rows": 3}]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: c.accounts.list(""), "account_id must be .*, got ''"),
        (lambda c: c.accounts.list(7), "account_id must be .*, got 7"),
        (lambda c: c.families.create(name=" "), "name must be a non-empty string, got ' '"),
        (
            lambda c: c.families.create(name="n", account_ids="a"),
            "account_ids must be a list of ids, got 'a'",
        ),
        (
            lambda c: c.families.create(name="n", account_ids=["a", ""]),
            r"account_ids\[1\] must be .*, got ''",
        ),
        (lambda c: c.families.create(name="\ud800"), "name must be valid Unicode text, got "),
        (
            lambda c: c.families.create(name="n", description=7),
            "description must be a string, got 7",
        ),
        (lambda c: c.families.get(None), "family_id must be .*, got None"),
        (lambda c: c.families.update(None, name="n"), "family_id must be .*, got None"),
        (
            lambda c: c.billing_engine.validate(cloud_provider="\ud800", billing_account_id="1"),
            "cloud_provider must be valid Unicode text, got ",
        ),
        (lambda c: c.families.get(""), "family_id must be .*, got ''"),
        (
            lambda c: c.families.get(".."),
            r"family_id must not be .* would change the path, got '\.\.'",
        ),
        (
            lambda c: c.families.delete("."),
            r"family_id must not be .* would change the path, got '\.'",
        ),
        (lambda c: c.families.update("f"), "nothing to change"),
        (
            lambda c: c.billing_engine.setup(
                cloud_provider="oracle", billing_account_id="1", bucket_name="b"
            ),
            "cloud_provider must be one of aws, azure, gcp, got 'oracle'",
        ),
        (
            lambda c: c.billing_engine.setup(
                cloud_provider="aws", billing_account_id="1", bucket_name=""
            ),
            "bucket_name must be .*, got ''",
        ),
        (
            lambda c: c.cost_intelligence.validate(cloud_provider="", billing_account_id="1"),
            "cloud_provider must be .*, got ''",
        ),
        (
            lambda c: c.cost_intelligence.setup(cloud_provider="aws", billing_account_id="a\0"),
            "billing_account_id must be .*, got 'a\\\\x00'",
        ),
        (
            lambda c: c.costs.get("a", date(2018, 2, 1), date(2018, 1, 1)),
            "from_date must be on or before to_date 2018-01-01, got 2018-02-01",
        ),
        (
            lambda c: c.costs.get("a", datetime(2018, 1, 1, tzinfo=UTC)),
            "from_date must be a datetime.date",
        ),
        (
            lambda c: c.costs.get("a", to_date="2018-01-01"),
            "to_date must be a datetime.date .* got '2018-01-01'",
        ),
        (
            lambda c: c.costs.get("a", group_by="tag"),
            "group_by must be one of .* or None, got 'tag'",
        ),
        (lambda c: c.costs.get(""), "account_id must be .*, got ''"),
        (lambda c: c.costs.get("a", item_type=int | type), "item_type"),
    ],
)
async def test_invalid_arguments_are_errors_before_anything_is_sent(
    client: SpotBillingClient, call: Call, message: str
) -> None:
    """The error names the argument, what is allowed and the value."""
    with aioresponses() as server, pytest.raises(ConfigError, match=message):
        await call(client)
    assert not server.requests


async def test_a_pull_checks_its_item_type_at_once(client: SpotBillingClient) -> None:
    """A pull checks plan and item type when it is made, not with the first response."""
    plan = CostPlan.build(["a"], date(2018, 1, 1), date(2018, 1, 1))
    with pytest.raises(ConfigError, match="item_type"):
        client.costs.pull(plan, int | type)  # type: ignore[arg-type]  # what is tested
    with pytest.raises(
        ConfigError, match="plan must be a CostPlan or a list of CostQuery, got 'abc'"
    ):
        client.costs.pull("abc")  # type: ignore[arg-type]  # what is tested


class Picky(msgspec.Struct):
    """Row type of a caller whose code fails."""

    cost: Decimal

    def __post_init__(self) -> None:
        raise LookupError("mine")


async def test_a_failing_item_type_is_a_decode_error(client: SpotBillingClient) -> None:
    """An exception that a caller's type raises in decoding becomes a DecodeError."""
    with aioresponses() as server:
        server.get(ANY_URL, payload=envelope({"cost": 1}))
        with pytest.raises(DecodeError, match="failed with LookupError"):
            await client.costs.get("a", item_type=Picky)


async def test_costs_without_an_amount_are_an_error(client: SpotBillingClient) -> None:
    """A row without an amount is an error that lists its keys, not a cost of 0."""
    with aioresponses() as server:
        server.get(ANY_URL, payload=envelope({"amount": 1, "service": "S3"}))
        with pytest.raises(DecodeError, match="keys seen: amount, service"):
            await client.costs.get("a")


async def test_costs_are_exact(client: SpotBillingClient) -> None:
    """An amount is the Decimal of its JSON text."""
    body = '{"response":{"items":[{"cost":0.1000000000000000055511151231,"currency":"USD"}]}}'
    with aioresponses() as server:
        server.get(ANY_URL, body=body)
        (item,) = await client.costs.get("a")
    assert isinstance(item, CostItem)
    assert str(item.cost) == "0.1000000000000000055511151231"
