"""Loading of days from a store whose keys other processes claim. Time is virtual."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from spot_billing_async import CostItem, DateWindow, ServerError
from spot_billing_async.cache import CostCache, LookupResult, MemoryStore
from spot_billing_async.cache.codec import codec_for
from spot_billing_async.cache.query import CacheQuery, SeriesKey
from spot_billing_async.models.results import Answer
from spot_billing_async.telemetry import CacheRead, Event
from tests.virtual import run_virtually

FIRST = date(2024, 1, 1)
SERIES = SeriesKey("space", "http://a", "account", None, "type")
WEEK = DateWindow(FIRST, FIRST + timedelta(days=6))


def rows(window: DateWindow) -> list[CostItem]:
    days = (window.from_date + timedelta(days=n) for n in range(window.days))
    return [CostItem(date=day, cost=Decimal(1), currency="USD") for day in days]


class ClaimedStore(MemoryStore):
    """Store of which other processes may hold claims.

    Attributes:
        claimed_elsewhere: keys that another process is fetching.
        claims: keys that this process has claimed, and neither set nor released since.
        asked_at_s: times of the lookups.
        is_remote: no value is available without waiting.
    """

    def __init__(self) -> None:
        super().__init__(clock=asyncio.get_running_loop().time)
        self.claimed_elsewhere: set[str] = set()
        self.claims: set[str] = set()
        self.asked_at_s: list[float] = []
        self.is_remote = False

    def get_local(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Return what is available without waiting."""
        return {} if self.is_remote else super().get_local(keys)

    async def get_or_claim(self, keys: Sequence[str]) -> LookupResult:
        """Claim the keys that nobody has."""
        self.asked_at_s.append(asyncio.get_running_loop().time())
        found = super().get_local(keys)
        free = [key for key in keys if key not in found and key not in self.claimed_elsewhere]
        self.claims |= set(free)
        return LookupResult(found, free)

    async def set(self, values: Any) -> None:
        """Store values and release their claims."""
        await super().set(values)
        self.claims -= values.keys()

    async def release(self, keys: Sequence[str]) -> None:
        """Release claims."""
        self.claims -= set(keys)


class Setup:
    """Cache over a claimed store, and the requests and events of its queries."""

    def __init__(self, store: ClaimedStore, cache: CostCache) -> None:
        self.store = store
        self.cache = cache
        self.requested: list[DateWindow] = []
        self.events: list[CacheRead] = []

    def hook(self, event: Event) -> None:
        """Record an event."""
        assert isinstance(event, CacheRead)
        self.events.append(event)

    async def answer(self, window: DateWindow) -> Answer[CostItem]:
        """Answer after a second."""
        self.requested.append(window)
        await asyncio.sleep(1)
        return Answer(rows(window), "r", None, {})

    async def get(
        self,
        days: DateWindow,
        fetch: Callable[[DateWindow], Awaitable[Answer[CostItem]]] | None = None,
        limit_s: float = 60.0,
    ) -> list[CostItem]:
        """Query some days."""
        codec, clock = codec_for(CostItem), asyncio.get_running_loop().time
        assert codec is not None
        query = CacheQuery(
            operation_id="getCostAnalysis",
            credential="token",
            series=SERIES,
            days=days,
            codec=codec,
            fetch=fetch or self.answer,
            clock=clock,
            ends_at_s=clock() + limit_s,
            grace_s=1.0,
            timeout_message="late",
            hook=self.hook,
        )
        return (await self.cache.read(query)).items

    async def other_process_fetches(self, days: DateWindow, *, for_s: float) -> None:
        """Claim days as another process, and store them some seconds later."""
        keys = SERIES.keys(days)
        self.store.claimed_elsewhere |= keys.keys()
        await asyncio.sleep(for_s)
        codec = codec_for(CostItem)
        assert codec is not None
        encoded = await codec.encode_by_day(rows(days), keys.values())
        assert encoded is not None
        self.store.claimed_elsewhere -= keys.keys()
        await self.store.set({key: (encoded[day], 3600.0) for key, day in keys.items()})


def with_setup(test: Callable[[Setup], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test in virtual time."""

    def run() -> None:
        async def body() -> None:
            store = ClaimedStore()
            async with CostCache(store) as cache:
                await test(Setup(store, cache))

        run_virtually(body())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@with_setup
async def test_days_of_another_process_are_waited_for(setup: Setup) -> None:
    """Claimed days are not requested; they are read within a tenth of a second of their end."""
    began_s = asyncio.get_running_loop().time()
    middle = DateWindow(FIRST + timedelta(days=2), FIRST + timedelta(days=3))
    other = asyncio.create_task(setup.other_process_fetches(middle, for_s=5.0))
    await asyncio.sleep(0)
    assert await setup.get(WEEK) == rows(WEEK)
    await other
    took_s = asyncio.get_running_loop().time() - began_s
    assert 5.0 <= took_s <= 5.11
    assert setup.requested == [
        DateWindow(FIRST, FIRST + timedelta(days=1)),
        DateWindow(FIRST + timedelta(days=4), WEEK.to_date),
    ]
    (event,) = setup.events
    assert (event.days_hit, event.days_joined, event.days_missed) == (0, 2, 5)


@with_setup
async def test_a_wait_for_another_process_is_polled_ever_slower(setup: Setup) -> None:
    """The store is asked again after 10 ms, then half as often each time, up to 100 ms."""
    other = asyncio.create_task(setup.other_process_fetches(WEEK, for_s=2.0))
    await asyncio.sleep(0)
    await setup.get(WEEK)
    await other
    at_s = setup.store.asked_at_s
    gaps_s = [later - earlier for earlier, later in itertools.pairwise(at_s)]
    assert gaps_s[:6] == pytest.approx([0.01, 0.02, 0.04, 0.08, 0.1, 0.1])
    assert {round(gap_s, 9) for gap_s in gaps_s[6:]} == {0.1}


@with_setup
async def test_a_wait_for_another_process_ends_half_way_to_the_deadline(setup: Setup) -> None:
    """A caller leaves half of its time to the API, which it then asks in place of the claimant."""
    setup.store.claimed_elsewhere |= SERIES.keys(WEEK).keys()
    began_s = asyncio.get_running_loop().time()
    assert await setup.get(WEEK, limit_s=6.0) == rows(WEEK)
    assert 3.9 <= asyncio.get_running_loop().time() - began_s <= 4.0
    assert setup.requested == [WEEK]


@with_setup
async def test_a_joined_fetch_waits_no_longer_than_its_callers_can(setup: Setup) -> None:
    """A fetch asks the API in time for the caller with the earliest deadline, once for all."""
    setup.store.claimed_elsewhere |= SERIES.keys(WEEK).keys()
    began_s = asyncio.get_running_loop().time()
    patient = asyncio.create_task(setup.get(WEEK))
    await asyncio.sleep(0)
    assert await setup.get(WEEK, limit_s=6.0) == await patient == rows(WEEK)
    assert 3.9 <= asyncio.get_running_loop().time() - began_s <= 4.0
    assert setup.requested == [WEEK]


@with_setup
async def test_a_failed_fetch_keeps_no_claim(setup: Setup) -> None:
    """Claims are released if the fetch fails, if it is cancelled, and if rows have no day."""

    async def fails(_: DateWindow) -> Answer[CostItem]:
        raise ServerError(500)

    with pytest.raises(ServerError):
        await setup.get(WEEK, fails)
    assert setup.store.claims == set()

    async def undated(_: DateWindow) -> Answer[CostItem]:
        return Answer([CostItem(cost=Decimal(7))], "r", None, {})

    assert [item.cost for item in await setup.get(WEEK, undated)] == [7]
    assert setup.store.claims == set()
    caller = asyncio.create_task(setup.get(WEEK))
    await asyncio.sleep(0.5)
    assert setup.store.claims == SERIES.keys(WEEK).keys()
    caller.cancel()
    await asyncio.wait([caller])
    assert setup.store.claims == set()
    assert await setup.get(WEEK) == rows(WEEK)
    assert setup.store.claims == set()


@with_setup
async def test_days_of_the_store_are_hits(setup: Setup) -> None:
    """A day that is only in the shared part of the store counts as a hit, not as a request."""
    setup.store.is_remote = True
    await setup.other_process_fetches(DateWindow(FIRST, FIRST), for_s=0.0)
    assert await setup.get(WEEK) == rows(WEEK)
    (event,) = setup.events
    assert (event.days_hit, event.days_joined, event.days_missed) == (1, 0, 6)


@pytest.mark.parametrize("stored", [(3,), (2, 4)])
def test_gaps_are_requested_at_the_same_time(stored: tuple[int, ...]) -> None:
    """Several gaps take as long as one, as their requests are sent together."""

    @with_setup
    async def run(setup: Setup) -> None:
        setup.store.is_remote = True
        for number in stored:
            day = FIRST + timedelta(days=number)
            await setup.other_process_fetches(DateWindow(day, day), for_s=0.0)
        began_s = asyncio.get_running_loop().time()
        assert await setup.get(WEEK) == rows(WEEK)
        assert len(setup.requested) == len(stored) + 1
        assert asyncio.get_running_loop().time() - began_s == pytest.approx(1.0)

    run()
