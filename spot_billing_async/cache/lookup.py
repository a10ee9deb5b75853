"""Lookup of one query in the cache: the fetches it starts or joins, and how long it waits."""

import asyncio
from collections.abc import Awaitable
from datetime import date
from math import inf
from typing import Generic, TypeVar

from spot_billing_async.cache.fetch import SharedFetch, SharedFetches
from spot_billing_async.cache.query import CacheQuery, contiguous_windows
from spot_billing_async.errors import (
    ApiError,
    AuthenticationError,
    DeadlineExceededError,
    OutageError,
    PermissionDeniedError,
    RequestLimitReachedError,
    ResponseTooLargeError,
    SpotBillingError,
    own_copy,
)
from spot_billing_async.models.results import Answer
from spot_billing_async.telemetry import CacheRead, emit

T = TypeVar("T")
R = TypeVar("R")


class CacheLookup(Generic[T]):
    """Lookup of one query: takes the days that are in memory, and loads the missing ones."""

    def __init__(self, query: CacheQuery[T], fetches: SharedFetches) -> None:
        self._query = query
        self._fetches = fetches
        self._keys: dict[str, date] = query.series.keys(query.days)
        self._values: dict[str, bytes] = fetches.store.get_local(list(self._keys))
        self._request_id: str | None = None
        self._hit = len(self._values)
        self._joined = self._missed = 0

    async def answer(self) -> Answer[T]:
        """Return the rows of the query, and report the lookup to the hook."""
        query = self._query
        try:
            answer = await self._load_missing()
            if answer is not None:
                return answer
            rows = await query.codec.decode([self._values[key] for key in self._keys])
            if rows is None:  # the store holds data that this package did not write
                return await self._fetch_directly()
        finally:
            if query.hook is not None:
                event = CacheRead(
                    operation_id=query.operation_id,
                    days_hit=self._hit,
                    days_joined=self._joined,
                    days_missed=self._missed,
                )
                emit(query.hook, event)
        return Answer(rows, self._request_id, None, {})

    async def _load_missing(self) -> Answer[T] | None:
        """Load the days that are not in memory; return the answer if it cannot be kept by day."""
        # There is a further round only if a joined fetch failed because of its starter's limits.
        query, is_first_round = self._query, True
        while missing := self._missing():
            in_flight = {key: self._fetches.with_key(key) for key in missing}
            joined = list({fetch: None for fetch in in_flight.values() if fetch is not None})
            gaps = contiguous_windows(day for key, day in missing.items() if in_flight[key] is None)
            started = [self._fetches.start(query, query.series.keys(gap)) for gap in gaps]
            # The fetches started here have the same deadline and a more specific error. The grace
            # lets that error come before the one of this wait.
            grace_s = query.grace_s if is_first_round and not joined else 0.0
            fetch = await self._before_deadline(self._wait(started, joined), grace_s=grace_s)
            if fetch is not None and fetch.unsplit is not None:
                window, answer = fetch.unsplit
                is_this_query = fetch in started and window == query.days
                return answer if is_this_query else await self._fetch_directly()
            found = self._fetches.store.get_local(list(self._missing()))
            self._values |= found
            self._hit += len(found)
            is_first_round = False
        return None

    async def _fetch_directly(self) -> Answer[T]:
        """Request the whole query from the API without using the cache."""
        return await self._before_deadline(self._query.fetch(self._query.days))

    def _missing(self) -> dict[str, date]:
        return {key: day for key, day in self._keys.items() if key not in self._values}

    async def _wait(
        self, started: list[SharedFetch], joined: list[SharedFetch]
    ) -> SharedFetch | None:
        """Wait for fetches and take their days; return the first that cannot be kept by day."""
        fetches = started + joined
        half_s = (self._query.clock() + self._query.ends_at_s) / 2  # the rest is left to the API
        for fetch in fetches:
            fetch.waiter_count += 1
            fetch.waits_until_s = min(fetch.waits_until_s, half_s)
        try:
            for fetch in fetches:
                failure = await fetch.wait()
                if failure is not None:
                    if fetch in started or not self._can_retry(fetch, failure):
                        # Every caller raises a copy, as raising adds a traceback and a context.
                        if isinstance(failure, SpotBillingError):
                            failure = own_copy(failure)
                        raise failure
                elif fetch.unsplit is not None:
                    return fetch
                else:
                    values = {key: fetch.values[key] for key in self._keys if key in fetch.values}
                    self._values |= values
                    if fetch in joined:
                        self._joined += len(values)
                    else:
                        self._request_id = fetch.request_id
        finally:
            for fetch in started:
                self._hit += fetch.stored
                self._joined += fetch.awaited
                self._missed += fetch.requested
            await self._fetches.leave(fetches)
        return None

    def _can_retry(self, fetch: SharedFetch, failure: BaseException) -> bool:
        """Return whether the cause of a joined fetch's failure may not hold for this query."""
        match failure:
            case DeadlineExceededError() | OutageError() | RequestLimitReachedError():
                return True  # limits of the caller that started it
            case AuthenticationError() | PermissionDeniedError():
                return fetch.query.credential != self._query.credential
            case ResponseTooLargeError() | ApiError(status=413):
                return not fetch.days.keys() <= self._keys.keys()  # this query is narrower
            case _:
                return False

    async def _before_deadline(self, work: Awaitable[R], *, grace_s: float = 0.0) -> R:
        """Await something until the caller's deadline plus `grace_s`."""
        query = self._query
        left_s = None if query.ends_at_s == inf else query.ends_at_s - query.clock() + grace_s
        try:
            async with asyncio.timeout(left_s) as limit:
                return await work
        except TimeoutError:
            if not limit.expired():
                raise
            raise DeadlineExceededError(query.timeout_message) from None
