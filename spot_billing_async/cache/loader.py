"""Loading of missing days from the store, from other processes that fetch them, or the API."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from spot_billing_async.cache.policy import CachePolicy
from spot_billing_async.cache.query import CacheQuery, contiguous_windows
from spot_billing_async.cache.store import Store, Value
from spot_billing_async.errors import DeadlineExceededError
from spot_billing_async.models.results import Answer
from spot_billing_async.models.windows import DateWindow

AnyQuery = CacheQuery[Any]

_FIRST_POLL_S = 0.01
_LONGEST_POLL_S = 0.25


@dataclass(slots=True)
class LoadedDays:
    """Days that a shared fetch has loaded so far.

    Attributes:
        values: encoded rows by cache key.
        request_id: id of the last request.
        stored: number of days that were in the store.
        awaited: number of days that another process fetched meanwhile.
        requested: number of days that were requested from the API.
        unsplit: a window and the answer whose rows cannot be kept by day; None if all rows can.
    """

    values: dict[str, bytes] = field(default_factory=dict)
    request_id: str | None = None
    stored: int = 0
    awaited: int = 0
    requested: int = 0
    unsplit: tuple[DateWindow, Answer[Any]] | None = None


@dataclass(frozen=True, slots=True)
class Loader:
    """Loader of days, which keeps them in the store for as long as the policy says."""

    store: Store
    policy: CachePolicy
    now: Callable[[], datetime]

    async def load(self, query: AnyQuery, days: Mapping[str, date], loaded: LoadedDays) -> None:
        """Load days by cache key into `loaded`, within the limits of the query that started this.

        The `values` of `loaded` are then complete, unless it has `unsplit` rows.
        """
        try:
            await self._load(query, dict(days), loaded)
        except BaseException:
            # Other processes must not wait for a claim whose fetch failed or was cancelled.
            await self.store.release(list(days))
            raise
        if loaded.unsplit is not None:
            await self.store.release(list(days))

    async def _load(self, query: AnyQuery, missing: dict[str, date], loaded: LoadedDays) -> None:
        poll_s = 0.0
        while True:
            lookup = await self.store.get_or_claim(list(missing))
            # Other processes may write anything into a shared store.
            codec, given = query.codec, lookup.found.items()
            found = {key: data for key, data in given if await codec.is_of_day(data, missing[key])}
            loaded.values.update(found)
            if poll_s:
                loaded.awaited += len(found)
            else:
                loaded.stored += len(found)
            in_claim = {*lookup.claimed, *lookup.found} - found.keys()
            claimed = {key: day for key, day in missing.items() if key in in_claim}
            done = in_claim | found.keys()
            missing = {key: day for key, day in missing.items() if key not in done}
            loaded.requested += len(claimed)
            await self._fetch(query, claimed.values(), loaded)
            if not missing or loaded.unsplit is not None:
                return
            # The other days are claimed by another process. Stores have no notification: poll.
            poll_s = min(2 * poll_s or _FIRST_POLL_S, _LONGEST_POLL_S)
            if query.clock() + poll_s >= query.ends_at_s:
                raise DeadlineExceededError(query.timeout_message)
            await asyncio.sleep(poll_s)

    async def _fetch(self, query: AnyQuery, days: Iterable[date], loaded: LoadedDays) -> None:
        """Request days from the API, one request per window, all windows at the same time."""
        windows = contiguous_windows(days)
        if len(windows) <= 1:
            for window in windows:
                await self._fetch_window(query, window, loaded)
            return
        try:
            async with asyncio.TaskGroup() as group:
                for window in windows:
                    group.create_task(self._fetch_window(query, window, loaded))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def _fetch_window(self, query: AnyQuery, window: DateWindow, loaded: LoadedDays) -> None:
        # Read before the request: a month that closes during it may still be returned unclosed.
        now = self.now()
        answer = await query.fetch(window)
        loaded.request_id = answer.request_id
        keys = query.series.keys(window)
        by_day = await query.codec.encode_by_day(answer.items, keys.values())
        if by_day is None:
            loaded.unsplit = window, answer
            return
        values = {key: by_day[day] for key, day in keys.items()}
        group_by = query.series.group_by
        ttls_s = {key: self.policy.ttl_s(day, group_by, now) for key, day in keys.items()}
        await self.store.set({key: Value(data, ttls_s[key]) for key, data in values.items()})
        loaded.values.update(values)
