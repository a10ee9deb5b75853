"""Shared fetches that are in flight.

A shared fetch loads a range of days in one task, for every caller that needs one of them. It
belongs to the cache, not to the caller that started it: a cancelled caller does not cancel the
shared request while others wait for it. The last caller that leaves cancels the fetch and waits
until its task has ended.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Iterable, Mapping
from datetime import date
from typing import Any

from spot_billing_async._core.aio.deadline import without_deadline
from spot_billing_async._core.aio.tasks import until_done
from spot_billing_async.cache.loader import LoadedDays
from spot_billing_async.errors import CLIENT_IS_CLOSED, ConfigError

Work = Callable[[LoadedDays], Coroutine[Any, Any, None]]


class InflightFetch:
    """Shared fetch of a range of days.

    Attributes:
        credential: key of the credential that it sends.
        days: days by cache key, in order.
        loaded: days loaded so far; complete when the task is done.
        waiter_count: number of callers that wait for it.
        task: the task that loads the days.
    """

    __slots__ = ("credential", "days", "loaded", "task", "waiter_count")

    def __init__(self, credential: Hashable, days: Mapping[str, date], work: Work) -> None:
        self.credential: Hashable = credential
        self.days: Mapping[str, date] = days
        self.loaded: LoadedDays = LoadedDays()
        self.waiter_count: int = 0
        # The deadline of the caller that starts it must not end what others wait for.
        context = without_deadline()
        self.task: asyncio.Task[None] = asyncio.create_task(work(self.loaded), context=context)

    async def wait(self) -> BaseException | None:
        """Wait until the fetch ends; return its exception, or raise if the client was closed."""
        await asyncio.wait([self.task])
        if self.task.cancelled():
            raise ConfigError(CLIENT_IS_CLOSED)
        return self.task.exception()


class InflightFetches:
    """All shared fetches in flight, in `loop`: the event loop in which the object was made."""

    def __init__(self) -> None:
        self._by_key: dict[str, InflightFetch] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()

    async def close(self) -> None:
        """Cancel all fetches, and wait until their tasks have ended."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        for task in tasks:
            await until_done(task)

    def with_key(self, key: str) -> InflightFetch | None:
        """Return the fetch that is loading this day; None if there is none."""
        fetch = self._by_key.get(key)
        # A task that is done stays here until its callback runs; a failed one must not be joined.
        return None if fetch is None or fetch.task.done() else fetch

    def start(self, credential: Hashable, days: Mapping[str, date], work: Work) -> InflightFetch:
        """Start a fetch of days that no other fetch is loading."""
        fetch = InflightFetch(credential, days, work)
        self._by_key |= dict.fromkeys(days, fetch)
        self._tasks.add(fetch.task)
        fetch.task.add_done_callback(lambda task: self._on_done(fetch, task))
        return fetch

    async def leave(self, fetches: Iterable[InflightFetch]) -> None:
        """Stop waiting for fetches; cancel each that has no other caller."""
        cancelled = []
        for fetch in fetches:
            fetch.waiter_count -= 1
            if not fetch.waiter_count and not fetch.task.done():
                # Removed at once, so that no new caller can join a fetch that is being cancelled.
                self._forget(fetch)
                fetch.task.cancel()
                cancelled.append(fetch.task)
        for task in cancelled:
            await until_done(task)

    def _on_done(self, fetch: InflightFetch, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        self._forget(fetch)
        if not task.cancelled():
            task.exception()  # marks it as retrieved: a fetch without callers must not be logged

    def _forget(self, fetch: InflightFetch) -> None:
        for key in fetch.days:
            # A later fetch of the same day may have taken the place of this one.
            if self._by_key.get(key) is fetch:
                del self._by_key[key]
