"""Costs by way of the cache, over real sockets: the same answers, fewer requests."""

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
from spot_billing_async.resources import cached_costs as cached
from spot_billing_async.table import sync
from spot_billing_async.telemetry import CacheRead, CallEnded, Event
from tests.support import serve

ACCOUNT = "011254002932"
FIRST, LAST = date(2024, 1, 1), date(2024, 3, 31)
CONFIG = ClientConfig(retry=RetryPolicy(max_attempts=1))

Client = Callable[..., SpotBillingClient]


@pytest.fixture
async def server() -> AsyncIterator[Emulator]:
    """The emulator and its sample."""
    async with Emulator(token="t") as entered:
        yield entered


@pytest.mark.parametrize("group_by", [None, "account", "service", "region", "family"])
async def test_answers_are_those_of_the_server(server: Emulator, group_by: Any) -> None:
    """Rows, order and all, for any range, however much of it is there already."""
    chance = random.Random(str(group_by))  # noqa: S311  for a test, not for a secret
    async with SpotBillingClient("t", base_url=server.base_url, cache=CostCache()) as client:
        for _ in range(12):
            first, last = sorted(FIRST + timedelta(days=chance.randrange(90)) for _ in range(2))
            cached = await client.costs.get(ACCOUNT, first, last, group_by)
            assert cached == await client.costs.uncached.get(ACCOUNT, first, last, group_by)


async def test_a_pulls_report_is_as_without_a_cache(server: Emulator) -> None:
    """Slices, rows and totals; requests are those that were sent."""
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


async def test_many_rows_are_totalled_in_parts(
    server: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All at once would hold up the loop; the totals are the same."""
    monkeypatch.setattr(cached, "_ROWS_AT_ONCE", 7)
    totals = []
    query = CostQuery(account_id=ACCOUNT, from_date=FIRST, to_date=LAST, group_by="service")
    async with SpotBillingClient("t", base_url=server.base_url, cache=CostCache()) as client:
        for costs in (client.costs.uncached, client.costs, client.costs):
            async with costs.pull([query]) as run:
                assert [outcome async for outcome in run]
            totals.append(run.report.totals)
    assert totals[0] == totals[1] == totals[2] != {}


class Row(msgspec.Struct, kw_only=True):
    """A row without a day."""

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
async def test_what_cannot_be_cut_is_asked_as_before(server: Emulator, query: CostQuery) -> None:
    """Each time: without an account or an end it is the server's choice what is meant.

    To look for each day of thousands of years would hold up the loop for minutes.
    """
    async with SpotBillingClient("t", base_url=server.base_url, cache=CostCache()) as client:
        for _ in range(2):
            await client.costs.get(query.account_id, query.from_date, query.to_date)
            async with client.costs.pull([query]) as run:
                assert [outcome async for outcome in run]
    assert server.requests == 4


async def test_rows_without_a_day_are_asked_for_as_before(server: Emulator) -> None:
    """Such as those of a caller's own type, which shares nothing with other types."""
    async with SpotBillingClient("t", base_url=server.base_url, cache=CostCache()) as client:
        for requests in (1, 2):
            assert await client.costs.get(ACCOUNT, FIRST, LAST, item_type=Row)
            assert server.requests == requests


async def test_the_clients_own_account_is_cached_too(server: Emulator) -> None:
    """The account that is asked for where none is named is as good as a named one."""
    async with SpotBillingClient(
        "t", base_url=server.base_url, account_id=ACCOUNT, cache=CostCache()
    ) as client:
        own = await client.costs.get(from_date=FIRST, to_date=LAST)
        assert own == await client.costs.get(ACCOUNT, FIRST, LAST)
    assert server.requests == 1


async def test_a_table_reads_from_no_cache(server: Emulator, tmp_path: Path) -> None:
    """A sync asks for what the cache has, and reconciling asks once more."""
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


async def test_pages_and_limits_count_as_before() -> None:
    """A pull's cap holds for what it begins, and its slices tell how often they were sent."""
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


async def test_an_error_is_not_kept() -> None:
    """What failed is asked for again, by a call and by a pull."""
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
    """As without a cache, where days that can be added each cannot be added together."""

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
    """Costs that are as many as the token says."""
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
    """Whoever asks for whatever in whatever order: each row is what its own token is worth."""

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

        async def ask(worth: int, start: int, more: int, is_provided: bool) -> None:
            first = FIRST + timedelta(days=start)
            last = first + timedelta(days=more)
            items = await views[worth][is_provided].costs.get(ACCOUNT, first, last)
            assert [item.cost for item in items] == [worth] * (more + 1)

        for each in asked:
            await ask(*each)
        async with anyio.create_task_group() as group:
            for each in asked:
                group.start_soon(ask, *each)


async def test_two_views_of_one_token_share(server: Emulator) -> None:
    """A space is the token's, not the object's; a provider's is its own, in whichever view."""

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
    """A cache that serves one client after another keeps apart what was asked of two servers."""
    cache = CostCache()
    async with SpotBillingClient("t", base_url=server.base_url, cache=cache) as client:
        await client.costs.get(ACCOUNT, FIRST, LAST)
    config = ClientConfig(path_overrides={"getCostAnalysis": "/nowhere"})
    async with SpotBillingClient(
        "t", base_url=server.base_url, cache=cache, config=config
    ) as client:
        with pytest.raises(Exception, match="404"):
            await client.costs.get(ACCOUNT, FIRST, LAST)


async def test_a_hook_is_told_of_readings(server: Emulator) -> None:
    """Of each one; of a call only where there was one."""
    told: list[Event] = []
    async with SpotBillingClient(
        "t", base_url=server.base_url, cache=CostCache(), hook=told.append
    ) as client:
        for last in (FIRST, FIRST, LAST):
            await client.costs.get(ACCOUNT, FIRST, last)
    readings = [event for event in told if isinstance(event, CacheRead)]
    assert [(each.days_hit, each.days_joined, each.days_missed) for each in readings] == [
        (0, 0, 1),
        (1, 0, 0),
        (1, 0, 90),
    ]
    assert sum(isinstance(event, CallEnded) for event in told) == 2


async def test_a_cache_is_open_as_long_as_its_client(server: Emulator) -> None:
    """Before and after, not even what it has can be read; a second client is refused."""
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


async def test_a_bad_cache_is_refused() -> None:
    """The error names the field and what is allowed."""
    cache: Any = {}
    with pytest.raises(ConfigError, match=r"cache: \{\} is not allowed; allowed: a CostCache"):
        SpotBillingClient("t", cache=cache)
