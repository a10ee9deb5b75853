"""Lookups that join the fetches of others. Time is virtual."""

import asyncio
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from spot_billing_async import (
    ApiError,
    CostItem,
    DateWindow,
    DeadlineExceededError,
    RequestLimitReachedError,
    ResponseTooLargeError,
    ServerError,
    SpotBillingError,
)
from spot_billing_async.cache import CostCache
from spot_billing_async.cache.codec import codec_for
from spot_billing_async.cache.query import CacheQuery, SeriesKey
from spot_billing_async.models.results import Answer
from spot_billing_async.telemetry import CacheRead
from tests.virtual import run_virtually

FIRST = date(2024, 1, 1)


def days(first: int, last: int) -> DateWindow:
    return DateWindow(FIRST + timedelta(days=first - 1), FIRST + timedelta(days=last - 1))


class Lookups:
    """Queries of a cache; the first request, for all days, fails after a second.

    Attributes:
        failure: the error that it fails with.
        requested: windows of all requests, in order.
        events: events of the lookups that ended, in order.
    """

    def __init__(self, cache: CostCache, failure: SpotBillingError) -> None:
        self.cache = cache
        self.failure = failure
        self.requested: list[DateWindow] = []
        self.events: list[Any] = []

    async def fetch(self, window: DateWindow) -> Answer[CostItem]:
        """Fail for the first window, and answer others with a row per day."""
        self.requested.append(window)
        await asyncio.sleep(1)
        if len(self.requested) == 1:
            raise self.failure
        rows = [
            CostItem(date=window.from_date + timedelta(days=n), cost=Decimal(n))
            for n in range(window.days)
        ]
        return Answer(rows, "r", None, {})

    async def get(
        self, first: int, last: int, *, limit_s: float = 60.0, grace_s: float = 1.0
    ) -> int:
        """Return the number of rows of some days."""
        codec, clock = codec_for(CostItem), asyncio.get_running_loop().time
        assert codec is not None
        query = CacheQuery(
            operation_id="getCostAnalysis",
            credential="token",
            series=SeriesKey("space", "http://a", "account", None, "type"),
            days=days(first, last),
            codec=codec,
            fetch=self.fetch,
            clock=clock,
            ends_at_s=clock() + limit_s,
            grace_s=grace_s,
            timeout_message="late",
            hook=self.events.append,
        )
        return len((await self.cache.read(query)).items)


@pytest.mark.parametrize(
    ("failure", "is_repeated", "is_repeated_if_narrower"),
    [
        (DeadlineExceededError("its own"), True, True),
        (RequestLimitReachedError("its own"), True, True),
        (ResponseTooLargeError("too large"), False, True),
        (ApiError(413), False, True),
        (ApiError(414), False, False),
        (ServerError(500), False, False),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, Exception) else None,
)
def test_a_failure_is_repeated_where_it_may_not_hold(
    failure: SpotBillingError, is_repeated: bool, is_repeated_if_narrower: bool
) -> None:
    """Limits of its starter end no other query, and a size ends no narrower one; the rest does."""

    async def body() -> None:
        async with CostCache() as cache:
            lookups = Lookups(cache, failure)
            starter, equal, narrower = await asyncio.gather(
                lookups.get(1, 9),
                lookups.get(1, 9),
                lookups.get(2, 3),
                return_exceptions=True,
            )
        assert type(starter) is type(failure)
        if is_repeated:
            assert (equal, narrower) == (9, 2)
            return
        assert type(equal) is type(failure)
        assert equal is not failure
        if is_repeated_if_narrower:
            assert narrower == 2
            assert lookups.requested == [days(1, 9), days(2, 3)]
        else:
            assert type(narrower) is type(failure)
            assert lookups.requested == [days(1, 9)]

    run_virtually(body())


def test_the_days_of_a_repeated_fetch_are_counted_once() -> None:
    """Days that a caller fetches after a joined fetch failed count as its own requests."""

    async def body() -> None:
        async with CostCache() as cache:
            lookups = Lookups(cache, DeadlineExceededError("its own"))
            starter = asyncio.create_task(lookups.get(1, 9))
            await asyncio.sleep(0)
            assert await lookups.get(3, 4) == 2
            with pytest.raises(DeadlineExceededError, match="its own"):
                await starter
            assert await lookups.get(4, 5) == 2
        assert [
            (event.days_hit, event.days_joined, event.days_missed)
            for event in lookups.events
            if isinstance(event, CacheRead)
        ] == [(0, 0, 9), (0, 0, 2), (1, 0, 1)]

    run_virtually(body())


@pytest.mark.parametrize(
    ("limit_s", "grace_s", "fails"), [(0.5, 1.0, "its own"), (0.5, 0.1, "late")]
)
def test_a_fetch_of_its_own_has_time_for_its_own_error(
    limit_s: float, grace_s: float, fails: str
) -> None:
    """The error of a caller's own fetch comes before that of its wait, within the grace."""

    async def body() -> None:
        async with CostCache() as cache:
            lookups = Lookups(cache, DeadlineExceededError("its own"))
            with pytest.raises(DeadlineExceededError, match=fails):
                await lookups.get(1, 2, limit_s=limit_s, grace_s=grace_s)

    run_virtually(body())
