"""A query on its way through the cache: whom it waits for, how long, and what comes of it."""

import asyncio
from collections.abc import Awaitable, Mapping
from datetime import date
from functools import partial
from math import inf
from typing import Generic, TypeVar

from spot_billing_async.cache.inflight import InflightFetch, InflightFetches
from spot_billing_async.cache.loader import Filler
from spot_billing_async.cache.query import Ask, Found, runs_of
from spot_billing_async.errors import (
    ApiError,
    DeadlineExceededError,
    RequestLimitReachedError,
    ResponseTooLargeError,
    SpotBillingError,
    own_copy,
)
from spot_billing_async.telemetry import CacheRead

T = TypeVar("T")
R = TypeVar("R")


class Reading(Generic[T]):
    """Gets the days of a query that are not at hand.

    Args:
        ask: the query.
        filler: gets days for flights that this one begins.
        flights: those under way.

    Attributes:
        keys: the days of the query by key, in order.
        values: days as bytes, by key: what there is of them.
        request_id: of the last request that was sent for this query.
    """

    def __init__(self, ask: Ask[T], filler: Filler, flights: InflightFetches) -> None:
        self._ask = ask
        self._filler = filler
        self._flights = flights
        self.keys = ask.series.keys(ask.days)
        self.values = filler.store.get_local(list(self.keys))
        self.request_id: str | None = None
        self._hit = len(self.values)
        self._joined = self._missed = 0

    @property
    def missing(self) -> dict[str, date]:
        """The days that are not there yet, by key."""
        return {key: day for key, day in self.keys.items() if key not in self.values}

    async def complete(self) -> Found[T] | None:
        """Get what is missing; rows that cannot be kept are returned as they came.

        Raises:
            SpotBillingError: a fetch failed, or the caller's time is over.
        """
        is_late = False
        while missing := self.missing:
            begun, joined = self._board(missing)
            # What it begins itself has the caller's limits, and tells more when they end it.
            grace_s = 0.0 if joined or is_late else self._ask.grace_s
            uncut = await self._in_time(self._wait(begun, joined), grace_s=grace_s)
            if uncut:
                return await self.ask_directly() if isinstance(uncut, bool) else uncut
            found = self._filler.store.get_local(list(self.missing))
            self.values |= found
            self._hit += len(found)
            is_late = True
        return None

    async def ask_directly(self) -> Found[T]:
        """Ask for the whole query, past the cache.

        Raises:
            SpotBillingError: the call failed, or the caller's time is over.
        """
        answer = await self._in_time(self._ask.fetch(self._ask.days))
        return Found(answer.items, answer.request_id)

    def event(self) -> CacheRead:
        """How the cache was of use."""
        return CacheRead(
            operation_id=self._ask.operation_id,
            days_hit=self._hit,
            days_joined=self._joined,
            days_missed=self._missed,
        )

    def _board(
        self, missing: Mapping[str, date]
    ) -> tuple[list[InflightFetch], list[InflightFetch]]:
        """The flights that get what is missing: those begun here, and those joined."""
        under_way = {key: self._flights.with_key(key) for key in missing}
        joined = list({flight: None for flight in under_way.values() if flight is not None})
        gaps = runs_of(day for key, day in missing.items() if under_way[key] is None)
        begun = []
        for gap in gaps:
            days = self._ask.series.keys(gap)
            begun.append(self._flights.start(days, partial(self._filler.fill, self._ask, days)))
        return begun, joined

    async def _wait(
        self, begun: list[InflightFetch], joined: list[InflightFetch]
    ) -> Found[T] | bool:
        """Wait for flights, and take what they bring.

        Returns:
            Whether rows came that cannot be kept; or those, where they are all that was asked for.
        """
        flights = begun + joined
        for flight in flights:
            flight.waiting += 1
        try:
            for flight in flights:
                failure = await flight.arrival()
                if failure is not None:
                    if flight in begun or not self._may_ask_again(flight, failure):
                        raise _own(failure)
                elif flight.landed.uncut is not None:
                    days, found = flight.landed.uncut
                    return found if flight in begun and days == self._ask.days else True
                else:
                    self._take(flight, is_joined=flight in joined)
        finally:
            for flight in begun:
                self._hit += flight.landed.stored
                self._joined += flight.landed.awaited
                self._missed += flight.landed.asked
            await self._flights.leave(flights)
        return False

    def _take(self, flight: InflightFetch, *, is_joined: bool) -> None:
        mine = {key: data for key, data in flight.landed.values.items() if key in self.keys}
        self.values |= mine
        if is_joined:
            self._joined += len(mine)
        else:
            self.request_id = flight.landed.request_id

    def _may_ask_again(self, flight: InflightFetch, failure: BaseException) -> bool:
        """Whether a joined flight failed for what was asked of it, or how, and not for its days."""
        match failure:
            case DeadlineExceededError() | RequestLimitReachedError():
                return True
            case ResponseTooLargeError() | ApiError(status=413):
                return not flight.days.keys() <= self.keys.keys()
            case _:
                return False

    async def _in_time(self, work: Awaitable[R], *, grace_s: float = 0.0) -> R:
        """Wait for something while the caller's time lasts."""
        ask = self._ask
        left_s = None if ask.ends_at_s == inf else ask.ends_at_s - ask.clock() + grace_s
        try:
            async with asyncio.timeout(left_s) as limit:
                return await work
        except TimeoutError:
            if not limit.expired():
                raise
        raise DeadlineExceededError(ask.late)


def _own(failure: BaseException) -> BaseException:
    """An error for one of those who met it: each raises it somewhere else."""
    if not isinstance(failure, SpotBillingError):
        return failure
    return own_copy(failure)
