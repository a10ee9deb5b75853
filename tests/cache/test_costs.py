"""Who shares a fetch with whom, and how it ends for each of them. Time is virtual."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, NoReturn

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
from spot_billing_async.cache.query import Ask, Found, Series
from spot_billing_async.models.results import Answer
from spot_billing_async.telemetry import CacheRead, Event
from tests.virtual import run_virtually

JANUARY = date(2024, 1, 1)
SERIES = Series("space", "http://a", "account", None, "type")


def days(first: int, last: int) -> DateWindow:
    return DateWindow(JANUARY + timedelta(days=first - 1), JANUARY + timedelta(days=last - 1))


def rows(window: DateWindow) -> list[CostItem]:
    """Two rows a day, each of which says which day it is of."""
    return [
        CostItem(date=window.from_date + timedelta(days=n), cost=Decimal(place), currency="USD")
        for n in range(window.days)
        for place in range(2)
    ]


class Api:
    """Answers after a second, and remembers what it was asked.

    Attributes:
        asked: each window, in order.
        ended: those that were answered.
        fail: raises where a window is not to be answered.
        make: makes the rows of a window.
    """

    def __init__(self) -> None:
        self.asked: list[DateWindow] = []
        self.ended: list[DateWindow] = []
        self.fail: Callable[[DateWindow], None] = lambda _: None
        self.make: Callable[[DateWindow], list[CostItem]] = rows

    async def __call__(self, window: DateWindow) -> Answer[CostItem]:
        """Answer a window."""
        self.asked.append(window)
        await asyncio.sleep(1)
        self.fail(window)
        self.ended.append(window)
        return Answer(self.make(window), f"r{len(self.ended)}", None, {})


class Bench:
    """A cache with callers of an API."""

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
        series: Series = SERIES,
        fetch: Callable[[DateWindow], Awaitable[Answer[CostItem]]] | None = None,
    ) -> Found[CostItem]:
        """Ask for some days of January."""
        await asyncio.sleep(after_s)
        codec = codec_for(CostItem)
        assert codec is not None
        clock = asyncio.get_running_loop().time
        ask = Ask(
            operation_id="getCostAnalysis",
            series=series,
            days=days(first, last),
            codec=codec,
            fetch=fetch or self.api,
            clock=clock,
            ends_at_s=clock() + limit_s,
            grace_s=1.0,
            late="late",
            hook=self.events.append,
        )
        return await self.cache.read(ask)


def with_bench(test: Callable[[Bench], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test in virtual time, with an open cache; no task is left."""

    def run() -> None:
        async def body() -> None:
            async with CostCache() as cache:
                await test(Bench(cache))
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


@with_bench
async def test_equal_queries_share_one_fetch(bench: Bench) -> None:
    """However many ask at once, or after: the API is asked once, and all get all rows."""
    found = await asyncio.gather(*(bench.get(1, 9) for _ in range(50)))
    found.append(await bench.get(1, 9))
    assert bench.api.asked == [days(1, 9)]
    assert all(each.items == rows(days(1, 9)) for each in found)


@with_bench
async def test_only_what_nobody_has_is_asked_for(bench: Bench) -> None:
    """Days that are there, and days that are under way, leave gaps: each is one fetch."""
    await bench.get(3, 4)
    first, second = await asyncio.gather(bench.get(6, 7), bench.get(1, 9, after_s=0.5))
    assert bench.api.asked == [days(3, 4), days(6, 7), days(1, 2), days(5, 5), days(8, 9)]
    assert (first.items, second.items) == (rows(days(6, 7)), rows(days(1, 9)))


@with_bench
async def test_callers_own_their_rows(bench: Bench) -> None:
    """What one does to its list, or to its rows, nobody else sees."""
    one, other = await asyncio.gather(bench.get(1, 1), bench.get(1, 1))
    one.items.clear()
    third = await bench.get(1, 1)
    assert other.items == third.items == rows(days(1, 1))
    assert other.items[0] is not third.items[0]


@with_bench
async def test_an_empty_day_is_kept(bench: Bench) -> None:
    """No rows are an answer too."""
    bench.api.make = lambda window: rows(DateWindow(window.from_date, window.from_date))
    for _ in range(2):
        assert (await bench.get(1, 5)).items == rows(days(1, 1))
    assert bench.api.asked == [days(1, 5)]


@with_bench
async def test_one_who_leaves_does_not_take_the_others_fetch(bench: Bench) -> None:
    """The fetch goes on as long as somebody waits, even if not the one who began it."""
    first = asyncio.create_task(bench.get(1, 9))
    second = asyncio.create_task(bench.get(3, 4, after_s=0.1))
    await asyncio.sleep(0.5)
    first.cancel()
    assert (await second).items == rows(days(3, 4))
    assert bench.api.ended == [days(1, 9)]
    assert first.cancelled()
    assert (await bench.get(1, 9)).items == rows(days(1, 9))
    assert bench.api.asked == [days(1, 9)]


@with_bench
async def test_with_the_last_one_the_fetch_ends(bench: Bench) -> None:
    """It is over when that one is, and who comes then begins a new one."""
    callers = [asyncio.create_task(bench.get(1, 2)) for _ in range(3)]
    await asyncio.sleep(0.5)
    for caller in callers:
        caller.cancel()
    again = asyncio.create_task(bench.get(1, 2))
    await asyncio.wait(callers)
    assert all(caller.cancelled() for caller in callers)
    assert (await again).items == rows(days(1, 2))
    assert (bench.api.asked, bench.api.ended) == ([days(1, 2)] * 2, [days(1, 2)])


@pytest.mark.parametrize(
    "error",
    [
        ServerError(503, ["x"], "down", "r1"),
        TransportError("cut off"),
        InvalidRequestError(400, [], "no"),
    ],
)
def test_an_error_is_everybodys_and_is_not_kept(error: SpotBillingError) -> None:
    """Each gets a copy with all that it carries; the next query asks again."""

    @with_bench
    async def run(bench: Bench) -> None:
        error.attempts, error.attempt_errors = 3, ("a", "b")
        error.__cause__ = cause = ValueError("why")
        error.__notes__ = ["not sent again"]
        bench.api.fail = raising(error)
        failures = await asyncio.gather(*(failure_of(bench.get(1, 3)) for _ in range(3)))
        assert len({id(each) for each in (error, *failures)}) == 4
        for each in failures:
            assert (type(each), each.args, str(each)) == (type(error), error.args, str(error))
            assert (each.attempts, each.attempt_errors, each.__cause__) == (3, ("a", "b"), cause)
            assert each.__context__ is None
            assert each.__notes__ == ["not sent again"]
            each.add_note("of this one's own")
        assert bench.api.asked == [days(1, 3)]
        bench.api.fail = lambda _: None
        assert (await bench.get(1, 3)).items == rows(days(1, 3))

    run()


@with_bench
async def test_a_failure_of_one_gap_is_told_at_once(bench: Bench) -> None:
    """The other gaps of the query are given up; what somebody else waits for goes on."""

    def fail(window: DateWindow) -> None:
        if window == days(1, 1):
            raise ServerError(500)

    bench.api.fail = fail
    await bench.get(2, 2)
    other = asyncio.create_task(bench.get(5, 5, after_s=0.6))
    await asyncio.sleep(0.5)
    await failure_of(bench.get(1, 3))
    assert (await other).items == rows(days(5, 5))


@pytest.mark.parametrize(
    "error", [DeadlineExceededError("its own"), RequestLimitReachedError("its own")]
)
def test_the_limits_of_one_are_not_those_of_another(error: SpotBillingError) -> None:
    """A fetch that ended for its beginner's limits is begun again by who has time left."""

    @with_bench
    async def run(bench: Bench) -> None:
        async def limited(_window: DateWindow) -> NoReturn:
            await asyncio.sleep(2)
            raise error

        first = asyncio.create_task(failure_of(bench.get(1, 9, fetch=limited)))
        others = (bench.get(3, 4, after_s=1), bench.get(4, 4, after_s=1))
        found = await asyncio.gather(*others)
        assert [each.items for each in found] == [rows(days(3, 4)), rows(days(4, 4))]
        assert type(await first) is type(error)
        assert bench.api.asked == [days(3, 4)]

    run()


@with_bench
async def test_a_fetch_that_was_too_wide_is_not_for_who_asked_for_less(bench: Bench) -> None:
    """A narrower query asks for its own; an equal one would meet the same, and gets the error."""

    def fail(window: DateWindow) -> None:
        if window.days > 5:
            raise ResponseTooLargeError("too large")

    bench.api.fail = fail
    narrow = asyncio.create_task(bench.get(2, 3, after_s=0.5))
    failures = await asyncio.gather(*(failure_of(bench.get(1, 9)) for _ in range(3)))
    found = await narrow
    assert {type(each) for each in failures} == {ResponseTooLargeError}
    assert found.items == rows(days(2, 3))
    assert bench.api.asked == [days(1, 9), days(2, 3)]


@with_bench
async def test_nobody_waits_longer_than_its_own_deadline(bench: Bench) -> None:
    """However long the fetch that it joined may take."""
    first = asyncio.create_task(bench.get(1, 9))
    await asyncio.sleep(0)
    began_s = asyncio.get_running_loop().time()
    failure = await failure_of(bench.get(3, 4, limit_s=0.25))
    assert asyncio.get_running_loop().time() - began_s == pytest.approx(0.25)
    assert (type(failure), str(failure)) == (DeadlineExceededError, "late")
    assert (await first).items == rows(days(1, 9))


@with_bench
async def test_a_day_is_kept_as_long_as_it_is_good(bench: Bench) -> None:
    """Then it is asked for again."""
    loop = asyncio.get_running_loop()
    async with CostCache(MemoryStore(clock=loop.time)) as cache:
        bench.cache = cache
        await bench.get(1, 1)
        await asyncio.sleep(7 * 86_400 - 1)
        await bench.get(1, 1)
        assert len(bench.api.asked) == 1
        await asyncio.sleep(2)
        await bench.get(1, 1)
        assert len(bench.api.asked) == 2


@pytest.mark.parametrize("day", [None, date(2023, 12, 31)])
def test_rows_of_no_day_are_handed_on_and_not_kept(day: date | None) -> None:
    """Who asked for just these days has them from the fetch; all others ask for their own."""

    @with_bench
    async def run(bench: Bench) -> None:
        bench.api.make = lambda window: [CostItem(date=day, cost=Decimal(window.days))]
        same = await asyncio.gather(bench.get(1, 9), bench.get(1, 9), bench.get(2, 3))
        assert [each.items[0].cost for each in same] == [9, 9, 2]
        assert sorted(bench.api.asked) == sorted([days(1, 9), days(1, 9), days(2, 3)])
        await bench.get(1, 9)
        assert len(bench.api.asked) == 4

    run()


@with_bench
async def test_a_gap_that_cannot_be_cut_makes_the_whole_query_be_asked(bench: Bench) -> None:
    """Days that are there do not go with rows that are of no day."""
    await bench.get(1, 2)
    bench.api.make = lambda window: [CostItem(date=None, cost=Decimal(window.days))]
    found = await bench.get(1, 4)
    assert [item.cost for item in found.items] == [4]
    assert bench.api.asked == [days(1, 2), days(3, 4), days(1, 4)]


@with_bench
async def test_asking_past_the_cache_is_within_the_deadline_too(bench: Bench) -> None:
    """Two fetches in a row have no more time than one."""
    bench.api.make = lambda _: [CostItem(date=None, cost=Decimal(1))]
    first = asyncio.create_task(bench.get(1, 2))
    failure = await failure_of(bench.get(1, 3, after_s=0.1, limit_s=1.5))
    assert isinstance(failure, DeadlineExceededError)
    assert (await first).items


@with_bench
async def test_what_is_no_rows_is_asked_for_again(bench: Bench) -> None:
    """A store that somebody else wrote to brings no call down."""

    class Spoiled(MemoryStore):
        def get_local(self, keys: Any) -> dict[str, bytes]:
            return dict.fromkeys(keys, b"no rows")

    async with CostCache(Spoiled()) as cache:
        bench.cache = cache
        assert (await bench.get(1, 3)).items == rows(days(1, 3))


@with_bench
async def test_series_do_not_share(bench: Bench) -> None:
    """Another space, origin, account, breakdown or type has nothing of this one's."""
    await bench.get(1, 3)
    for other in (
        SERIES._replace(namespace="other"),
        SERIES._replace(origin="other"),
        SERIES._replace(account_id="other"),
        SERIES._replace(group_by="service"),
        SERIES._replace(type_name="other"),
    ):
        await bench.get(1, 3, series=other)
    assert len(bench.api.asked) == 6


@with_bench
async def test_a_reading_tells_where_its_days_came_from(bench: Bench) -> None:
    """Hit, joined and missed add up to the days that were asked for; a failure tells too."""
    await bench.get(1, 2)
    await asyncio.gather(bench.get(3, 4), bench.get(1, 6))
    bench.api.fail = raising(ServerError(500))
    await failure_of(bench.get(6, 8))
    told = [
        (event.days_hit, event.days_joined, event.days_missed)
        for event in bench.events
        if isinstance(event, CacheRead)
    ]
    assert told == [(0, 0, 2), (0, 0, 2), (2, 2, 2), (1, 0, 2)]


@with_bench
async def test_the_request_id_is_that_of_the_callers_own_fetch(bench: Bench) -> None:
    """What came from the cache, or from another's fetch, has none."""
    one, other = await asyncio.gather(bench.get(1, 2), bench.get(1, 2))
    assert (one.request_id, other.request_id) == ("r1", None)
    assert (await bench.get(1, 2)).request_id is None


def test_leaving_ends_what_is_under_way() -> None:
    """Who still waits is told so, and no task is left."""

    async def body() -> None:
        async with CostCache() as cache:
            bench = Bench(cache)
            waiting = asyncio.create_task(failure_of(bench.get(1, 2)))
            await asyncio.sleep(0.5)
        assert isinstance(await waiting, ConfigError)
        assert bench.api.ended == []
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert isinstance(await failure_of(bench.get(1, 2)), ConfigError)

    run_virtually(body())


def test_what_is_kept_outlives_the_client() -> None:
    """The next client that is given the cache finds it."""

    async def body() -> None:
        cache = CostCache()
        bench = Bench(cache)
        for _ in range(2):
            async with cache:
                await bench.get(1, 2)
        assert bench.api.asked == [days(1, 2)]

    run_virtually(body())


async def test_a_cache_is_one_clients_at_a_time() -> None:
    """Fetches of one would end with the other."""
    async with CostCache() as cache:
        with pytest.raises(ConfigError, match="one client at a time"):
            await cache.__aenter__()


async def test_a_bad_store_is_refused() -> None:
    """Such as the URL of one."""
    store: Any = "redis://127.0.0.1"
    with pytest.raises(ConfigError, match=r"store: a str .* allowed: a MemoryStore"):
        CostCache(store)


async def test_a_bad_policy_is_refused() -> None:
    """The error says what is allowed."""
    policy: Any = {"closed_ttl_s": 1}
    with pytest.raises(ConfigError, match="a CachePolicy"):
        CostCache(policy=policy)


async def test_a_bug_in_a_fetch_is_not_hidden() -> None:
    """What is no error of this package is raised as it is."""

    async def broken(_window: DateWindow) -> NoReturn:
        raise ZeroDivisionError

    async with CostCache() as cache:
        with pytest.raises(ZeroDivisionError):
            await Bench(cache).get(1, 2, fetch=broken)
