"""Shared fetches, and their results for each caller. Time is virtual."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, NoReturn, Self

import pytest

from spot_billing_async import (
    ConfigError,
    CostItem,
    DateWindow,
    DeadlineExceededError,
    InvalidRequestError,
    RequestLimitReachedError,
    ResponseTooLargeError,
    ServerError,
    SpotBillingError,
    TransportError,
)
from spot_billing_async.cache import CostCache, MemoryStore
from spot_billing_async.cache.codec import codec_for
from spot_billing_async.cache.query import CacheQuery, SeriesKey
from spot_billing_async.models.results import Answer
from spot_billing_async.telemetry import CacheRead, Event
from tests.virtual import run_virtually

JANUARY = date(2024, 1, 1)
SERIES = SeriesKey("space", "http://a", "account", None, "type")


def days(first: int, last: int) -> DateWindow:
    return DateWindow(JANUARY + timedelta(days=first - 1), JANUARY + timedelta(days=last - 1))


def rows(window: DateWindow) -> list[CostItem]:
    """Return two rows per day, with their date."""
    return [
        CostItem(date=window.from_date + timedelta(days=n), cost=Decimal(place), currency="USD")
        for n in range(window.days)
        for place in range(2)
    ]


class Api:
    """API that answers after a second and records its requests.

    Attributes:
        requested: windows of all requests, in order.
        answered: windows of the requests that were answered.
        fail: raises for windows that fail.
        make: makes the rows of a window.
    """

    def __init__(self) -> None:
        self.requested: list[DateWindow] = []
        self.answered: list[DateWindow] = []
        self.fail: Callable[[DateWindow], None] = lambda _: None
        self.make: Callable[[DateWindow], list[CostItem]] = rows

    async def __call__(self, window: DateWindow) -> Answer[CostItem]:
        """Answer a window."""
        self.requested.append(window)
        await asyncio.sleep(1)
        self.fail(window)
        self.answered.append(window)
        return Answer(self.make(window), f"r{len(self.answered)}", None, {})


class Setup:
    """Cache with an API behind it, and the recorded events."""

    def __init__(self, cache: CostCache) -> None:
        self.cache = cache
        self.api = Api()
        self.events: list[Event] = []

    async def get(
        self,
        first: int,
        last: int,
        *,
        after_s: float = 0,
        limit_s: float = 60,
        series: SeriesKey = SERIES,
        fetch: Callable[[DateWindow], Awaitable[Answer[CostItem]]] | None = None,
    ) -> Answer[CostItem]:
        """Query some days of January."""
        await asyncio.sleep(after_s)
        codec = codec_for(CostItem)
        assert codec is not None
        clock = asyncio.get_running_loop().time
        query = CacheQuery(
            operation_id="getCostAnalysis",
            credential="token",
            series=series,
            days=days(first, last),
            codec=codec,
            fetch=fetch or self.api,
            clock=clock,
            ends_at_s=clock() + limit_s,
            grace_s=1.0,
            timeout_message="late",
            hook=self.events.append,
        )
        return await self.cache.read(query)


def with_setup(test: Callable[[Setup], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test in virtual time with an open cache, and check that no task is left."""

    def run() -> None:
        async def body() -> None:
            async with CostCache() as cache:
                await test(Setup(cache))
            assert asyncio.all_tasks() == {asyncio.current_task()}

        run_virtually(body())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


async def failure_of(call: Awaitable[object]) -> SpotBillingError:
    with pytest.raises(SpotBillingError) as caught:
        await call
    return caught.value


def raising(error: SpotBillingError) -> Callable[[DateWindow], NoReturn]:
    def fail(_window: DateWindow) -> NoReturn:
        raise error

    return fail


@with_setup
async def test_equal_queries_share_one_fetch(setup: Setup) -> None:
    """Equal queries, at the same time or later, send one request, and all get all rows."""
    found = await asyncio.gather(*(setup.get(1, 9) for _ in range(50)))
    found.append(await setup.get(1, 9))
    assert setup.api.requested == [days(1, 9)]
    assert all(each.items == rows(days(1, 9)) for each in found)


@with_setup
async def test_only_missing_days_are_requested(setup: Setup) -> None:
    """Days that are neither cached nor in flight are fetched, one request per gap."""
    await setup.get(3, 4)
    first, second = await asyncio.gather(setup.get(6, 7), setup.get(1, 9, after_s=0.5))
    assert setup.api.requested == [days(3, 4), days(6, 7), days(1, 2), days(5, 5), days(8, 9)]
    assert (first.items, second.items) == (rows(days(6, 7)), rows(days(1, 9)))


@with_setup
async def test_callers_own_their_rows(setup: Setup) -> None:
    """A caller that changes its list or rows does not affect other callers."""
    one, other = await asyncio.gather(setup.get(1, 1), setup.get(1, 1))
    one.items.clear()
    third = await setup.get(1, 1)
    assert other.items == third.items == rows(days(1, 1))
    assert other.items[0] is not third.items[0]


@with_setup
async def test_an_empty_day_is_kept(setup: Setup) -> None:
    """A day without rows is cached too."""
    setup.api.make = lambda window: rows(DateWindow(window.from_date, window.from_date))
    for _ in range(2):
        assert (await setup.get(1, 5)).items == rows(days(1, 1))
    assert setup.api.requested == [days(1, 5)]


@with_setup
async def test_a_cancelled_caller_does_not_cancel_the_shared_fetch(setup: Setup) -> None:
    """A shared fetch continues while a caller waits, even if its first caller is cancelled."""
    first = asyncio.create_task(setup.get(1, 9))
    second = asyncio.create_task(setup.get(3, 4, after_s=0.1))
    await asyncio.sleep(0.5)
    first.cancel()
    assert (await second).items == rows(days(3, 4))
    assert setup.api.answered == [days(1, 9)]
    assert first.cancelled()
    assert (await setup.get(1, 9)).items == rows(days(1, 9))
    assert setup.api.requested == [days(1, 9)]


@with_setup
async def test_the_last_cancelled_caller_cancels_the_fetch(setup: Setup) -> None:
    """The last cancelled caller cancels the fetch, and a later query starts a new one."""
    callers = [asyncio.create_task(setup.get(1, 2)) for _ in range(3)]
    await asyncio.sleep(0.5)
    for caller in callers:
        caller.cancel()
    again = asyncio.create_task(setup.get(1, 2))
    await asyncio.wait(callers)
    assert all(caller.cancelled() for caller in callers)
    assert (await again).items == rows(days(1, 2))
    assert (setup.api.requested, setup.api.answered) == ([days(1, 2)] * 2, [days(1, 2)])


@pytest.mark.parametrize(
    "error",
    [
        ServerError(503, ["x"], "down", "r1"),
        TransportError("cut off"),
        InvalidRequestError(400, [], "no"),
    ],
)
def test_an_error_reaches_every_caller_and_is_not_cached(error: SpotBillingError) -> None:
    """Each caller gets a full copy of the error, and the next query sends a request again."""

    @with_setup
    async def run(setup: Setup) -> None:
        error.attempts, error.attempt_errors = 3, ("a", "b")
        error.__cause__ = cause = ValueError("why")
        error.__notes__ = ["not sent again"]
        setup.api.fail = raising(error)
        failures = await asyncio.gather(*(failure_of(setup.get(1, 3)) for _ in range(3)))
        assert len({id(each) for each in (error, *failures)}) == 4
        for each in failures:
            assert (type(each), each.args, str(each)) == (type(error), error.args, str(error))
            assert (each.attempts, each.attempt_errors, each.__cause__) == (3, ("a", "b"), cause)
            assert each.__context__ is None
            assert each.__notes__ == ["not sent again"]
            each.add_note("of this one's own")
        assert setup.api.requested == [days(1, 3)]
        setup.api.fail = lambda _: None
        assert (await setup.get(1, 3)).items == rows(days(1, 3))

    run()


@with_setup
async def test_a_failure_of_one_gap_ends_the_query_at_once(setup: Setup) -> None:
    """A failed gap cancels the query's other fetches, except those that other callers wait for."""

    def fail(window: DateWindow) -> None:
        if window == days(1, 1):
            raise ServerError(500)

    setup.api.fail = fail
    await setup.get(2, 2)
    other = asyncio.create_task(setup.get(5, 5, after_s=0.6))
    await asyncio.sleep(0.5)
    await failure_of(setup.get(1, 3))
    assert (await other).items == rows(days(5, 5))


@pytest.mark.parametrize(
    "error", [DeadlineExceededError("its own"), RequestLimitReachedError("its own")]
)
def test_limits_of_a_caller_do_not_end_other_queries(error: SpotBillingError) -> None:
    """A fetch that ended at its first caller's limits is repeated for callers with time left."""

    @with_setup
    async def run(setup: Setup) -> None:
        async def limited(_window: DateWindow) -> NoReturn:
            await asyncio.sleep(2)
            raise error

        first = asyncio.create_task(failure_of(setup.get(1, 9, fetch=limited)))
        others = (setup.get(3, 4, after_s=1), setup.get(4, 4, after_s=1))
        found = await asyncio.gather(*others)
        assert [each.items for each in found] == [rows(days(3, 4)), rows(days(4, 4))]
        assert type(await first) is type(error)
        assert setup.api.requested == [days(3, 4)]

    run()


@with_setup
async def test_a_response_that_is_too_large_does_not_fail_narrower_queries(setup: Setup) -> None:
    """A narrower query sends its own request; an equal one gets the same error."""

    def fail(window: DateWindow) -> None:
        if window.days > 5:
            raise ResponseTooLargeError("too large")

    setup.api.fail = fail
    narrow = asyncio.create_task(setup.get(2, 3, after_s=0.5))
    failures = await asyncio.gather(*(failure_of(setup.get(1, 9)) for _ in range(3)))
    found = await narrow
    assert {type(each) for each in failures} == {ResponseTooLargeError}
    assert found.items == rows(days(2, 3))
    assert setup.api.requested == [days(1, 9), days(2, 3)]


@with_setup
async def test_no_caller_waits_beyond_its_deadline(setup: Setup) -> None:
    """A caller that joined a longer fetch fails at its own deadline."""
    first = asyncio.create_task(setup.get(1, 9))
    await asyncio.sleep(0)
    began_s = asyncio.get_running_loop().time()
    failure = await failure_of(setup.get(3, 4, limit_s=0.25))
    assert asyncio.get_running_loop().time() - began_s == pytest.approx(0.25)
    assert (type(failure), str(failure)) == (DeadlineExceededError, "late")
    assert (await first).items == rows(days(1, 9))


@with_setup
async def test_a_day_is_kept_for_its_lifetime(setup: Setup) -> None:
    """A day that has expired is requested again."""
    loop = asyncio.get_running_loop()
    async with CostCache(MemoryStore(clock=loop.time)) as cache:
        setup.cache = cache
        await setup.get(1, 1)
        await asyncio.sleep(7 * 86_400 - 1)
        await setup.get(1, 1)
        assert len(setup.api.requested) == 1
        await asyncio.sleep(2)
        await setup.get(1, 1)
        assert len(setup.api.requested) == 2


@pytest.mark.parametrize("day", [None, date(2023, 12, 31)])
def test_rows_without_a_valid_day_are_returned_but_not_cached(day: date | None) -> None:
    """The caller of exactly this window gets the rows; all others send their own request."""

    @with_setup
    async def run(setup: Setup) -> None:
        setup.api.make = lambda window: [CostItem(date=day, cost=Decimal(window.days))]
        same = await asyncio.gather(setup.get(1, 9), setup.get(1, 9), setup.get(2, 3))
        assert [each.items[0].cost for each in same] == [9, 9, 2]
        assert sorted(setup.api.requested) == sorted([days(1, 9), days(1, 9), days(2, 3)])
        await setup.get(1, 9)
        assert len(setup.api.requested) == 4

    run()


@with_setup
async def test_a_gap_that_cannot_be_split_repeats_the_whole_query(setup: Setup) -> None:
    """Cached days are not mixed with rows that have no day."""
    await setup.get(1, 2)
    setup.api.make = lambda window: [CostItem(date=None, cost=Decimal(window.days))]
    found = await setup.get(1, 4)
    assert [item.cost for item in found.items] == [4]
    assert setup.api.requested == [days(1, 2), days(3, 4), days(1, 4)]


@with_setup
async def test_a_request_without_the_cache_has_the_same_deadline(setup: Setup) -> None:
    """Two fetches in a row end at the deadline of the query."""
    setup.api.make = lambda _: [CostItem(date=None, cost=Decimal(1))]
    first = asyncio.create_task(setup.get(1, 2))
    failure = await failure_of(setup.get(1, 3, after_s=0.1, limit_s=1.5))
    assert isinstance(failure, DeadlineExceededError)
    assert (await first).items


@with_setup
async def test_foreign_data_is_requested_again(setup: Setup) -> None:
    """Data in the store that this package did not write fails no call."""

    class ForeignStore(MemoryStore):
        def get_local(self, keys: Any) -> dict[str, bytes]:
            return dict.fromkeys(keys, b"no rows")

    async with CostCache(ForeignStore()) as cache:
        setup.cache = cache
        assert (await setup.get(1, 3)).items == rows(days(1, 3))


@with_setup
async def test_series_do_not_share(setup: Setup) -> None:
    """Queries that differ in namespace, origin, account, breakdown or type share no data."""
    await setup.get(1, 3)
    for other in (
        SERIES._replace(namespace="other"),
        SERIES._replace(origin="other"),
        SERIES._replace(account_id="other"),
        SERIES._replace(group_by="service"),
        SERIES._replace(type_name="other"),
    ):
        await setup.get(1, 3, series=other)
    assert len(setup.api.requested) == 6


@with_setup
async def test_the_event_says_where_the_days_came_from(setup: Setup) -> None:
    """Hit, joined and missed days add up to the query; a failed query has an event too."""
    await setup.get(1, 2)
    await asyncio.gather(setup.get(3, 4), setup.get(1, 6))
    setup.api.fail = raising(ServerError(500))
    await failure_of(setup.get(6, 8))
    counts = [
        (event.days_hit, event.days_joined, event.days_missed)
        for event in setup.events
        if isinstance(event, CacheRead)
    ]
    assert counts == [(0, 0, 2), (0, 0, 2), (2, 2, 2), (1, 0, 2)]


@with_setup
async def test_the_request_id_is_that_of_the_callers_own_fetch(setup: Setup) -> None:
    """Results from the cache, or from another caller's fetch, have no request id."""
    one, other = await asyncio.gather(setup.get(1, 2), setup.get(1, 2))
    assert (one.request_id, other.request_id) == ("r1", None)
    assert (await setup.get(1, 2)).request_id is None


def test_closing_the_cache_ends_the_fetches_in_flight() -> None:
    """A caller that still waits gets a ConfigError, and no task is left."""

    async def body() -> None:
        async with CostCache() as cache:
            setup = Setup(cache)
            waiting = asyncio.create_task(failure_of(setup.get(1, 2)))
            await asyncio.sleep(0.5)
        assert isinstance(await waiting, ConfigError)
        assert setup.api.answered == []
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert isinstance(await failure_of(setup.get(1, 2)), ConfigError)

    run_virtually(body())


def test_cached_data_outlives_the_client() -> None:
    """A second client that uses the cache finds the data of the first."""

    async def body() -> None:
        cache = CostCache()
        setup = Setup(cache)
        for _ in range(2):
            async with cache:
                await setup.get(1, 2)
        assert setup.api.requested == [days(1, 2)]

    run_virtually(body())


async def test_a_cache_serves_one_client_at_a_time() -> None:
    """A second client is refused, because it would end the fetches of the first."""
    async with CostCache() as cache:
        with pytest.raises(ConfigError, match="one client at a time"):
            await cache.__aenter__()


async def test_a_store_that_cannot_be_opened_is_an_error() -> None:
    """The store's error is raised, and the cache can be entered later."""

    class FailingStore(MemoryStore):
        failures = 1

        async def __aenter__(self) -> Self:
            self.failures -= 1
            if self.failures >= 0:
                raise ConfigError("the store is open already")
            return self

    cache = CostCache(FailingStore())
    with pytest.raises(ConfigError, match="the store is open already"):
        await cache.__aenter__()
    async with cache:
        assert (await Setup(cache).get(1, 1)).items == rows(days(1, 1))


async def test_an_invalid_store_is_an_error() -> None:
    """A URL is not a store, and the error does not show it."""
    store: Any = "redis://127.0.0.1"
    with pytest.raises(ConfigError, match=r"store must be a MemoryStore, .* got a str$"):
        CostCache(store)


async def test_an_invalid_policy_is_an_error() -> None:
    """The error for an invalid policy names the argument, what is allowed and the value."""
    policy: Any = {"closed_ttl_s": 1}
    with pytest.raises(ConfigError, match=r"policy must be a CachePolicy, got \{"):
        CostCache(policy=policy)


async def test_a_bug_in_a_fetch_is_not_hidden() -> None:
    """An exception that is not an error of this package is raised unchanged."""

    async def broken(_window: DateWindow) -> NoReturn:
        raise ZeroDivisionError

    async with CostCache() as cache:
        with pytest.raises(ZeroDivisionError):
            await Setup(cache).get(1, 2, fetch=broken)
