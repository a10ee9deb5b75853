"""Fetches of days that concurrent queries share.

A shared fetch loads a range of days in one task, for every caller that needs one of them. It
belongs to the cache, not to the caller that started it: a cancelled caller does not cancel the
shared request while others wait for it. The last caller that leaves cancels the fetch and waits
until its task has ended.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from math import inf
from typing import Any

from spot_billing_async._core.aio.deadline import without_deadline
from spot_billing_async._core.aio.tasks import until_done
from spot_billing_async.cache.policy import CachePolicy
from spot_billing_async.cache.query import CacheQuery, contiguous_windows
from spot_billing_async.cache.store import Store, Value
from spot_billing_async.errors import CLIENT_IS_CLOSED, ConfigError
from spot_billing_async.models.results import Answer
from spot_billing_async.models.windows import DateWindow

_FIRST_POLL_S = 0.01
_LONGEST_POLL_S = 0.1


@dataclass(slots=True, eq=False, weakref_slot=True)
class SharedFetch:
    """Load of a range of days from the store, from other processes that fetch them, or the API."""

    query: CacheQuery[Any]  # which started it; its limits hold
    days: Mapping[str, date]  # by cache key, in order
    store: Store
    policy: CachePolicy
    now: Callable[[], datetime]
    # Encoded rows by cache key; all when the task is done, unless there are `unsplit` rows.
    values: dict[str, bytes] = field(default_factory=dict)
    request_id: str | None = None
    stored: int = 0  # days that were in the store
    awaited: int = 0  # days that another process fetched meanwhile
    requested: int = 0  # days that were requested from the API
    # A window and the answer whose rows cannot be kept by day.
    unsplit: tuple[DateWindow, Answer[Any]] | None = None
    waiter_count: int = 0
    waits_until_s: float = inf  # for other processes, by the query's clock; then it asks the API
    task: asyncio.Task[None] = field(init=False)  # set by `SharedFetches.start`

    async def wait(self) -> BaseException | None:
        """Wait until the fetch ends; return its exception, or raise if the client was closed."""
        await asyncio.wait([self.task])
        if self.task.cancelled():
            raise ConfigError(CLIENT_IS_CLOSED)
        return self.task.exception()

    async def load(self) -> None:
        """Load the days, and keep them in the store for as long as the policy says."""
        try:
            await self._load(dict(self.days))
        finally:
            # Other processes must not wait for a claim whose fetch failed or was cancelled.
            if len(self.values) < len(self.days):
                await self.store.release(list(self.days))

    async def _load(self, missing: dict[str, date]) -> None:
        query, poll_s = self.query, 0.0
        while True:
            lookup = await self.store.get_or_claim(list(missing))
            # Other processes may write anything into a shared store.
            codec, given = query.codec, lookup.found.items()
            found = {key: data for key, data in given if await codec.is_of_day(data, missing[key])}
            self.values.update(found)
            if poll_s:
                self.awaited += len(found)
            else:
                self.stored += len(found)
            missing = {key: day for key, day in missing.items() if key not in found}
            poll_s = min(2 * poll_s or _FIRST_POLL_S, _LONGEST_POLL_S)
            is_patient = query.clock() + poll_s < self.waits_until_s
            own = {*lookup.claimed, *lookup.found} if is_patient else missing
            claimed = [missing.pop(key) for key in list(missing) if key in own]
            self.requested += len(claimed)
            await self._fetch(claimed)
            if not missing or self.unsplit is not None:
                return
            # The other days are claimed by another process. Stores have no notification: poll.
            await asyncio.sleep(poll_s)

    async def _fetch(self, days: Iterable[date]) -> None:
        """Request days from the API, one request per window, all windows at the same time."""
        windows = contiguous_windows(days)
        if len(windows) <= 1:
            for window in windows:
                await self._fetch_window(window)
            return
        try:
            async with asyncio.TaskGroup() as group:
                for window in windows:
                    group.create_task(self._fetch_window(window))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def _fetch_window(self, window: DateWindow) -> None:
        # Read before the request: a month that closes during it may still be returned unclosed.
        now, series = self.now(), self.query.series
        answer = await self.query.fetch(window)
        self.request_id = answer.request_id
        keys = series.keys(window)
        by_day = await self.query.codec.encode_by_day(answer.items, keys.values())
        if by_day is None:
            self.unsplit = window, answer
            return
        values = {
            key: Value(by_day[day], self.policy.ttl_s(day, series.group_by, now))
            for key, day in keys.items()
        }
        await self.store.set(values)
        self.values |= {key: value.data for key, value in values.items()}


class SharedFetches:
    """All shared fetches in flight, in the event loop in which the cache was entered."""

    def __init__(self, store: Store, policy: CachePolicy, now: Callable[[], datetime]) -> None:
        self.store: Store = store
        self._policy = policy
        self._now = now
        self._by_key: dict[str, SharedFetch] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Cancel all fetches, and wait until their tasks have ended."""
        await _cancel(list(self._tasks))

    def with_key(self, key: str) -> SharedFetch | None:
        """Return the fetch that is loading this day; None if there is none."""
        fetch = self._by_key.get(key)
        # A task that is done stays here until its callback runs; a failed one must not be joined.
        return None if fetch is None or fetch.task.done() else fetch

    def start(self, query: CacheQuery[Any], days: Mapping[str, date]) -> SharedFetch:
        """Start a fetch of days that no other fetch is loading."""
        fetch = SharedFetch(query, days, self.store, self._policy, self._now)
        # The deadline of the caller that starts it must not end what others wait for.
        fetch.task = asyncio.create_task(fetch.load(), context=without_deadline())
        self._by_key |= dict.fromkeys(fetch.days, fetch)
        self._tasks.add(fetch.task)
        fetch.task.add_done_callback(lambda task: self._on_done(fetch, task))
        return fetch

    async def leave(self, fetches: Iterable[SharedFetch]) -> None:
        """Stop waiting for fetches; cancel each that has no other caller."""
        left = []
        for fetch in fetches:
            fetch.waiter_count -= 1
            if not fetch.waiter_count and not fetch.task.done():
                # Removed at once, so that no new caller can join a fetch that is being cancelled.
                self._forget(fetch)
                left.append(fetch.task)
        await _cancel(left)

    def _on_done(self, fetch: SharedFetch, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        self._forget(fetch)
        if not task.cancelled():
            task.exception()  # marks it as retrieved: a fetch without callers must not be logged

    def _forget(self, fetch: SharedFetch) -> None:
        for key in fetch.days:
            # A later fetch of the same day may have taken the place of this one.
            if self._by_key.get(key) is fetch:
                del self._by_key[key]


async def _cancel(tasks: Sequence["asyncio.Task[None]"]) -> None:
    """Cancel tasks, all at once, and wait until they have ended."""
    for task in tasks:
        task.cancel()
    for task in tasks:
        await until_done(task)
