"""Fetches that are under way, and who waits for them.

A flight is a run of adjacent days that one task gets, for all who wait for any of them. It belongs
to the cache and not to whoever began it: one who waits may leave and the flight goes on, as long as
another one waits. With the last one it ends, and that one leaves when it is over.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import date
from types import TracebackType
from typing import Any, Self

from spot_billing_async._core.aio.deadline import without_deadline
from spot_billing_async._core.aio.tasks import until_done
from spot_billing_async.cache.loader import Landed
from spot_billing_async.errors import CLIENT_IS_ELSEWHERE, CLIENT_WAS_LEFT, ConfigError


class InflightFetch:
    """A run of days that is being got.

    Attributes:
        days: by key, in order.
        landed: what has come of it so far.
        waiting: how many wait for it.
        task: gets them.
    """

    __slots__ = ("days", "landed", "task", "waiting")

    def __init__(
        self, days: Mapping[str, date], work: Callable[[Landed], Coroutine[Any, Any, None]]
    ) -> None:
        self.days = days
        self.landed = Landed()
        self.waiting = 0
        self.task = asyncio.create_task(work(self.landed), context=without_deadline())

    async def arrival(self) -> BaseException | None:
        """Wait for its end; what it failed with, if it did.

        Raises:
            ConfigError: the client was left meanwhile.
        """
        await asyncio.wait([self.task])
        if self.task.cancelled():
            raise ConfigError(CLIENT_WAS_LEFT)
        return self.task.exception()


class InflightFetches:
    """All flights under way: a context manager, which ends them as it is left."""

    def __init__(self) -> None:
        self._by_key: dict[str, InflightFetch] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        for task in tasks:
            await until_done(task)

    def require_loop(self) -> None:
        """Refuse to be used in another event loop than that of the client.

        Raises:
            ConfigError: it is.
        """
        if asyncio.get_running_loop() is not self._loop:
            raise ConfigError(CLIENT_IS_ELSEWHERE)

    def with_key(self, key: str) -> InflightFetch | None:
        """The flight that gets a day; None where none does."""
        flight = self._by_key.get(key)
        return None if flight is None or flight.task.done() else flight

    def start(
        self, days: Mapping[str, date], work: Callable[[Landed], Coroutine[Any, Any, None]]
    ) -> InflightFetch:
        """Begin to get days that no flight gets."""
        flight = InflightFetch(days, work)
        self._by_key |= dict.fromkeys(days, flight)
        self._tasks.add(flight.task)
        flight.task.add_done_callback(lambda task: self._ended(flight, task))
        return flight

    async def leave(self, flights: Iterable[InflightFetch]) -> None:
        """Wait for flights no longer; what nobody waits for is ended."""
        ended = []
        for flight in flights:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                self._forget(flight)  # at once: nobody may come to wait for what is ending
                flight.task.cancel()
                ended.append(flight.task)
        for task in ended:
            await until_done(task)

    def _ended(self, flight: InflightFetch, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        self._forget(flight)
        if not task.cancelled():
            task.exception()  # those who wait have it; where nobody does, it is nobody's

    def _forget(self, flight: InflightFetch) -> None:
        for key in flight.days:
            if self._by_key.get(key) is flight:
                del self._by_key[key]
