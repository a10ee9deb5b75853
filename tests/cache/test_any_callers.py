"""Invariants of the cache for random queries, cancellations and failures."""

import asyncio
from collections import Counter
from datetime import date, timedelta
from decimal import Decimal
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from spot_billing_async import CostItem, DateWindow, DeadlineExceededError, ServerError
from spot_billing_async.cache import CostCache, MemoryStore
from spot_billing_async.cache.codec import codec_for
from spot_billing_async.cache.query import CacheQuery, SeriesKey
from spot_billing_async.models.results import Answer
from tests.virtual import run_virtually

FIRST = date(2024, 1, 1)
FETCH_S = 1.0
ACCOUNTS = ("a", "b")


class Caller(NamedTuple):
    """Caller that queries some days of an account at a random time.

    Attributes:
        account: index of the account.
        start: first day, counted from `FIRST`.
        more: further days.
        starts_s: time of its query, in seconds.
        cancels_after_s: seconds after which it cancels the query; None for never.
        limit_s: seconds until its deadline.
    """

    account: int
    start: int
    more: int
    starts_s: float
    cancels_after_s: float | None
    limit_s: float


moments = st.floats(0, 4).map(lambda value: round(value, 2))
callers = st.builds(
    Caller,
    account=st.integers(0, 1),
    start=st.integers(0, 9),
    more=st.integers(0, 6),
    starts_s=moments,
    cancels_after_s=st.none() | moments,
    limit_s=st.sampled_from([0.3, 1.5, 60.0]),
)


class Api:
    """API that answers after a second, and fails for some days.

    Attributes:
        in_flight: number of requests in flight by account and day.
        fetched: number of successful requests by account and day.
    """

    def __init__(self, failing: set[int]) -> None:
        self.in_flight: Counter[tuple[str, date]] = Counter()
        self.fetched: Counter[tuple[str, date]] = Counter()
        self._failing = failing

    async def fetch(self, account: str, window: DateWindow) -> Answer[CostItem]:
        """Answer a window; fail the test if another request for one of its days is in flight."""
        days = [window.from_date + timedelta(days=n) for n in range(window.days)]
        keys = [(account, day) for day in days]
        self.in_flight.update(keys)
        assert max(self.in_flight[key] for key in keys) == 1
        try:
            await asyncio.sleep(FETCH_S)
        finally:
            self.in_flight.subtract(keys)
        if any(day.toordinal() - FIRST.toordinal() in self._failing for day in days):
            raise ServerError(500)
        self.fetched.update(keys)
        return Answer([item_of(account, day) for day in days], None, None, {})


def item_of(account: str, day: date) -> CostItem:
    return CostItem(account_id=account, date=day, cost=Decimal(day.toordinal()).scaleb(-3))


async def query(cache: CostCache, api: Api, caller: Caller, failing: set[int]) -> None:
    """Query the cache and check that the result or the error is an expected one."""
    codec = codec_for(CostItem)
    assert codec is not None
    account = ACCOUNTS[caller.account]
    first = FIRST + timedelta(days=caller.start)
    window = DateWindow(first, first + timedelta(days=caller.more))
    clock = asyncio.get_running_loop().time
    started_s = clock()
    cache_query = CacheQuery(
        operation_id="getCostAnalysis",
        credential="token",
        series=SeriesKey("space", "origin", account, None, codec.name),
        days=window,
        codec=codec,
        fetch=lambda days: api.fetch(account, days),
        clock=clock,
        ends_at_s=started_s + caller.limit_s,
        grace_s=1.0,
        timeout_message="late",
        hook=None,
    )
    try:
        result = await cache.read(cache_query)
    except ServerError:
        assert failing
    except DeadlineExceededError:
        assert clock() - started_s >= caller.limit_s - 0.01
    else:
        days = [first + timedelta(days=n) for n in range(window.days)]
        assert result.items == [item_of(account, day) for day in days]


async def query_or_cancel(cache: CostCache, api: Api, caller: Caller, failing: set[int]) -> None:
    await asyncio.sleep(caller.starts_s)
    task = asyncio.create_task(query(cache, api, caller, failing))
    await asyncio.wait([task], timeout=caller.cancels_after_s)
    is_cancelled = task.cancel()
    await asyncio.wait([task])
    assert task.cancelled() == is_cancelled
    if not is_cancelled:
        task.result()


@given(st.lists(callers, min_size=1, max_size=12), st.sets(st.integers(0, 15), max_size=2))
def test_no_day_is_fetched_twice_and_no_task_is_left(some: list[Caller], failing: set[int]) -> None:
    """Each caller gets the right rows or an expected error, and no day is fetched twice."""

    async def body() -> None:
        api = Api(failing)
        async with CostCache() as cache:
            async with asyncio.TaskGroup() as group:
                for caller in some:
                    group.create_task(query_or_cancel(cache, api, caller, failing))
            assert asyncio.all_tasks() == {asyncio.current_task()}
            assert cache._fetches is not None
            assert not cache._fetches._by_key
        assert set(api.fetched.values()) <= {1}

    run_virtually(body())


@given(st.lists(callers, min_size=1, max_size=8), moments)
def test_closing_the_client_leaves_no_task(some: list[Caller], closed_s: float) -> None:
    """A client may be closed at any time: all callers that wait get an error, no task is left."""

    async def body() -> None:
        api = Api(set())
        async with CostCache(MemoryStore(2000)) as cache:
            tasks = [asyncio.create_task(query_or_cancel(cache, api, each, set())) for each in some]
            await asyncio.sleep(closed_s)
        assert cache._fetches is None
        assert not +api.in_flight
        await asyncio.wait(tasks)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        for task in tasks:
            assert task.exception() is None or "inside 'async with'" in str(task.exception())

    run_virtually(body())
