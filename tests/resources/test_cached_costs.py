"""Costs through the cache, over real sockets: the same results with fewer requests."""

import random
from collections.abc import AsyncIterator, Callable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from spot_billing_async import (
    ClientConfig,
    ConfigError,
    CostPlan,
    CostQuery,
    DecodeError,
    Failed,
    RequestLimitReachedError,
    RetryPolicy,
    ServerError,
    SpotBillingClient,
)
from spot_billing_async.cache import CostCache
from spot_billing_async.emulator import Emulator
from spot_billing_async.resources import costs as costs_module
from spot_billing_async.table import sync
from spot_billing_async.telemetry import CacheRead, CallEnded, Event
from tests.support import serve

ACCOUNT = "011254002932"
FIRST, LAST = date(2024, 1, 1), date(2024, 3, 31)
CONFIG = ClientConfig(retry=RetryPolicy(max_attempts=1))

Client = Callable[..., SpotBillingClient]


@pytest.fixture
async def server() -> AsyncIterator[Emulator]:
    """Yield an emulator with its sample."""
    async with Emulator(token="t") as entered:
        yield entered


@pytest.mark.parametrize("group_by", [None, "account", "service", "region", "family"])
async def test_results_are_those_of_the_server(server: Emulator, group_by: Any) -> None:
    """Rows and their order are those of the server, even if part of the range is cached."""
    chance = random.Random(str(group_by))  # noqa: S311  for a test, not for a secret
    async with SpotBillingClient("t", base_url=server.base_url, cache=CostCache()) as client:
        for _ in range(12):
            first, last = sorted(FIRST + timedelta(days=chance.randrange(90)) for _ in range(2))
            cached = await client.costs.get(ACCOUNT, first, last, group_by)
            assert cached == await client.costs.uncached.get(ACCOUNT, first, last, group_by)


async def test_the_report_of_a_pull_is_that_without_a_cache(server: Emulator) -> None:
    """Slices, rows and totals are those without a cache; requests are those sent."""
    plan = CostPlan.build(
        [ACCOUNT, "spot-sample-01"], date(2023, 12, 1), LAST, window="week", group_by="service"
    )
    async with SpotBillingClient("t", base_url=server.base_url, cache=CostCache()) as client:
        await client.costs.get(ACCOUNT, FIRST, LAST, "service")
        before = server.requests
        reports, found = [], []
        for costs in (client.costs, client.costs.uncached):
            async with costs.pull(plan, ordered=True) as run:
                found.append([outcome async for outcome in run])
            reports.append(run.report)
    cached, plain = reports
    for one, other in zip(*found, strict=True):
        assert not isinstance(one, Failed)
        assert not isinstance(other, Failed)
        assert (one.query, one.items) == (other.query, other.items)
    assert (cached.ok, cached.empty, cached.rows) == (plain.ok, plain.empty, plain.rows)
    assert cached.totals == plain.totals
    assert plain.requests == plain.planned == 2 * 18
    assert cached.requests == 5 + 18  # the weeks of one account that reach into last year, and 18
    assert server.requests == before + cached.requests + plain.requests


async def test_many_rows_are_added_up_in_steps(
    server: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Totals do not depend on the steps, which keep the event loop responsive."""
    monkeypatch.setattr(costs_module, "_STEP_ROWS", 7)
    totals = []
    query = CostQuery(account_id=ACCOUNT, from_date=FIRST, to_date=LAST, group_by="service")
    async with SpotBillingClient("t", base_url=server.base_url, cache=CostCache()) as client:
        for costs in (client.costs.uncached, client.costs, client.costs):
            async with costs.pull([query]) as run:
                assert [outcome async for outcome in run]
            totals.append(run.report.totals)
    assert totals[0] == totals[1] == totals[2] != {}


class Row(msgspec.Struct, kw_only=True):
    """Row without a day."""

    cost: Decimal


@pytest.mark.parametrize(
    "query",
    [
        CostQuery(from_date=FIRST, to_date=LAST),
        CostQuery(account_id=ACCOUNT, to_date=LAST),
        CostQuery(account_id=ACCOUNT, from_date=FIRST),
        CostQuery(account_id=ACCOUNT, from_date=date.min, to_date=date.max),
    ],
)
async def test_a_query_that_cannot_be_split_is_not_cached(
    server: Emulator, query: CostQuery
) -> None:
    """A query without an account or a day, or of more than ten years, is sent each time.

    The server chooses missing values, and a lookup of each day of thousands of years would block
    the event loop.
    """
    async with SpotBillingClient("t", base_url=server.base_url, cache=CostCache()) as client:
        for _ in range(2):
            await client.costs.get(query.account_id, query.from_date, query.to_date)
            async with client.costs.pull([query]) as run:
                assert [outcome async for outcome in run]
    assert server.requests == 4


async def test_rows_without_a_day_are_not_cached(server: Emulator) -> None:
    """Queries whose item type has no date are sent each time."""
    async with SpotBillingClient("t", base_url=server.base_url, cache=CostCache()) as client:
        for requests in (1, 2):
            assert await client.costs.get(ACCOUNT, FIRST, LAST, item_type=Row)
            assert server.requests == requests


async def test_the_clients_own_account_is_cached_too(server: Emulator) -> None:
    """The client's account and the same account given by name share cached data."""
    async with SpotBillingClient(
        "t", base_url=server.base_url, account_id=ACCOUNT, cache=CostCache()
    ) as client:
        own = await client.costs.get(from_date=FIRST, to_date=LAST)
        assert own == await client.costs.get(ACCOUNT, FIRST, LAST)
    assert server.requests == 1


async def test_a_table_does_not_use_the_cache(server: Emulator, tmp_path: Path) -> None:
    """A sync sends its own requests for cached days, and reconciling sends another one."""
    async with SpotBillingClient("t", base_url=server.base_url, cache=CostCache()) as client:
        await client.costs.get(ACCOUNT, FIRST, LAST, "service")
        await client.costs.get(ACCOUNT, FIRST, LAST)
        before = server.requests
        report = await sync(
            client,
            tmp_path / "table",
            accounts=[ACCOUNT],
            from_date=FIRST,
            to_date=LAST,
            group_by="service",
            reconcile=True,
        )
        assert report.complete
        assert server.requests == before + 2


async def test_pages_count_against_the_request_limit() -> None:
    """`max_requests` holds with a cache, and the attempts of the slices add up to it."""
    async with (
        Emulator(token="t", page_size=10) as server,
        SpotBillingClient("t", base_url=server.base_url, cache=CostCache()) as client,
    ):
        plan = CostPlan.build([ACCOUNT], FIRST, LAST, window="week", group_by="service")
        async with client.costs.pull(plan, max_requests=7) as run:
            outcomes = [outcome async for outcome in run]
        assert server.requests == run.report.requests == 7
        for outcome in outcomes:
            if isinstance(outcome, Failed):
                assert isinstance(outcome.error, RequestLimitReachedError)
        assert sum(outcome.attempts for outcome in outcomes) == 7


async def test_an_error_is_not_cached() -> None:
    """A query that failed is sent again, by a call and by a pull."""
    asked = 0

    async def answer(_request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.Response(status=500)

    async with (
        serve(answer) as base_url,
        SpotBillingClient("t", base_url=base_url, config=CONFIG, cache=CostCache()) as client,
    ):
        for _ in range(2):
            with pytest.raises(ServerError) as caught:
                await client.costs.get(ACCOUNT, FIRST, LAST)
            assert caught.value.attempts == 1
        async with client.costs.pull(
            [CostQuery(account_id="a", from_date=FIRST, to_date=LAST)]
        ) as run:
            assert [type(outcome) async for outcome in run] == [Failed]
    assert asked == 3


async def test_a_total_that_cannot_be_exact_is_an_error() -> None:
    """Days whose sum would be rounded fail the slice, as they do without a cache."""

    async def answer(request: web.Request) -> web.Response:
        day = request.query["fromDate"]
        cost = "1e150" if day == "2024-01-01" else "1e-150"
        item = f'{{"date":"{day}","cost":{cost},"currency":"USD"}}'
        return web.json_response(text=f'{{"response":{{"items":[{item}],"count":1}}}}')

    async with (
        serve(answer) as base_url,
        SpotBillingClient("t", base_url=base_url, cache=CostCache()) as client,
    ):
        for day in (FIRST, FIRST + timedelta(days=1)):
            await client.costs.get(ACCOUNT, day, day)
        query = CostQuery(account_id=ACCOUNT, from_date=FIRST, to_date=FIRST + timedelta(days=1))
        async with client.costs.pull([query]) as run:
            (outcome,) = [outcome async for outcome in run]
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, DecodeError)


async def tenants_server(request: web.Request) -> web.Response:
    """Answer with costs that equal the number in the token."""
    cost = request.headers["Authorization"].removeprefix("Bearer t")
    first, last = (date.fromisoformat(request.query[name]) for name in ("fromDate", "toDate"))
    items = [
        {"date": str(first + timedelta(days=n)), "cost": cost, "currency": "USD"}
        for n in range((last - first).days + 1)
    ]
    return web.json_response({"response": {"items": items, "count": len(items)}})


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 9), st.integers(0, 9), st.booleans()),
        min_size=1,
        max_size=12,
    )
)
async def test_tenants_never_see_each_others_entries(
    asked: list[tuple[int, int, int, bool]],
) -> None:
    """Rows belong to the token of the query, for any queries in any order."""

    def provider(worth: int) -> Callable[[], Any]:
        async def token() -> str:
            return f"t{worth}"

        return token

    async with (
        serve(tenants_server) as base_url,
        SpotBillingClient("t0", base_url=base_url, cache=CostCache()) as client,
    ):
        views = [
            (client.with_token(f"t{worth}"), client.with_token(provider(worth)))
            for worth in range(4)
        ]

        async def query(worth: int, start: int, more: int, is_provided: bool) -> None:
            first = FIRST + timedelta(days=start)
            last = first + timedelta(days=more)
            items = await views[worth][is_provided].costs.get(ACCOUNT, first, last)
            assert [item.cost for item in items] == [worth] * (more + 1)

        for each in asked:
            await query(*each)
        async with anyio.create_task_group() as group:
            for each in asked:
                group.start_soon(query, *each)


async def test_two_views_of_one_token_share_data(server: Emulator) -> None:
    """Views of the same token share a namespace; a token provider has one of its own."""

    async def provider() -> str:
        return "t"

    async with SpotBillingClient("t", base_url=server.base_url, cache=CostCache()) as client:
        for view in (client, client.with_token("t"), client.with_token(" t ")):
            await view.costs.get(ACCOUNT, FIRST, LAST)
        assert server.requests == 1
        for _ in range(2):
            await client.with_token(provider).costs.get(ACCOUNT, FIRST, LAST)
        assert server.requests == 2


async def test_another_path_is_another_origin(server: Emulator) -> None:
    """A cache that serves two clients in succession separates the data of two URLs."""
    cache = CostCache()
    async with SpotBillingClient("t", base_url=server.base_url, cache=cache) as client:
        await client.costs.get(ACCOUNT, FIRST, LAST)
    config = ClientConfig(path_overrides={"getCostAnalysis": "/nowhere"})
    async with SpotBillingClient(
        "t", base_url=server.base_url, cache=cache, config=config
    ) as client:
        with pytest.raises(Exception, match="404"):
            await client.costs.get(ACCOUNT, FIRST, LAST)


async def test_a_hook_receives_an_event_per_lookup(server: Emulator) -> None:
    """The hook gets an event for each lookup, and for a call only if one was made."""
    events: list[Event] = []
    async with SpotBillingClient(
        "t", base_url=server.base_url, cache=CostCache(), hook=events.append
    ) as client:
        for last in (FIRST, FIRST, LAST):
            await client.costs.get(ACCOUNT, FIRST, last)
    lookups = [event for event in events if isinstance(event, CacheRead)]
    assert [(each.days_hit, each.days_joined, each.days_missed) for each in lookups] == [
        (0, 0, 1),
        (1, 0, 0),
        (1, 0, 90),
    ]
    assert sum(isinstance(event, CallEnded) for event in events) == 2


async def test_a_cache_is_open_as_long_as_its_client(server: Emulator) -> None:
    """A cache cannot be read outside the client's block, nor used by a second client."""
    cache = CostCache()
    client = SpotBillingClient("t", base_url=server.base_url, cache=cache)
    with pytest.raises(ConfigError, match="not open"):
        await client.costs.get(ACCOUNT, FIRST, LAST)
    async with client:
        await client.costs.get(ACCOUNT, FIRST, LAST)
        other = SpotBillingClient("t", base_url=server.base_url, cache=cache)
        with pytest.raises(ConfigError, match="one client at a time"):
            await other.__aenter__()
        assert other._shared.transport.session is None
    with pytest.raises(ConfigError, match="not open"):
        await client.costs.get(ACCOUNT, FIRST, LAST)


async def test_an_invalid_cache_is_an_error() -> None:
    """The error for an invalid cache names the field and what is allowed."""
    cache: Any = {}
    with pytest.raises(ConfigError, match=r"cache must be a CostCache or None, got \{\}"):
        SpotBillingClient("t", cache=cache)
