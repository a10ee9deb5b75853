"""Whatever callers ask, whenever they leave, and whatever fails: what holds in any case."""

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
from spot_billing_async.cache.query import Ask, Series
from spot_billing_async.models.results import Answer
from tests.virtual import run_virtually

FIRST = date(2024, 1, 1)
FETCH_S = 1.0
ACCOUNTS = ("a", "b")


class Caller(NamedTuple):
    """Asks for some days of an account at a moment; may leave, and has so much time."""

    account: int
    start: int
    more: int
    comes_s: float
    leaves_s: float | None
    limit_s: float


moments = st.floats(0, 4).map(lambda value: round(value, 2))
callers = st.builds(
    Caller,
    account=st.integers(0, 1),
    start=st.integers(0, 9),
    more=st.integers(0, 6),
    comes_s=moments,
    leaves_s=st.none() | moments,
    limit_s=st.sampled_from([0.3, 1.5, 60.0]),
)


class Api:
    """Takes a second for an answer; some days it fails on.

    Attributes:
        under_way: how many fetches of a day of an account there are.
        fetched: how often it was answered.
    """

    def __init__(self, bad: set[int]) -> None:
        self.under_way: Counter[tuple[str, date]] = Counter()
        self.fetched: Counter[tuple[str, date]] = Counter()
        self._bad = bad

    async def fetch(self, account: str, window: DateWindow) -> Answer[CostItem]:
        """Answer a window; nobody else may be asking for a day of it."""
        days = [window.from_date + timedelta(days=n) for n in range(window.days)]
        keys = [(account, day) for day in days]
        self.under_way.update(keys)
        assert max(self.under_way[key] for key in keys) == 1
        try:
            await asyncio.sleep(FETCH_S)
        finally:
            self.under_way.subtract(keys)
        if any(day.toordinal() - FIRST.toordinal() in self._bad for day in days):
            raise ServerError(500)
        self.fetched.update(keys)
        return Answer([item_of(account, day) for day in days], None, None, {})


def item_of(account: str, day: date) -> CostItem:
    return CostItem(account_id=account, date=day, cost=Decimal(day.toordinal()).scaleb(-3))


async def ask(cache: CostCache, api: Api, caller: Caller, bad: set[int]) -> None:
    """Ask, and see that what comes of it is what may come."""
    codec = codec_for(CostItem)
    assert codec is not None
    account = ACCOUNTS[caller.account]
    first = FIRST + timedelta(days=caller.start)
    window = DateWindow(first, first + timedelta(days=caller.more))
    clock = asyncio.get_running_loop().time
    began_s = clock()
    question = Ask(
        operation_id="getCostAnalysis",
        series=Series("space", "origin", account, None, codec.name),
        days=window,
        codec=codec,
        fetch=lambda days: api.fetch(account, days),
        clock=clock,
        ends_at_s=began_s + caller.limit_s,
        grace_s=1.0,
        late="late",
        hook=None,
    )
    try:
        found = await cache.read(question)
    except ServerError:
        assert bad
    except DeadlineExceededError:
        assert clock() - began_s >= caller.limit_s - 0.01
    else:
        days = [first + timedelta(days=n) for n in range(window.days)]
        assert found.items == [item_of(account, day) for day in days]


async def come_and_go(cache: CostCache, api: Api, caller: Caller, bad: set[int]) -> None:
    await asyncio.sleep(caller.comes_s)
    asking = asyncio.create_task(ask(cache, api, caller, bad))
    await asyncio.wait([asking], timeout=caller.leaves_s)
    is_leaving = asking.cancel()
    await asyncio.wait([asking])
    assert asking.cancelled() == is_leaving
    if not is_leaving:
        asking.result()


@given(st.lists(callers, min_size=1, max_size=12), st.sets(st.integers(0, 15), max_size=2))
def test_nothing_is_fetched_twice_and_nothing_is_left(some: list[Caller], bad: set[int]) -> None:
    """Each gets the right rows or an error that is its own to meet; no day is asked for twice."""

    async def body() -> None:
        api = Api(bad)
        async with CostCache() as cache:
            async with asyncio.TaskGroup() as group:
                for caller in some:
                    group.create_task(come_and_go(cache, api, caller, bad))
            assert asyncio.all_tasks() == {asyncio.current_task()}
            assert cache._flights is not None
            assert not cache._flights._by_key
        assert set(api.fetched.values()) <= {1}

    run_virtually(body())


@given(st.lists(callers, min_size=1, max_size=8), moments)
def test_a_client_that_is_left_leaves_nothing(some: list[Caller], left_s: float) -> None:
    """At whatever moment: all who wait get an error, and no task is left."""

    async def body() -> None:
        api = Api(set())
        async with CostCache(MemoryStore(2000)) as cache:
            tasks = [asyncio.create_task(come_and_go(cache, api, each, set())) for each in some]
            await asyncio.sleep(left_s)
        assert cache._flights is None
        assert not +api.under_way
        await asyncio.wait(tasks)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        for task in tasks:
            assert task.exception() is None or "inside 'async with'" in str(task.exception())

    run_virtually(body())
