"""Pulls of a list of queries, and pulls with `max_requests`."""

from collections.abc import AsyncIterator
from datetime import date
from typing import Any

import pytest

from spot_billing_async import (
    ClientConfig,
    ConfigError,
    CostPlan,
    CostQuery,
    Failed,
    Fetched,
    RequestLimitReachedError,
    RetryPolicy,
    SpotBillingClient,
)
from spot_billing_async.emulator import Emulator

ACCOUNT = "011254002932"
JANUARY = date(2024, 1, 1), date(2024, 1, 31)
CONFIG = ClientConfig(retry=RetryPolicy(backoff_base_s=0.001, budget_share=1.0))


@pytest.fixture
async def client() -> AsyncIterator[SpotBillingClient]:
    async with (
        Emulator(token="t") as server,
        SpotBillingClient("t", base_url=server.base_url) as entered,
    ):
        yield entered


async def test_a_list_of_queries_is_pulled(client: SpotBillingClient) -> None:
    """A list of queries is pulled unchanged, in its order."""
    queries = [
        CostQuery(account_id=ACCOUNT, from_date=JANUARY[0], to_date=JANUARY[1]),
        CostQuery(account_id="spot-sample-01", from_date=JANUARY[0], to_date=JANUARY[0]),
    ]
    async with client.costs.pull(queries, ordered=True) as run:
        assert [outcome.query async for outcome in run] == queries
    assert run.report.complete


@pytest.mark.parametrize(
    "plan",
    [
        "plan",
        [ACCOUNT],
        [CostQuery(account_id="")],
        [CostQuery(from_date=JANUARY[1], to_date=JANUARY[0])],
    ],
)
async def test_an_invalid_query_is_an_error(client: SpotBillingClient, plan: Any) -> None:
    """An invalid plan is an error before anything is sent."""
    with pytest.raises(ConfigError, match=r"^(plan|from_date).* must be .*got "):
        client.costs.pull(plan)


@pytest.mark.parametrize("max_requests", [0, -1, True, 1.5])
async def test_an_invalid_limit_is_an_error(client: SpotBillingClient, max_requests: Any) -> None:
    """`max_requests` is an integer of at least 1."""
    plan = CostPlan.build([ACCOUNT], *JANUARY)
    with pytest.raises(ConfigError, match="max_requests"):
        client.costs.pull(plan, max_requests=max_requests)


async def test_no_request_is_sent_beyond_the_limit(client: SpotBillingClient) -> None:
    """Slices that have no request left fail without one, and the others succeed."""
    plan = CostPlan.build([ACCOUNT], *JANUARY, window="day")
    async with client.costs.pull(plan, max_requests=5) as run:
        outcomes = [outcome async for outcome in run]
    assert (run.report.requests, run.report.failed) == (5, 26)
    assert sum(isinstance(outcome, Fetched) for outcome in outcomes) == 5
    for outcome in outcomes:
        if isinstance(outcome, Failed):
            assert isinstance(outcome.error, RequestLimitReachedError)
            assert outcome.attempts == 0


@pytest.mark.parametrize("options", [{"faults": 0.5}, {"page_size": 1}])
async def test_retries_and_pages_count(options: dict[str, Any]) -> None:
    """Retries and further pages count against the limit, and no other request is sent."""
    async with (
        Emulator(token="t", **options) as server,
        SpotBillingClient("t", base_url=server.base_url, config=CONFIG) as client,
    ):
        plan = CostPlan.build([ACCOUNT], *JANUARY, window="day", group_by="service")
        async with client.costs.pull(plan, max_requests=20) as run:
            async for _ in run:
                pass
        assert server.requests == run.report.requests == 20
