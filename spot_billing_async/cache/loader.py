"""How days come that are not at hand: from the store, from others who fetch them, from the API."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from spot_billing_async.cache.policy import CachePolicy
from spot_billing_async.cache.query import Ask, Found, runs_of
from spot_billing_async.cache.store import Store, Value
from spot_billing_async.errors import DeadlineExceededError
from spot_billing_async.models.windows import DateWindow

_FIRST_PAUSE_S = 0.01
_LONGEST_PAUSE_S = 0.25


@dataclass(slots=True)
class Landed:
    """What has come so far of the days of a flight.

    Attributes:
        values: days as bytes, by key.
        request_id: of the last request.
        stored: days that were in the store.
        awaited: days that somebody else fetched meanwhile.
        asked: days that the API was asked for.
        uncut: rows that cannot be kept, and the days that were asked for; None where all can.
    """

    values: dict[str, bytes] = field(default_factory=dict)
    request_id: str | None = None
    stored: int = 0
    awaited: int = 0
    asked: int = 0
    uncut: tuple[DateWindow, Found[Any]] | None = None


@dataclass(frozen=True, slots=True)
class Filler:
    """Gets days, and keeps them.

    Args:
        store: where they are kept.
        policy: how long.
        now: tells the moment, in UTC.
    """

    store: Store
    policy: CachePolicy
    now: Callable[[], datetime]

    async def fill(self, ask: Ask[Any], days: Mapping[str, date], landed: Landed) -> None:
        """Get some days.

        Args:
            ask: of whoever began this; what is sent is sent on their account.
            days: by key, in order.
            landed: where they go; its `values` are whole unless it is `uncut`.

        Raises:
            SpotBillingError: they cannot be had.
        """
        try:
            await self._fill(ask, dict(days), landed)
        except BaseException:
            await self.store.release(list(days))
            raise
        if landed.uncut is not None:
            await self.store.release(list(days))

    async def _fill(self, ask: Ask[Any], missing: dict[str, date], landed: Landed) -> None:
        pause_s = 0.0
        while True:
            look = await self.store.get_or_claim(list(missing))
            landed.values.update(look.found)
            if pause_s:
                landed.awaited += len(look.found)
            else:
                landed.stored += len(look.found)
            claimed = set(look.claimed)
            mine = {key: day for key, day in missing.items() if key in claimed}
            missing = {k: d for k, d in missing.items() if k not in claimed and k not in look.found}
            landed.asked += len(mine)
            await self._fetch(ask, mine, landed)
            if not missing or landed.uncut is not None:
                return
            pause_s = min(2 * pause_s or _FIRST_PAUSE_S, _LONGEST_PAUSE_S)
            if ask.clock() + pause_s >= ask.ends_at_s:
                raise DeadlineExceededError(ask.late)
            await asyncio.sleep(pause_s)

    async def _fetch(self, ask: Ask[Any], mine: Mapping[str, date], landed: Landed) -> None:
        """Ask the API for days, as few times as can be, at once; the first failure ends it all."""
        runs = runs_of(mine.values())
        if len(runs) <= 1:
            for run in runs:
                await self._fetch_run(ask, run, landed)
            return
        failure: Exception | None = None
        try:
            async with asyncio.TaskGroup() as group:
                for run in runs:
                    group.create_task(self._fetch_run(ask, run, landed))
        except ExceptionGroup as failures:
            failure = failures.exceptions[0]
        if failure is not None:
            raise failure

    async def _fetch_run(self, ask: Ask[Any], run: DateWindow, landed: Landed) -> None:
        now = self.now()  # as of then: what closes while it is asked for may be from before
        answer = await ask.fetch(run)
        landed.request_id = answer.request_id
        keys = ask.series.keys(run)
        by_day = await ask.codec.by_day(answer.items, keys.values())
        if by_day is None:
            landed.uncut = run, Found(answer.items, answer.request_id)
            return
        values = {key: by_day[day] for key, day in keys.items()}
        group_by = ask.series.group_by
        await self.store.set(
            {
                key: Value(values[key], self.policy.ttl_s(day, group_by, now))
                for key, day in keys.items()
            }
        )
        landed.values.update(values)
